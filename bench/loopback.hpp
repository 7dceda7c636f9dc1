// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_LOOPBACK_HPP
#define VKRING_BENCH_LOOPBACK_HPP

// Both sides of one virtqueue in one thread, each step in a function of its own that is not inlined,
// so that a profiler counts its instructions: the call included, everything else left out.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/queue/rx_queue.hpp>
#include <vkring/queue/tx_queue.hpp>
#include <vkring/ring/split.hpp>

namespace bench {

using namespace vkring;

/// A kick that costs a call at most: the device is polled here.
struct no_notify {
  void operator()() const noexcept {}
};

/// One configuration of a loopback.
struct loopback_options {
  std::uint16_t size = 256;
  std::size_t burst = 32;
  std::uint32_t frame_bytes = 64;
  bool event_idx = false;
  bool mergeable = false;
};

inline constexpr std::size_t max_burst = 256;

/// Aligned memory for a ring.
struct ring_memory {
  explicit ring_memory(std::uint16_t size)
      : bytes(split_ring::bytes(size)),
        block(static_cast<std::byte*>(std::aligned_alloc(split_ring::alignment, bytes))) {
    std::memset(block, 0, bytes);
  }
  ~ring_memory() { std::free(block); }
  ring_memory(const ring_memory&) = delete;
  ring_memory& operator=(const ring_memory&) = delete;
  [[nodiscard]] split_ring ring(std::uint16_t size) const {
    return split_ring::place({block, bytes}, size);
  }

  std::size_t bytes;
  std::byte* block;
};

using device_queue_type = virtqueue<split, device_side, table_cursor>;

/// The device's half of a turn: takes everything that is there and gives it back.
[[gnu::noinline]] inline std::size_t device_turn(device_queue_type& device, std::uint16_t burst,
                                                 std::uint32_t written) {
  std::array<std::uint16_t, max_burst> heads;
  const std::uint16_t pending = device.avail(burst);
  const std::uint16_t n =
      device.pop_burst(pending < burst ? pending : burst,
                       [&heads](std::size_t nth, std::uint16_t head, std::span<std::byte>, bool) {
                         heads[nth] = head;
                       });
  device.push_burst(n, [&](used_element& used, std::size_t nth) { used = {heads[nth], written}; });
  device.publish();
  (void)device.call_needed();
  return n;
}

/// What both directions need: a pool, its table, a ring, and the device side of it.
struct loopback_base {
  explicit loopback_base(const loopback_options& o)
      : options(o),
        ring_options_{o.size, o.event_idx, false, false, ring_index(0)},
        memory(o.size),
        pool(buffer_pool::make({.buffers = 4u * o.size + 1024}).value()),
        table(make_table(*pool)),
        rules{.mergeable = o.mergeable} {}

  static memory_table make_table(buffer_pool& pool) {
    memory_table table;
    for (const guest_region& region : pool.regions()) {
      table.add_at(region.guest, {region.host, region.size}).value();
    }
    return table;
  }
  [[nodiscard]] device_queue_type make_device() const {
    return {memory.ring(options.size), ring_options_, table_cursor(table)};
  }

  loopback_options options;
  ring_options ring_options_;
  ring_memory memory;
  std::shared_ptr<buffer_pool> pool;
  memory_table table;
  frame_rules rules;
  std::array<frame, max_burst> frames;
};

/// Frames from the driver to the device, on leases.
class lease_tx : loopback_base {
  using ring = virtqueue<split, driver_side, tx_token>;
  using queue = tx_queue<ring, buffer_pool, no_notify>;

 public:
  explicit lease_tx(const loopback_options& o)
      : loopback_base(o),
        queue_(ring(memory.ring(o.size), ring_options_), *pool, rules, no_notify{}),
        device_(make_device()) {}

  /// One burst through the ring. Returns the frames that made it.
  std::size_t turn() {
    const std::span burst(frames.data(), options.burst);
    allocate(queue_, burst);
    fill(burst, options.frame_bytes);
    const std::size_t sent = send(queue_, burst);
    device_turn(device_, static_cast<std::uint16_t>(options.burst), 0);
    reclaim(queue_);
    return sent;
  }

 private:
  [[gnu::noinline]] static std::size_t allocate(queue& q, std::span<frame> out) {
    return q.allocate(out);
  }
  [[gnu::noinline]] static void fill(std::span<frame> out, std::uint32_t bytes) {
    for (frame& f : out) f.resize(bytes);
  }
  [[gnu::noinline]] static std::size_t send(queue& q, std::span<frame> out) { return q.send(out); }
  [[gnu::noinline]] static void reclaim(queue& q) { q.reclaim(); }

  queue queue_;
  device_queue_type device_;
};

/// Frames from the device to the driver, on leases.
class lease_rx : loopback_base {
  using ring = virtqueue<split, driver_side, buffer_handle>;
  using queue = rx_queue<ring, buffer_pool, no_notify>;

 public:
  explicit lease_rx(const loopback_options& o)
      : loopback_base(o),
        queue_(ring(memory.ring(o.size), ring_options_, {}, queue::max_written(*pool, rules)),
               *pool, rules, no_notify{}),
        device_(make_device()) {
    queue_.refill();
    if (!o.mergeable) return;
    // The header that a device writes; nobody overwrites it, so once is enough.
    while (device_.avail(1) != 0) {
      device_.pop(1, [this](const device_chain& chain) {
        chain.writable.front()[10] = std::byte{1};
        device_.push_used(chain.head, 12 + options.frame_bytes);
      });
    }
    std::vector<frame> all(pool->size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      buffer_handle h;
      if (pool->take({&h, 1}) == 0) break;
      all[i] = frame(*pool, h);
      pool->mapper()(h).payload[-2] = std::byte{1};
    }
    device_.publish();
  }

  std::size_t turn() {
    const std::span burst(frames.data(), options.burst);
    device_turn(device_, static_cast<std::uint16_t>(options.burst), 12 + options.frame_bytes);
    const std::size_t received = receive(queue_, burst);
    release(queue_, burst.first(received));
    return received;
  }

 private:
  [[gnu::noinline]] static std::size_t receive(queue& q, std::span<frame> in) {
    return q.receive(in);
  }
  [[gnu::noinline]] static void release(queue& q, std::span<frame> in) { q.recycle(in); }

  queue queue_;
  device_queue_type device_;
};

}  // namespace bench

#endif  // VKRING_BENCH_LOOPBACK_HPP
