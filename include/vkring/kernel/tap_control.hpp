// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_TAP_CONTROL_HPP
#define VKRING_KERNEL_TAP_CONTROL_HPP

// Everything that an open queue of a TUN or TAP interface can be asked and told.

#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/netns.hpp"
#include "vkring/kernel/sys.hpp"
#include "vkring/kernel/tap_options.hpp"
#include "vkring/kernel/tun_abi.hpp"
#include "vkring/net/mac.hpp"
#include "vkring/net/tun_offload.hpp"

namespace vkring::inline v0 {

/// What the kernel says about an open queue.
struct tap_status {
  std::string name;     ///< the interface's name now: it may have been renamed
  std::uint16_t flags;  ///< tun_abi::iff; the kernel says no_pi unless it has a classic filter
  /// Whether the flag is set.
  [[nodiscard]] bool has(tun_abi::iff flag) const noexcept { return (flags & flag) != 0; }
};

/// The part of `basic_tap` that asks and tells the kernel by one ioctl each.
///
/// Errors carry the names of the ioctl and of the interface. Allocation: texts only.
/// Thread-safety: one thread at a time. Move-only.
/// Source: drivers/net/tun.c.
template <class Sys>
class basic_tap_control {
 public:
  /// The queue's descriptor, for a vhost device or for reads and writes; it stays this object's.
  [[nodiscard]] int fd() const noexcept { return queue_.get(); }
  /// Frames, or packets without an Ethernet header.
  [[nodiscard]] tap_mode mode() const noexcept { return mode_; }
  /// The interface's name when it was opened, as the kernel completed it.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Name and flags as they are now.
  [[nodiscard]] result<tap_status> status() const {
    tun_abi::ifreq request;
    const auto hint = [](int reason) {
      return reason == EBADFD ? gone : "it is no descriptor of /dev/net/tun";
    };
    auto done = call_on(fd(), name_, tun_abi::tungetiff, "TUNGETIFF", request, hint);
    if (!done) return fail(std::move(done.error()));
    return tap_status{request.name, request.flags};
  }

  /// The network namespace that the interface is in. Errors: EPERM without CAP_NET_ADMIN there.
  [[nodiscard]] result<basic_netns<Sys>> netns() const {
    auto made = basic_fd<Sys>::adopt(sys_result(
        Sys::ioctl_value(fd(), tun_abi::tungetdevnetns, 0), "TUNGETDEVNETNS", name_,
        unless_gone({EPERM, "needs CAP_NET_ADMIN in the interface's network namespace"})));
    if (!made) return fail(std::move(made.error()));
    return basic_netns<Sys>::from_fd(std::move(*made));
  }

  /// The MAC. Errors: ENOTSUP on a TUN.
  [[nodiscard]] result<mac_address> mac() const {
    auto hardware = hardware_address(fd(), name_);
    if (!hardware) return fail(std::move(hardware.error()));
    if (hardware->sa_family != tun_abi::arphrd_ether) {
      return fail(ENOTSUP, "SIOCGIFHWADDR", name_, no_mac);
    }
    mac_address mac;
    std::memcpy(mac.data(), hardware->sa_data, mac.size());
    return mac;
  }
  /// Errors: EADDRNOTAVAIL for a group address or all zeros, ENOTSUP on a TUN.
  result<void> set_mac(const mac_address& mac) const {
    if (mode_ == tap_mode::tun) return fail(ENOTSUP, "SIOCSIFHWADDR", name_, no_mac);
    tun_abi::ifreq request;
    request.hardware.sa_family = tun_abi::arphrd_ether;
    std::memcpy(request.hardware.sa_data, mac.data(), mac.size());
    return call(tun_abi::siocsifhwaddr, "SIOCSIFHWADDR", request,
                {EADDRNOTAVAIL, "needs an individual address: first octet even, not all zeros"});
  }

  /// Bytes of the virtio-net header before each frame.
  [[nodiscard]] result<int> header_size() const {
    return get_int(tun_abi::tungetvnethdrsz, "TUNGETVNETHDRSZ");
  }
  /// Size of the virtio_net_hdr before each frame, for all queues.
  /// Errors: EINVAL below 10. The kernel accepts any larger size and uses 10 or (6.17) 24 bytes.
  result<void> set_header_size(int bytes) const {
    return set_int(tun_abi::tunsetvnethdrsz, "TUNSETVNETHDRSZ", bytes,
                   {EINVAL, "a header has 10, 12 or 24 bytes"});
  }

