// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_QUEUE_CLAIM_HPP
#define VKRING_KERNEL_QUEUE_CLAIM_HPP

// Which queues of TAPs this process serves: the kernel lets any number of devices share one, and each
// frame then comes out of either.

#include <sys/types.h>

#include <cerrno>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/sys.hpp>

namespace vkring::inline v0 {

/// Holds a queue for one device, for as long as it lives.
///
/// Sees through copies of a descriptor (dup, SCM_RIGHTS), by kcmp(2): that needs a kernel with
/// CONFIG_KCMP, which distributions build, and a sandbox that lets it pass; elsewhere every queue
/// counts as one of its own. Nothing tells of a queue that another process serves.
/// Thread-safety: any. Allocation: `make`. Move-only.
template <class Sys = posix>
class basic_queue_claim {
 public:
  /// Claims the queue that an open descriptor stands for; the descriptor stays open meanwhile.
  /// Errors: EBUSY when it is claimed already.
  static result<basic_queue_claim> make(int queue, std::string_view name) {
    const std::lock_guard guard(mutex());
    const pid_t self = Sys::getpid();
    for (const claim& each : claimed()) {
      if (each.process != self) continue;
      if (each.queue != queue && Sys::kcmp_file(each.queue, queue) != 0) continue;
      return fail(EBUSY, "open", name,
                  "a device of this process serves that queue: open one for each queue pair");
    }
    claimed().push_back({queue, self});
    return basic_queue_claim(queue);
  }

  /// Leaves `other` without a claim.
  basic_queue_claim(basic_queue_claim&& other) noexcept : queue_(std::exchange(other.queue_, -1)) {}
  basic_queue_claim& operator=(basic_queue_claim&&) = delete;
  ~basic_queue_claim() {
    if (queue_ < 0) return;
    const std::lock_guard guard(mutex());
    std::erase(claimed(), claim{queue_, Sys::getpid()});
  }

 private:
  explicit basic_queue_claim(int queue) noexcept : queue_(queue) {}

  // A forked child starts with its parent's, which are none of its own.
  struct claim {
    int queue;
    pid_t process;
    friend bool operator==(const claim&, const claim&) = default;
  };

  static std::mutex& mutex() noexcept {
    static std::mutex it;
    return it;
  }
  static std::vector<claim>& claimed() noexcept {
    static std::vector<claim> all;
    return all;
  }

  int queue_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_QUEUE_CLAIM_HPP
