// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_FAULTY_SYS_HPP
#define VKRING_TESTS_SUPPORT_FAULTY_SYS_HPP

// A system-call policy that makes the real calls, refuses chosen ones and keeps book of what leaks.

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "vkring/kernel/sys.hpp"

namespace vkring::test {

/// Which calls to refuse: the `nth` one (from 1) that matches and the `times - 1` after it.
struct fault {
  int reason = 0;             ///< errno of the refused calls
  std::size_t nth = 1;        ///< 0 refuses nothing
  std::string call = {};      ///< a member of `posix`; empty matches all
  unsigned long request = 0;  ///< for ioctls: only this one; 0 matches all
  std::size_t times = 1;
};

/// The book of `faulty_sys`. One per process, as the policy has only static functions.
/// Thread-safety: all members may be called from any thread.
class fault_book {
 public:
  static fault_book& get() {
    static fault_book book;
    return book;
  }

  /// Forgets everything and arms `armed`.
  void reset(fault armed = {}) {
    const std::lock_guard guard(mutex_);
    armed_ = std::move(armed);
    matched_ = refused_ = 0;
    mapped_bytes_ = bad_closes_ = 0;
    trace_.clear();
    descriptors_.clear();
  }
  /// Arms another one, and keeps account of what is open.
  void arm(fault armed) {
    const std::lock_guard guard(mutex_);
    armed_ = std::move(armed);
    matched_ = refused_ = 0;
    trace_.clear();
  }
  /// The calls since `reset` or `arm`, in order: `open /dev/net/tun`, `ioctl 400454ca`.
  [[nodiscard]] std::vector<std::string> trace() const { return locked(trace_); }
  [[nodiscard]] std::size_t refused() const { return locked(refused_); }
  /// Descriptors made since `reset` and not closed.
  [[nodiscard]] std::size_t open_descriptors() const {
    const std::lock_guard guard(mutex_);
    return descriptors_.size();
  }
  [[nodiscard]] std::size_t mapped_bytes() const { return locked(mapped_bytes_); }
  /// Closes of descriptors that were not open: somebody closed twice.
  [[nodiscard]] std::size_t bad_closes() const { return locked(bad_closes_); }
  /// True if nothing made since `reset` is left and nothing was closed twice.
  [[nodiscard]] bool clean() const {
    const std::lock_guard guard(mutex_);
    return descriptors_.empty() && mapped_bytes_ == 0 && bad_closes_ == 0;
  }

  // For faulty_sys.
  int ask(std::string_view call, std::string detail, unsigned long request) {
    const std::lock_guard guard(mutex_);
    trace_.push_back(std::string(call) + std::move(detail));
    const bool matches = (armed_.call.empty() || armed_.call == call) &&
                         (armed_.request == 0 || armed_.request == request);
    if (armed_.nth == 0 || armed_.reason == 0 || !matches) return 0;
    ++matched_;
    if (matched_ < armed_.nth || matched_ >= armed_.nth + armed_.times) return 0;
    ++refused_;
    return armed_.reason;
  }
  int opened(int fd) {
    const std::lock_guard guard(mutex_);
    if (fd >= 0) descriptors_.insert(fd);
    return fd;
  }
  void closed(int fd, bool was_open) {
    const std::lock_guard guard(mutex_);
    descriptors_.erase(fd);
    if (!was_open) ++bad_closes_;
  }
  void mapped(std::size_t size) {
    const std::lock_guard guard(mutex_);
    mapped_bytes_ += whole_pages(size);
  }
  void unmapped(std::size_t size) {
    const std::lock_guard guard(mutex_);
    mapped_bytes_ -= whole_pages(size);
  }

 private:
  template <class T>
  T locked(const T& member) const {
    const std::lock_guard guard(mutex_);
    return member;
  }
  static std::size_t whole_pages(std::size_t size) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return (size + page - 1) / page * page;
  }

  mutable std::mutex mutex_;
  fault armed_;
  std::size_t matched_ = 0;
  std::size_t refused_ = 0;
  std::size_t mapped_bytes_ = 0;
  std::size_t bad_closes_ = 0;
  std::vector<std::string> trace_;
  std::set<int> descriptors_;
};

