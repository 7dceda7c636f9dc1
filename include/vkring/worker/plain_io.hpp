// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_PLAIN_IO_HPP
#define VKRING_WORKER_PLAIN_IO_HPP

// How a thread of the worker sleeps and writes: the policy, and the one that needs nothing special.

#include <poll.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/core/error.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/worker/frame_burst.hpp>

namespace vkring::inline v0 {

/// How a thread of the worker waits for descriptors and writes frames.
///
/// Made by whoever starts the worker, moved to its thread and destroyed there, before anybody closes
/// the descriptors. No allocation after `make`, whose argument is the size of the sets to wait for.
/// - `wait(set)` sleeps until something in the set is ready and says in `revents` what, which may be
///   over by then. False: woken in vain. An entry has the same descriptor each time, or -1; one for
///   POLLIN alone is an eventfd, any other a TAP, which is waited for with POLLRDBAND at least.
/// - `drain(event)` is called for each eventfd that was found ready, before the next `wait`.
/// - `write(to, frames)` writes frames in their order, with their results, until the first that
///   fails; returns how many it tried, that one included.
template <class Io>
concept worker_io = std::move_constructible<Io> &&
    requires(Io io, std::size_t entries, std::span<pollfd> set, int fd,
             std::span<outgoing_frame> frames) {
  { Io::make(entries) } -> std::same_as<result<Io>>;
  { io.wait(set) }
  noexcept->std::same_as<bool>;
  { io.drain(fd) }
  noexcept;
  { io.write(fd, frames) }
  noexcept->std::same_as<std::size_t>;
};

/// A system call each: ppoll, which looks at every descriptor, read and writev.
template <class Sys = posix>
struct plain_io {
  static result<plain_io> make(std::size_t) { return plain_io(); }  ///< never fails

  /// False after a signal.
  bool wait(std::span<pollfd> set) noexcept {
    return error_of(Sys::ppoll(set.data(), set.size(), nullptr, nullptr)) == 0;
  }
  /// Sets the eventfd back.
  void drain(int event) noexcept {
    std::uint64_t ignored;
    (void)Sys::read(event, &ignored, sizeof ignored);
  }
  /// A call for each frame, until one fails.
  std::size_t write(int tap_fd, std::span<outgoing_frame> frames) noexcept {
    std::size_t tried = 0;
    for (outgoing_frame& each : frames) {
      ++tried;
      // One piece, the plain case, is cheaper by the plainer call.
      const auto written = retry_interrupted([&] {
        return each.count == 1 ? Sys::write(tap_fd, each.pieces->iov_base, each.pieces->iov_len)
                               : Sys::writev(tap_fd, each.pieces, each.count);
      });
      const int reason = error_of(written);
      each.result = reason == 0 ? static_cast<int>(written) : -reason;
      if (reason != 0) break;
    }
    return tried;
  }
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_PLAIN_IO_HPP
