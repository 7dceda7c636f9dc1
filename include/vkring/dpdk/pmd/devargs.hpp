// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_DEVARGS_HPP
#define VKRING_DPDK_PMD_DEVARGS_HPP

// The arguments of the net_vkring driver: what follows the name in `--vdev=net_vkring0,...`.

#include <vkring/core/error.hpp>
#include <vkring/kernel/tap_options.hpp>
#include <vkring/net/mac.hpp>
#include <vkring/net/wanted.hpp>
#include <vkring/worker/device_config.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vkring::inline v0 {

/// What a port of net_vkring is to be. As it is: what one without arguments is.
struct port_options {
  std::string path = {};   ///< of the vhost-net node; empty: the usual one
  std::string iface = {};  ///< the interface, made or attached to; empty: a new name
  std::string netns = {};  ///< the network namespace of the interface
  backend_kind backend = backend_kind::automatic;  ///< who serves the rings
  std::uint16_t queues = 1;        ///< the most queue pairs that it can be configured with
  std::uint32_t queue_size = 256;  ///< descriptors of a ring where the application has no opinion
  std::optional<mac_address> mac = {};  ///< of the port and of the interface: they are one
  std::uint16_t mtu = 0;                ///< 0: the interface's own
  std::uint32_t speed = 0;              ///< in Mbit/s, as the link is to report it; 0: unknown
  bool packed = false;                  ///< packed rings, which the worker alone serves
  bool persist = false;                 ///< the interface outlives the port
  /// @{
  /// As in `wanted_features`.
  want mergeable = want::preferred;
  want in_order = want::off;
  want event_idx = want::preferred;
  /// @}
  wanted_offloads offloads = {};  ///< the most that the application can turn on
  std::chrono::microseconds busyloop{0};  ///< how long vhost-net looks for more before it sleeps
  bool has_busyloop = false;              ///< that was given
  std::vector<int> worker_cpus = {};  ///< of the threads that serve the rings, the kernel's or ours
};

namespace detail {

// What a setter answers: empty when the value is good, else what is allowed.
using devarg_verdict = std::string;

// One argument of the driver.
struct devarg {
  std::string_view name;
  devarg_verdict (*set)(port_options& into, std::string_view value);
};

template <class T>
devarg_verdict read_number(T& into, std::string_view text, std::uint64_t least,
                           std::uint64_t most) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec == std::errc{} && parsed.ptr == end && value >= least && value <= most) {
    into = static_cast<T>(value);
    return {};
  }
  return "a number from " + std::to_string(least) + " to " + std::to_string(most);
}

inline devarg_verdict read_switch(bool& into, std::string_view text) {
  if (text != "0" && text != "1") return "0 or 1";
  into = text == "1";
  return {};
}
inline devarg_verdict read_want(want& into, std::string_view text) {
  bool on = false;
  devarg_verdict answer = read_switch(on, text);
  if (answer.empty()) into = on ? want::required : want::off;
  return answer;
}
inline devarg_verdict read_text(std::string& into, std::string_view text) {
  into = text;
  return {};
}

inline devarg_verdict read_backend(backend_kind& into, std::string_view text) {
  if (text == "auto") {
    into = backend_kind::automatic;
  } else if (text == "vhost-net") {
    into = backend_kind::vhost;
  } else if (text == "worker") {
    into = backend_kind::worker;
  } else {
    return "auto, vhost-net or worker";
  }
  return {};
}

inline devarg_verdict read_speed(std::uint32_t& into, std::string_view text) {
  constexpr std::uint32_t known[] = {10,    100,   1000,  2500,  5000,   10000,  20000,
                                     25000, 40000, 50000, 56000, 100000, 200000, 400000};
  std::string allowed = "Mbit/s, one of";
  for (const std::uint32_t each : known) {
    if (std::to_string(each) == text) {
      into = each;
      return {};
    }
    allowed += ' ' + std::to_string(each);
  }
  return allowed;
}

// CPU numbers, each once, with + between them: commas separate arguments.
inline devarg_verdict read_cpus(std::vector<int>& into, std::string_view text) {
  constexpr std::uint64_t last_cpu = 1023;  // what a cpu_set_t has room for
  for (bool more = true; more;) {
    const std::size_t end = text.find('+');
    int cpu = 0;
    if (!read_number(cpu, text.substr(0, end), 0, last_cpu).empty() ||
        std::find(into.begin(), into.end(), cpu) != into.end()) {
      return "CPU numbers up to " + std::to_string(last_cpu) + ", each once, with + between them";
    }
    into.push_back(cpu);
    more = end != std::string_view::npos;
    if (more) text.remove_prefix(end + 1);
  }
  return {};
}

// What virtio_user has and this driver has not, at the value at which it does nothing.
inline devarg_verdict read_nothing(port_options&, std::string_view text) {
  return text == "0" ? "" : "only 0: net_vkring has no such thing";
}

