// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_LOOPBACK_HPP
#define VKRING_BENCH_LOOPBACK_HPP

// Both sides of one virtqueue in one thread, each verb in a function of its own that is not inlined,
// so that a profiler counts its instructions: the call included, everything else left out.

#include <algorithm>
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
#include <vkring/net/header.hpp>
#include <vkring/queue/rx_queue.hpp>
#include <vkring/queue/slots.hpp>
#include <vkring/queue/tx_queue.hpp>
#include <vkring/ring/packed.hpp>
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
  std::uint16_t burst = 32;
  std::uint32_t frame_bytes = 64;
  bool event_idx = false;
  bool indirect = false;  ///< frames lie in two buffers, which share one descriptor
  bool mergeable = false;
};

inline constexpr std::size_t max_burst = 256;
inline constexpr std::uint16_t frame_pieces = 2;  ///< of an indirect frame

/// Frames that came by, and the sum of what they carried: each carries a number of its own.
struct tally {
  std::uint64_t frames = 0;
  std::uint64_t sum = 0;

  friend bool operator==(const tally&, const tally&) = default;

  void put_number(std::byte* payload) noexcept {
    const std::uint64_t number = ++frames * 0x9e3779b97f4a7c15;
    std::memcpy(payload, &number, sizeof number);
    sum += number;
  }
  void take_number(const std::byte* payload) noexcept {
    std::uint64_t number;
    std::memcpy(&number, payload, sizeof number);
    ++frames;
    sum += number;
  }
};

/// Keeps the last call of a verb a call: were it a jump, its instructions would be counted elsewhere.
[[gnu::always_inline]] inline void end_of_verb() noexcept { asm volatile("" ::: "memory"); }

/// Memory aligned as rings want it.
struct aligned_memory {
  static constexpr std::size_t alignment = std::max(split_ring::alignment, packed_ring::alignment);

  explicit aligned_memory(std::size_t size)
      : bytes((size + alignment - 1) / alignment * alignment),
        block(static_cast<std::byte*>(std::aligned_alloc(alignment, bytes))) {
    std::memset(block, 0, bytes);
  }
  ~aligned_memory() { std::free(block); }
  aligned_memory(const aligned_memory&) = delete;
  aligned_memory& operator=(const aligned_memory&) = delete;

  std::size_t bytes;
  std::byte* block;
};

/// What all loopbacks share: a ring of any layout, a memory table, and what was sent and received.
struct loopback_base {
  explicit loopback_base(const loopback_options& o)
      : options(o),
        ring_memory(std::max(split_ring::bytes(o.size), packed_ring::bytes(o.size))),
        table_memory(indirect_tables::bytes(o.size, frame_pieces)) {}

  /// Lets the device reach the memory of the buffers.
  void reach(std::span<const guest_region> regions) {
    for (const guest_region& region : regions) {
      table.add_at(region.guest, {region.host, region.size}).value();
    }
    tables.entries = options.indirect ? frame_pieces : std::uint16_t{0};
    tables.host = table_memory.block;
    tables.address = table.add({table_memory.block, table_memory.bytes}).value();
  }

  [[nodiscard]] ring_options ring_terms() const noexcept {
    return {.size = options.size, .event_idx = options.event_idx, .indirect = options.indirect};
  }
  template <class Layout>
  [[nodiscard]] typename Layout::ring_type ring() const noexcept {
    return Layout::ring_type::place({ring_memory.block, ring_memory.bytes}, options.size);
  }
  [[nodiscard]] frame_rules rules() const noexcept { return {.mergeable = options.mergeable}; }
  /// Whether everything that was sent has arrived as it was.
  [[nodiscard]] bool intact() const noexcept { return sent == received; }

  loopback_options options;
  aligned_memory ring_memory;
  aligned_memory table_memory;
  memory_table table;
  indirect_tables tables;
  tally sent;
  tally received;
};

/// The same with a pool of buffers.
struct loopback : loopback_base {
  explicit loopback(const loopback_options& o)
      : loopback_base(o), pool(buffer_pool::make({.buffers = 8u * o.size}).value()) {
    reach(pool->regions());
  }

  std::shared_ptr<buffer_pool> pool;
};

/// The device side: what a worker does with its rings.
template <class Layout>
class device_end {
 public:
  explicit device_end(const loopback_base& with)
      : queue_(with.ring<Layout>(), with.ring_terms(), table_cursor(with.table)),
        burst_(with.options.burst) {}

