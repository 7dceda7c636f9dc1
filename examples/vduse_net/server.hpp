// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_SERVER_HPP
#define VDUSE_NET_SERVER_HPP

// What serves a driver from its first kick to its reset.

#include <memory>
#include <string>
#include <variant>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/net/features.hpp>
#include <vkring/ring/packed.hpp>
#include <vkring/ring/split.hpp>
#include <vkring/worker/counters.hpp>
#include <vkring/worker/tap_worker.hpp>

#include "driver_memory.hpp"
#include "vduse_device.hpp"

namespace vduse_net {

/// The eventfds of one queue pair.
struct queue_events {
  vkring::event_fd rx_kick;
  vkring::event_fd tx_kick;
  vkring::event_fd rx_call;
  vkring::event_fd tx_call;
  vkring::event_fd trouble;  ///< `server::troubles` has news

  static vkring::result<queue_events> create();
};

/// vkring's worker between the driver's rings and a TAP, whichever layout the rings have.
///
/// Thread-safety: one thread. All that it is made of outlives it.
class server {
 public:
  /// Maps what the driver shares, and starts. `before` is what was counted so far.
  /// Errors: those of `driver_memory` and of the worker, and EPROTO for a driver that makes no
  /// sense.
  static vkring::result<std::unique_ptr<server>> start(const vduse_device& device,
                                                       const vkring::feature_set& accepted,
                                                       const vkring::tap& tap,
                                                       const queue_events& events,
                                                       const vkring::worker_counters& before);

  /// Ends it. Afterwards nobody touches the rings.
  void stop();

  [[nodiscard]] const vkring::worker_counters& counters() const;
  /// What has gone wrong so far, a line each.
  [[nodiscard]] std::string troubles() const;

 private:
  explicit server(const vduse_device& device) : memory_(device) {}

  template <class Layout>
  vkring::result<void> start(const vduse_device& device, vkring::worker_queue<Layout> served);

  driver_memory memory_;
  std::variant<std::unique_ptr<vkring::basic_tap_worker<vkring::split>>,
               std::unique_ptr<vkring::basic_tap_worker<vkring::packed>>>
      worker_;  // stops before its memory goes
};

}  // namespace vduse_net

#endif  // VDUSE_NET_SERVER_HPP
