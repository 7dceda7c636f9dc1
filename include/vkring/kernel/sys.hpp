// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_SYS_HPP
#define VKRING_KERNEL_SYS_HPP

// The system-call seam: every call that vkring makes, as a policy type that tests replace.

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <ctime>
#include <string_view>
#include <type_traits>

#include "vkring/core/error.hpp"

namespace vkring::inline v0 {

/// The real system calls, with their libc names, arguments and -1/errno convention.
///
/// Classes that make system calls are templates `basic_x<Sys = posix>`; a test passes a policy that
/// counts, refuses or records. Every call that makes a descriptor makes it close-on-exec here, so
/// that no caller can forget it.
///
/// EINTR is left to the caller, who decides per call with `retry_interrupted`:
/// - retried: open, read, write, readv, writev, sendto, sendmsg, recvfrom, recvmsg, ftruncate,
///   ioctl (those of tun and vhost undo what they began before they fail);
/// - not retried: close (Linux has released the descriptor, which may be someone else's by now) and
///   ppoll, epoll_wait, epoll_pwait2 (waking up on a signal is what a caller of `wait` expects);
/// - never fails with it: the rest.
struct posix {
  /// @{
  /// The system call of this name.
  static int open(const char* path, int flags, mode_t mode = 0) noexcept {
    return ::open(path, flags | O_CLOEXEC, mode);
  }
  static int close(int fd) noexcept { return ::close(fd); }
  static ssize_t read(int fd, void* buffer, std::size_t size) noexcept {
    return ::read(fd, buffer, size);
  }
  static ssize_t write(int fd, const void* buffer, std::size_t size) noexcept {
    return ::write(fd, buffer, size);
  }
  static ssize_t readv(int fd, const iovec* pieces, int count) noexcept {
    return ::readv(fd, pieces, count);
  }
  static ssize_t writev(int fd, const iovec* pieces, int count) noexcept {
    return ::writev(fd, pieces, count);
  }
  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    return ::ioctl(fd, request, argument);
  }
  /// For the ioctls whose argument is a value (TUNSETOFFLOAD, TUNSETPERSIST) or absent.
  static int ioctl_value(int fd, unsigned long request, unsigned long value) noexcept {
    return ::ioctl(fd, request, value);
  }
  static int fcntl(int fd, int command, long argument = 0) noexcept {
    return ::fcntl(fd, command, argument);
  }
  static ssize_t getdents64(int fd, void* into, std::size_t size) noexcept {
    return ::syscall(SYS_getdents64, fd, into, size);
  }
  /// 0: both descriptors stand for the same open file.
  static int kcmp_file(int one, int other) noexcept {
    constexpr int file = 0;  // KCMP_FILE
    const pid_t self = ::getpid();
    return static_cast<int>(::syscall(SYS_kcmp, self, self, file, one, other));
  }
  static int fstat(int fd, struct ::stat* into) noexcept { return ::fstat(fd, into); }
  static int stat(const char* path, struct ::stat* into) noexcept { return ::stat(path, into); }
  static int ftruncate(int fd, off_t size) noexcept { return ::ftruncate(fd, size); }
  static int eventfd(unsigned initial, int flags) noexcept {
    return ::eventfd(initial, flags | EFD_CLOEXEC);
  }
  static int ppoll(pollfd* set, nfds_t count, const timespec* timeout,
                   const sigset_t* mask = nullptr) noexcept {
    return ::ppoll(set, count, timeout, mask);
  }

  static int epoll_create() noexcept { return ::epoll_create1(EPOLL_CLOEXEC); }
  static int epoll_ctl(int set, int operation, int fd, epoll_event* about) noexcept {
    return ::epoll_ctl(set, operation, fd, about);
  }
  static int epoll_wait(int set, epoll_event* ready, int most, int milliseconds) noexcept {
    return ::epoll_wait(set, ready, most, milliseconds);
  }
  /// Since Linux 5.11; ENOSYS before.
  static int epoll_pwait2(int set, epoll_event* ready, int most, const timespec* timeout) noexcept {
    return static_cast<int>(::syscall(SYS_epoll_pwait2, set, ready, most, timeout, nullptr, 0));
  }

