// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_IO_URING_HPP
#define VKRING_IO_URING_HPP

// The in-process worker over io_uring, for the target vkring::uring: needs liburing and Linux 6.1.
//
// What it is for: bursts and many queues. A burst of frames is one system call instead of one for
// each frame. Sleeping costs what has become ready instead of what there is to wait for, so that one
// thread can serve hundreds of queue pairs. For single frames on one queue pair `tap_worker` is as
// good, and it runs everywhere.

#include <liburing.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/ring/split.hpp>
#include <vkring/worker/frame_burst.hpp>
#include <vkring/worker/plain_io.hpp>
#include <vkring/worker/tap_worker.hpp>

namespace vkring::inline v0 {

/// Waits and writes through an io_uring for each thread of the worker; the functions of `worker_io`.
///
/// An eventfd is polled once for ever and not read, since the kernel tells of each signal anyway. A TAP
/// is polled until it is ready once, and again when the thread next sleeps, so that frames in between
/// cost nothing. Should io_uring be forbidden while it runs (seccomp), it goes on as `plain_io`.
class uring_io {
 public:
  /// Errors of io_uring_setup: ENOSYS, EPERM, EINVAL (before Linux 6.1), ENOMEM, EMFILE, each with
  /// what to do. Whether to use `tap_worker` then is the caller's decision.
  static result<uring_io> make(std::size_t descriptors) {
    const std::size_t entries = std::bit_ceil(descriptors + detail::frame_burst::max_frames);
    // Completions are for one thread, when it enters the kernel. It does not exist yet: it is the one
    // that enables the ring.
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
                       IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
    io_uring opened;
    const int reason =
        -io_uring_queue_init_params(static_cast<unsigned>(entries), &opened, &parameters);
    if (reason != 0) return fail(reason, "io_uring_setup", {}, hint(reason));
    return uring_io(opened, descriptors);
  }
  uring_io(uring_io&&) noexcept = default;
  uring_io& operator=(uring_io&&) = delete;
  // A request keeps the file open that it waits for, even when the ring itself is closed.
  ~uring_io() {
    if (ring_ == nullptr) return;
    if (polls_ != 0) cancel(0, IORING_ASYNC_CANCEL_ANY);
    while (polls_ != 0 && enter(1)) {
    }
  }

  /// @{
  /// As `worker_io` has it; by `plain_io` where the kernel forbids io_uring.
  bool wait(std::span<pollfd> set) noexcept {
    for (std::size_t i = 0; i < set.size(); ++i) {
      // What a TAP was ready for may be over: a new request finds out.
      if (set[i].fd >= 0 && !is_event(set[i])) entries_[i].fired = 0;
    }
    while (!report(set)) {
      for (std::size_t i = 0; i < set.size(); ++i) {
        if (set[i].fd >= 0 && (set[i].events & ~entries_[i].armed) != 0) arm(i, set[i]);
      }
      if (!enter(1)) return plain_.wait(set);
    }
    return true;
  }

  void drain(int event) noexcept {
    if (forbidden_) plain_.drain(event);
  }

  std::size_t write(int to, std::span<outgoing_frame> frames) noexcept {
    if (forbidden_) return plain_.write(to, frames);
    // In a chain of links one is begun when the one before it is done, and none after a failure.
    io_uring_sqe* last = nullptr;
    std::size_t count = 0;
    for (outgoing_frame& each : frames) {
      io_uring_sqe* const sqe = io_uring_get_sqe(ring_.get());
      if (sqe == nullptr) break;
      io_uring_prep_writev(sqe, to, each.pieces, each.count, 0);
      io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
      io_uring_sqe_set_data64(sqe, write_tag + count++);
      each.result = -ECANCELED;  // until it has another
      last = sqe;
    }
    if (last != nullptr) io_uring_sqe_set_flags(last, 0);
    written_ = frames;
    for (writing_ = count; enter(static_cast<unsigned>(writing_)) && writing_ != 0;) {
    }
    // Not one is begun in a chain with a request that the kernel could not even accept.
    if (frames.front().result == -ECANCELED) return plain_.write(to, frames);
    std::size_t tried = 0;
    while (tried != count && frames[tried++].result >= 0) {
    }
    return tried;
  }
  /// @}

 private:
  struct closer {
    void operator()(io_uring* ring) const noexcept {
      io_uring_queue_exit(ring);
      delete ring;
    }
  };
  // A descriptor of the set.
  struct entry {
    short armed = 0;  // what the kernel is to tell of
    short fired = 0;  // what it told of
    std::uint32_t generation = 0;
  };

  uring_io(const io_uring& opened, std::size_t descriptors)
      : ring_(new io_uring(opened)), entries_(descriptors) {}

