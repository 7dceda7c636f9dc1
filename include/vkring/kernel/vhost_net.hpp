// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_VHOST_NET_HPP
#define VKRING_KERNEL_VHOST_NET_HPP

// vhost-net: the kernel's own server for the far end of the rings, one member for each ioctl.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/kernel/tun_abi.hpp>
#include <vkring/kernel/vhost_abi.hpp>
#include <vkring/net/features.hpp>

namespace vkring::inline v0 {

/// The rings of a vhost-net device, by the index that the kernel knows them by.
enum class vhost_ring : std::uint32_t { rx = 0, tx = 1 };

/// Who runs the device's rings: a kernel thread of its own, or a task that counts as a thread of the
/// process.
enum class vhost_owner_mode : std::uint8_t { kthread = 0, task = 1 };

/// Where a ring lies: addresses in this process, or with ACCESS_PLATFORM such as the device knows.
struct vhost_ring_addresses {
  std::uint64_t descriptors = 0;  ///< the descriptor table
  std::uint64_t available = 0;    ///< the available ring, the driver's
  std::uint64_t used = 0;         ///< the used ring, the device's
  std::uint64_t log = 0;          ///< of the used ring, in the dirty log
  bool logs_writes = false;       ///< into the used ring
};

/// What a device may not translate, or is told to.
struct vhost_translation {
  /// What is said, by the numbers of the kernel.
  enum class kind : std::uint8_t { miss = 1, update = 2, invalidate = 3, access_fail = 4 };
  kind type = kind::miss;     ///< what is said about the piece
  std::uint64_t address = 0;  ///< as the device knows it
  std::uint64_t size = 0;     ///< bytes
  std::uint64_t host = 0;     ///< where the piece lies in this process
  bool readable = false;      ///< the device may read it
  bool writable = false;      ///< the device may write it
};

/// A vhost-net device: one queue pair, served by the kernel.
///
/// The order that every kernel takes: `set_owner`, `set_features`, `set_mem_table`, then for each ring
/// number, base, addresses and eventfds, and `set_backend` last. Features come before addresses, as
/// switching ACCESS_PLATFORM makes a kernel forget those. Only the process that called `set_owner` may
/// go on from there: others get EPERM.
///
/// Errors name the ioctl and the device; ENOTSUP means that this kernel does not know the call,
/// whatever errno it chose to say so. Allocation: `set_mem_table`, and texts. Thread-safety: one thread
/// at a time. Move-only; closing it unbinds both rings.
/// Source: drivers/vhost/vhost.c and net.c.
template <class Sys = posix>
class basic_vhost_net {
 public:
  static constexpr std::string_view default_path = "/dev/vhost-net";  ///< the kernel's own device

  /// Errors: ENOENT, ENODEV, EACCES, EPERM with what to do.
  static result<basic_vhost_net> open(std::string_view path = default_path) {
    auto node = basic_fd<Sys>::open(std::string(path), O_RDWR | O_NONBLOCK, open_hint);
    if (!node) return fail(std::move(node.error()));
    return from_fd(std::move(*node), path);
  }
  /// Takes over a descriptor that somebody else opened; `name` is what errors call it. Errors: EINVAL
  /// when it is something else.
  static result<basic_vhost_net> from_fd(basic_fd<Sys> opened, std::string_view name = {}) {
    basic_vhost_net made(std::move(opened), name);
    std::uint64_t ignored = 0;
    const auto asked = retry_interrupted(
        [&] { return Sys::ioctl(made.fd(), vhost_abi::get_features, &ignored); });
    if (const int reason = error_of(asked); reason != 0) {
      return fail(reason == ENOTTY ? EINVAL : reason, "VHOST_GET_FEATURES", made.name_,
                  "it is no vhost device");
    }
    return made;
  }