  [[gnu::noinline]] void pop() noexcept {
    const std::uint16_t pending = queue_.avail_at_most(burst_);
    const std::uint16_t count = pending < burst_ ? pending : burst_;
    popped_ = queue_.pop_burst(
        count, [this](std::size_t nth, std::uint16_t head, std::span<std::byte> buffer, bool)
                   __attribute__((always_inline)) {
                     heads_[nth] = head;
                     buffers_[nth] = buffer.data();
                   });
    if (popped_ != count) pop_rest(count);
    end_of_verb();
  }
  [[gnu::noinline]] void push(std::uint32_t written) noexcept {
    queue_.push_burst(
        popped_, [this, written](used_element & used, std::size_t nth) __attribute__((always_inline)) {
          used = {heads_[nth], written};
        });
    queue_.publish();
    (void)queue_.call_needed();
    end_of_verb();
  }

  [[gnu::noinline]] void read(tally& received) const noexcept {
    for (std::size_t i = 0; i < popped_; ++i) received.take_number(buffers_[i] + header_size);
  }
  [[gnu::noinline]] void write(tally& sent) const noexcept {
    for (std::size_t i = 0; i < popped_; ++i) {
      store_header(buffers_[i], header_size, {.num_buffers = 1});
      sent.put_number(buffers_[i] + header_size);
    }
  }

 private:
  [[gnu::noinline]] void pop_rest(std::uint16_t count) noexcept {
    queue_.pop(static_cast<std::uint16_t>(count - popped_), [this](const device_chain& chain) {
      heads_[popped_] = chain.head;
      buffers_[popped_++] = chain.readable.front().data();
    });
  }

  virtqueue<Layout, device_side, table_cursor> queue_;
  std::uint16_t burst_;
  std::uint16_t popped_ = 0;
  std::array<std::uint16_t, max_burst> heads_;
  std::array<std::byte*, max_burst> buffers_;
};

/// Frames from the driver to the device, on leases.
template <class Layout>
class lease_tx : public loopback {
  using ring_type = virtqueue<Layout, driver_side, tx_token>;
  using queue = tx_queue<ring_type, buffer_pool, no_notify>;

 public:
  explicit lease_tx(const loopback_options& o)
      : loopback(o),
        queue_(ring_type(ring<Layout>(), ring_terms(), tables), *pool, rules(), no_notify{}),
        device_(*this) {}

  /// One burst through the ring.
  void turn() noexcept {
    allocate(options.burst * (options.indirect ? frame_pieces : 1u));
    fill();
    if (options.indirect) join();
    send();
    device_.pop();
    device_.read(received);
    device_.push(0);
    reclaim();
  }

 private:
  [[gnu::noinline]] void allocate(std::size_t count) noexcept {
    queue_.allocate(std::span(frames_).first(count));
    end_of_verb();
  }
  [[gnu::noinline]] void fill() noexcept {
    for (std::size_t i = 0; i < options.burst; ++i) {
      frames_[i].resize(options.frame_bytes);
      sent.put_number(frames_[i].contiguous().data());
    }
  }
  void join() noexcept {
    for (std::size_t i = 0; i < options.burst; ++i) {
      frame& tail = frames_[options.burst + i];
      tail.resize(options.frame_bytes);
      frames_[i].append(std::move(tail));
    }
  }
  [[gnu::noinline]] void send() noexcept {
    queue_.send(std::span(frames_).first(options.burst));
    end_of_verb();
  }
  [[gnu::noinline]] void reclaim() noexcept {
    queue_.reclaim();
    end_of_verb();
  }

  queue queue_;
  device_end<Layout> device_;
  std::array<frame, frame_pieces * max_burst> frames_;
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
  using ring_type = virtqueue<Layout, driver_side, slot_frame*>;
  using queue = slot_tx<ring_type, buffer_pool, no_notify>;

 public:
  explicit slot_loopback_tx(const loopback_options& o)
      : loopback(o),
        queue_(queue::make(ring_type(ring<Layout>(), ring_terms()), *pool, rules(), no_notify{}).value()),
        device_(*this) {}

  void turn() noexcept {
    reserve();
    fill();
    commit();
    device_.pop();
    device_.read(received);
    device_.push(0);
    reclaim();
  }

 private:
  [[gnu::noinline]] void reserve() noexcept {
    frames_ = queue_.reserve(options.burst);
    end_of_verb();
  }
  [[gnu::noinline]] void fill() noexcept {
    for (slot_frame* const f : frames_) {
      f->resize(options.frame_bytes);
      sent.put_number(f->payload().data());
    }
  }
  [[gnu::noinline]] void commit() noexcept {
    queue_.commit(frames_.size());
    end_of_verb();
  }
  [[gnu::noinline]] void reclaim() noexcept {
    queue_.reclaim();
    end_of_verb();
  }

  queue queue_;
  device_end<Layout> device_;
  std::span<slot_frame* const> frames_;
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
