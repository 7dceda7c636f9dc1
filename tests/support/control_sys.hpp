// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_CONTROL_SYS_HPP
#define VKRING_TESTS_SUPPORT_CONTROL_SYS_HPP

// `faulty_sys` for the calls that set a device up, which are the same each time.

#include <poll.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <set>
#include <string_view>

#include "support/faulty_sys.hpp"

namespace vkring::test {

/// What the worker's threads do all the time is none of them. How many files are read to find the
/// thread of a vhost device depends on what else runs, and none of it may fail an open.
struct control_sys : faulty_sys {
  static int open(const char* path, int flags, mode_t mode = 0) noexcept {
    const std::string_view name(path);
    if (name == "/proc" || name == "/proc/self/task" || name.ends_with("/comm")) {
      return listed(listings, posix::open(path, flags, mode));
    }
    const int opened = faulty_sys::open(path, flags, mode);
    return name.starts_with("/proc/self/fdinfo/") ? listed(descriptions, opened) : opened;
  }
  static int close(int fd) noexcept {
    descriptions.erase(fd);
    return listings.erase(fd) != 0 ? posix::close(fd) : faulty_sys::close(fd);
  }
  static int stat(const char* path, struct ::stat* into) noexcept {
    return path == std::string_view("/proc/self/task") ? posix::stat(path, into)
                                                       : faulty_sys::stat(path, into);
  }
  static ssize_t getdents64(int fd, void* into, std::size_t size) noexcept {
    return posix::getdents64(fd, into, size);
  }
  static ssize_t read(int fd, void* buffer, std::size_t size) noexcept {
    return descriptions.contains(fd) ? faulty_sys::read(fd, buffer, size)
                                     : posix::read(fd, buffer, size);
  }
  static ssize_t write(int fd, const void* buffer, std::size_t size) noexcept {
    return posix::write(fd, buffer, size);
  }
  static ssize_t readv(int fd, const iovec* pieces, int count) noexcept {
    return posix::readv(fd, pieces, count);
  }
  static ssize_t writev(int fd, const iovec* pieces, int count) noexcept {
    return posix::writev(fd, pieces, count);
  }
  static int ppoll(pollfd* set, nfds_t count, const timespec* timeout,
                   const sigset_t* mask = nullptr) noexcept {
    return posix::ppoll(set, count, timeout, mask);
  }

 private:
  // Open files: of one thread, the one that sets up.
  static inline thread_local std::set<int> listings;
  static inline thread_local std::set<int> descriptions;  // of descriptors, by the kernel

  static int listed(std::set<int>& in, int fd) {
    if (fd >= 0) in.insert(fd);
    return fd;
  }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_CONTROL_SYS_HPP
