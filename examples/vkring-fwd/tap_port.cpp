// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "port.hpp"

namespace fwd {

using vkring::fail;
using vkring::result;
using vkring::want;

namespace {

want wanted(const std::optional<bool>& given, want otherwise) {
  if (!given) return otherwise;
  return *given ? want::required : want::off;
}

vkring::device_config config_of(const tap_options& options, const port_context& context) {
  vkring::device_config config;
  config.name = options.name;
  config.netns = options.netns;
  config.backend = options.backend;
  config.mac = options.mac;
  if (options.ip) config.addresses = {*options.ip};

  vkring::wanted_features& features = config.wanted;
  features.offloads = options.offloads;
  if (options.default_offloads && !context.forwards_tunnels) {
    features.offloads.udp_tunnel.rx = features.offloads.udp_tunnel_csum.rx = want::off;
  }
  features.mergeable = wanted(options.mergeable, features.mergeable);
  features.event_idx = wanted(options.event_idx, features.event_idx);
  features.indirect = wanted(options.indirect, features.indirect);
  features.in_order = wanted(options.in_order, features.in_order);
  features.queue_pairs = options.queues;
  features.queue_size = options.queue_size;
  features.mtu_bytes = options.mtu;
  if (options.busyloop) {
    config.worker.spin = *options.busyloop;
    config.vhost.busyloop = {.rx = *options.busyloop, .tx = *options.busyloop};
  }
  config.worker.cpus = config.vhost.cpus = options.worker_cpus;
  config.worker.threads = options.worker_cpus.size();
  return config;
}

std::string_view breach_of(const vkring::queue_health& health) {
  if (health.interface_gone) return "interface_gone";
  for (const vkring::ring_breach& each :
       {health.tx, health.rx, health.tx_device, health.rx_device}) {
    if (each) return name(each.fault);
  }
  return {};
}

template <class Layout>
constexpr std::string_view layout_name =
    name(std::is_same_v<Layout, vkring::packed> ? layout_choice::packed : layout_choice::split);

}  // namespace

template <class Layout>
result<tap_port<Layout>> tap_port<Layout>::open(const tap_options& options,
                                                const port_context& context) {
  if (!options.netns.empty()) {
    if (auto where = vkring::netns::open(options.netns); !where) {
      return usage_error("netns=" + options.netns, where.error().message());
    }
  }
  auto device = device_type::open(config_of(options, context), context.pool);
  if (!device) {
    vkring::error& why = device.error();
    if (why.operation != "negotiate") return fail(std::move(why));
    // The negotiation counts the header as well.
    const bool size = why.object.starts_with("buffer-size=");
    return usage_error(size ? "buffer-size=" + std::to_string(context.buffer_size) : why.object,
                       why.hint);
  }
  return tap_port(std::move(*device));
}

template <class Layout>
tap_port<Layout>::tap_port(device_type device)
    : device_(std::make_unique<device_type>(std::move(device))),
      calls_(std::make_unique<call_counters[]>(device_->queue_pairs())) {
  if (const auto state = device_->link()) before_ = state->counters;
}

template <class Layout>
std::optional<vkring::mac_address> tap_port<Layout>::mac() const {
  const auto known = device_->mac();
  return known ? std::optional(*known) : std::nullopt;
}

template <class Layout>
std::uint32_t tap_port<Layout>::mtu() {
  const auto state = device_->link();
  return state ? state->mtu : 0;
}

template <class Layout>
std::string tap_port<Layout>::about() {
  std::string text = std::string(name()) + ": tap, " + std::to_string(queues()) +
                     (queues() == 1 ? " queue pair of " : " queue pairs of ") +
                     std::to_string(device_->tx(0).ring().size()) + ", served by " +
                     std::string(device_->backend()) + " (" +
                     std::string(device_->backend_reason()) + ")";
  if (const auto known = mac()) text += ", MAC " + vkring::mac_text(*known);
  return text + ", MTU " + std::to_string(mtu()) + '\n';
}

template <class Layout>
port_report tap_port<Layout>::counters() {
  port_report report;
  report.name = name();
  report.kind = "tap";
  report.backend = device_->backend();
  report.layout = layout_name<Layout>;
  report.negotiation = device_->plan().report;
  if (const auto state = device_->link()) {
    report.kernel_rx_dropped = state->counters.rx_dropped - before_.rx_dropped;
    report.kernel_tx_dropped = state->counters.tx_dropped - before_.tx_dropped;
  }
  const std::vector<vkring::queue_health> health = device_->health();
  for (std::size_t i = 0; i < queues(); ++i) {
    queue_report& queue = report.queues.emplace_back();
    if (device_->worker_statistics(i) != nullptr) {
      count_worker(i, queue);
    } else {
      count_vhost(i, queue);
    }
    const vkring::queue_statistics rx = device_->rx_statistics(i);
    const vkring::queue_statistics tx = device_->tx_statistics(i);
    queue.rx_packets += rx.packets;
    queue.rx_bytes = rx.bytes;
    for (const auto* direction : {&rx, &tx}) {
      for (const vkring::drop_count& each : direction->drops) {
        add_drops(queue.drops, each.reason, each.frames);
        if (direction == &rx) queue.rx_packets += each.frames;
      }
    }
    queue.kicks = rx.kicks + tx.kicks;
    queue.kicks_suppressed = rx.kicks_suppressed + tx.kicks_suppressed;
    const bool general = device_->tx_mode(i) == vkring::ring_mode::general ||
                         device_->rx_mode(i) == vkring::ring_mode::general;
    queue.mode = general ? "general" : "fast";
    queue.broken = breach_of(health[i]);
    if (!health[i].good()) queue.trouble = to_text(health[i]);
  }
  return report;
}

// What the worker took from the ring. Read before what was put into it, so that it cannot be more.
template <class Layout>
void tap_port<Layout>::count_worker(std::size_t pair, queue_report& queue) {
  const vkring::worker_counters& far = *device_->worker_statistics(pair);
  const std::uint64_t refused = far.tx_refused.value();
  const std::uint64_t down = far.tx_link_down.value();
  const std::uint64_t failed = far.tx_failed.value();
  queue.tx_packets = far.tx_frames.value();
  queue.tx_bytes = far.tx_bytes.value();
  queue.in_ring =
      device_->tx_statistics(pair).packets - queue.tx_packets - refused - down - failed;
  queue.rx_packets = far.rx_too_long.value();
  add_drops(queue.drops, "kernel_refused", refused);
  add_drops(queue.drops, "interface_down", down);
  add_drops(queue.drops, "kernel_failed", failed);
  add_drops(queue.drops, "too_long", far.rx_too_long.value());
  queue.calls = far.calls.value();
}

// vhost-net tells what it has taken, not what became of it: see the interface's own counters.
template <class Layout>
void tap_port<Layout>::count_vhost(std::size_t pair, queue_report& queue) {
  const std::uint64_t waiting = device_->tx_waiting(pair);
  const vkring::queue_statistics tx = device_->tx_statistics(pair);
  queue.in_ring = std::min(waiting, tx.packets);
  queue.tx_packets = tx.packets - queue.in_ring;
  queue.tx_bytes = tx.bytes;
  queue.calls = calls_[pair].rx.value() + calls_[pair].tx.value();
}

template <class Layout>
bool tap_port<Layout>::gone() {
  for (const vkring::queue_health& each : device_->health()) {
    if (each.interface_gone) return true;
  }
  return false;
}

template <class Layout>
bool tap_port<Layout>::drained() {
  for (std::size_t i = 0; i < queues(); ++i) {
    device_->tx(i).reclaim();
    if (device_->tx(i).ring().in_flight() != 0 && !device_->tx(i).ring().breach()) return false;
  }
  return true;
}

template <class Layout>
std::string tap_port<Layout>::inspect() {
  std::string text;
  for (std::size_t i = 0; i < queues(); ++i) {
    const std::string pair = std::string(name()) + " queue " + std::to_string(i);
    text += pair + " tx: " + to_text(device_->inspect_tx(i));
    text += pair + " rx: " + to_text(device_->inspect_rx(i));
  }
  return text;
}

template class tap_port<vkring::split>;
template class tap_port<vkring::packed>;

}  // namespace fwd