  static void* mmap(void* where, std::size_t size, int protection, int flags, int fd,
                    off_t offset) noexcept {
    return ::mmap(where, size, protection, flags, fd, offset);
  }
  /// Copies memory of this process that need not be there: EFAULT then, or fewer bytes.
  static ssize_t read_memory(void* into, const void* from, std::size_t size) noexcept {
    const iovec here{into, size};
    const iovec there{const_cast<void*>(from), size};
    return ::process_vm_readv(::getpid(), &here, 1, &there, 1, 0);
  }
  static int munmap(void* at, std::size_t size) noexcept { return ::munmap(at, size); }
  static int mprotect(void* at, std::size_t size, int protection) noexcept {
    return ::mprotect(at, size, protection);
  }
  static int madvise(void* at, std::size_t size, int advice) noexcept {
    return ::madvise(at, size, advice);
  }
  static int memfd_create(const char* name, unsigned flags) noexcept {
    return ::memfd_create(name, flags | MFD_CLOEXEC);
  }

  static int socket(int family, int type, int protocol) noexcept {
    return ::socket(family, type | SOCK_CLOEXEC, protocol);
  }
  static int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
    return ::bind(fd, address, size);
  }
  static int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept {
    return ::getsockname(fd, address, size);
  }
  static ssize_t sendto(int fd, const void* data, std::size_t size, int flags, const sockaddr* to,
                        socklen_t to_size) noexcept {
    return ::sendto(fd, data, size, flags, to, to_size);
  }
  static ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept {
    return ::sendmsg(fd, message, flags);
  }
  static ssize_t recvfrom(int fd, void* into, std::size_t size, int flags, sockaddr* from,
                          socklen_t* from_size) noexcept {
    return ::recvfrom(fd, into, size, flags, from, from_size);
  }
  static ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept {
    return ::recvmsg(fd, message, flags);
  }
  static int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept {
    return ::setsockopt(fd, level, name, value, size);
  }
  static int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept {
    return ::getsockopt(fd, level, name, value, size);
  }

  /// Returns the reason itself, 0 for success, and leaves errno alone.
  static int pthread_create(pthread_t* made, const pthread_attr_t* attributes, void* (*run)(void*),
                            void* argument) noexcept {
    return ::pthread_create(made, attributes, run, argument);
  }
  static int setns(int fd, int kind) noexcept { return ::setns(fd, kind); }
  static int uname(utsname* into) noexcept { return ::uname(into); }
  static pid_t getpid() noexcept { return ::getpid(); }
  static pid_t gettid() noexcept { return static_cast<pid_t>(::syscall(SYS_gettid)); }
  static int sched_setaffinity(pid_t thread, std::size_t size, const cpu_set_t* cpus) noexcept {
    return ::sched_setaffinity(thread, size, cpus);
  }
  static int sched_getaffinity(pid_t thread, std::size_t size, cpu_set_t* cpus) noexcept {
    return ::sched_getaffinity(thread, size, cpus);
  }
  static int sched_setscheduler(pid_t thread, int policy, const sched_param* how) noexcept {
    return ::sched_setscheduler(thread, policy, how);
  }
  static int io_uring_setup(unsigned entries, void* parameters) noexcept {
    return static_cast<int>(::syscall(SYS_io_uring_setup, entries, parameters));
  }
  static int capget(void* header, void* data) noexcept {
    return static_cast<int>(::syscall(SYS_capget, header, data));
  }
  /// @}
};

/// 0 when a call succeeded, else its errno: the one place that reads errno. To be asked right after
/// the call, before anything else that may fail.
template <std::signed_integral T>
[[nodiscard]] inline int error_of(T returned) noexcept {
  return returned == T{-1} ? errno : 0;
}
/// The same for mmap.
[[nodiscard]] inline int error_of(const void* returned) noexcept {
  return returned == MAP_FAILED ? errno : 0;
}

/// Repeats a call for as long as a signal interrupts it; returns what it returned last.
template <class Call>
inline auto retry_interrupted(Call&& call) noexcept -> std::invoke_result_t<Call&> {
  for (;;) {
    const auto returned = call();
    if (error_of(returned) != EINTR) return returned;
  }
}

/// A hint for `sys_result` that is given for one reason only.
struct hint_for {
  int reason = 0;              ///< the errno value that it is for; 0: none
  std::string_view text = {};  ///< what to do about it
  /// The text for this reason, empty for any other.
  [[nodiscard]] std::string_view operator()(int met) const noexcept {
    return met == reason ? text : std::string_view{};
  }
};

/// Turns what a system call returned into a `result` of the same type.
///
/// `hint` is a text, or a function from errno to a text where the advice depends on the reason.
template <class T, class Hint = std::string_view>
[[nodiscard]] inline result<T> sys_result(T returned, std::string_view operation,
                                          std::string_view object = {}, const Hint& hint = {}) {
  const int reason = error_of(returned);
  if (reason == 0) return returned;
  if constexpr (std::is_invocable_v<const Hint&, int>) {
    return fail(reason, operation, object, hint(reason));
  } else {
    return fail(reason, operation, object, hint);
  }
}

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_SYS_HPP
