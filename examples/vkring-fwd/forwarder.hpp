// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_FORWARDER_HPP
#define VKRING_FWD_FORWARDER_HPP

// The threads that serve the lanes: how they wait, how they are parked and ended.

#include <poll.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>

#include "lane.hpp"
#include "options.hpp"

namespace fwd {

/// Lanes, spread over threads.
///
/// Thread-safety: one thread controls it.
class forwarder {
 public:
  /// Starts one thread on each of `cores`, or one that is not pinned. `groups[i]` are the lanes that
  /// must stay on one thread; groups go to the threads in turn. The lanes outlive the forwarder.
  /// Errors: eventfd.
  static vkring::result<std::unique_ptr<forwarder>> start(std::vector<std::vector<lane*>> groups,
                                                          const std::vector<int>& cores,
                                                          wait_mode wait);
  forwarder(const forwarder&) = delete;
  forwarder& operator=(const forwarder&) = delete;
  ~forwarder() { stop(); }

  /// Calls `work()` while no thread touches its lanes.
  template <class Work>
  void while_parked(Work&& work) {
    set_phase(phase::parked);
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return parked_ == threads_.size(); });
    }
    work();
    set_phase(phase::running);
  }

  /// Lets every lane work off what it holds and what has arrived, within a moment, and ends the
  /// threads.
  void stop();

 private:
  enum class phase : std::uint8_t { running, parked, stopping };
  struct thread {
    std::vector<lane*> lanes;
    std::vector<pollfd> set;  // of the lanes, and the wake event
    vkring::event_fd wake;
    std::thread runner;
  };
  using clock = lane::clock;

  explicit forwarder(wait_mode wait) : wait_(wait) {}

  void set_phase(phase next);
  void run(thread& self);
  [[nodiscard]] static bool knows_when(const thread& self);
  void park();
  void sleep(thread& self);
  void end(thread& self);

  wait_mode wait_;
  std::atomic<phase> phase_{phase::running};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t parked_ = 0;  // threads
  std::vector<std::unique_ptr<thread>> threads_;
};

}  // namespace fwd

#endif  // VKRING_FWD_FORWARDER_HPP