  /// The limit in bytes of what this queue's sender may have under way in the kernel.
  [[nodiscard]] result<int> sndbuf() const {
    return get_int(tun_abi::tungetsndbuf, "TUNGETSNDBUF");
  }
  /// How many bytes may be under way from this descriptor into the stack, for all attached queues.
  ///
  /// INT_MAX, a TAP's default, is no limit and lets vhost-net pass frames in batches. On a TUN
  /// those batches lose 14 bytes of each packet, so it is refused there and never in force.
  /// Errors: EINVAL for less than 6, with which a queue that was full once stays so, or INT_MAX on a TUN.
  result<void> set_sndbuf(int bytes) const {
    if (mode_ == tap_mode::tun && bytes == INT_MAX) {
      return fail(EINVAL, "TUNSETSNDBUF", name_,
                  "a TUN needs a limit below INT_MAX, without one vhost-net cuts packets");
    }
    if (bytes < send_limit::least) {
      return fail(EINVAL, "TUNSETSNDBUF", name_, "needs 6 bytes or more");
    }
    return set_int(tun_abi::tunsetsndbuf, "TUNSETSNDBUF", bytes);
  }

  /// What the kernel may hand to the application (`tun_offload` bits); all off at first. What
  /// the application sends may use offloads in any case, once there is a vnet header.
  /// Errors: EINVAL when the kernel lacks one or the set is inconsistent; nothing is changed then.
  result<void> set_offloads(std::uint32_t bits) const {
    return set_value(
        tun_abi::tunsetoffload, "TUNSETOFFLOAD", bits,
        {EINVAL,
         "all need csum, ecn needs tso4 or tso6, uso4 and uso6 go together (since 6.2), "
         "udp_tunnel needs tso or uso (since 6.17)"});
  }
  /// The part of `wanted` that this kernel takes; turns all offloads off.
  [[nodiscard]] result<std::uint32_t> probe_offloads(
      std::uint32_t wanted = tun_offload::all) const {
    // Each group can be had only with groups before it, so adding one by one finds the largest set.
    constexpr std::uint32_t groups[] = {
        tun_offload::csum,       tun_offload::tso4,
        tun_offload::tso6,       tun_offload::tso_ecn,
        tun_offload::ufo,        tun_offload::uso4 | tun_offload::uso6,
        tun_offload::udp_tunnel, tun_offload::udp_tunnel_csum};
    std::uint32_t taken = 0;
    for (const std::uint32_t group : groups) {
      if ((wanted & group) != group) continue;
      const auto done = set_offloads(taken | group);
      if (done) {
        taken |= group;
      } else if (done.error().code.value() != EINVAL) {
        return fail(done.error());
      }
    }
    if (auto off = set_offloads(0); !off) return fail(std::move(off.error()));
    return taken;
  }

  /// Lets the interface outlive its descriptors, or no longer.
  result<void> set_persist(bool on) const {
    return set_value(tun_abi::tunsetpersist, "TUNSETPERSIST", on ? 1 : 0);
  }
  /// Lets this user attach without CAP_NET_ADMIN. An interface with neither owner nor group may be
  /// attached to by anybody or, on some kernels, by nobody else.
  result<void> set_owner(uid_t user) const {
    return set_value(tun_abi::tunsetowner, "TUNSETOWNER", user,
                     {EINVAL, "needs a user id that exists in this user namespace"});
  }
  /// The same for a group.
  result<void> set_group(gid_t group) const {
    return set_value(tun_abi::tunsetgroup, "TUNSETGROUP", group,
                     {EINVAL, "needs a group id that exists in this user namespace"});
  }

  /// Gives this queue its share of the traffic again. Errors: EINVAL if it has it already.
  result<void> attach_queue() const { return set_queue(tun_abi::iff_attach_queue); }
  /// Takes this queue out of the kernel's choice: an idle queue left in swallows the flows that
  /// hash to it. Errors: EINVAL if it is out already, or on a single-queue interface.
  result<void> detach_queue() const { return set_queue(tun_abi::iff_detach_queue); }

  /// Lets a loaded BPF program of type SOCKET_FILTER choose the queue of each frame; -1 ends that.
  result<void> set_steering(int program_fd) const {
    return set_int(tun_abi::tunsetsteeringebpf, "TUNSETSTEERINGEBPF", program_fd, bpf_hint);
  }
  /// Lets such a program drop (0) or cut frames on their way to the application; -1 ends that.
  result<void> set_filter(int program_fd) const {
    return set_int(tun_abi::tunsetfilterebpf, "TUNSETFILTEREBPF", program_fd, bpf_hint);
  }

  /// Passes on to the application only frames to these addresses, and all or some multicast ones;
  /// no addresses: all frames.
  ///
  /// Returns how many addresses are compared exactly (at most 8); the multicast ones among the rest
  /// are hashed, and a further individual address switches the filter off (0).
  /// Errors: E2BIG for more than 256 addresses, EINVAL on a TUN.
  result<unsigned> set_tx_filter(std::span<const mac_address> addresses,
                                 bool all_multicast = false) const {
    if (addresses.size() > tun_abi::tx_filter_max) {
      return fail(E2BIG, "TUNSETTXFILTER", name_, "takes at most 256 addresses");
    }
    tun_abi::tx_filter filter{};
    filter.flags = all_multicast ? tun_abi::tx_filter_all_multicast : std::uint16_t{0};
    filter.count = static_cast<std::uint16_t>(addresses.size());
    std::copy(addresses.begin(), addresses.end(), filter.addresses.begin());
    auto exact = returned_by(tun_abi::tunsettxfilter, "TUNSETTXFILTER", filter,
                             {EINVAL, "only a TAP has addresses to filter by"});
    if (!exact) return fail(std::move(exact.error()));
    return static_cast<unsigned>(*exact);
  }