  /// For the calls that are not here, or to be passed on; it stays this object's.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// All features that the device offers. Since Linux 6.17 those beyond bit 63 as well.
  [[nodiscard]] result<feature_set> features() const {
    vhost_abi::features_array all;
    const auto got =
        optional(vhost_abi::get_features_array, "VHOST_GET_FEATURES_ARRAY", "6.17", all);
    if (got) return feature_set::from_words(all.words[0], all.words[1]);
    if (got.error().code.value() != ENOTSUP) return fail(got.error());
    std::uint64_t low = 0;
    if (auto done = call(vhost_abi::get_features, "VHOST_GET_FEATURES", low); !done) {
      return fail(std::move(done.error()));
    }
    return feature_set::from_words(low);
  }
  /// Errors: ENOTSUP for bits that the device does not offer: none of those that say what a network
  /// device may offload is known to it, they are the TAP's.
  result<void> set_features(const feature_set& bits) {
    auto [low, high] = bits.words();
    if (high != 0) {
      vhost_abi::features_array all{2, {low, high}};
      return optional(vhost_abi::set_features_array, "VHOST_SET_FEATURES_ARRAY", "6.17", all);
    }
    return call(vhost_abi::set_features, "VHOST_SET_FEATURES", low,
                {EOPNOTSUPP, "only what `features` offers may be set"});
  }

  /// Binds the device to this process and starts its worker. Errors: EBUSY when it has an owner.
  result<void> set_owner() {
    return value(vhost_abi::set_owner, "VHOST_SET_OWNER",
                 {EBUSY, "it has an owner already: each process opens a device of its own"});
  }
  /// Unbinds both rings, and forgets owner, memory and features.
  result<void> reset_owner() { return value(vhost_abi::reset_owner, "VHOST_RESET_OWNER"); }

  /// The memory that descriptors may point into, as in struct vhost_memory_region: `guest`, `size`
  /// and `host`, an address here. The rings themselves need not be part of it.
  /// Errors: E2BIG for more regions than the module takes; EINVAL for one that is empty, which the
  /// kernel takes for all of the address space at address 0, that ends beyond 2^64, or that overlaps
  /// another, of which the kernel would take either.
  result<void> set_mem_table(std::span<const vhost_abi::memory_region> regions) {
    if (const std::string_view wrong = broken_table_rule(regions); !wrong.empty()) {
      return fail(EINVAL, "VHOST_SET_MEM_TABLE", name_, wrong);
    }
    const vhost_abi::memory_head head{static_cast<std::uint32_t>(regions.size())};
    std::vector<std::byte> table(sizeof head + regions.size_bytes());
    std::memcpy(table.data(), &head, sizeof head);
    if (!regions.empty()) {
      std::memcpy(table.data() + sizeof head, regions.data(), regions.size_bytes());
    }
    return called(
        vhost_abi::set_mem_table, "VHOST_SET_MEM_TABLE", table.data(),
        hint_for{E2BIG, "use fewer and larger regions, or raise max_mem_regions of the module"});
  }

  /// Descriptors of a ring, not while it is bound. Errors: EINVAL unless a power of two up to 32768.
  result<void> set_vring_num(vhost_ring ring, std::uint32_t size) {
    return set_state(vhost_abi::set_vring_num, "VHOST_SET_VRING_NUM", ring, size,
                     {EINVAL, "a split ring needs a power of two from 1 to 32768"});
  }
  /// The next position that the device takes, not while the ring is bound.
  result<void> set_vring_base(vhost_ring ring, std::uint16_t next) {
    return set_state(vhost_abi::set_vring_base, "VHOST_SET_VRING_BASE", ring, next);
  }
  /// The same, read; stable once the ring is unbound.
  [[nodiscard]] result<std::uint16_t> vring_base(vhost_ring ring) const {
    auto state = state_of(ring);
    auto done = call(vhost_abi::get_vring_base, "VHOST_GET_VRING_BASE", state);
    if (!done) return fail(std::move(done.error()));
    return static_cast<std::uint16_t>(state.number);
  }
  /// Errors: EINVAL for parts that are not aligned, and for descriptors at no multiple of 16, which the
  /// kernel lets pass.
  result<void> set_vring_addr(vhost_ring ring, const vhost_ring_addresses& at) {
    constexpr hint_for alignment{EINVAL, "descriptors at a multiple of 16, avail of 2, used of 4"};
    if (at.descriptors % 16 != 0) {
      return fail(EINVAL, "VHOST_SET_VRING_ADDR", name_, alignment.text);
    }
    vhost_abi::vring_addresses all{static_cast<std::uint32_t>(ring),
                                   at.logs_writes ? 1u : 0u,
                                   at.descriptors,
                                   at.used,
                                   at.available,
                                   at.log};
    return call(vhost_abi::set_vring_addr, "VHOST_SET_VRING_ADDR", all, alignment);
  }
  /// Byte order of a legacy ring. ENOTSUP on most kernels, which are built without it.
  result<void> set_vring_big_endian(vhost_ring ring, bool big) {
    auto state = state_of(ring, big ? 1 : 0);
    return optional(vhost_abi::set_vring_endian, "VHOST_SET_VRING_ENDIAN", {}, state);
  }
  /// The same, read.
  [[nodiscard]] result<bool> vring_big_endian(vhost_ring ring) const {
    auto state = state_of(ring);
    auto done = optional(vhost_abi::get_vring_endian, "VHOST_GET_VRING_ENDIAN", {}, state);
    if (!done) return fail(std::move(done.error()));
    return state.number != 0;
  }

