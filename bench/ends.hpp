// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_ENDS_HPP
#define VKRING_BENCH_ENDS_HPP

// The two ends of a virtqueue as benchmarks drive them, and what lies between them. Each verb is a
// function of its own that is not inlined, so that a profiler counts its instructions: the call
// included, everything else left out.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/slots.hpp>
#include <vkring/queue/tx_queue.hpp>
#include <vkring/ring/packed.hpp>
#include <vkring/ring/split.hpp>

#include "tally.hpp"

namespace bench {

using namespace vkring;

/// A kick that costs a call at most: the device is polled here.
struct no_notify {
  void operator()() const noexcept {}
};

/// How the three parts of a ring lie in its memory.
enum class placement : std::uint8_t {
  lines,  ///< each starts a line pair, as the rings' own `place` has it
  tight,  ///< one right behind the other, so that parts of both sides share a line
  pages,  ///< each starts a page
};

/// One configuration of a loopback.
struct loopback_options {
  std::uint16_t size = 256;
  std::uint16_t burst = 32;
  std::uint32_t frame_bytes = frame_size;
  bool event_idx = false;
  bool indirect = false;  ///< frames lie in two buffers, which share one descriptor
  bool mergeable = false;
  bool csum = false;  ///< frames to send ask for a checksum to be completed
  placement parts = placement::lines;
  page_kind pages = page_kind::normal;  ///< of the ring and the buffers
};

inline constexpr std::size_t max_burst = 256;
inline constexpr std::uint16_t frame_pieces = 2;  ///< of an indirect frame

/// Calls `visit` with each size and each burst from 1 on that fits into it, all else being as usual.
template <class Visit>
void for_each_shape(Visit&& visit) {
  constexpr std::array<std::uint16_t, 4> sizes{64, 256, 1024, 4096};
  for (const std::uint16_t size : sizes) {
    for (std::size_t burst = 1; burst <= max_burst && burst <= size; burst *= 2) {
      visit(loopback_options{.size = size, .burst = static_cast<std::uint16_t>(burst)});
    }
  }
}

/// The header of a frame whose checksum is to be completed: UDP over IPv4.
inline constexpr virtio_net_hdr csum_header{
    .flags = header_flag::needs_csum, .csum_start = 34, .csum_offset = 6};

/// Keeps the last call of a verb a call: were it a jump, its instructions would be counted elsewhere.
[[gnu::always_inline]] inline void end_of_verb() noexcept { asm volatile("" ::: "memory"); }

/// Bytes of the three parts of a ring. A layout of one's own says so in its `ring_type::part_bytes`:
/// at most 16 for each entry and 16 more.
template <class Ring>
[[nodiscard]] constexpr std::array<std::size_t, 3> part_bytes(std::size_t size) noexcept {
  if constexpr (std::is_same_v<Ring, split_ring>) {
    return {16 * size, 6 + 2 * size, 6 + 8 * size};
  } else if constexpr (std::is_same_v<Ring, packed_ring>) {
    return {16 * size, 4, 4};
  } else {
    return Ring::part_bytes(size);
  }
}

/// What all loopbacks share: a ring of any layout, a memory table, and what was sent and received.
struct loopback_base {
  explicit loopback_base(const loopback_options& o)
      : options(o),
        ring_memory(memory(3 * (std::size_t{16} * o.size + 16 + page), o.pages)),
        table_memory(memory(indirect_tables::bytes(o.size, frame_pieces), o.pages)) {}

  /// Memory that is there, on pages of that kind.
  [[nodiscard]] static region memory(std::size_t bytes, page_kind pages) {
    return region::make(bytes, {.pages = pages, .required = true, .populate = true}).value();
  }

  /// Lets the device reach the memory of the buffers.
  void reach(std::span<const guest_region> regions) {
    for (const guest_region& each : regions) {
      table.add_at(each.guest, {each.host, each.size}).value();
    }
    tables.entries = options.indirect ? frame_pieces : std::uint16_t{0};
    tables.host = table_memory.bytes().data();
    tables.address = reinterpret_cast<std::uintptr_t>(tables.host);
    table.add_identity(table_memory.bytes()).value();
  }

