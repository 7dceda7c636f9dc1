// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_TAP_HPP
#define VKRING_KERNEL_TAP_HPP

// TUN and TAP interfaces: the kernel's network interface at the far end of the rings.

#include <bit>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/netns.hpp"
#include "vkring/kernel/sys.hpp"
#include "vkring/kernel/tap_control.hpp"
#include "vkring/kernel/tap_options.hpp"
#include "vkring/kernel/tun_abi.hpp"
#include "vkring/net/mac.hpp"

namespace vkring::inline v0 {

/// One queue of a TUN or TAP interface; several of them make up a multi-queue one.
///
/// The descriptor is non-blocking, reads and writes one frame per call, and that is left to the
/// worker, vhost-net or the application. An interface that is not persistent goes away with its
/// last queue. Errors name the ioctl and the interface. Allocation: texts only.
/// Thread-safety: one thread at a time. Move-only.
/// Source: drivers/net/tun.c.
template <class Sys = posix>
class basic_tap : public basic_tap_control<Sys> {
  using control = basic_tap_control<Sys>;

 public:
  /// Creates an interface, or attaches to one that exists.
  ///
  /// Attaching sets header size, owner, group and persistence as in `options`, and on a
  /// single-queue interface the kernel takes over vnet_header and napi as well. `options.netns_fd`
  /// is entered by a short-lived thread.
  /// Errors: EINVAL for a bad name or a mismatch with an interface that exists; EPERM without
  /// CAP_NET_ADMIN, unless it exists and is the caller's; EBUSY when its only queue is taken or it
  /// exists and `exclusive` is set; E2BIG beyond 256 queues; what opening /dev/net/tun returns.
  static result<basic_tap> open(const tap_options& options) {
    if (const auto rule = broken_name_rule(options.name); !rule.empty()) {
      return fail(EINVAL, "TUNSETIFF", options.name, rule);
    }
    const auto here = [&] { return open_here(options); };
    if (options.netns_fd < 0) return here();
    return run_in_netns<Sys>(options.netns_fd, here);
  }

  /// Opens `count` queues of one interface, as `open` the first and `open_queue` the rest; two or
  /// more imply multi_queue.
  static result<std::vector<basic_tap>> open_queues(tap_options options, std::size_t count) {
    options.multi_queue = options.multi_queue || count > 1;
    std::vector<basic_tap> queues;
    while (queues.size() < count) {
      auto next = queues.empty() ? open(options) : queues.front().open_queue();
      if (!next) return fail(std::move(next.error()));
      queues.push_back(std::move(*next));
    }
    return queues;
  }

  /// Takes over a queue that somebody else opened, perhaps with more rights, and sets it
  /// non-blocking.
  ///
  /// mode, vnet_header, multi_queue if true, and name if not empty must hold already; header size,
  /// owner, group and persistence are set as in `options`. IFF_NO_PI must have been set; on a TUN
  /// the kernel does not tell. On failure the descriptor is closed.
  /// Errors: EINVAL when it is something else or lacks what is asked for, EBADFD when no interface
  /// is attached to it.
  static result<basic_tap> from_fd(basic_fd<Sys> queue, const tap_options& options) {
    const std::string label = "fd " + std::to_string(queue.get());
    basic_tap tap(std::move(queue), label, options.mode);
    auto found = tap.status();
    if (!found) return fail(std::move(found.error()));
    const auto has_pi = tap.has_packet_information(*found);
    if (!has_pi) return fail(has_pi.error());
    const auto lack = *has_pi ? "it was opened without IFF_NO_PI" : lacking(*found, options);
    if (!lack.empty()) return fail(EINVAL, "TUNGETIFF", found->name, lack);
    tap.rename(found->name);
    const int flags = Sys::fcntl(tap.fd(), F_GETFL);
    const int set = flags == -1 ? -1 : Sys::fcntl(tap.fd(), F_SETFL, flags | O_NONBLOCK);
    if (auto done = sys_result(set, "fcntl(O_NONBLOCK)", tap.name()); !done) {
      return fail(std::move(done.error()));
    }
    return configured(std::move(tap), options);
  }