  /// The eventfds of a ring; -1: none. Without a kick the device looks only when the TAP wakes it.
  result<void> set_vring_kick(vhost_ring ring, int event) {
    return set_file(vhost_abi::set_vring_kick, "VHOST_SET_VRING_KICK", ring, event);
  }
  /// Signalled when the device has used chains and the driver asked to be told.
  result<void> set_vring_call(vhost_ring ring, int event) {
    return set_file(vhost_abi::set_vring_call, "VHOST_SET_VRING_CALL", ring, event);
  }
  /// Signalled when the device cannot go on with a chain: a count, and no word about why.
  result<void> set_vring_err(vhost_ring ring, int event) {
    return set_file(vhost_abi::set_vring_err, "VHOST_SET_VRING_ERR", ring, event);
  }

  /// How long the worker looks for more work before it sleeps; the kernel rounds it. Since Linux 4.6.
  result<void> set_busyloop_timeout(vhost_ring ring, std::chrono::microseconds time) {
    if (time.count() < 0 || time.count() > UINT32_MAX) {
      return fail(EINVAL, "VHOST_SET_VRING_BUSYLOOP_TIMEOUT", name_, "0 to 2^32 - 1 microseconds");
    }
    return set_state(vhost_abi::set_vring_busyloop_timeout, "VHOST_SET_VRING_BUSYLOOP_TIMEOUT",
                     ring, static_cast<std::uint32_t>(time.count()));
  }
  /// The same, read.
  [[nodiscard]] result<std::chrono::microseconds> busyloop_timeout(vhost_ring ring) const {
    auto state = state_of(ring);
    auto done =
        call(vhost_abi::get_vring_busyloop_timeout, "VHOST_GET_VRING_BUSYLOOP_TIMEOUT", state);
    if (!done) return fail(std::move(done.error()));
    return std::chrono::microseconds(state.number);
  }

  /// What the vhost interface itself can do, of which vhost-net knows one bit: messages of version 2.
  [[nodiscard]] result<std::uint64_t> backend_features() const {
    std::uint64_t bits = 0;
    auto done =
        optional(vhost_abi::get_backend_features, "VHOST_GET_BACKEND_FEATURES", "4.19", bits);
    if (!done) return fail(std::move(done.error()));
    return bits;
  }
  /// Some of what `backend_features` offers, before the first `tell`.
  result<void> set_backend_features(std::uint64_t bits) {
    return optional(vhost_abi::set_backend_features, "VHOST_SET_BACKEND_FEATURES", "4.19", bits);
  }

  /// The dirty log: a bit for each 4096 bytes of guest memory from address 0. Also while rings are
  /// served, as is VHOST_F_LOG_ALL in `set_features`. Errors: EFAULT where no log can be; the one
  /// before stays.
  result<void> set_log_base(const void* log) {
    auto at = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(log));
    return call(vhost_abi::set_log_base, "VHOST_SET_LOG_BASE", at);
  }
  /// Signalled when the log was written to; -1: none.
  result<void> set_log_fd(int event) {
    return call(vhost_abi::set_log_fd, "VHOST_SET_LOG_FD", event, not_an_eventfd);
  }

  /// Before `set_owner`. Since Linux 6.17, and in some older kernels.
  result<void> set_owner_mode(vhost_owner_mode mode) {
    auto byte = static_cast<std::uint8_t>(mode);
    return optional(vhost_abi::set_fork_from_owner, "VHOST_SET_FORK_FROM_OWNER", "6.17", byte);
  }
  /// The same, read.
  [[nodiscard]] result<vhost_owner_mode> owner_mode() const {
    std::uint8_t byte = 0;
    auto done = optional(vhost_abi::get_fork_from_owner, "VHOST_GET_FORK_FROM_OWNER", "6.17", byte);
    if (!done) return fail(std::move(done.error()));
    return static_cast<vhost_owner_mode>(byte);
  }

