// SPDX-License-Identifier: BSD-3-Clause
#include <cerrno>
#include <utility>
#include <vkring/kernel/netns.hpp>

#include "port.hpp"

namespace fwd {

using vkring::fail;
using vkring::result;

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
  const vkring::frame_offloads offloads = packet_socket::offloads();
  constexpr const char* kernel = "kernel";
  report.negotiation = {{"vnet-hdr", kernel, true, {}},
                        {"csum", kernel, offloads.csum, {}},
                        {"tso4", kernel, offloads.tso4, {}},
                        {"tso6", kernel, offloads.tso6, {}},
                        {"ecn", kernel, offloads.ecn, {}},
                        {"uso", offloads.uso ? kernel : "nobody", offloads.uso,
                         offloads.uso ? "" : "Linux has it since 6.2"},
                        {"udp-tunnel", "nobody", false, "a packet socket's header has no room"}};
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