  /// Opens another queue of the same interface, in whatever network namespace that is now. It turns
  /// the carrier on, as each attaching does.
  /// Errors: ENOTSUP on a single-queue interface; as for `open`.
  [[nodiscard]] result<basic_tap> open_queue() const {
    auto now = this->status();
    if (!now) return fail(std::move(now.error()));
    if (!now->has(tun_abi::iff_multi_queue)) {
      return fail(ENOTSUP, "open_queue", this->name(), "open the first queue with multi_queue");
    }
    const auto flags = static_cast<std::uint16_t>(now->flags & ~per_queue_flags);
    return in_its_netns([&]() -> result<basic_tap> {
      auto another = attach(now->name, flags, this->mode());
      if (!another) return another;
      if (auto same = check_same(another->fd(), now->name); !same) {
        return fail(std::move(same.error()));
      }
      if (auto done = another->limit_as(*this); !done) return fail(std::move(done.error()));
      return another;
    });
  }

  /// The interface index, valid in the interface's network namespace.
  /// Errors: ENODEV when that is another one and may not be entered.
  [[nodiscard]] result<unsigned> index() const {
    auto now = this->status();
    if (!now) return fail(std::move(now.error()));
    return in_its_netns([&]() -> result<unsigned> {
      auto socket = basic_fd<Sys>::adopt(
          sys_result(Sys::socket(AF_UNIX, SOCK_DGRAM, 0), "socket", now->name));
      if (!socket) return fail(std::move(socket.error()));
      if (auto same = check_same(socket->get(), now->name); !same) {
        return fail(std::move(same.error()));
      }
      auto request = control::named(now->name);
      auto done = control::call_on(socket->get(), now->name, tun_abi::siocgifindex, "SIOCGIFINDEX",
                                   request);
      if (!done) return fail(std::move(done.error()));
      return static_cast<unsigned>(request.index);
    });
  }

  /// Runs `work`, which returns a result, in the interface's network namespace. Whoever may not ask
  /// for that namespace stays where he is, which is right unless the interface was moved.
  /// Errors: those of `work` and of `run_in_netns`.
  template <class Work>
  [[nodiscard]] auto in_its_netns(Work&& work) const -> std::invoke_result_t<Work&> {
    const auto its = this->netns();
    if (!its && its.error().code.value() != EPERM) return fail(its.error());
    if (!its) return work();
    struct ::stat there {};
    struct ::stat here {};
    // Entering needs CAP_SYS_ADMIN even if it is the same one.
    if (Sys::fstat(its->fd(), &there) == 0 && Sys::stat("/proc/thread-self/ns/net", &here) == 0 &&
        there.st_dev == here.st_dev && there.st_ino == here.st_ino) {
      return work();
    }
    return its->run(work);
  }

 private:
  static constexpr unsigned per_queue_flags =
      tun_abi::iff_attach_queue | tun_abi::iff_detach_queue | tun_abi::iff_persist;

  using control::control;

  static result<basic_tap> open_here(const tap_options& options) {
    auto tap = attach(options.name, detail::tap_flags(options), options.mode);
    if (!tap) return tap;
    return configured(std::move(*tap), options);
  }

  // The network namespace of the calling thread is where the kernel looks for the name.
  static result<basic_tap> attach(const std::string& name, std::uint16_t flags, tap_mode mode) {
    auto node = basic_fd<Sys>::open(detail::tun_node, O_RDWR | O_NONBLOCK, detail::tun_node_hint);
    if (!node) return fail(std::move(node.error()));
    auto request = control::named(name);
    request.flags = flags;
    const auto hint = [&](int reason) { return detail::attach_hint<Sys>(reason, name, flags); };
    auto done = sys_result(
        retry_interrupted([&] { return Sys::ioctl(node->get(), tun_abi::tunsetiff, &request); }),
        "TUNSETIFF", name.empty() ? detail::mode_name(mode == tap_mode::tap) : name, hint);
    if (!done) return fail(std::move(done.error()));
    return basic_tap(std::move(*node), request.name, mode);
  }

