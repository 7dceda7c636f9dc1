// SPDX-License-Identifier: BSD-3-Clause
#include <cerrno>
#include <string>
#include <utility>
#include <vector>
#include <vkring/kernel/netns.hpp>

#include "port.hpp"

namespace fwd {

using vkring::fail;
using vkring::result;

namespace {

// There is nothing to negotiate, but the same to be said.
std::vector<vkring::feature_decision> offload_lines(const vkring::frame_offloads& rx,
                                                    const vkring::frame_offloads& tx) {
  constexpr const char* kernel = "kernel";
  constexpr const char* bypass = "qdisc-bypass=on: the kernel segments nothing then";
  std::vector<vkring::feature_decision> lines = {{"vnet-hdr", kernel, true, {}}};
  const auto line = [&](const std::string& feature, bool receives, bool sends) {
    if (receives == sends) {
      lines.push_back({feature, receives ? kernel : "nobody", receives,
                       receives ? "" : "the kernel's header has no room for it"});
      return;
    }
    lines.push_back({feature + "-rx", kernel, true, {}});
    lines.push_back({feature + "-tx", "nobody", false, bypass});
  };
  line("csum", rx.csum, tx.csum);
  line("tso4", rx.tso4, tx.tso4);
  line("tso6", rx.tso6, tx.tso6);
  line("ecn", rx.ecn, tx.ecn);
  line("uso", rx.uso, tx.uso);
  line("udp-tunnel", rx.udp_tunnel, tx.udp_tunnel);
  return lines;
}

}  // namespace

result<packet_port> packet_port::open(const packet_options& options, const port_context& context) {
  std::optional<vkring::netns> where;
  if (!options.netns.empty()) {
    auto opened = vkring::netns::open(options.netns);
    if (!opened) return usage_error("netns=" + options.netns, opened.error().message());
    where.emplace(std::move(*opened));
  }
  auto link =
      where ? vkring::net_link::open(options.iface, *where) : vkring::net_link::open(options.iface);
  if (!link) {
    if (link.error().code.value() != ENODEV) return fail(std::move(link.error()));
    return usage_error("iface=" + options.iface,
                       where ? "no such interface in that namespace" : "no such interface here");
  }
  const auto open = [&] {
    return packet_socket::open(options.iface, link->index(), options.qdisc_bypass, context.pool);
  };
  auto socket = where ? where->run(open) : open();
  if (!socket) return fail(std::move(socket.error()));
  return packet_port(std::move(*link), std::move(*socket));
}

packet_port::packet_port(vkring::net_link link, packet_socket socket)
    : link_(std::move(link)), socket_(std::make_unique<packet_socket>(std::move(socket))) {
  if (const auto state = link_.read()) before_ = state->counters;
}

std::optional<vkring::mac_address> packet_port::mac() {
  const auto state = link_.read();
  return state ? state->mac : std::nullopt;
}

std::uint32_t packet_port::mtu() {
  const auto state = link_.read();
  return state ? state->mtu : 0;
}

std::string packet_port::about() {
  std::string text = std::string(name()) + ": af_packet";
  if (const auto known = mac()) text += ", MAC " + vkring::mac_text(*known);
  return text + ", MTU " + std::to_string(mtu()) + '\n';
}

port_report packet_port::counters() {
  port_report report;
  report.name = name();
  report.kind = "af_packet";
  report.backend = "socket";
  report.negotiation = offload_lines(socket_->may_receive(), socket_->may_send());
  kernel_drops_ += socket_->take_kernel_drops();
  report.kernel_rx_dropped = kernel_drops_;
  if (const auto state = link_.read()) {
    report.kernel_tx_dropped = state->counters.tx_dropped - before_.tx_dropped;
  }

  const packet_socket::traffic& rx = socket_->rx();
  const packet_socket::traffic& tx = socket_->tx();
  queue_report& queue = report.queues.emplace_back();
  for (const packet_socket::traffic* each : {&rx, &tx}) {
    std::vector<vkring::drop_count> drops = snapshot(each->header_drops).drops;
    each->losses.list(drops);
    for (const vkring::drop_count& drop : drops) {
      add_drops(queue.drops, drop.reason, drop.frames);
      if (each == &rx) queue.rx_packets += drop.frames;
    }
  }
  queue.rx_packets += rx.packets.value();
  queue.rx_bytes = rx.bytes.value();
  queue.tx_packets = tx.packets.value();
  queue.tx_bytes = tx.bytes.value();
  return report;
}

}  // namespace fwd
