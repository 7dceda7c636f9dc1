// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_PRIVATE_NETNS_HPP
#define VKRING_TESTS_SUPPORT_PRIVATE_NETNS_HPP

// A network namespace without a name: it and all interfaces in it are gone with its last
// descriptor, so that no exit path of a test can leave anything behind.

#include <poll.h>
#include <sched.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <thread>

#include "vkring/kernel/netns.hpp"

namespace vkring::test {

/// A new namespace with nothing but `lo`, which is down; nothing when this user may not make one.
template <class Sys = posix>
std::optional<basic_netns<Sys>> private_netns() {
  std::optional<basic_netns<Sys>> made;
  std::thread([&made] {
    if (::unshare(CLONE_NEWNET) == 0) made = basic_netns<Sys>::current().value();
  }).join();
  return made;
}

/// What names the namespace that the calling thread is in.
inline ino_t this_netns() {
  struct ::stat about {};
  ::stat("/proc/thread-self/ns/net", &about);
  return about.st_ino;
}

/// Waits until `fd` is readable; false when it is not within ten seconds.
inline bool is_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, 0) == 1;
}
inline bool wait_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    const int ready = ::poll(&one, 1, static_cast<int>(left.count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_PRIVATE_NETNS_HPP
