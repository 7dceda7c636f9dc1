// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_SESSION_HPP
#define VKRING_FWD_SESSION_HPP

// One run: the ports, the lanes between them, the threads, and what was counted.

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vkring/core/error.hpp>

#include "forwarder.hpp"
#include "lane.hpp"
#include "options.hpp"
#include "port.hpp"
#include "statistics.hpp"

namespace fwd {

/// Thread-safety: one thread.
class session {
 public:
  /// Opens all ports. Errors: those of `open_port`, and values that do not fit what was opened.
  static vkring::result<std::unique_ptr<session>> open(const options& wanted);

  /// What was opened and negotiated, for people.
  [[nodiscard]] std::string about();

  /// Starts to forward. Errors: those of `forwarder::start`.
  vkring::result<void> start();
  /// Ends it: what has arrived is worked off, and given to the kernel if it takes it.
  void stop();

  /// The name of a port whose interface was deleted; empty if all are there.
  [[nodiscard]] std::string_view gone();
  /// The counters now.
  [[nodiscard]] report counters();
  /// The rings, for people.
  [[nodiscard]] std::string inspect();

 private:
  // Where the losses of a lane are reported: at the queue that it sends to.
  struct route {
    std::size_t port;
    std::size_t queue;
    lane traffic;

    route(std::size_t to_port, std::size_t to_queue, const lane_plan& plan)
        : port(to_port), queue(to_queue), traffic(plan) {}
  };

  explicit session(const options& wanted) : options_(wanted) {}

  vkring::result<void> open_ports();
  vkring::result<void> check_frame_size();
  void make_routes();

  options options_;
  std::shared_ptr<vkring::buffer_pool> pool_;
  std::deque<port> ports_;  // stay where they are
  std::deque<route> routes_;
  std::unique_ptr<forwarder> forwarder_;
  std::chrono::steady_clock::time_point started_{};
};

}  // namespace fwd

#endif  // VKRING_FWD_SESSION_HPP