  /// Binds a ring to a queue of a TAP, and starts it; -1 stops it. The kernel does not refuse a queue
  /// that another device is bound to: two devices then share its frames. A TUN whose send buffer has
  /// no limit is refused here, with EINVAL: vhost-net would hand it packets in batches, and the kernel
  /// then takes the first 14 bytes of each for an Ethernet header.
  /// Errors: ENOTSOCK when it is neither a TAP nor a packet socket, EINVAL for a TAP without an
  /// interface, EFAULT for memory or rings that were not set or cannot be reached.
  result<void> set_backend(vhost_ring ring, int queue) {
    if (queue >= 0) {
      if (auto fit = check_send_limit(queue); !fit) return fit;
    }
    vhost_abi::vring_file file{static_cast<std::uint32_t>(ring), queue};
    return call(vhost_abi::net_set_backend, "VHOST_NET_SET_BACKEND", file, backend_hint);
  }

  /// Tells a device with ACCESS_PLATFORM where memory is, or no longer is. Needs message version 2
  /// (`set_backend_features`). Errors: EFAULT whatever was wrong with it.
  result<void> tell(const vhost_translation& what) {
    vhost_abi::message message{};
    message.type = vhost_abi::iotlb_message_v2;
    message.iotlb = {what.address, what.size, what.host,
                     static_cast<std::uint8_t>((what.readable ? 1 : 0) | (what.writable ? 2 : 0)),
                     static_cast<std::uint8_t>(what.type)};
    const auto written =
        retry_interrupted([&] { return Sys::write(fd(), &message, sizeof message); });
    if (auto done = sys_result(written, "write IOTLB", name_); !done) {
      return fail(std::move(done.error()));
    }
    return {};
  }
  /// What the device asks for. Errors: EAGAIN when it asks for nothing now; EBADMSG without message
  /// version 2, which loses what it asked for, though not that it waits for an answer.
  [[nodiscard]] result<vhost_translation> asked() {
    vhost_abi::message message{};
    const auto got = retry_interrupted([&] { return Sys::read(fd(), &message, sizeof message); });
    if (auto done = sys_result(got, "read IOTLB", name_); !done) {
      return fail(std::move(done.error()));
    }
    if (got != sizeof message || message.type != vhost_abi::iotlb_message_v2) {
      return fail(EBADMSG, "read IOTLB", name_, "set message version 2 with set_backend_features");
    }
    vhost_translation asked;
    asked.type = static_cast<vhost_translation::kind>(message.iotlb.type);
    asked.address = message.iotlb.address;
    asked.size = message.iotlb.size;
    asked.readable = (message.iotlb.permission & 1) != 0;
    asked.writable = (message.iotlb.permission & 2) != 0;
    return asked;
  }

 private:
  static constexpr std::string_view not_the_owner =
      "needs set_owner first, and is for the process that called it";
  static constexpr hint_for not_an_eventfd{EINVAL, "it is no eventfd"};

  basic_vhost_net(basic_fd<Sys> opened, std::string_view name)
      : fd_(std::move(opened)),
        name_(name.empty() ? "fd " + std::to_string(fd_.get()) : std::string(name)) {}

  static std::string_view open_hint(int reason) noexcept {
    switch (reason) {
      case ENOENT:
      case ENODEV:
      case ENXIO:
        return "load the module with `modprobe vhost_net`; a container needs --device "
               "/dev/vhost-net";
      case EACCES:
        return "its group, or root, may open it";
      case EPERM:
        return "a container needs --device /dev/vhost-net";
      default:
        return {};
    }
  }
  static std::string_view backend_hint(int reason) noexcept {
    switch (reason) {
      case ENOTSOCK:
        return "it is neither a queue of a TAP nor a raw packet socket";
      case EINVAL:
        return "no interface is attached to that queue";
      case EFAULT:
        return "memory table and ring addresses come first, and have to be in this process";
      case EPERM:
        return not_the_owner;
      default:
        return {};
    }
  }

