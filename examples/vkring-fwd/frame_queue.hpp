// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_FRAME_QUEUE_HPP
#define VKRING_FWD_FRAME_QUEUE_HPP

// One queue pair of a port, whatever kind of port it is: what lanes move frames between.

#include <poll.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vkring/core/counter.hpp>
#include <vkring/device.hpp>

#include "packet_socket.hpp"

namespace fwd {

/// Whether a thread may sleep until an entry of its poll set wakes it.
enum class readiness : std::uint8_t {
  sleep,    ///< yes
  pending,  ///< no: there is something to do already
  starved   ///< a moment only: there are no buffers, and nobody tells when there are
};

/// `receive`, `send` and `allocate` are those of the library's queues. `reclaim` gives buffers back
/// that the kernel has read. `await_frames` and `await_room` make `entry` one to poll for; `woken`
/// follows after the poll. The receiving and the sending side may belong to different threads.
template <class Queue>
concept frame_queue = requires(Queue& queue, std::span<vkring::frame> frames, pollfd& entry) {
  { queue.receive(frames) } -> std::same_as<std::size_t>;
  { queue.send(frames) } -> std::same_as<std::size_t>;
  { queue.allocate(frames) } -> std::same_as<std::size_t>;
  queue.recycle(frames);
  queue.reclaim();
  { queue.await_frames(entry) } -> std::same_as<readiness>;
  { queue.await_room(entry) } -> std::same_as<readiness>;
  queue.woken_by_frames(entry);
  queue.woken_by_room(entry);
};

/// The calls of the device that threads were woken by.
struct call_counters {
  vkring::counter rx;
  vkring::counter tx;
};

/// A queue pair of a TAP port.
template <class Device>
class ring_queue {
 public:
  ring_queue(Device& device, std::size_t pair, call_counters& calls)
      : device_(&device), pair_(pair), calls_(&calls) {}

  std::size_t receive(std::span<vkring::frame> frames) noexcept { return rx().receive(frames); }
  std::size_t send(std::span<vkring::frame> frames) noexcept { return tx().send(frames); }
  std::size_t allocate(std::span<vkring::frame> frames) noexcept { return tx().allocate(frames); }
  void recycle(std::span<vkring::frame> frames) noexcept { rx().recycle(frames); }
  void reclaim() noexcept { tx().reclaim(); }

  readiness await_frames(pollfd& entry) noexcept {
    entry = {device_->rx_call(pair_).fd(), POLLIN, 0};
    if (rx().enable_call() == vkring::notification::more_pending) return readiness::pending;
    return device_->starved(pair_) ? readiness::starved : readiness::sleep;
  }
  readiness await_room(pollfd& entry) noexcept {
    entry = {device_->tx_call(pair_).fd(), POLLIN, 0};
    return tx().enable_call() == vkring::notification::more_pending ? readiness::pending
                                                                    : readiness::sleep;
  }
  void woken_by_frames(const pollfd& entry) noexcept {
    rx().disable_call();
    if (entry.revents != 0) calls_->rx.add(device_->rx_call(pair_).drain());
  }
  void woken_by_room(const pollfd& entry) noexcept {
    tx().disable_call();
    if (entry.revents != 0) calls_->tx.add(device_->tx_call(pair_).drain());
  }

 private:
  [[nodiscard]] auto& rx() noexcept { return device_->rx(pair_); }
  [[nodiscard]] auto& tx() noexcept { return device_->tx(pair_); }

  Device* device_;
  std::size_t pair_;
  call_counters* calls_;
};

/// The one queue pair of an af_packet port.
class socket_queue {
 public:
  explicit socket_queue(packet_socket& socket) : socket_(&socket) {}

  std::size_t receive(std::span<vkring::frame> frames) noexcept { return socket_->receive(frames); }
  std::size_t send(std::span<vkring::frame> frames) noexcept { return socket_->send(frames); }
  std::size_t allocate(std::span<vkring::frame> frames) noexcept {
    return socket_->allocate(frames);
  }
  void recycle(std::span<vkring::frame> frames) noexcept {
    for (vkring::frame& each : frames) each.reset();
  }
  void reclaim() noexcept {}

  readiness await_frames(pollfd& entry) noexcept {
    entry = {socket_->fd(), POLLIN, 0};
    if (socket_->has_buffers()) return readiness::sleep;
    entry.fd = -1;  // it may be readable for as long as there are no buffers
    return readiness::starved;
  }
  readiness await_room(pollfd& entry) noexcept {
    entry = {socket_->fd(), POLLOUT, 0};
    return readiness::sleep;
  }
  void woken_by_frames(const pollfd&) noexcept {}
  void woken_by_room(const pollfd&) noexcept {}

 private:
  packet_socket* socket_;
};

using split_queue = ring_queue<vkring::basic_device<vkring::split>>;
using packed_queue = ring_queue<vkring::basic_device<vkring::packed>>;
static_assert(frame_queue<split_queue> && frame_queue<packed_queue> && frame_queue<socket_queue>);

/// Run-time choice of the kind of port, and of the ring layout, resolved once for each burst.
using any_queue = std::variant<split_queue, packed_queue, socket_queue>;

}  // namespace fwd

#endif  // VKRING_FWD_FRAME_QUEUE_HPP
