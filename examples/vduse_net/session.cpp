// SPDX-License-Identifier: BSD-3-Clause
#include "session.hpp"

#include <poll.h>

#include <array>
#include <cstdio>
#include <string_view>
#include <thread>
#include <vkring/kernel/sys.hpp>
#include <vkring/net/tun_offload.hpp>

#include "vdpa_bus.hpp"

namespace vduse_net {

using vkring::event_fd;
using vkring::fail;
using vkring::feature;
using vkring::feature_set;
using vkring::result;

namespace {

// Bits of the device status. Source: virtio 1.3 section 2.1.
constexpr std::uint8_t driver_ok = 4;
constexpr std::uint8_t features_ok = 8;

// What the driver takes from the TAP.
std::uint32_t tap_offloads(const feature_set& accepted) noexcept {
  constexpr std::pair<feature, std::uint32_t> pairs[] = {
      {feature::guest_csum, vkring::tun_offload::csum},
      {feature::guest_tso4, vkring::tun_offload::tso4},
      {feature::guest_tso6, vkring::tun_offload::tso6},
  };
  std::uint32_t bits = 0;
  for (const auto& [bit, offload] : pairs) {
    if (accepted.contains(bit)) bits |= offload;
  }
  return bits;
}

}  // namespace

result<std::unique_ptr<session>> session::open(const options& wanted) {
  auto tap = vkring::tap::open({.name = wanted.tap});
  if (!tap) return fail(std::move(tap.error()));
  auto events = queue_events::create();
  if (!events) return fail(std::move(events.error()));
  auto answered = event_fd::create();
  if (!answered) return fail(std::move(answered.error()));
  auto device = vduse_device::create(wanted.name, wanted.offered(), wanted.queue_size);
  if (!device) return fail(std::move(device.error()));
  return std::unique_ptr<session>(new session(wanted, std::move(*tap), std::move(*events),
                                              std::move(*answered), std::move(*device)));
}

result<void> session::run(int signals) {
  if (auto done = serve_while(attach); !done) return done;
  while (outcome_ && !serve(signals)) {
  }
  auto detached = serve_while(detach);
  return outcome_ ? detached : outcome_;
}

std::string session::summary() const {
  const auto line = [](std::string_view what, const vkring::counter& count) {
    return "  " + std::string(what) + ": " + std::to_string(count.value()) + '\n';
  };
  return options_.name + '\n' + line("frames from the driver", counted_.tx_frames) +
         line("frames to the driver", counted_.rx_frames) +
         line("dropped, refused by the other interface", counted_.tx_refused) +
         line("dropped, the other interface is down", counted_.tx_link_down) +
         line("dropped, other failures", counted_.tx_failed) +
         line("dropped, too long for the driver's buffers", counted_.rx_too_long) +
         line("calls", counted_.calls) + line("calls not wanted", counted_.calls_suppressed);
}

// Serves while the kernel does what it is told to, for which it needs our answers.
result<void> session::serve_while(result<void> (*command)(const std::string&)) {
  result<void> outcome;
  std::thread asking([&] {
    outcome = command(options_.name);
    answered_.signal();
  });
  while (!serve(answered_.fd())) {
  }
  asking.join();
  static_cast<void>(answered_.drain());
  return outcome;
}

// Sleeps until there is something to do, and does it. True: `end` is readable.
bool session::serve(int end) {
  const auto first = [&](const event_fd& kick) {
    return running_ && server_ == nullptr ? kick.fd() : -1;
  };
  std::array<pollfd, 7> set{{{end, POLLIN, 0},
                             {device_.fd(), POLLIN, 0},
                             {events_.rx_call.fd(), POLLIN, 0},
                             {events_.tx_call.fd(), POLLIN, 0},
                             {events_.trouble.fd(), POLLIN, 0},
                             {first(events_.rx_kick), POLLIN, 0},
                             {first(events_.tx_kick), POLLIN, 0}}};
  if (vkring::posix::ppoll(set.data(), set.size(), nullptr) < 0) return false;
  if (set[1].revents != 0) take_request();
  if (set[2].revents != 0) relay(events_.rx_call, queue::rx);
  if (set[3].revents != 0) relay(events_.tx_call, queue::tx);
  if (set[4].revents != 0) report_trouble();
  if ((set[5].revents | set[6].revents) != 0) start();
  return set[0].revents != 0;
}

void session::relay(const event_fd& from, queue to) noexcept {
  static_cast<void>(from.drain());
  // It fails for a driver that is not running, which waits for nothing.
  static_cast<void>(device_.call(to));
}

void session::take_request() {
  auto request = device_.next_request();
  if (!request) return end_with(std::move(request.error()));
  if (!*request) return;
  if (auto done = device_.answer(**request, accept(**request)); !done) {
    end_with(std::move(done.error()));
  }
}

bool session::accept(const vduse_dev_request& request) {
  switch (request.type) {
    case VDUSE_SET_STATUS:
      return set_status(request.s.status);
    case VDUSE_UPDATE_IOTLB:
      return true;  // nothing is remembered of mappings that were not looked up
    default:
      return false;  // where a ring is: only for drivers that move to another device
  }
}

bool session::set_status(std::uint8_t status) {
  if (status == 0) {
    stop();
    return true;
  }
  if ((status & driver_ok) != 0) return running_ || run_driver();
  return (status & features_ok) == 0 || agree();
}

// The TAP's offloads are set now, as by the next step the driver holds the lock that this takes.
bool session::agree() {
  const auto accepted = device_.accepted();
  if (!accepted || !options_.offered().contains(*accepted) ||
      !accepted->contains(feature::version_1) || !tap_.set_offloads(tap_offloads(*accepted))) {
    return false;
  }
  agreed_ = *accepted;
  return true;
}

bool session::run_driver() {
  // A reset takes the kicks away, and there is one before.
  running_ = agreed_ && device_.set_kick(queue::rx, events_.rx_kick) &&
             device_.set_kick(queue::tx, events_.tx_kick);
  if (!running_) return false;
  std::printf("%s: a driver took %s\n", options_.name.c_str(), feature_text(*agreed_).c_str());
  std::fflush(stdout);
  return true;
}

// At the first kick, as the kernel knows of no buffers before.
void session::start() {
  if (!running_) return;  // it has just been reset
  auto started = server::start(device_, *agreed_, tap_, events_, counted_);
  if (!started) return end_with(std::move(started.error()));
  server_ = std::move(*started);
}

void session::stop() {
  if (server_ != nullptr) {
    server_->stop();
    counted_ = server_->counters();
  }
  server_.reset();
  running_ = false;
  agreed_.reset();
  static_cast<void>(events_.rx_kick.drain());
  static_cast<void>(events_.tx_kick.drain());
}

// The driver is served no more, and still gets its answers.
void session::end_with(vkring::error reason) {
  stop();
  if (outcome_) outcome_ = fail(std::move(reason));
}

void session::report_trouble() const {
  static_cast<void>(events_.trouble.drain());
  if (server_ == nullptr) return;
  std::fprintf(stderr, "%s: %s", options_.name.c_str(), server_->troubles().c_str());
}

}  // namespace vduse_net