  // What is no queue of an interface is for the kernel to refuse.
  [[nodiscard]] result<void> check_send_limit(int queue) const {
    int limit = 0;
    const auto asked =
        retry_interrupted([&] { return Sys::ioctl(queue, tun_abi::tungetsndbuf, &limit); });
    if (error_of(asked) != 0 || limit != INT_MAX) return {};
    tun_abi::ifreq request;
    auto got = sys_result(
        retry_interrupted([&] { return Sys::ioctl(queue, tun_abi::tungetiff, &request); }),
        "TUNGETIFF", "fd " + std::to_string(queue));
    if (!got) return fail(std::move(got.error()));
    if ((request.flags & tun_abi::iff_tun) == 0) return {};
    return fail(EINVAL, "VHOST_NET_SET_BACKEND", name_,
                std::string(request.name) +
                    " is a TUN without a limit on its send buffer: give it one with TUNSETSNDBUF");
  }

  // The rule that a memory table breaks, in words; empty if it breaks none.
  static std::string_view broken_table_rule(std::span<const vhost_abi::memory_region> regions) {
    std::vector<vhost_abi::memory_region> sorted(regions.begin(), regions.end());
    std::sort(sorted.begin(), sorted.end(),
              [](const auto& a, const auto& b) { return a.guest < b.guest; });
    const vhost_abi::memory_region* before = nullptr;
    for (const vhost_abi::memory_region& each : sorted) {
      const std::uint64_t last = each.size - 1;
      if (each.size == 0) return "a region needs at least one byte";
      if (each.guest + last < each.guest || each.host + last < each.host) {
        return "a region ends at or below 2^64";
      }
      if (before != nullptr && each.guest - before->guest < before->size) {
        return "two regions overlap";
      }
      before = &each;
    }
    return {};
  }

  [[nodiscard]] static vhost_abi::vring_state state_of(vhost_ring ring,
                                                       std::uint32_t number = 0) noexcept {
    return {static_cast<std::uint32_t>(ring), number};
  }
  result<void> set_state(unsigned long request, std::string_view operation, vhost_ring ring,
                         std::uint32_t number, hint_for hint = {}) {
    auto state = state_of(ring, number);
    if (hint.reason == 0)
      hint = {EBUSY, "not while the ring is bound: set_backend(ring, -1) first"};
    return call(request, operation, state, hint);
  }
  result<void> set_file(unsigned long request, std::string_view operation, vhost_ring ring,
                        int event) {
    vhost_abi::vring_file file{static_cast<std::uint32_t>(ring), event};
    return call(request, operation, file, not_an_eventfd);
  }

  // An ioctl of every kernel that vkring runs on.
  template <class T, class Hint = hint_for>
  result<void> call(unsigned long request, std::string_view operation, T& argument,
                    const Hint& hint = {}) const {
    return called(request, operation, &argument, hint);
  }
  template <class Hint>
  result<void> called(unsigned long request, std::string_view operation, void* argument,
                      const Hint& hint) const {
    const auto advice = [&](int reason) {
      const std::string_view own = hint(reason);
      return own.empty() && reason == EPERM ? not_the_owner : own;
    };
    auto done = sys_result(retry_interrupted([&] { return Sys::ioctl(fd(), request, argument); }),
                           operation, name_, advice);
    if (!done) return fail(std::move(done.error()));
    return {};
  }
  result<void> value(unsigned long request, std::string_view operation,
                     const hint_for& hint = {}) const {
    const auto advice = [&](int reason) { return reason == EPERM ? not_the_owner : hint(reason); };
    auto done = sys_result(retry_interrupted([&] { return Sys::ioctl_value(fd(), request, 0); }),
                           operation, name_, advice);
    if (!done) return fail(std::move(done.error()));
    return {};
  }

  // An ioctl that a kernel may not know. It then takes the first word of the argument for the index of
  // a ring, and answers by that; without an owner it says EPERM, which it never does to one it knows,
  // but for those that a kernel may be built without: these do need an owner.
  template <class T>
  result<void> optional(unsigned long request, std::string_view operation, std::string_view since,
                        T& argument) const {
    auto done = call(request, operation, argument);
    if (done) return done;
    switch (done.error().code.value()) {
      case ENOTTY:
      case ENOBUFS:
      case EPERM:
      case EINVAL:
      case EOPNOTSUPP:
        if (since.empty() && done.error().code.value() == EPERM) return done;
        return fail(ENOTSUP, operation, name_,
                    since.empty() ? std::string("this kernel was built without it")
                                  : "this kernel does not know it (Linux " + std::string(since) +
                                        " does), or not these values");
      default:
        return done;
    }
  }

  basic_fd<Sys> fd_;
  std::string name_;
};

using vhost_net = basic_vhost_net<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_VHOST_NET_HPP