/// `posix` with the armed fault. A refused close or munmap is carried out all the same, as Linux
/// does; every other refused call is not made.
struct faulty_sys {
  static int open(const char* path, int flags, mode_t mode = 0) noexcept {
    return made("open", std::string(" ") + path, [&] { return posix::open(path, flags, mode); });
  }
  static int close(int fd) noexcept {
    const int reason = fault_book::get().ask("close", {}, 0);
    const bool was_open = ::fcntl(fd, F_GETFD) != -1;
    // Out of the book before the number is free: another thread may get it at once.
    fault_book::get().closed(fd, was_open);
    const int returned = posix::close(fd);
    return reason == 0 ? returned : refuse<int>(reason);
  }
  static ssize_t read(int fd, void* buffer, std::size_t size) noexcept {
    return call("read", [&] { return posix::read(fd, buffer, size); });
  }
  static ssize_t write(int fd, const void* buffer, std::size_t size) noexcept {
    return call("write", [&] { return posix::write(fd, buffer, size); });
  }
  static ssize_t readv(int fd, const iovec* pieces, int count) noexcept {
    return call("readv", [&] { return posix::readv(fd, pieces, count); });
  }
  static ssize_t writev(int fd, const iovec* pieces, int count) noexcept {
    return call("writev", [&] { return posix::writev(fd, pieces, count); });
  }
  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    return call(
        "ioctl", [&] { return posix::ioctl(fd, request, argument); }, hex(request), request);
  }
  static int ioctl_value(int fd, unsigned long request, unsigned long value) noexcept {
    constexpr unsigned long returns_fd = 0x54e3;  // TUNGETDEVNETNS
    const int returned = call(
        "ioctl_value", [&] { return posix::ioctl_value(fd, request, value); }, hex(request),
        request);
    return request == returns_fd ? fault_book::get().opened(returned) : returned;
  }
  static int fcntl(int fd, int command, long argument = 0) noexcept {
    const int returned = call(
        "fcntl", [&] { return posix::fcntl(fd, command, argument); },
        " " + std::to_string(command));
    const bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    return duplicates ? fault_book::get().opened(returned) : returned;
  }
  static ssize_t getdents64(int fd, void* into, std::size_t size) noexcept {
    return call("getdents64", [&] { return posix::getdents64(fd, into, size); });
  }
  static int kcmp_file(int one, int other) noexcept {
    return call("kcmp_file", [&] { return posix::kcmp_file(one, other); });
  }
  static int fstat(int fd, struct ::stat* into) noexcept {
    return call("fstat", [&] { return posix::fstat(fd, into); });
  }
  static int stat(const char* path, struct ::stat* into) noexcept {
    return call(
        "stat", [&] { return posix::stat(path, into); }, std::string(" ") + path);
  }
  static int ftruncate(int fd, off_t size) noexcept {
    return call("ftruncate", [&] { return posix::ftruncate(fd, size); });
  }
  static int eventfd(unsigned initial, int flags) noexcept {
    return made("eventfd", {}, [&] { return posix::eventfd(initial, flags); });
  }
  static int ppoll(pollfd* set, nfds_t count, const timespec* timeout,
                   const sigset_t* mask = nullptr) noexcept {
    return call("ppoll", [&] { return posix::ppoll(set, count, timeout, mask); });
  }
  static int epoll_create() noexcept {
    return made("epoll_create", {}, [&] { return posix::epoll_create(); });
  }
  static int epoll_ctl(int set, int operation, int fd, epoll_event* about) noexcept {
    return call("epoll_ctl", [&] { return posix::epoll_ctl(set, operation, fd, about); });
  }
  static int epoll_wait(int set, epoll_event* ready, int most, int milliseconds) noexcept {
    return call("epoll_wait", [&] { return posix::epoll_wait(set, ready, most, milliseconds); });
  }
  static int epoll_pwait2(int set, epoll_event* ready, int most,
                          const timespec* timeout) noexcept {
    return call("epoll_pwait2", [&] { return posix::epoll_pwait2(set, ready, most, timeout); });
  }
  static void* mmap(void* where, std::size_t size, int protection, int flags, int fd,
                    off_t offset) noexcept {
    if (const int reason = fault_book::get().ask("mmap", {}, 0); reason != 0) {
      errno = reason;
      return MAP_FAILED;
    }
    void* const at = posix::mmap(where, size, protection, flags, fd, offset);
    // A fixed mapping replaces pages that are in the book already.
    if (at != MAP_FAILED && (flags & MAP_FIXED) == 0) fault_book::get().mapped(size);
    return at;
  }
  static ssize_t read_memory(void* into, const void* from, std::size_t size) noexcept {
    return call("read_memory", [&] { return posix::read_memory(into, from, size); });
  }
  static int munmap(void* at, std::size_t size) noexcept {
    const int reason = fault_book::get().ask("munmap", {}, 0);
    const int returned = posix::munmap(at, size);
    if (returned == 0) fault_book::get().unmapped(size);
    return reason == 0 ? returned : refuse<int>(reason);
  }
  static int mprotect(void* at, std::size_t size, int protection) noexcept {
    return call("mprotect", [&] { return posix::mprotect(at, size, protection); });
  }
  static int madvise(void* at, std::size_t size, int advice) noexcept {
    return call("madvise", [&] { return posix::madvise(at, size, advice); });
  }
  static int memfd_create(const char* name, unsigned flags) noexcept {
    return made("memfd_create", {}, [&] { return posix::memfd_create(name, flags); });
  }
  static int socket(int family, int type, int protocol) noexcept {
    return made("socket", {}, [&] { return posix::socket(family, type, protocol); });
  }
  static int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
    return call("bind", [&] { return posix::bind(fd, address, size); });
  }
  static int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept {
    return call("getsockname", [&] { return posix::getsockname(fd, address, size); });
  }
  static ssize_t sendto(int fd, const void* data, std::size_t size, int flags, const sockaddr* to,
                        socklen_t to_size) noexcept {
    return call("sendto", [&] { return posix::sendto(fd, data, size, flags, to, to_size); });
  }
  static ssize_t sendmsg(int fd, const msghdr* message, int flags) noexcept {
    return call("sendmsg", [&] { return posix::sendmsg(fd, message, flags); });
  }
  static ssize_t recvfrom(int fd, void* into, std::size_t size, int flags, sockaddr* from,
                          socklen_t* from_size) noexcept {
    return call("recvfrom",
                [&] { return posix::recvfrom(fd, into, size, flags, from, from_size); });
  }
  static ssize_t recvmsg(int fd, msghdr* message, int flags) noexcept {
    const ssize_t got = call("recvmsg", [&] { return posix::recvmsg(fd, message, flags); });
    if (got >= 0) book_descriptors(*message);
    return got;
  }
  static int setsockopt(int fd, int level, int name, const void* value, socklen_t size) noexcept {
    return call("setsockopt", [&] { return posix::setsockopt(fd, level, name, value, size); });
  }
  static int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept {
    return call("getsockopt", [&] { return posix::getsockopt(fd, level, name, value, size); });
  }
  static int setns(int fd, int kind) noexcept {
    return call("setns", [&] { return posix::setns(fd, kind); });
  }
  static int uname(utsname* into) noexcept {
    return call("uname", [&] { return posix::uname(into); });
  }
  static pid_t getpid() noexcept { return posix::getpid(); }  // these two cannot fail
  static int pthread_create(pthread_t* made, const pthread_attr_t* attributes, void* (*run)(void*),
                            void* argument) noexcept {
    const int reason = fault_book::get().ask("pthread_create", {}, 0);
    return reason != 0 ? reason : posix::pthread_create(made, attributes, run, argument);
  }
  static pid_t gettid() noexcept { return posix::gettid(); }
  static int sched_setaffinity(pid_t thread, std::size_t size, const cpu_set_t* cpus) noexcept {
    return call("sched_setaffinity", [&] { return posix::sched_setaffinity(thread, size, cpus); });
  }
  static int sched_setscheduler(pid_t thread, int policy, const sched_param* how) noexcept {
    return call("sched_setscheduler",
                [&] { return posix::sched_setscheduler(thread, policy, how); });
  }
  static int sched_getaffinity(pid_t thread, std::size_t size, cpu_set_t* cpus) noexcept {
    return call("sched_getaffinity", [&] { return posix::sched_getaffinity(thread, size, cpus); });
  }
  static int io_uring_setup(unsigned entries, void* parameters) noexcept {
    return made("io_uring_setup", {}, [&] { return posix::io_uring_setup(entries, parameters); });
  }
  static int capget(void* header, void* data) noexcept {
    return call("capget", [&] { return posix::capget(header, data); });
  }

 private:
  template <class T>
  static T refuse(int reason) noexcept {
    errno = reason;
    return T{-1};
  }
  template <class Call>
  static std::invoke_result_t<Call&> call(std::string_view name, Call&& real,
                                          std::string detail = {},
                                          unsigned long request = 0) noexcept {
    const int reason = fault_book::get().ask(name, std::move(detail), request);
    return reason == 0 ? real() : refuse<std::invoke_result_t<Call&>>(reason);
  }
  template <class Call>
  static int made(std::string_view name, std::string detail, Call&& real) noexcept {
    return fault_book::get().opened(call(name, real, std::move(detail)));
  }
  // Those that came with a message.
  static void book_descriptors(msghdr& message) {
    for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
      if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
      std::vector<int> came((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      std::memcpy(came.data(), CMSG_DATA(head), came.size() * sizeof(int));
      for (const int each : came) fault_book::get().opened(each);
    }
  }
  static std::string hex(unsigned long request) {
    char text[24];
    std::snprintf(text, sizeof text, " %lx", request);
    return text;
  }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_FAULTY_SYS_HPP
