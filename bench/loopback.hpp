// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_LOOPBACK_HPP
#define VKRING_BENCH_LOOPBACK_HPP

// Both ends of one virtqueue in one thread.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>
#include <vkring/queue/rx_queue.hpp>

#include "ends.hpp"

namespace bench {

/// Frames from the driver to the device, on leases.
template <class Layout>
class lease_tx : public loopback {
 public:
  explicit lease_tx(const loopback_options& o) : loopback(o), driver_(*this), device_(*this) {}

  /// One burst through the ring.
  void turn() noexcept {
    driver_.allocate(options.burst * (options.indirect ? frame_pieces : 1u));
    driver_.fill(sent);
    if (options.indirect) driver_.join();
    driver_.send();
    device_.pop();
    device_.read(received);
    device_.push(0);
    driver_.reclaim();
  }

 private:
  lease_sender<Layout> driver_;
  device_end<Layout> device_;
};

/// Frames from the device to the driver, on leases.
template <class Layout>
class lease_rx : public loopback {
  using ring_type = virtqueue<Layout, driver_side, buffer_handle>;
  using queue = rx_queue<ring_type, buffer_pool, no_notify>;

 public:
  explicit lease_rx(const loopback_options& o)
      : loopback(o),
        queue_(ring_type(ring<Layout>(), ring_terms(), {}, queue::max_written(*pool, rules())), *pool,
               rules(), no_notify{}),
        device_(*this) {
    queue_.refill();
  }

  void turn() noexcept {
    device_.pop();
    device_.write(sent);
    device_.push(static_cast<std::uint32_t>(header_size) + options.frame_bytes);
    receive();
    read();
    release();
  }

 private:
  [[gnu::noinline]] void receive() noexcept {
    received_ = queue_.receive(std::span(frames_).first(options.burst));
    end_of_verb();
  }
  [[gnu::noinline]] void read() noexcept {
    for (std::size_t i = 0; i < received_; ++i) {
      received.take_number(frames_[i].contiguous().data());
    }
  }
  [[gnu::noinline]] void release() noexcept {
    queue_.recycle(std::span(frames_).first(received_));
    end_of_verb();
  }

  queue queue_;
  device_end<Layout> device_;
  std::array<frame, max_burst> frames_;
  std::size_t received_ = 0;
};

/// Frames from the driver to the device, in slots.
template <class Layout>
class slot_loopback_tx : public loopback {
 public:
  explicit slot_loopback_tx(const loopback_options& o)
      : loopback(o), driver_(*this), device_(*this) {}

  void turn() noexcept {
    driver_.reserve();
    driver_.fill(sent);
    driver_.commit();
    device_.pop();
    device_.read(received);
    device_.push(0);
    driver_.reclaim();
  }

 private:
  slot_sender<Layout> driver_;
  device_end<Layout> device_;
};

/// Frames from the device to the driver, in slots.
template <class Layout>
class slot_loopback_rx : public loopback {
  using ring_type = virtqueue<Layout, driver_side, slot_frame*>;
  using queue = slot_rx<ring_type, buffer_pool, no_notify>;

 public:
  explicit slot_loopback_rx(const loopback_options& o)
      : loopback(o),
        queue_(queue::make(ring_type(ring<Layout>(), ring_terms(), {}, queue::max_written(*pool, rules())),
                           *pool, rules(), no_notify{})
                   .value()),
        device_(*this) {}

  void turn() noexcept {
    device_.pop();
    device_.write(sent);
    device_.push(static_cast<std::uint32_t>(header_size) + options.frame_bytes);
    peek();
    read();
    release();
  }

 private:
  [[gnu::noinline]] void peek() noexcept {
    frames_ = queue_.peek(options.burst);
    end_of_verb();
  }
  [[gnu::noinline]] void read() noexcept {
    for (slot_frame* const f : frames_) received.take_number(f->payload().data());
  }
  [[gnu::noinline]] void release() noexcept {
    queue_.release(frames_.size());
    end_of_verb();
  }

  queue queue_;
  device_end<Layout> device_;
  std::span<slot_frame* const> frames_;
};

/// The device side served by a bare ring: slot k of it has buffer k for ever.
template <class Layout, bool DeviceWritable>
class device_loopback : public loopback {
  using ring_type = virtqueue<Layout, driver_side, std::uint32_t>;

 public:
  explicit device_loopback(const loopback_options& o)
      : loopback(o), ring_(ring<Layout>(), ring_terms(), tables), device_(*this) {
    buffers_.resize(pool->take(buffers_));
  }

  void turn() noexcept {
    offer();
    device_.pop();
    if constexpr (DeviceWritable) {
      device_.write(sent);
      device_.push(static_cast<std::uint32_t>(header_size) + options.frame_bytes);
    } else {
      device_.read(received);
      device_.push(0);
    }
    collect();
  }

 private:
  // The header and the payload; indirect: the header and half of the payload, then the other half.
  [[nodiscard]] chain_buffer piece(std::size_t nth, std::uint16_t of, std::uint32_t at) const {
    const std::uint32_t all = static_cast<std::uint32_t>(header_size) + options.frame_bytes;
    const std::uint32_t first = of == 1 ? all : all - options.frame_bytes / 2;
    const std::uint64_t start = pool->mapper()(buffers_[nth]).address - header_size;
    return at == 0 ? chain_buffer{start, first, DeviceWritable}
                   : chain_buffer{start + first, all - first, DeviceWritable};
  }
  [[nodiscard]] std::byte* payload(std::size_t nth) const {
    return pool->mapper()(buffers_[nth]).payload;
  }
  void offer() noexcept {
    for (std::uint32_t i = 0; i < options.burst; ++i) {
      if constexpr (!DeviceWritable) sent.put_number(payload(i));
      const std::uint16_t pieces = tables.entries == 0 ? std::uint16_t{1} : frame_pieces;
      const std::array<chain_buffer, frame_pieces> chain{piece(i, pieces, 0), piece(i, pieces, 1)};
      ring_.try_add(std::span(chain).first(pieces), i);
    }
    ring_.publish();
    (void)ring_.kick_needed();
  }
  void collect() noexcept {
    ring_.reclaim(options.burst, [&](std::uint32_t nth, std::uint32_t) {
      if constexpr (DeviceWritable) received.take_number(payload(nth));
    });
  }

  ring_type ring_;
  device_end<Layout> device_;
  std::vector<buffer_handle> buffers_ = std::vector<buffer_handle>(options.burst);
};

template <class Layout>
using device_tx = device_loopback<Layout, false>;
template <class Layout>
using device_rx = device_loopback<Layout, true>;

}  // namespace bench

#endif  // VKRING_BENCH_LOOPBACK_HPP
