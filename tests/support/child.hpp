// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_CHILD_HPP
#define VKRING_TESTS_SUPPORT_CHILD_HPP

// Work in a forked child, which may change user or be killed without harm to the test.

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include "vkring/kernel/fd.hpp"

namespace vkring::test {

/// A forked child that runs `work(say)`, where `say(text)` sends text to the parent, and ends.
class child {
 public:
  template <class Work>
  explicit child(Work&& work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      work([&](std::string_view text) {
        if (::write(ends[1], text.data(), text.size()) < 0) ::_exit(1);
      });
      ::_exit(0);
    }
    ::close(ends[1]);
    from_ = fd(ends[0]);
  }
  child(const child&) = delete;
  child& operator=(const child&) = delete;
  ~child() { kill(); }

  /// Waits for some text; empty at the end.
  std::string hear() {
    char text[1024];
    const auto got = ::read(from_.get(), text, sizeof text);
    return {text, got > 0 ? static_cast<std::size_t>(got) : 0};
  }
  /// All that it says until it ends.
  std::string hear_all() {
    std::string all;
    for (std::string part; !(part = hear()).empty();) all += part;
    return all;
  }
  /// SIGKILL, and waits until nothing is left of it.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    static_cast<void>(wait());
  }
  /// Waits until it ends; its exit status as of waitpid.
  int wait() {
    int status = -1;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_ = -1;
  fd from_;
};

/// Gives this process a /dev/net/tun of its own with that mode: machines differ in theirs.
inline bool own_tun_node(mode_t mode) {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", "/dev/net", "tmpfs", 0, "mode=0755") == 0 &&
         ::mknod("/dev/net/tun", S_IFCHR | 0600, ::makedev(10, 200)) == 0 &&
         ::chmod("/dev/net/tun", mode) == 0;
}

/// Makes this process one of that user, without any capability.
inline bool become(uid_t user, gid_t group) {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(group, group, group) == 0 &&
         ::setresuid(user, user, user) == 0;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_CHILD_HPP