  /// Tells the kernel's stack that the link is there, or not.
  result<void> set_carrier(bool on) const {
    return set_int(tun_abi::tunsetcarrier, "TUNSETCARRIER", on ? 1 : 0);
  }

  /// Byte order of the virtio_net_hdr: little-endian, as VERSION_1 wants it and `open` sets it, or
  /// that of the host.
  result<void> set_little_endian(bool on) const {
    return set_int(tun_abi::tunsetvnetle, "TUNSETVNETLE", on ? 1 : 0);
  }

 protected:
  basic_tap_control(basic_fd<Sys> queue, std::string name, tap_mode mode) noexcept
      : queue_(std::move(queue)), name_(std::move(name)), mode_(mode) {}

  result<void> limit_sndbuf(const std::optional<send_limit>& limit) const {
    if (limit) return set_sndbuf(limit->bytes());
    if (mode_ == tap_mode::tap) return {};
    // A limit that somebody else has set stays.
    const auto now = sndbuf();
    if (!now) return fail(now.error());
    return *now == INT_MAX ? set_sndbuf(send_limit::most) : result<void>{};
  }

  // The address of the interface `name` as another descriptor (of a queue, or a socket) sees it.
  static result<sockaddr> hardware_address(int descriptor, const std::string& name) {
    auto request = named(name);
    auto done = call_on(descriptor, name, tun_abi::siocgifhwaddr, "SIOCGIFHWADDR", request,
                        unless_gone({}));
    if (!done) return fail(std::move(done.error()));
    return request.hardware;
  }

  static tun_abi::ifreq named(const std::string& name) noexcept {
    tun_abi::ifreq request;
    name.copy(request.name, sizeof request.name - 1);
    return request;
  }

  // Calls an ioctl that reads or writes `argument`.
  template <class Argument, class Hint = std::string_view>
  static result<int> call_on(int descriptor, const std::string& object, unsigned long request,
                             std::string_view operation, Argument& argument,
                             const Hint& hint = {}) {
    return sys_result(retry_interrupted([&] { return Sys::ioctl(descriptor, request, &argument); }),
                      operation, object, hint);
  }

  void rename(std::string name) noexcept { name_ = std::move(name); }

 private:
  static constexpr std::string_view no_mac = "a TUN carries IP packets and has no MAC";
  static constexpr hint_for bpf_hint{EINVAL,
                                     "needs the descriptor of a BPF program of type SOCKET_FILTER"};
  static constexpr const char* gone = "no interface is attached to it: perhaps it was deleted";

  // Whatever was asked of it, an interface that has been deleted says EBADFD.
  static auto unless_gone(hint_for hint) {
    return [hint](int reason) { return reason == EBADFD ? std::string_view(gone) : hint(reason); };
  }

  template <class Argument>
  result<int> returned_by(unsigned long request, std::string_view operation, Argument& argument,
                          hint_for hint) const {
    return call_on(fd(), name_, request, operation, argument, unless_gone(hint));
  }
  template <class Argument>
  result<void> call(unsigned long request, std::string_view operation, Argument& argument,
                    hint_for hint) const {
    return without_value(returned_by(request, operation, argument, hint));
  }
  result<void> set_int(unsigned long request, std::string_view operation, int value,
                       hint_for hint = {}) const {
    return call(request, operation, value, hint);
  }
  result<int> get_int(unsigned long request, std::string_view operation) const {
    int value = 0;
    if (auto done = call(request, operation, value, {}); !done) {
      return fail(std::move(done.error()));
    }
    return value;
  }
  // The ioctls that take the value itself instead of a pointer to it.
  result<void> set_value(unsigned long request, std::string_view operation, unsigned long value,
                         hint_for hint = {}) const {
    return without_value(
        sys_result(retry_interrupted([&] { return Sys::ioctl_value(fd(), request, value); }),
                   operation, name_, unless_gone(hint)));
  }
  static result<void> without_value(result<int> returned) {
    if (!returned) return fail(std::move(returned.error()));
    return {};
  }
  result<void> set_queue(tun_abi::iff what) const {
    tun_abi::ifreq request;
    request.flags = what;
    return call(tun_abi::tunsetqueue, "TUNSETQUEUE", request,
                {EINVAL, what == tun_abi::iff_detach_queue
                             ? "needs a multi-queue interface and a queue that is attached"
                             : "needs a queue that is detached"});
  }

  basic_fd<Sys> queue_;
  std::string name_;
  tap_mode mode_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_TAP_CONTROL_HPP
