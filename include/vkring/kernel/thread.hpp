// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_THREAD_HPP
#define VKRING_KERNEL_THREAD_HPP

// Threads that the kernel made on behalf of this process: which they are, where and how they run.

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>

namespace vkring::inline v0 {

/// A scheduler class of Linux, and the priority within it: see sched(7).
struct thread_schedule {
  int policy = SCHED_OTHER;  ///< SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO or SCHED_RR
  int priority = 0;          ///< 1 to 99 with SCHED_FIFO and SCHED_RR, else 0
};

namespace detail {

// The entries of a folder of /proc whose names are numbers.
template <class Sys>
result<std::vector<pid_t>> numbered_entries(const std::string& folder) {
  struct entry_head {  // struct linux_dirent64, without its name
    std::uint64_t inode;
    std::int64_t offset;
    std::uint16_t bytes;
    std::uint8_t type;
  };
  constexpr std::size_t name_at = 19;  // behind `type`
  auto opened = basic_fd<Sys>::open(folder, O_RDONLY | O_DIRECTORY);
  if (!opened) return fail(std::move(opened.error()));
  std::vector<pid_t> found;
  std::array<char, 8192> block;
  for (;;) {
    const auto got =
        sys_result(Sys::getdents64(opened->get(), block.data(), block.size()), "getdents64", folder);
    if (!got) return fail(got.error());
    if (*got == 0) return found;
    const auto end = static_cast<std::size_t>(*got);
    for (std::size_t at = 0; at + name_at < end;) {
      entry_head head;
      std::memcpy(&head, block.data() + at, name_at);
      const char* const name = block.data() + at + name_at;
      pid_t number = 0;
      const auto read = std::from_chars(name, block.data() + end, number);
      if (read.ec == std::errc{} && *read.ptr == '\0') found.push_back(number);
      at += head.bytes;
    }
  }
}

// The threads of this process. While one ends, the kernel passes over others that it would list after
// it, and a thread that ends may be held up for as long as its (virtual) CPU is. So a list is right when
// it is as long as the kernel says that it is (its links, and two), before and after.
template <class Sys>
result<std::vector<pid_t>> own_threads() {
  const char* const folder = "/proc/self/task";
  const auto count = [&]() -> std::size_t {
    struct ::stat about {};
    return Sys::stat(folder, &about) == 0 ? about.st_nlink - 2 : 0;
  };
  constexpr int looks = 100;  // in a process whose threads come and go all the time
  for (int i = 0;; ++i) {
    const std::size_t before = count();
    auto found = numbered_entries<Sys>(folder);
    if (!found || i == looks || (found->size() == before && before == count())) return found;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Whether the thread at `folder` is called so; not if it has gone.
template <class Sys>
bool is_called(const std::string& folder, std::string_view prefix) {
  auto opened = basic_fd<Sys>::open(folder + "/comm", O_RDONLY);
  if (!opened) return false;
  std::array<char, 32> text{};
  const auto got =
      retry_interrupted([&] { return Sys::read(opened->get(), text.data(), text.size()); });
  return got > 0 &&
         std::string_view(text.data(), static_cast<std::size_t>(got)).starts_with(prefix);
}

}  // namespace detail

/// The threads that serve vhost devices, in ascending order: those of this process, which is where
/// Linux 6.4 and newer put them; or all kernel threads of that name, where older ones do, and newer
/// ones that are asked to. The list before and after SET_OWNER tells which one belongs to a device.
/// Errors: what opening and reading /proc returns. Allocation: the list.
template <class Sys = posix>
[[nodiscard]] result<std::vector<pid_t>> vhost_threads(bool of_kernel) {
  const std::string folder = of_kernel ? "/proc" : "/proc/self/task";
  auto all = of_kernel ? detail::numbered_entries<Sys>(folder) : detail::own_threads<Sys>();
  if (!all) return all;
  std::erase_if(*all, [&](pid_t each) {
    return !detail::is_called<Sys>(folder + '/' + std::to_string(each), "vhost-");
  });
  std::sort(all->begin(), all->end());
  return all;
}

/// Lets a thread run on one CPU only. Errors: EINVAL when this process may not use that CPU, EPERM
/// without CAP_SYS_NICE for a thread of the kernel, ESRCH.
template <class Sys = posix>
result<void> pin_thread(pid_t thread, int cpu) {
  ::cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(cpu), &cpus);
  const auto hint = [](int reason) -> std::string_view {
    if (reason == EINVAL) return "needs a CPU that exists and is online";
    return reason == EPERM ? "needs CAP_SYS_NICE" : "";
  };
  auto done = sys_result(Sys::sched_setaffinity(thread, sizeof cpus, &cpus), "sched_setaffinity",
                         "thread " + std::to_string(thread) + " on CPU " + std::to_string(cpu),
                         hint);
  if (!done) return fail(std::move(done.error()));
  return {};
}

/// Sets the scheduler class of a thread. Errors: EINVAL for what is no class or no priority of it,
/// EPERM without CAP_SYS_NICE, ESRCH.
template <class Sys = posix>
result<void> schedule_thread(pid_t thread, const thread_schedule& how) {
  ::sched_param parameter{};
  parameter.sched_priority = how.priority;
  const auto hint = [](int reason) -> std::string_view {
    if (reason == EINVAL) return "priority 1 to 99 with SCHED_FIFO and SCHED_RR, 0 with the others";
    return reason == EPERM ? "needs CAP_SYS_NICE" : "";
  };
  auto done = sys_result(Sys::sched_setscheduler(thread, how.policy, &parameter),
                         "sched_setscheduler", "thread " + std::to_string(thread), hint);
  if (!done) return fail(std::move(done.error()));
  return {};
}

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_THREAD_HPP