  [[nodiscard]] ring_options ring_terms() const noexcept {
    return {.size = options.size, .event_idx = options.event_idx, .indirect = options.indirect};
  }
  template <class Layout>
  [[nodiscard]] typename Layout::ring_type ring() const noexcept {
    using ring_type = typename Layout::ring_type;
    const std::array<std::size_t, 3> bytes = part_bytes<ring_type>(options.size);
    const std::size_t second = after(bytes[0]);
    return ring_type(at(0), at(second), at(second + after(bytes[1])), options.size);
  }
  [[nodiscard]] frame_rules rules() const noexcept {
    return {.mergeable = options.mergeable, .offloads = {.csum = options.csum}};
  }
  /// Whether everything that was sent has arrived as it was.
  [[nodiscard]] bool intact() const noexcept { return sent == received; }

  loopback_options options;
  region ring_memory;
  region table_memory;
  memory_table table;
  indirect_tables tables;
  tally sent;
  tally received;

 private:
  static constexpr std::size_t page = 4096;

  [[nodiscard]] std::byte* at(std::size_t offset) const noexcept {
    return ring_memory.bytes().data() + offset;
  }
  // Where the next part starts behind so many bytes.
  [[nodiscard]] std::size_t after(std::size_t bytes) const noexcept {
    const std::size_t alignment = options.parts == placement::pages   ? page
                                  : options.parts == placement::lines ? split_ring::alignment
                                                                      : alignof(std::uint32_t);
    return (bytes + alignment - 1) / alignment * alignment;
  }
};

/// The same with a pool of buffers.
struct loopback : loopback_base {
  explicit loopback(const loopback_options& o)
      : loopback_base(o),
        pool(buffer_pool::make({.buffers = 8u * o.size,
                                .memory = {.pages = o.pages, .required = true}})
                 .value()) {
    reach(pool->regions());
  }

  std::shared_ptr<buffer_pool> pool;
};

/// What a device keeps of a buffer that it has popped: where it is.
struct buffer_start {
  std::byte* data;

  buffer_start() noexcept = default;
  [[gnu::always_inline]] explicit buffer_start(std::span<std::byte> buffer) noexcept
      : data(buffer.data()) {}
};

/// The device side: what a worker does with its rings.
template <class Layout, class Kept = buffer_start>
class device_end {
 public:
  explicit device_end(const loopback_base& with)
      : queue_(with.ring<Layout>(), with.ring_terms(), table_cursor(with.table)),
        burst_(with.options.burst) {}

  /// Up to a burst of chains; returns how many.
  [[gnu::noinline]] std::uint16_t pop() noexcept {
    const std::uint16_t pending = queue_.avail_at_most(burst_);
    const std::uint16_t count = pending < burst_ ? pending : burst_;
    popped_ = queue_.pop_burst(
        count, [this](std::size_t nth, std::uint16_t head, std::span<std::byte> buffer, bool)
                   __attribute__((always_inline)) {
                     heads_[nth] = head;
                     buffers_[nth] = Kept(buffer);
                   });
    if (popped_ != count) pop_rest(count);
    end_of_verb();
    return popped_;
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
    for (std::size_t i = 0; i < popped_; ++i) received.take_number(buffers_[i].data + header_size);
  }
  [[gnu::noinline]] void write(tally& sent) const noexcept {
    for (std::size_t i = 0; i < popped_; ++i) {
      store_header(buffers_[i].data, header_size, {.num_buffers = 1});
      sent.put_number(buffers_[i].data + header_size);
    }
  }

  /// What was popped last.
  [[nodiscard]] std::span<const Kept> popped() const noexcept {
    return std::span(buffers_).first(popped_);
  }
  /// Asks for no kicks, as who polls does.
  void disable_kick() noexcept { queue_.disable_kick(); }

 private:
  [[gnu::noinline]] void pop_rest(std::uint16_t count) noexcept {
    queue_.pop(static_cast<std::uint16_t>(count - popped_), [this](const device_chain& chain) {
      heads_[popped_] = chain.head;
      buffers_[popped_++] = Kept(chain.readable.front());
    });
  }

