// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_KNOWN_CALLS_HPP
#define VKRING_TESTS_SUPPORT_KNOWN_CALLS_HPP

// How each system call of the library may fail, for the tests that refuse them one by one.

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "vkring/kernel/tun_abi.hpp"
#include "vkring/kernel/vhost_abi.hpp"

namespace vkring::test {

/// What a call is named in errors, and how it may fail.
struct known_call {
  std::string operation;
  std::vector<int> reasons;
};

inline std::string ioctl_text(const char* kind, unsigned long request) {
  char text[40];
  std::snprintf(text, sizeof text, "%s %lx", kind, request);
  return text;
}

inline std::string fcntl_text(int command) { return "fcntl " + std::to_string(command); }

/// What is known of a call that stands in a `fault_book`; null if nothing is.
inline const known_call* find_call(const std::string& call) {
  using namespace tun_abi;
  static const std::map<std::string, known_call> calls = {
      {"open /dev/net/tun",
       {"open", {ENOENT, EACCES, EPERM, ENODEV, ENXIO, EMFILE, ENFILE, ENOMEM}}},
      {"pthread_create", {"pthread_create", {EAGAIN, ENOMEM}}},
      {"setns", {"setns", {EPERM, EINVAL, ENOMEM}}},
      {"socket", {"socket", {EMFILE, ENFILE, ENOMEM, EACCES}}},
      {"bind", {"bind", {ENOMEM, EPERM}}},
      {"sendto", {"send netlink", {ENOBUFS, ENOMEM, EPERM}}},
      {"recvfrom", {"receive netlink", {ENOBUFS, ENOMEM}}},
      {"mmap", {"mmap", {ENOMEM, EAGAIN, EPERM}}},
      {"madvise", {"MADV_DONTFORK", {EINVAL, ENOMEM}}},
      {"eventfd", {"eventfd", {EMFILE, ENFILE, ENOMEM}}},
      {"epoll_create", {"epoll_create1", {EMFILE, ENFILE, ENOMEM}}},
      {"epoll_ctl", {"epoll_ctl", {ENOMEM, ENOSPC}}},
      {fcntl_text(F_GETFL), {"fcntl(O_NONBLOCK)", {EBADF, EPERM}}},
      {fcntl_text(F_SETFL), {"fcntl(O_NONBLOCK)", {EBADF, EPERM}}},
      {fcntl_text(F_DUPFD_CLOEXEC), {"fcntl(F_DUPFD_CLOEXEC)", {EMFILE, EBADF}}},
      {fcntl_text(F_GET_SEALS), {"F_GET_SEALS", {EINVAL, EBADF}}},
      {fcntl_text(F_ADD_SEALS), {"F_ADD_SEALS", {EPERM, EBUSY, EINVAL}}},
      {"memfd_create", {"memfd_create", {EMFILE, ENFILE, ENOMEM}}},
      {"ftruncate", {"ftruncate", {ENOSPC, ENOMEM, EPERM}}},
      {"read", {"read", {EIO, ENOMEM}}},  // of /proc/self/fdinfo
      {"sendmsg", {"sendmsg", {EPIPE, ENOBUFS, ENOMEM, ETOOMANYREFS, ECONNRESET, EAGAIN}}},
      {"recvmsg", {"recvmsg", {ENOMEM, ECONNRESET, EAGAIN}}},
      {ioctl_text("ioctl", tunsetiff),
       {"TUNSETIFF", {EPERM, EBUSY, EINVAL, E2BIG, ENOMEM, ENFILE, EEXIST}}},
      {ioctl_text("ioctl", tungetiff), {"TUNGETIFF", {EBADFD, EINVAL}}},
      {ioctl_text("ioctl", tunsetvnethdrsz), {"TUNSETVNETHDRSZ", {EINVAL, EBADFD}}},
      {ioctl_text("ioctl", tunsetvnetle), {"TUNSETVNETLE", {EINVAL, EBADFD}}},
      {ioctl_text("ioctl", tunsetsndbuf), {"TUNSETSNDBUF", {EINVAL, EBADFD}}},
      {ioctl_text("ioctl", siocgifindex), {"SIOCGIFINDEX", {ENODEV}}},
      {ioctl_text("ioctl", siocgifhwaddr), {"SIOCGIFHWADDR", {ENODEV, EBADFD}}},
      {ioctl_text("ioctl", siocsifhwaddr), {"SIOCSIFHWADDR", {EPERM, EBUSY, EADDRNOTAVAIL}}},
      {ioctl_text("ioctl_value", tunsetowner), {"TUNSETOWNER", {EINVAL, EBADFD}}},
      {ioctl_text("ioctl_value", tunsetgroup), {"TUNSETGROUP", {EINVAL, EBADFD}}},
      {ioctl_text("ioctl_value", tunsetpersist), {"TUNSETPERSIST", {EINVAL, EBADFD}}},
      {ioctl_text("ioctl_value", tunsetoffload), {"TUNSETOFFLOAD", {EBADFD, ENOMEM}}},
      {ioctl_text("ioctl_value", tungetdevnetns), {"TUNGETDEVNETNS", {EMFILE, ENOMEM, EBADFD}}},
  };
  using namespace vhost_abi;
  static const std::map<std::string, known_call> vhost_calls = {
      {"open /dev/vhost-net", {"open", {ENOENT, EACCES, EPERM, ENODEV, EMFILE, ENOMEM}}},
      {ioctl_text("ioctl", get_features), {"VHOST_GET_FEATURES", {EFAULT}}},
      {ioctl_text("ioctl", set_features), {"VHOST_SET_FEATURES", {EOPNOTSUPP, EFAULT}}},
      {ioctl_text("ioctl_value", set_owner), {"VHOST_SET_OWNER", {EBUSY, ENOMEM, EAGAIN}}},
      {ioctl_text("ioctl", set_mem_table), {"VHOST_SET_MEM_TABLE", {E2BIG, EFAULT, ENOMEM}}},
      {ioctl_text("ioctl", set_vring_num), {"VHOST_SET_VRING_NUM", {EBUSY, EINVAL}}},
      {ioctl_text("ioctl", set_vring_base), {"VHOST_SET_VRING_BASE", {EBUSY, EINVAL}}},
      {ioctl_text("ioctl", set_vring_addr), {"VHOST_SET_VRING_ADDR", {EINVAL, EFAULT}}},
      {ioctl_text("ioctl", set_vring_kick), {"VHOST_SET_VRING_KICK", {EBADF, EINVAL}}},
      {ioctl_text("ioctl", set_vring_call), {"VHOST_SET_VRING_CALL", {EBADF, EINVAL}}},
      {ioctl_text("ioctl", set_vring_err), {"VHOST_SET_VRING_ERR", {EBADF, EINVAL}}},
      {ioctl_text("ioctl", set_vring_busyloop_timeout),
       {"VHOST_SET_VRING_BUSYLOOP_TIMEOUT", {EINVAL, EFAULT}}},
      {ioctl_text("ioctl", set_fork_from_owner), {"VHOST_SET_FORK_FROM_OWNER", {EBUSY, EFAULT}}},
      {ioctl_text("ioctl", net_set_backend), {"VHOST_NET_SET_BACKEND", {EFAULT, EINVAL, ENOTSOCK}}},
      {"sched_setaffinity", {"sched_setaffinity", {EINVAL, EPERM, ESRCH}}},
      {"sched_setscheduler", {"sched_setscheduler", {EINVAL, EPERM, ESRCH}}},
  };
  if (const auto found = vhost_calls.find(call); found != vhost_calls.end()) return &found->second;
  static const known_call path{"open", {ENOENT, EACCES, EMFILE, ENFILE}};
  if (call.rfind("open /proc/", 0) == 0) return &path;
  const auto found = calls.find(call);
  return found == calls.end() ? nullptr : &found->second;
}

/// Calls whose failure changes nothing, or no more than what is negotiated.
inline bool may_fail(const std::string& call) {
  using namespace tun_abi;
  using namespace vhost_abi;
  // What tells how a kernel differs from others; it may not know these.
  if (call.rfind("open /sys/", 0) == 0 || call == "uname" ||
      call == ioctl_text("ioctl", get_features_array) ||
      call == ioctl_text("ioctl", get_fork_from_owner)) {
    return true;
  }
  // Asked of what may be no queue at all.
  if (call == ioctl_text("ioctl", tungetsndbuf)) return true;
  return call == "close" || call == "munmap" || call == "fstat" || call == "kcmp_file" ||
         call == "stat /proc/thread-self/ns/net" ||
         call == "setsockopt" || call == ioctl_text("ioctl", tunattachfilter) ||
         call == ioctl_text("ioctl", tundetachfilter) || call == "ioctl_value b703";
}

/// Calls that no signal ends.
inline bool never_interrupted(const std::string& call) {
  return call == "pthread_create" || call == "setns" || call == "socket" ||
         call == "fstat" || call == "memfd_create" || call.rfind("fcntl ", 0) == 0 ||
         call == "mmap" || call == "madvise" || call == "eventfd" || call == "epoll_create" ||
         call == "epoll_ctl" || call == "bind" || call == "kcmp_file" || call == "sched_setaffinity" ||
         call == "sched_setscheduler" || call == ioctl_text("ioctl_value", tun_abi::tungetdevnetns);
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_KNOWN_CALLS_HPP
