// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_SESSION_HPP
#define VDUSE_NET_SESSION_HPP

// The device from its creation to its end.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/net/features.hpp>
#include <vkring/worker/counters.hpp>

#include "options.hpp"
#include "server.hpp"
#include "vduse_device.hpp"

namespace vduse_net {

/// Answers the driver, and relays its calls. Its kicks go to the worker, but for the first one.
///
/// Thread-safety: one thread.
class session {
 public:
  /// Makes the device and its TAP. Errors: those of `vduse_device::create` and `tap::open`.
  static vkring::result<std::unique_ptr<session>> open(const options& wanted);

  /// Puts the device on the vdpa bus, serves the driver that comes until `signals` is readable, and
  /// takes it away again. Errors: those of `attach` and `detach`, and whatever keeps it from
  /// serving the driver, which ends it, too.
  vkring::result<void> run(int signals);

  /// What was counted, for people.
  [[nodiscard]] std::string summary() const;

 private:
  session(const options& wanted, vkring::tap tap, queue_events events, vkring::event_fd answered,
          vduse_device device)
      : options_(wanted),
        tap_(std::move(tap)),
        events_(std::move(events)),
        answered_(std::move(answered)),
        device_(std::move(device)) {}

  vkring::result<void> serve_while(vkring::result<void> (*command)(const std::string&));
  bool serve(int end);
  void relay(const vkring::event_fd& from, queue to) noexcept;
  void take_request();
  bool accept(const vduse_dev_request& request);
  bool set_status(std::uint8_t status);
  bool agree();
  bool run_driver();
  void start();
  void stop();
  void end_with(vkring::error reason);
  void report_trouble() const;

  options options_;
  vkring::tap tap_;
  queue_events events_;
  vkring::event_fd answered_;  // by the kernel, to `attach` or `detach`
  vduse_device device_;
  vkring::result<void> outcome_;
  std::optional<vkring::feature_set> agreed_;  // from FEATURES_OK to a reset
  bool running_ = false;                       // from DRIVER_OK to a reset
  vkring::worker_counters counted_;            // by servers before this one
  std::unique_ptr<server> server_;             // from the first kick to a reset
};

}  // namespace vduse_net

#endif  // VDUSE_NET_SESSION_HPP