// The first block is virtio_user's, by its names.
inline constexpr devarg devargs[] = {
    {"path", [](auto& o, auto v) { return read_text(o.path, v); }},
    {"queues", [](auto& o, auto v) { return read_number(o.queues, v, 1, 256); }},
    {"queue_size", [](auto& o, auto v) { return read_number(o.queue_size, v, 2, 32768); }},
    {"mac",
     [](auto& o, auto v) -> devarg_verdict {
       o.mac = parse_mac(v);
       const bool good = o.mac && !is_multicast(*o.mac) && *o.mac != mac_address{};
       return good ? "" : "the address of one station, like 02:00:5e:10:00:01";
     }},
    {"iface",
     [](auto& o, auto v) {
       o.iface = v;
       return devarg_verdict(broken_name_rule(v));
     }},
    {"mrg_rxbuf", [](auto& o, auto v) { return read_want(o.mergeable, v); }},
    {"in_order", [](auto& o, auto v) { return read_want(o.in_order, v); }},
    {"packed_vq", [](auto& o, auto v) { return read_switch(o.packed, v); }},
    {"speed", [](auto& o, auto v) { return read_speed(o.speed, v); }},
    {"server", read_nothing},
    {"vectorized", read_nothing},
    {"cq", read_nothing},

    {"backend", [](auto& o, auto v) { return read_backend(o.backend, v); }},
    {"event_idx", [](auto& o, auto v) { return read_want(o.event_idx, v); }},
    {"busyloop",
     [](auto& o, auto v) {
       std::uint32_t microseconds = 0;
       devarg_verdict answer = read_number(microseconds, v, 0, 1'000'000);
       o.busyloop = std::chrono::microseconds(microseconds);
       o.has_busyloop = true;
       return answer;
     }},
    {"worker_cpus", [](auto& o, auto v) { return read_cpus(o.worker_cpus, v); }},
    {"mtu", [](auto& o, auto v) { return read_number(o.mtu, v, 68, 65521); }},
    {"netns", [](auto& o, auto v) { return read_text(o.netns, v); }},
    {"persist", [](auto& o, auto v) { return read_switch(o.persist, v); }},
    {"offloads",
     [](auto& o, auto v) -> devarg_verdict {
       auto parsed = parse_offloads(v);
       if (!parsed) return parsed.error().hint;
       o.offloads = *parsed;
       return {};
     }},
};

// What is wrong with arguments that are good by themselves.
inline result<void> check_together(const port_options& options) {
  const auto refuse = [](const std::string& argument, std::string_view why) {
    return fail(std::errc::invalid_argument, "net_vkring", argument, why);
  };
  if (!options.packed && (options.queue_size & (options.queue_size - 1)) != 0) {
    return refuse("queue_size=" + std::to_string(options.queue_size),
                  "a power of two, but for packed rings");
  }
  if (options.queues > 1 && options.iface.find('%') != std::string::npos) {
    return refuse("iface=" + options.iface, "several queues attach by name: give one without %d");
  }
  const bool asks_vhost = options.backend == backend_kind::vhost ||
                          (options.backend == backend_kind::automatic && !options.path.empty());
  if (options.packed && asks_vhost) {
    return refuse("packed_vq=1",
                  "vhost-net offers no packed ring in any Linux kernel: backend=worker does");
  }
  if (options.backend == backend_kind::worker && !options.path.empty()) {
    return refuse("path=" + options.path, "backend=worker opens no vhost node");
  }
  return {};
}

}  // namespace detail

/// Reads `key=value,key=value`, each key once. Errors: EINVAL, with the argument and what is allowed.
[[nodiscard]] inline result<port_options> parse_devargs(std::string_view text) {
  using detail::devargs;
  port_options parsed;
  std::array<bool, std::size(devargs)> seen{};
  for (bool more = !text.empty(); more;) {
    const std::size_t end = text.find(',');
    const std::string_view item = text.substr(0, end);
    more = end != std::string_view::npos;
    if (more) text.remove_prefix(end + 1);

    const auto refuse = [&](std::string_view why) {
      return fail(std::errc::invalid_argument, "net_vkring", item, why);
    };
    const std::size_t equals = item.find('=');
    const auto* const found = std::find_if(
        std::begin(devargs), std::end(devargs),
        [&](const detail::devarg& each) { return each.name == item.substr(0, equals); });
    if (found == std::end(devargs)) {
      std::string known = "unknown; known are";
      for (const detail::devarg& each : devargs) known.append(" ").append(each.name);
      return refuse(known);
    }
    if (std::exchange(seen[static_cast<std::size_t>(found - std::begin(devargs))], true)) {
      return refuse("may be given once");
    }
    if (equals == std::string_view::npos || equals + 1 == item.size()) {
      return refuse("needs a value");
    }
    const auto allowed = found->set(parsed, item.substr(equals + 1));
    if (!allowed.empty()) return refuse(allowed);
  }
  if (auto good = detail::check_together(parsed); !good) return fail(std::move(good.error()));
  return parsed;
}

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_PMD_DEVARGS_HPP
