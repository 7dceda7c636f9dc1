// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_TAP_OPTIONS_HPP
#define VKRING_KERNEL_TAP_OPTIONS_HPP

// How a TUN or TAP interface is to be opened, and what to advise when the kernel refuses.

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/sys.hpp"
#include "vkring/kernel/tun_abi.hpp"

namespace vkring::inline v0 {

/// What a frame on the interface is: an Ethernet frame (TAP) or an IP packet (TUN).
enum class tap_mode : std::uint8_t { tap, tun };

/// A limit, in bytes, on what may be under way at a time from a queue into the kernel's stack: as long
/// as there is less, another frame follows; what is sent beyond that waits in the ring. No value of it
/// means "no limit", and none "nothing": a number that the kernel cannot work with becomes the nearest.
class send_limit {
 public:
  /// Below it, the kernel never tells that there is room again: it does when less than half is under
  /// way, and still counts two bytes at that moment when there is nothing.
  static constexpr int least = 6;
  static constexpr int most = INT_MAX - 1;  ///< INT_MAX is the kernel's word for no limit

  /// So many bytes, or the nearest number within the bounds.
  constexpr explicit send_limit(std::uint32_t bytes) noexcept
      : bytes_(static_cast<int>(std::clamp(bytes, std::uint32_t{least}, std::uint32_t{most}))) {}

  [[nodiscard]] constexpr int bytes() const noexcept { return bytes_; }  ///< from `least` to `most`

 private:
  int bytes_;
};

/// How to open an interface. The defaults suit vhost-net and the worker with VERSION_1.
struct tap_options {
  std::string name = {};          ///< empty: `tap%d` or `tun%d`; one `%d` becomes a free number
  tap_mode mode = tap_mode::tap;  ///< frames, or packets without an Ethernet header
  /// None: a TAP has no limit, so that vhost-net hands it frames in batches, and a TUN the weakest.
  std::optional<send_limit> limit = {};
  bool multi_queue = false;         ///< up to 256 queues instead of one
  bool vnet_header = true;          ///< each frame begins with a virtio_net_hdr
  int header_size = 12;             ///< of that header, in bytes: 10, 12 or 24
  bool napi = false;                ///< GRO for the frames that the application sends
  bool exclusive = false;           ///< refuse to attach to an interface that exists
  bool carrier = true;              ///< false: starts without carrier (since 6.0)
  std::optional<uid_t> owner = {};  ///< who else may attach to it
  std::optional<gid_t> group = {};  ///< whose members may
  bool persist = false;             ///< make it outlive its descriptors; false leaves it as it is
  int netns_fd = -1;                ///< the network namespace to open it in; -1: the caller's
};

/// The rule that `name` breaks as an interface name, in words; empty if it breaks none.
[[nodiscard]] constexpr std::string_view broken_name_rule(std::string_view name) noexcept {
  if (name.size() >= tun_abi::ifnamsiz) return "a name has at most 15 characters";
  if (name == "." || name == "..") return "'.' and '..' are no names";
  for (const char c : name) {
    if (c == '/' || c == ':' || c == ' ' || (c >= '\t' && c <= '\r') || c == '\0') {
      return "a name has no '/', ':' or white space in it";
    }
  }
  const auto percent = name.find('%');
  if (percent != name.npos &&
      (name.substr(percent, 2) != "%d" || name.find('%', percent + 1) != name.npos)) {
    return "a name has at most one %d, and no other %";
  }
  return {};
}

namespace detail {

inline constexpr const char* tun_node = "/dev/net/tun";

inline std::string_view tun_node_hint(int reason) {
  switch (reason) {
    case ENOENT:
      return "load the module with `modprobe tun`, then if need be `mknod /dev/net/tun c 10 200`; "
             "a container needs --device /dev/net/tun";
    case ENODEV:
    case ENXIO:
      return "the kernel has no tun driver: load it with `modprobe tun`";
    case EACCES:
      return "needs permission to read and write it: `chmod 0666 /dev/net/tun`";
    case EPERM:
      return "a container needs --device /dev/net/tun";
    case EMFILE:
      return "raise the limit on open files (ulimit -n)";
    default:
      return {};
  }
}

/// The `iff` flags that ask for what `options` say.
constexpr std::uint16_t tap_flags(const tap_options& options) noexcept {
  unsigned flags = options.mode == tap_mode::tap ? tun_abi::iff_tap : tun_abi::iff_tun;
  flags |= tun_abi::iff_no_pi;
  if (options.multi_queue) flags |= tun_abi::iff_multi_queue;
  if (options.vnet_header) flags |= tun_abi::iff_vnet_hdr;
  if (options.napi) flags |= tun_abi::iff_napi;
  if (options.exclusive) flags |= tun_abi::iff_tun_excl;
  if (!options.carrier) flags |= tun_abi::iff_no_carrier;
  return static_cast<std::uint16_t>(flags);
}

constexpr std::string_view mode_name(bool is_tap) noexcept { return is_tap ? "TAP" : "TUN"; }

/// Why TUNSETIFF said EINVAL: it does so for every kind of mismatch with an interface that exists,
/// so the existing one is looked at, in the network namespace of the calling thread.
template <class Sys>
std::string tap_mismatch(const std::string& name, std::uint16_t flags) {
  const basic_fd<Sys> socket(Sys::socket(AF_UNIX, SOCK_DGRAM, 0));
  tun_abi::driver_info existing;
  tun_abi::ifreq request;
  name.copy(request.name, sizeof request.name - 1);
  request.data = &existing;
  const int reason = error_of(Sys::ioctl(socket.get(), tun_abi::siocethtool, &request));
  if (reason == EOPNOTSUPP || (reason == 0 && std::string_view(existing.driver) != "tun")) {
    return "an interface of that name exists and is no TUN or TAP: choose another name";
  }
  if (reason == ENODEV) return "this kernel does not know one of the options, or refuses the name";
  if (reason != 0) return "perhaps it exists as something else, or with another number of queues";
  const bool asked_tap = (flags & tun_abi::iff_tap) != 0;
  const bool is_tap = std::string_view(existing.bus_info) == "tap";
  if (asked_tap != is_tap) {
    return "it exists as a " + std::string(mode_name(is_tap)) + ", not as a " +
           std::string(mode_name(asked_tap)) + ": open it as what it is, or choose another name";
  }
  return (flags & tun_abi::iff_multi_queue) != 0
             ? "it exists with a single queue: open it without multi_queue, or make it anew"
             : "it exists as multi-queue: open it with multi_queue";
}

/// What to do after TUNSETIFF failed with `reason`.
template <class Sys>
std::string attach_hint(int reason, const std::string& name, std::uint16_t flags) {
  switch (reason) {
    case EPERM:
      return "needs CAP_NET_ADMIN, or a persistent TAP that you own";
    case EBUSY:
      return (flags & tun_abi::iff_tun_excl) != 0
                 ? "it exists: choose another name, or open it without exclusive"
                 : "its only queue is in use: close the other user, or make it multi-queue";
    case E2BIG:
      return "it has 256 queues, attached and detached ones, and can have no more";
    case EINVAL:
      return tap_mismatch<Sys>(name, flags);
    default:
      return {};
  }
}

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_TAP_OPTIONS_HPP