  virtqueue<Layout, device_side, table_cursor> queue_;
  std::uint16_t burst_;
  std::uint16_t popped_ = 0;
  std::array<std::uint16_t, max_burst> heads_;
  std::array<Kept, max_burst> buffers_;
};

/// The sending end, on leases.
template <class Layout>
class lease_sender {
  using ring_type = virtqueue<Layout, driver_side, tx_token>;
  using queue = tx_queue<ring_type, buffer_pool, no_notify>;

 public:
  explicit lease_sender(const loopback& with)
      : options_(with.options),
        queue_(ring_type(with.ring<Layout>(), with.ring_terms(), with.tables), *with.pool,
               with.rules(), no_notify{}) {}

  /// Takes `count` empty buffers, a burst or more.
  [[gnu::noinline]] void allocate(std::size_t count) noexcept {
    queue_.allocate(std::span(frames_).first(count));
    end_of_verb();
  }
  [[gnu::noinline]] void fill(tally& sent) noexcept {
    for (std::size_t i = 0; i < options_.burst; ++i) {
      frames_[i].resize(options_.frame_bytes);
      sent.put_number(frames_[i].contiguous().data());
    }
  }
  /// Fills all of the frames, which are in one buffer each.
  [[gnu::noinline]] void write(tally& sent) noexcept {
    for (std::size_t i = 0; i < options_.burst; ++i) {
      frames_[i].resize(frame_size);
      sent.put_frame(frames_[i].contiguous().data());
      if (options_.csum) frames_[i].set_header(csum_header);
    }
  }
  /// Gives each of the burst's frames another buffer.
  void join() noexcept {
    for (std::size_t i = 0; i < options_.burst; ++i) {
      frame& tail = frames_[options_.burst + i];
      tail.resize(options_.frame_bytes);
      frames_[i].append(std::move(tail));
    }
  }
  /// Sends the burst but for the first `done` of it; returns how many.
  [[gnu::noinline]] std::size_t send(std::size_t done = 0) noexcept {
    const std::size_t sent =
        queue_.send(std::span(frames_).first(options_.burst).subspan(done));
    end_of_verb();
    return sent;
  }
  [[gnu::noinline]] void reclaim() noexcept {
    queue_.reclaim();
    end_of_verb();
  }
  [[nodiscard]] std::size_t in_flight() const noexcept { return queue_.ring().in_flight(); }

 private:
  loopback_options options_;
  queue queue_;
  std::array<frame, frame_pieces * max_burst> frames_;
};

/// The sending end, in slots.
template <class Layout>
class slot_sender {
  using ring_type = virtqueue<Layout, driver_side, slot_frame*>;
  using queue = slot_tx<ring_type, buffer_pool, no_notify>;

 public:
  explicit slot_sender(const loopback& with)
      : options_(with.options),
        queue_(queue::make(ring_type(with.ring<Layout>(), with.ring_terms()), *with.pool,
                           with.rules(), no_notify{})
                   .value()) {}

  /// Up to a burst less `done`; returns how many.
  [[gnu::noinline]] std::size_t reserve(std::size_t done = 0) noexcept {
    frames_ = queue_.reserve(options_.burst - done);
    end_of_verb();
    return frames_.size();
  }
  [[gnu::noinline]] void fill(tally& sent) noexcept {
    for (slot_frame* const f : frames_) {
      f->resize(options_.frame_bytes);
      sent.put_number(f->payload().data());
    }
  }
  /// Fills all of the frames.
  [[gnu::noinline]] void write(tally& sent) noexcept {
    for (slot_frame* const f : frames_) {
      f->resize(frame_size);
      sent.put_frame(f->payload().data());
      if (options_.csum) f->set_header(csum_header);
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
  [[nodiscard]] std::size_t in_flight() const noexcept { return queue_.ring().in_flight(); }

 private:
  loopback_options options_;
  queue queue_;
  std::span<slot_frame* const> frames_;
};

}  // namespace bench

#endif  // VKRING_BENCH_ENDS_HPP
