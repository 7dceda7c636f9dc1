// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_OPTIONS_HPP
#define VKRING_FWD_OPTIONS_HPP

// The command line of vkring-fwd as data, and the one place that knows what may stand on it.

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/net/ip_prefix.hpp>
#include <vkring/net/mac.hpp>
#include <vkring/net/wanted.hpp>
#include <vkring/worker/device_config.hpp>

namespace fwd {

enum class traffic_mode : std::uint8_t { io, macswap, txonly, rxonly, icmp_echo };
enum class wait_mode : std::uint8_t { poll, interrupt, adaptive };
enum class layout_choice : std::uint8_t { split, packed };

/// As the command line spells them.
std::string_view name(wait_mode mode) noexcept;
constexpr std::string_view name(layout_choice layout) noexcept {
  return layout == layout_choice::split ? "split" : "packed";
}

/// `tap:...`. What is not given is left to the library, or is the default here.
struct tap_options {
  std::string name = "vkring%d";
  std::string netns;
  vkring::backend_kind backend = vkring::backend_kind::automatic;
  layout_choice layout = layout_choice::split;
  std::uint16_t queues = 1;
  std::uint32_t queue_size = 256;
  std::string queue_size_text = "256";  ///< as it was given
  std::optional<vkring::mac_address> mac;
  std::uint16_t mtu = 0;  ///< 0: the interface's own
  std::optional<vkring::ip_prefix> ip;
  vkring::wanted_offloads offloads;
  bool default_offloads = true;  ///< `offloads=auto`, or nothing said
  std::optional<bool> mergeable;
  std::optional<bool> event_idx;
  std::optional<bool> indirect;
  std::optional<bool> in_order;
  std::optional<std::chrono::microseconds> busyloop;
  std::optional<std::uint32_t> buffer_size;
  std::vector<int> worker_cpus;
};

/// `af_packet:...`
struct packet_options {
  std::string iface;
  std::string netns;
  bool qdisc_bypass = false;
};

using port_options = std::variant<tap_options, packet_options>;

/// Queue pairs of a port.
std::uint16_t queues(const port_options& port) noexcept;

struct options {
  enum class what : std::uint8_t { run, help, version };

  what action = what::run;
  std::vector<port_options> ports;
  traffic_mode mode = traffic_mode::io;
  wait_mode wait = wait_mode::adaptive;
  std::uint32_t tx_size = 64;  ///< bytes of a frame of txonly
  std::uint64_t rate = 0;      ///< frames per second of each queue of txonly; 0: as many as go
  std::chrono::seconds stats_period{0};  ///< 0: only the final table
  std::chrono::seconds duration{0};      ///< 0: until a signal
  std::string json;
  std::vector<int> cores;            ///< empty: one thread that is not pinned
  std::uint32_t buffer_size = 2048;  ///< of the buffers that all ports share
};

/// Reads the arguments behind the program's name. Pure: nothing is opened or looked up.
///
/// Errors: `object` is the key and the value at fault, `hint` what is allowed; `usage_text` makes
/// the line of them.
vkring::result<options> parse(std::span<const std::string_view> arguments);

/// The error of one key: `object` is `key=value`.
tl::unexpected<vkring::error> usage_error(std::string_view object, std::string_view allowed);

[[nodiscard]] bool is_usage(const vkring::error& error) noexcept;

/// `queue-size=100: a split ring needs a power of two from 1 to 32768`
std::string usage_text(const vkring::error& error);

/// What --help prints.
std::string_view help_text() noexcept;

}  // namespace fwd

#endif  // VKRING_FWD_OPTIONS_HPP