  [[nodiscard]] static std::string_view hint(int reason) noexcept {
    switch (reason) {
      case ENOSYS:
        return "needs a kernel with CONFIG_IO_URING";
      case EPERM:
      case EACCES:
        return "`sysctl kernel.io_uring_disabled=0`, or a seccomp profile that allows it";
      case EINVAL:
        return "needs Linux 6.1 or newer";
      case EMFILE:
        return "raise the limit on open files (ulimit -n)";
      case ENOMEM:
        return "raise the limit on locked memory (ulimit -l)";
      default:
        return {};
    }
  }

  // The one for POLLIN alone; a TAP has other events as well.
  [[nodiscard]] static bool is_event(const pollfd& each) noexcept { return each.events == POLLIN; }
  [[nodiscard]] std::uint64_t tag(std::size_t i) const noexcept {
    return std::uint64_t{i} << 32 | entries_[i].generation;
  }

  io_uring_sqe* next_request() noexcept {
    io_uring_sqe* sqe;
    while ((sqe = io_uring_get_sqe(ring_.get())) == nullptr && enter(0)) {
    }
    return sqe;
  }
  void arm(std::size_t i, const pollfd& each) noexcept {
    entry& own = entries_[i];
    if (own.armed != 0) cancel(tag(i));
    io_uring_sqe* const sqe = next_request();
    if (sqe == nullptr) return;
    own.armed = each.events;
    ++own.generation;
    ++polls_;
    const auto events = static_cast<unsigned short>(own.armed);
    if (is_event(each)) {
      io_uring_prep_poll_multishot(sqe, each.fd, events);
    } else {
      io_uring_prep_poll_add(sqe, each.fd, events);
    }
    io_uring_sqe_set_data64(sqe, tag(i));
  }
  // Unlike a poll_remove, this finds a request also while it has something to tell.
  void cancel(std::uint64_t which, int flags = 0) noexcept {
    io_uring_sqe* const sqe = next_request();
    if (sqe == nullptr) return;
    io_uring_prep_cancel64(sqe, which, flags);
    io_uring_sqe_set_data64(sqe, ignored_tag);
  }

  // Submits what is queued, waits for completions and takes what there is; false: it is forbidden.
  bool enter(unsigned completions) noexcept {
    if (forbidden_) return false;
    if (std::exchange(disabled_, false)) {
      // Debian 12's shared liburing lacks io_uring_enable_rings.
      ::syscall(SYS_io_uring_register, ring_->ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    }
    const int returned = io_uring_submit_and_wait(ring_.get(), completions);
    unsigned head;
    unsigned count = 0;
    const io_uring_cqe* each;
    io_uring_for_each_cqe(ring_.get(), head, each) {
      take(*each);
      ++count;
    }
    io_uring_cq_advance(ring_.get(), count);
    switch (-returned) {
      case EINTR:
      case EAGAIN:
      case EBUSY:
      case ENOMEM:
        break;  // it passes
      default:
        forbidden_ = returned < 0;
    }
    return !forbidden_;
  }
  void take(const io_uring_cqe& completion) noexcept {
    if (completion.user_data == ignored_tag) return;
    if (completion.user_data >= write_tag) {
      written_[completion.user_data - write_tag].result = completion.res;
      --writing_;
      return;
    }
    entry& own = entries_[completion.user_data >> 32];
    const bool over = (completion.flags & IORING_CQE_F_MORE) == 0;
    if (over) --polls_;
    if (own.generation != static_cast<std::uint32_t>(completion.user_data)) return;
    if (over) own.armed = 0;
    own.fired =
        static_cast<short>(own.fired | (completion.res < 0 ? int{POLLNVAL} : completion.res));
  }
  // Whether anything in the set is known to be ready; says what.
  bool report(std::span<pollfd> set) noexcept {
    bool any = false;
    for (std::size_t i = 0; i < set.size(); ++i) {
      set[i].revents = 0;
      if (set[i].fd < 0) continue;
      set[i].revents = static_cast<short>(std::exchange(entries_[i].fired, short{0}) &
                                          (set[i].events | POLLERR | POLLHUP | POLLNVAL));
      // A frame came, for which nobody asked, or the interface is gone: the wake-up is the same.
      if (set[i].revents == POLLRDBAND) (void)::poll(&set[i], 1, 0);
      any = any || set[i].revents != 0;
    }
    return any;
  }

  static constexpr std::uint64_t write_tag = std::uint64_t{1} << 63;
  static constexpr std::uint64_t ignored_tag = ~std::uint64_t{0};

  std::unique_ptr<io_uring, closer> ring_;
  std::vector<entry> entries_;
  std::size_t polls_ = 0;              // requests that the kernel has not finished
  std::size_t writing_ = 0;            // the same for those of `write`
  std::span<outgoing_frame> written_;  // what they write
  bool disabled_ = true;
  bool forbidden_ = false;
  plain_io<> plain_;
};

/// `tap_worker` over io_uring, also for `basic_device<split, buffer_pool, posix, uring_tap_worker>`.
using uring_tap_worker = basic_tap_worker<split, posix, uring_io>;

}  // namespace vkring::inline v0

#endif  // VKRING_IO_URING_HPP
