// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_NETNS_HPP
#define VKRING_KERNEL_NETNS_HPP

// Network namespaces: a handle on one, and work done inside it without moving the caller.

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

namespace detail {

inline constexpr unsigned long ns_get_nstype = 0xb703;  // NS_GET_NSTYPE: answers with a CLONE_ flag

template <class T>
struct in_netns {
  using type = result<T>;
};
template <class T>
struct in_netns<result<T>> {
  using type = result<T>;
};

inline std::string_view setns_hint(int reason) {
  if (reason == EPERM) return "needs CAP_SYS_ADMIN, here and in the namespace's user namespace";
  if (reason == EINVAL) return "the descriptor is not that of a network namespace";
  return {};
}

}  // namespace detail

/// Calls `work()` inside the network namespace behind `netns_fd` and waits for what it returns.
///
/// A short-lived thread enters the namespace, so the caller and every other thread stay where they
/// are. Descriptors that `work` opens (a socket, `/dev/net/tun`) belong to the namespace for good
/// and are usable from any thread. Returns what `work` returns as a `result`: one that it makes
/// itself is handed on as it is. `work` must not throw.
/// Errors: setns (EPERM, EINVAL, EBADF), pthread_create; `work` has not run then.
template <class Sys, class Work>
[[nodiscard]] auto run_in_netns(int netns_fd, Work&& work) ->
    typename detail::in_netns<std::invoke_result_t<Work&>>::type {
  using returned = std::invoke_result_t<Work&>;
  using answer = typename detail::in_netns<returned>::type;
  struct job {
    int netns_fd;
    std::remove_reference_t<Work>& work;
    std::optional<answer> done;

    static void* run(void* self_pointer) noexcept {
      auto& self = *static_cast<job*>(self_pointer);
      const auto entered = sys_result(Sys::setns(self.netns_fd, CLONE_NEWNET), "setns",
                                      "fd " + std::to_string(self.netns_fd), detail::setns_hint);
      if (!entered) {
        self.done.emplace(fail(entered.error()));
      } else if constexpr (std::is_void_v<returned>) {
        self.work();
        self.done.emplace();
      } else {
        self.done.emplace(self.work());
      }
      return nullptr;
    }
  } task{netns_fd, work, std::nullopt};

  pthread_t thread{};
  if (const int reason = Sys::pthread_create(&thread, nullptr, job::run, &task); reason != 0) {
    return fail(reason, "pthread_create", "for setns", "raise the limits on threads (ulimit -u)");
  }
  ::pthread_join(thread, nullptr);
  return *std::move(task.done);
}

/// A network namespace held open: it lives at least as long as this handle.
///
/// Move-only. Thread-safety: `run` from any thread, also several at once.
template <class Sys = posix>
class basic_netns {
 public:
  /// Opens a namespace by its name under /run/netns (what `ip netns add` makes), or, when `where`
  /// contains a slash, by its path, such as `/proc/PID/ns/net`.
  /// Errors: what open returns; EINVAL for an empty name and for a file that is no network
  /// namespace.
  static result<basic_netns> open(std::string_view where) {
    if (where.empty() || where == "." || where == "..") {
      return fail(EINVAL, "netns", where, "needs a name under /run/netns, or a path");
    }
    if (where.find('/') != where.npos) return open_path(std::string(where), {});
    return open_path("/run/netns/" + std::string(where),
                     "`ip netns list` shows the names, `ip netns add` makes one");
  }

  /// Opens the network namespace that a process is in.
  /// Errors: ENOENT when there is no such process, EACCES when it may not be inspected.
  static result<basic_netns> of_process(pid_t process) {
    return open_path("/proc/" + std::to_string(process) + "/ns/net",
                     "needs a running process, of this user or with CAP_SYS_PTRACE");
  }

  /// Opens the namespace that the calling thread is in.
  static result<basic_netns> current() {
    return open_path("/proc/thread-self/ns/net", "needs /proc mounted");
  }

  /// Takes over a descriptor that somebody else opened.
  /// Errors: EINVAL when it is not that of a network namespace; the descriptor is closed then.
  static result<basic_netns> from_fd(basic_fd<Sys> opened) {
    const std::string object = "fd " + std::to_string(opened.get());
    return checked(std::move(opened), object);
  }

  /// For `setns`, or to be passed on; it stays this object's.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// `run_in_netns` with this namespace.
  template <class Work>
  [[nodiscard]] auto run(Work&& work) const {
    return run_in_netns<Sys>(fd_.get(), std::forward<Work>(work));
  }

 private:
  explicit basic_netns(basic_fd<Sys> opened) noexcept : fd_(std::move(opened)) {}

  static result<basic_netns> open_path(const std::string& path, std::string_view missing_hint) {
    // Whatever it is, opening it does not wait.
    auto opened = basic_fd<Sys>::open(path, O_RDONLY | O_NONBLOCK, [missing_hint](int reason) {
      return reason == ENOENT || reason == EACCES ? missing_hint : std::string_view{};
    });
    if (!opened) return fail(std::move(opened.error()));
    return checked(std::move(*opened), path);
  }

  // A name that `ip netns` left behind is a plain file, and setns would only say EINVAL.
  static result<basic_netns> checked(basic_fd<Sys> opened, std::string_view object) {
    if (Sys::ioctl_value(opened.get(), detail::ns_get_nstype, 0) != CLONE_NEWNET) {
      return fail(EINVAL, "netns", object, "not a network namespace");
    }
    return basic_netns(std::move(opened));
  }

  basic_fd<Sys> fd_;
};

using netns = basic_netns<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_NETNS_HPP