  // A queue starts without a limit, whatever the others have.
  result<void> limit_as(const basic_tap& other) const {
    const auto theirs = other.sndbuf();
    if (!theirs) return fail(theirs.error());
    if (*theirs == INT_MAX) return this->limit_sndbuf({});
    return this->limit_sndbuf(send_limit(static_cast<std::uint32_t>(*theirs)));
  }

  // Persistence comes last, so that a failure leaves nothing behind.
  static result<basic_tap> configured(basic_tap tap, const tap_options& options) {
    auto done = tap.limit_sndbuf(options.limit);
    if (done && options.vnet_header) done = tap.set_header_size(options.header_size);
    if constexpr (std::endian::native == std::endian::big) {
      if (done && options.vnet_header) done = tap.set_little_endian(true);
    }
    if (done && options.owner) done = tap.set_owner(*options.owner);
    if (done && options.group) done = tap.set_group(*options.group);
    if (done && options.persist) done = tap.set_persist(true);
    if (!done) return fail(std::move(done.error()));
    return tap;
  }

  // What `options` ask for and a queue that somebody else opened is not.
  static std::string lacking(const tap_status& found, const tap_options& options) {
    const bool is_tap = found.has(tun_abi::iff_tap);
    if (is_tap != (options.mode == tap_mode::tap)) {
      return "it is a " + std::string(detail::mode_name(is_tap)) + ": say so in mode";
    }
    if (!options.name.empty() && options.name.find('%') == options.name.npos &&
        options.name != found.name) {
      return "it is not " + options.name;
    }
    if (found.has(tun_abi::iff_vnet_hdr) != options.vnet_header) {
      return options.vnet_header ? "it was opened without IFF_VNET_HDR"
                                 : "it was opened with IFF_VNET_HDR";
    }
    if (options.multi_queue && !found.has(tun_abi::iff_multi_queue)) {
      return "it was opened without IFF_MULTI_QUEUE";
    }
    return {};
  }

  // In TUNGETIFF's answer no_pi shares its bit with "has no classic filter": only while there is a
  // filter (only a TAP can have one), it is the truth. This one passes everything.
  result<bool> has_packet_information(const tap_status& before) const {
    if (!before.has(tun_abi::iff_no_pi)) return true;
    tun_abi::filter_instruction pass{tun_abi::bpf_return, 0, 0, ~std::uint32_t{0}};
    tun_abi::filter_program program{1, &pass};
    if (Sys::ioctl(this->fd(), tun_abi::tunattachfilter, &program) != 0) return false;
    auto now = this->status();
    static_cast<void>(Sys::ioctl(this->fd(), tun_abi::tundetachfilter, &program));
    if (!now) return fail(std::move(now.error()));
    return !now->has(tun_abi::iff_no_pi);
  }

  // An interface found by name may be one of another network namespace: the addresses tell.
  result<void> check_same(int other, const std::string& name) const {
    auto theirs = control::hardware_address(other, name);
    if (!theirs) return fail(std::move(theirs.error()));
    auto mine = control::hardware_address(this->fd(), name);
    if (!mine) return fail(std::move(mine.error()));
    if (theirs->sa_family == mine->sa_family &&
        std::memcmp(theirs->sa_data, mine->sa_data, sizeof(mac_address)) == 0) {
      return {};
    }
    return fail(ENODEV, "SIOCGIFHWADDR", name,
                "it is in another network namespace: needs CAP_NET_ADMIN there");
  }
};

using tap = basic_tap<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_TAP_HPP
