// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_EVENT_FD_HPP
#define VKRING_KERNEL_EVENT_FD_HPP

// The eventfd that carries kicks and calls between the two sides of a virtqueue.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

/// A non-blocking eventfd: readable from `signal` until the next `drain`.
///
/// Thread-safety: `signal` and `drain` from any thread. Move-only.
template <class Sys = posix>
class basic_event_fd {
 public:
  /// Makes a new one, not signalled. Errors: what eventfd returns (EMFILE, ENFILE, ENOMEM).
  static result<basic_event_fd> create() {
    auto made =
        basic_fd<Sys>::adopt(sys_result(Sys::eventfd(0, EFD_NONBLOCK), "eventfd", {}, make_hint));
    if (!made) return fail(std::move(made.error()));
    return basic_event_fd(std::move(*made));
  }

  /// Takes over an eventfd that somebody else made, and sets it (for all who share it)
  /// non-blocking. Errors: EBADF, EINVAL when it is something else, and what reading /proc/self/fdinfo
  /// returns; the descriptor is closed then.
  static result<basic_event_fd> from_fd(basic_fd<Sys> made) {
    const std::string object = "fd " + std::to_string(made.get());
    auto flags = sys_result(Sys::fcntl(made.get(), F_GETFL), "fcntl(O_NONBLOCK)", object);
    if (!flags) return fail(std::move(flags.error()));
    if (auto real = check(made.get()); !real) return fail(std::move(real.error()));
    const int set = Sys::fcntl(made.get(), F_SETFL, *flags | O_NONBLOCK);
    if (auto done = sys_result(set, "fcntl(O_NONBLOCK)", object); !done) {
      return fail(std::move(done.error()));
    }
    return basic_event_fd(std::move(made));
  }

  /// For `poll`, or to be passed on; it stays this object's.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// Wakes whoever polls the descriptor. Allocation: none.
  void signal() const noexcept {
    const std::uint64_t one = 1;
    // The one failure of a write to a non-blocking eventfd is a full counter (EAGAIN): it is
    // readable then, and that is all a signal has to bring about.
    static_cast<void>(retry_interrupted([&] { return Sys::write(fd_.get(), &one, sizeof one); }));
  }

  /// Takes the pending signals, so that the descriptor is not readable any more; returns how many
  /// there were. Allocation: none.
  std::uint64_t drain() const noexcept {
    std::uint64_t pending = 0;
    const auto got =
        retry_interrupted([&] { return Sys::read(fd_.get(), &pending, sizeof pending); });
    return got == sizeof pending ? pending : 0;
  }

 private:
  explicit basic_event_fd(basic_fd<Sys> made) noexcept : fd_(std::move(made)) {}

  // Whatever else can be written to would take the signals for data.
  static result<void> check(int descriptor) {
    const std::string path = "/proc/self/fdinfo/" + std::to_string(descriptor);
    auto file = basic_fd<Sys>::open(path, O_RDONLY, "needs /proc, to see what it is");
    if (!file) return fail(std::move(file.error()));
    char text[512];
    auto got = sys_result(
        retry_interrupted([&] { return Sys::read(file->get(), text, sizeof text); }), "read", path);
    if (!got) return fail(std::move(got.error()));
    const std::string_view about(text, static_cast<std::size_t>(*got));
    if (about.find("\neventfd-count:") != about.npos) return {};
    return fail(EINVAL, "eventfd", "fd " + std::to_string(descriptor), "it is no eventfd");
  }

  static std::string_view make_hint(int reason) {
    if (reason == EMFILE) return "raise the limit on open files (ulimit -n)";
    return {};
  }

  basic_fd<Sys> fd_;
};

using event_fd = basic_event_fd<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_EVENT_FD_HPP
