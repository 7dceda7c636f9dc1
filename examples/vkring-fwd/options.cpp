// SPDX-License-Identifier: BSD-3-Clause
#include "options.hpp"

#include <array>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vkring/kernel/tap_options.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/packed_layout.hpp>

#include "keys.hpp"

namespace fwd {

using vkring::result;

namespace {

constexpr key<tap_options> tap_keys[] = {
    {"name",
     [](tap_options& o, std::string_view v) -> verdict {
       o.name = v;
       return verdict(vkring::broken_name_rule(v));
     }},
    {"netns",
     [](tap_options& o, std::string_view v) -> verdict {
       o.netns = v;
       return {};
     }},
    {"backend",
     [](tap_options& o, std::string_view v) {
       return set_choice(o.backend, v,
                         {{"auto", vkring::backend_kind::automatic},
                          {"vhost-net", vkring::backend_kind::vhost},
                          {"worker", vkring::backend_kind::worker}});
     }},
    {"layout",
     [](tap_options& o, std::string_view v) {
       return set_choice(
           o.layout, v, {{"split", layout_choice::split}, {"packed", layout_choice::packed}});
     }},
    {"queues", [](tap_options& o, std::string_view v) { return set_number(o.queues, v, 1, 256); }},
    {"queue-size",
     [](tap_options& o, std::string_view v) -> verdict {
       // What it may be depends on the layout, which may come later.
       if (!set_number(o.queue_size, v, 1, 65535).empty()) o.queue_size = 0;
       o.queue_size_text = v;
       return {};
     }},
    {"mac",
     [](tap_options& o, std::string_view v) {
       o.mac = vkring::parse_mac(v);
       const bool usable =
           o.mac && !vkring::is_multicast(*o.mac) && *o.mac != vkring::mac_address{};
       return usable ? verdict()
                     : verdict(
                           "a unicast address, six pairs of hexadecimal digits with : between "
                           "them, such as 02:00:5e:10:00:01");
     }},
    {"mtu",
     [](tap_options& o, std::string_view v) { return set_number(o.mtu, v, 68, 65521, "bytes"); }},
    {"ip",
     [](tap_options& o, std::string_view v) {
       o.ip = vkring::parse_ip_prefix(v);
       return o.ip ? verdict()
                   : verdict(
                         "an address and its prefix length, such as 192.168.1.1/24 or fd00::1/64");
     }},
    {"offloads",
     [](tap_options& o, std::string_view v) {
       auto parsed = vkring::parse_offloads(v);
       if (!parsed) return parsed.error().hint;
       o.offloads = *parsed;
       o.default_offloads = v == "auto";
       return verdict();
     }},
    {"mrg", [](tap_options& o, std::string_view v) { return set_switch(o.mergeable, v); }},
    {"event-idx", [](tap_options& o, std::string_view v) { return set_switch(o.event_idx, v); }},
    {"indirect", [](tap_options& o, std::string_view v) { return set_switch(o.indirect, v); }},
    {"in-order", [](tap_options& o, std::string_view v) { return set_switch(o.in_order, v); }},
    {"busyloop",
     [](tap_options& o, std::string_view v) {
       std::uint32_t microseconds = 0;
       verdict answer = set_number(microseconds, v, 0, 1000000, "microseconds");
       o.busyloop = std::chrono::microseconds(microseconds);
       return answer;
     }},
    {"buffer-size",
     [](tap_options& o, std::string_view v) {
       return set_number(o.buffer_size.emplace(), v, 64, 1048576, "bytes");
     }},
    {"worker-cpus",
     [](tap_options& o, std::string_view v) { return set_cpus(o.worker_cpus, v, '+'); }},
};

constexpr key<packet_options> packet_keys[] = {
    {"iface",
     [](packet_options& o, std::string_view v) -> verdict {
       o.iface = v;
       return v.size() > 15 || v.find('/') != v.npos ? "a name of 1 to 15 characters without /"
                                                     : "";
     }},
    {"netns",
     [](packet_options& o, std::string_view v) -> verdict {
       o.netns = v;
       return {};
     }},
    {"qdisc-bypass",
     [](packet_options& o, std::string_view v) {
       return set_choice(o.qdisc_bypass, v, {{"on", true}, {"off", false}});
     }},
};

// What a layout allows, whichever key came first.
result<void> check_rings(const tap_options& tap) {
  if (tap.layout == layout_choice::packed && tap.backend == vkring::backend_kind::vhost) {
    return usage_error("layout=packed",
                       "vhost-net offers no packed ring in any Linux kernel: leave it to "
                       "backend=worker");
  }
  const auto sized = tap.layout == layout_choice::packed
                         ? vkring::packed_ring::check_size(tap.queue_size)
                         : vkring::split_ring::check_size(tap.queue_size);
  if (!sized) return usage_error("queue-size=" + tap.queue_size_text, sized.error().hint);
  return {};
}

result<port_options> parse_port(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string_view keys = colon == text.npos ? std::string_view() : text.substr(colon + 1);
  if (kind == "tap") {
    auto tap = parse_keys(keys, tap_keys);
    if (!tap) return vkring::fail(std::move(tap.error()));
    if (auto checked = check_rings(*tap); !checked) return vkring::fail(std::move(checked.error()));
    return port_options(std::move(*tap));
  }
  if (kind == "af_packet") {
    auto packet = parse_keys(keys, packet_keys);
    if (!packet) return vkring::fail(std::move(packet.error()));
    if (packet->iface.empty()) return usage_error("iface", "an af_packet port needs one");
    return port_options(std::move(*packet));
  }
  return usage_error("--port " + std::string(kind),
                     "a port is tap:KEY=VALUE,... or af_packet:KEY=VALUE,...");
}

verdict set_seconds(std::chrono::seconds& into, std::string_view text) {
  std::uint32_t seconds = 0;
  verdict answer = set_number(seconds, text, 1, 1000000000, "seconds");
  into = std::chrono::seconds(seconds);
  return answer;
}

constexpr std::uint32_t min_tx_size = 42;  // Ethernet, IPv4 and UDP headers

constexpr key<options> main_keys[] = {
    {"--mode",
     [](options& o, std::string_view v) {
       return set_choice(o.mode, v,
                         {{"io", traffic_mode::io},
                          {"macswap", traffic_mode::macswap},
                          {"txonly", traffic_mode::txonly},
                          {"rxonly", traffic_mode::rxonly},
                          {"icmp-echo", traffic_mode::icmp_echo}});
     }},
    {"--wait",
     [](options& o, std::string_view v) {
       return set_choice(o.wait, v,
                         {{"poll", wait_mode::poll},
                          {"interrupt", wait_mode::interrupt},
                          {"adaptive", wait_mode::adaptive}});
     }},
    {"--tx-size",
     [](options& o, std::string_view v) {
       return set_number(o.tx_size, v, min_tx_size, 65535, "bytes");
     }},
    {"--rate",
     [](options& o, std::string_view v) {
       return set_number(o.rate, v, 1, 1000000000, "frames per second");
     }},
    {"--stats-period",
     [](options& o, std::string_view v) { return set_seconds(o.stats_period, v); }},
    {"--duration", [](options& o, std::string_view v) { return set_seconds(o.duration, v); }},
    {"--json",
     [](options& o, std::string_view v) -> verdict {
       o.json = v;
       return {};
     }},
    {"--cores", [](options& o, std::string_view v) { return set_cpus(o.cores, v, ','); }},
};

// Every interface may serve one port; names with %d become different ones.
bool is_same_interface(const port_options& a, const port_options& b) {
  if (a.index() != b.index()) return false;
  if (const auto* tap = std::get_if<tap_options>(&a)) {
    const auto& other = std::get<tap_options>(b);
    return tap->name == other.name && tap->netns == other.netns &&
           tap->name.find('%') == std::string::npos;
  }
  const auto& packet = std::get<packet_options>(a);
  const auto& other = std::get<packet_options>(b);
  return packet.iface == other.iface && packet.netns == other.netns;
}

std::string interface_key(const port_options& port) {
  if (const auto* tap = std::get_if<tap_options>(&port)) return "name=" + tap->name;
  return "iface=" + std::get<packet_options>(port).iface;
}

// Zero copy needs one pool for all, so one size.
result<void> agree_on_buffers(options& o) {
  std::optional<std::uint32_t> agreed;
  for (const port_options& port : o.ports) {
    const auto* tap = std::get_if<tap_options>(&port);
    if (tap == nullptr || !tap->buffer_size) continue;
    if (agreed && *agreed != *tap->buffer_size) {
      return usage_error(
          "buffer-size=" + std::to_string(*tap->buffer_size),
          "all ports share their buffers, and another one has " + std::to_string(*agreed));
    }
    agreed = tap->buffer_size;
  }
  o.buffer_size = agreed.value_or(o.buffer_size);
  if (o.mode == traffic_mode::txonly && o.tx_size > o.buffer_size) {
    return usage_error("--tx-size " + std::to_string(o.tx_size),
                       "a frame of txonly lies in one buffer, of " + std::to_string(o.buffer_size) +
                           " bytes (buffer-size)");
  }
  return {};
}

// No thread of a worker without a queue pair.
result<void> check_workers(const options& o) {
  for (const port_options& port : o.ports) {
    const auto* tap = std::get_if<tap_options>(&port);
    if (tap == nullptr || tap->worker_cpus.size() <= tap->queues) continue;
    std::string cpus;
    for (const int each : tap->worker_cpus) {
      if (!cpus.empty()) cpus += '+';
      cpus += std::to_string(each);
    }
    return usage_error("worker-cpus=" + cpus,
                       "at most as many as there are queue pairs: " + std::to_string(tap->queues));
  }
  return {};
}

// Frames within UDP tunnels, which only another TAP can take.
result<void> check_tunnels(const options& o) {
  if (o.mode != traffic_mode::io) return {};
  for (std::size_t i = 0; i < o.ports.size(); ++i) {
    const auto* tap = std::get_if<tap_options>(&o.ports[i]);
    const bool to_packet = std::holds_alternative<packet_options>(o.ports[i ^ 1]);
    if (tap == nullptr || tap->default_offloads || !to_packet) continue;
    if (tap->offloads.udp_tunnel.rx != vkring::want::off) {
      return usage_error("offloads=udp-tunnel",
                         "-tx only, as the other port is af_packet, which cannot send such frames");
    }
  }
  return {};
}

result<void> check_together(options& o, const std::array<bool, std::size(main_keys)>& seen) {
  if (o.ports.empty()) {
    return usage_error("--port",
                       "needs one at least, such as tap:name=tap0 or af_packet:iface=eth1");
  }
  if (o.mode == traffic_mode::io && o.ports.size() % 2 != 0) {
    return usage_error("--mode io",
                       "forwards between ports 0 and 1, 2 and 3, ..., so it needs an "
                       "even number of them");
  }
  for (const std::string_view paced : {"--tx-size", "--rate"}) {
    if (seen[index_of(main_keys, paced)] && o.mode != traffic_mode::txonly) {
      return usage_error(paced, "means something with --mode txonly only");
    }
  }
  std::size_t lanes = 0;
  for (std::size_t i = 0; i < o.ports.size(); ++i) {
    lanes += queues(o.ports[i]);
    for (std::size_t j = 0; j < i; ++j) {
      if (is_same_interface(o.ports[i], o.ports[j])) {
        return usage_error(interface_key(o.ports[i]), "another port has it already");
      }
    }
    if (o.mode == traffic_mode::icmp_echo && std::holds_alternative<packet_options>(o.ports[i])) {
      return usage_error("--mode icmp-echo",
                         "for tap ports only: on a network it would answer for every address");
    }
  }
  if (o.cores.size() > lanes) {
    return usage_error(
        "--cores", "at most as many as there are queues to receive from: " + std::to_string(lanes));
  }
  if (auto checked = check_workers(o); !checked) return checked;
  if (auto checked = check_tunnels(o); !checked) return checked;
  return agree_on_buffers(o);
}

}  // namespace

std::string_view name(wait_mode mode) noexcept {
  switch (mode) {
    case wait_mode::poll:
      return "poll";
    case wait_mode::interrupt:
      return "interrupt";
    case wait_mode::adaptive:
      break;
  }
  return "adaptive";
}

std::uint16_t queues(const port_options& port) noexcept {
  const auto* tap = std::get_if<tap_options>(&port);
  return tap == nullptr ? std::uint16_t{1} : tap->queues;
}

tl::unexpected<vkring::error> usage_error(std::string_view object, std::string_view allowed) {
  return vkring::fail(std::errc::invalid_argument, "parse", object, allowed);
}

bool is_usage(const vkring::error& error) noexcept { return error.operation == "parse"; }

std::string usage_text(const vkring::error& error) { return error.object + ": " + error.hint; }

result<options> parse(std::span<const std::string_view> arguments) {
  options parsed;
  std::array<bool, std::size(main_keys)> seen{};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view option = arguments[i];
    if (option == "--help" || option == "--version") {
      parsed.action = option == "--help" ? options::what::help : options::what::version;
      return parsed;
    }
    const std::size_t index = index_of(main_keys, option);
    if (index == std::size(main_keys) && option != "--port") {
      return usage_error(option, "unknown option; --help lists them");
    }
    if (i + 1 == arguments.size() || arguments[i + 1].empty()) {
      return usage_error(option, "needs a value");
    }
    const std::string_view value = arguments[++i];
    if (option == "--port") {
      auto port = parse_port(value);
      if (!port) return vkring::fail(std::move(port.error()));
      parsed.ports.push_back(std::move(*port));
      continue;
    }
    const std::string shown = std::string(option) + ' ' + std::string(value);
    if (std::exchange(seen[index], true)) return usage_error(shown, "an option may be given once");
    const verdict allowed = main_keys[index].set(parsed, value);
    if (!allowed.empty()) return usage_error(shown, allowed);
  }
  if (auto checked = check_together(parsed, seen); !checked) {
    return vkring::fail(std::move(checked.error()));
  }
  return parsed;
}

}  // namespace fwd
