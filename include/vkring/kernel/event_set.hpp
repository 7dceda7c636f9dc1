// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_EVENT_SET_HPP
#define VKRING_KERNEL_EVENT_SET_HPP

// Sleeping on many eventfds at once, for one system call each time.

#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <string>
#include <utility>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>

namespace vkring::inline v0 {

/// Eventfds to wait for together: an edge-triggered epoll.
///
/// Each signal wakes one `wait`, and nobody has to `drain` the eventfd, which saves a read for each
/// sleep. An eventfd in a set stays readable for others who poll it, until they drain it.
///
/// Thread-safety: one thread at a time. Allocation: none. Move-only.
template <class Sys = posix>
class basic_event_set {
 public:
  /// Errors: what epoll_create1 returns (EMFILE, ENFILE, ENOMEM).
  static result<basic_event_set> create() {
    auto made = basic_fd<Sys>::adopt(
        sys_result(Sys::epoll_create(), "epoll_create1", {},
                   hint_for{EMFILE, "raise the limit on open files (ulimit -n)"}));
    if (!made) return fail(std::move(made.error()));
    return basic_event_set(std::move(*made));
  }

  /// Adds an eventfd, which stays open for as long as the set is used; one that is signalled already
  /// counts. Errors: ENOMEM, ENOSPC (fs.epoll.max_user_watches).
  result<void> add(const basic_event_fd<Sys>& event) { return add(event.fd()); }
  /// The same with another kind of descriptor: each time that something more can be read counts.
  result<void> add(int fd) {
    epoll_event about{};
    about.events = EPOLLIN | EPOLLET;
    const int added = Sys::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &about);
    if (auto done = sys_result(added, "epoll_ctl", "fd " + std::to_string(fd),
                               hint_for{ENOSPC, "raise the sysctl fs.epoll.max_user_watches"});
        !done) {
      return fail(std::move(done.error()));
    }
    return {};
  }

  /// Readable while one of them is signalled that no `wait` has told of.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// Sleeps until one is signalled, which was perhaps before, or the time is over; negative means for
  /// ever. False: the time is over, or a signal of the process interrupted it. Before Linux 5.11 it
  /// takes two system calls.
  bool wait(std::chrono::nanoseconds timeout) noexcept {
    const timespec limit{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
    const timespec* until = timeout.count() < 0 ? nullptr : &limit;
    std::array<epoll_event, 16> ready;
    constexpr auto most = static_cast<int>(ready.size());
    const int got = Sys::epoll_pwait2(fd_.get(), ready.data(), most, until);
    if (error_of(got) != ENOSYS) return got > 0;
    pollfd all{fd_.get(), POLLIN, 0};
    (void)Sys::ppoll(&all, 1, until);
    return Sys::epoll_wait(fd_.get(), ready.data(), most, 0) > 0;
  }

 private:
  explicit basic_event_set(basic_fd<Sys> made) noexcept : fd_(std::move(made)) {}

  basic_fd<Sys> fd_;
};

using event_set = basic_event_set<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_EVENT_SET_HPP
