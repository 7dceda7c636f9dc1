// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_RX_QUEUE_HPP
#define VKRING_QUEUE_RX_QUEUE_HPP

// Receiving: empty buffers into a virtqueue, frames out of it.

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
#include <vkring/core/endian.hpp>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/common.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/handle_cache.hpp>
#include <vkring/queue/queue_state.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

/// One receive queue: the driver side of a virtqueue, a source of buffers and a way to kick.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: in the constructor only.
template <driver_queue Ring, buffer_source Source, std::invocable Notify>
class rx_queue {
 public:
  using frame = basic_frame<Source>;       ///< what is received
  using handle = typename Source::handle;  ///< of a buffer; what the ring carries with each chain
  static_assert(std::same_as<typename Ring::token_type, handle>);

  /// The most bytes that a device may write to a buffer: what the ring is constructed with.
  [[nodiscard]] static std::uint32_t max_written(const Source& source,
                                                 const frame_rules& rules) noexcept {
    return source.capacity() + rules.header_size;
  }

  /// `notify` kicks the device. `source` outlives the queue. The ring is empty until `refill`.
  rx_queue(Ring ring, Source& source, const frame_rules& rules, Notify notify)
      : ring_(std::move(ring)),
        rules_(rules),
        notify_(std::move(notify)),
        cache_(source, burst(ring_), burst(ring_)) {}
  /// Goes on with a queue that was at rest as `from` says; `ring` has the `tokens` of that.
  rx_queue(Ring ring, Source& source, const frame_rules& rules, Notify notify,
           const queue_state& from)
      : rx_queue(std::move(ring), source, rules, std::move(notify)) {
    counters_ = from.counters;
  }
  /// The tokens of the chains that are in flight in `from`, for the ring. Allocation: the list.
  [[nodiscard]] static std::vector<handle> tokens(const queue_state& from, const Source& source)
    requires shareable_source<Source>
  {
    std::vector<handle> made;
    for (const buffer_state& each : from.buffers) {
      made.push_back(Source::with_plain_header(each.in(source), false));
    }
    return made;
  }
  rx_queue(rx_queue&&) noexcept = default;
  rx_queue& operator=(rx_queue&&) = delete;

  /// Receives up to `frames.size()` frames and returns how many; puts fresh buffers into the ring.
  /// Frames that were not empty give their buffers back when another comes into them: `recycle` what
  /// is done with, or the ring may run dry. A frame whose header cannot be believed is dropped and
  /// counted.
  std::size_t receive(std::span<frame> frames) noexcept {
    return rules_.mergeable ? receive_as<true>(frames) : receive_as<false>(frames);
  }

  /// Gives frames of this queue's source back to it through the queue's own stock, which costs no
  /// lock. The frames are empty afterwards. (Their destructors do the same through the source.)
  void recycle(std::span<frame> frames) noexcept {
    while (!frames.empty()) {
      const std::span<frame> some = frames.first(std::min(frames.size(), cache_.most()));
      handle* to = cache_.space();
      handle* const start = to;
      for (frame& f : some) {
        if (f.buffers() == 1 && f.source() == &source()) [[likely]] {
          *to++ = Source::with_plain_header(access::first(f), false);
          access::source(f) = nullptr;
        } else {
          f.reset();
        }
      }
      cache_.add(static_cast<std::size_t>(to - start));
      frames = frames.subspan(some.size());
    }
  }

  /// Puts buffers into the ring until it is full or the source is empty. `receive` does so; call it
  /// once before the device starts, and where the source had run dry.
  [[gnu::noinline]] void refill() noexcept {
    while (const std::uint16_t room = ring_.room()) {
      const std::span<const handle> stock =
          cache_.stock(std::min<std::size_t>(room, cache_.burst()));
      if (stock.empty()) {
        counters_.starved.add(1);
        break;
      }
      if (post(stock) == 0) post_one(stock.back());
    }
    if (ring_.avail_position() != ring_.published_position()) publish();
  }

  /// Asks for a call when the next frame comes. `more_pending`: one is there already. Whoever goes to
  /// sleep leaves a full ring behind, as the device may need all of it for one frame.
  [[nodiscard]] notification enable_call() noexcept {
    if (ring_.room() != 0) refill();
    return ring_.enable_call();
  }
  /// No calls from now on; one may still come.
  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: every buffer in flight goes to its source.
  /// Frames that were used and not received go with them. The queue is spent.
  void stop() noexcept {
    ring_.abandon([this](handle h) { cache_.put(h); });
    cache_.flush();
  }

  /// Fills the ring up and gives the queue's own stock back to the source.
  void settle() noexcept {
    refill();
    cache_.flush();
  }
  /// What has to be known to go on with the queue elsewhere, after `settle`. Allocation: the lists.
  [[nodiscard]] queue_state state() const
    requires shareable_source<Source>
  {
    queue_state now;
    now.ring = ring_.state([&](handle h) {
      now.buffers.push_back(buffer_state::of(source(), h));
      now.counts.push_back(1);
    });
    now.counters = counters_;
    return now;
  }

  /// Since the queue was made, or since that which it goes on with.
  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }  ///< the driver side below
  /// What frames have to be like.
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 private:
  using access = detail::frame_access<Source>;

  // Of buffers, between the queue and the source: not more than a small ring can hold.
  [[nodiscard]] static std::size_t burst(const Ring& ring) noexcept {
    return std::min<std::size_t>(64, ring.size());
  }

  template <bool Mergeable>
  std::size_t receive_as(std::span<frame> frames) noexcept {
    std::size_t received = receive_burst<Mergeable>(frames);
    if (received != frames.size() && ring_.used_pending(1) != 0) [[unlikely]] {
      received += receive_any(frames.subspan(received));
    }
    // In whole bursts; but a device that has nothing to offer may be short of buffers for a large frame.
    const std::uint16_t room = ring_.room();
    if (room < cache_.burst() / 2 && received != 0) return received;
    if (room <= cache_.size() && post(cache_.stock(room)) != 0) [[likely]] {
      publish();
    } else {
      refill();
    }
    return received;
  }

  [[gnu::always_inline]] void publish() noexcept { detail::publish(ring_, counters_, notify_); }

  // Adds buffers from the stock, unpublished: all of them, or none in general mode.
  [[gnu::always_inline]] std::uint16_t post(std::span<const handle> stock) noexcept {
    const auto map = source().mapper();
    const std::uint64_t header_bytes = rules_.header_size;
    const handle* const handles = stock.data();
    const auto take = [&](burst_buffer<handle> & fresh, std::size_t nth)
        __attribute__((always_inline)) {
      const handle h = handles[nth];
      fresh.address = map(h).address - header_bytes;
      fresh.length = 0;
      fresh.token = h;
      return true;
    };
    const std::uint16_t added = ring_.template add_burst<true>(
        static_cast<std::uint32_t>(stock.size()), take, max_written(source(), rules_));
    cache_.drop(added);
    return added;
  }

  // Adds one buffer from the stock in any mode; there is room.
  void post_one(handle h) noexcept {
    const chain_buffer buffer{source().mapper()(h).address - rules_.header_size,
                              max_written(source(), rules_), true};
    ring_.try_add({&buffer, 1}, h);
    cache_.drop(1);
  }

  // The hot case: frames in one buffer each, in ring order. Stops at the first that is not.
  template <bool Mergeable>
  [[gnu::always_inline]] std::size_t receive_burst(std::span<frame> frames) noexcept {
    const std::size_t pending =
        std::min<std::size_t>(ring_.used_at_most(frames.size()), frames.size());
    const auto map = source().mapper();
    const std::uint32_t header_bytes = rules_.header_size;
    const std::ptrdiff_t header_offset = -std::ptrdiff_t{header_bytes};
    Source* const owner = &source();
    frame* const out = frames.data();
    const std::uint64_t shortest = access::one_buffer + rules_.min_size;
    std::uint64_t extents = 0;
    bool any_offload = false;
    const auto keep = [&](std::size_t nth, handle h, std::uint32_t beyond)
        __attribute__((always_inline)) {
      frame& f = out[nth];
      if (access::source(f) != nullptr) [[unlikely]]
        return false;
      const std::byte* const header = map(h).payload + header_offset;
      if (Mergeable && detail::num_buffers(header) != 1) [[unlikely]]
        return false;
      const std::uint64_t extent = shortest + beyond;
      access::extent(f) = extent;
      access::first(f) = h;
      access::source(f) = owner;
      extents += extent;
      if (detail::flags_and_gso(header) != 0) [[unlikely]] {
        access::extent(f) |= access::offload;
        any_offload = true;
      }
      return true;
    };
    const std::uint16_t received = ring_.reclaim_burst(static_cast<std::uint32_t>(pending), keep,
                                                       header_bytes + rules_.min_size);
    const std::uint64_t bytes = extents - received * access::one_buffer;
    if (any_offload) [[unlikely]]
      return settle(frames.first(received), bytes);
    return count(received, bytes);
  }

  // Takes the headers of the frames that are marked as having one, and drops those that cannot be
  // believed. Returns how many frames are left.
  [[gnu::noinline]] std::size_t settle(std::span<frame> frames, std::uint64_t bytes) noexcept {
    const auto map = source().mapper();
    std::size_t kept = 0;
    for (frame& f : frames) {
      if ((access::extent(f) & access::offload) != 0) {
        virtio_net_hdr header;
        const header_fault fault =
            detail::read_header(header, map(access::first(f)).payload, f.size(), rules_);
        if (fault != header_fault::none) {
          counters_.drop(fault);
          bytes -= f.size();
          f.reset();
          continue;
        }
        f.set_header(header);
      }
      if (&f != &frames[kept]) frames[kept] = std::move(f);
      ++kept;
    }
    return count(kept, bytes);
  }

  // Frames of any kind, in any mode of the ring. With mergeable buffers, a frame lies in as many as
  // its header says, used one after the other.
  [[gnu::noinline]] std::size_t receive_any(std::span<frame> frames) noexcept {
    const auto map = source().mapper();
    const std::uint32_t header_bytes = rules_.header_size;
    // More than a ring can hold, or than the size of a frame can count.
    const std::uint32_t most_buffers =
        std::min<std::uint32_t>(ring_.size(), UINT32_MAX / max_written(source(), rules_));
    std::uint64_t bytes = 0;
    frame* next = frames.data();
    frame current;
    handle last{};           // the buffer of it that came last
    std::uint32_t left = 0;  // how many are still to come
    ring_.reclaim(ring_.size(), [&](handle h, std::uint32_t written) {
      if (left != 0) {
        // A continuation has no header: its bytes start where that would.
        source().link(last).next = h;
        source().link(h) = {{}, written, -static_cast<std::int32_t>(header_bytes)};
        access::extent(current) += access::one_buffer | written;
        --left;
      } else {
        current = frame(source(), h);
        const std::uint32_t size = written - header_bytes;
        if (size > source().capacity()) return reject(ring_fault::used_length, written);
        access::extent(current) = access::one_buffer | size;
        const std::uint16_t buffers =
            rules_.mergeable ? detail::num_buffers(map(h).payload - header_bytes) : 1;
        if (buffers == 0 || buffers > most_buffers) {
          return reject(ring_fault::num_buffers, buffers);
        }
        left = buffers - 1u;
        source().link(h) = {{}, size, 0};
      }
      last = h;
      if (left != 0) return true;
      const std::byte* const payload = map(access::first(current)).payload;
      if (current.size() < rules_.min_size) {
        counters_.drop(drop_reason::too_short);
        current.reset();
        return true;
      }
      virtio_net_hdr copy;
      const header_fault fault = detail::read_header(copy, payload, current.size(), rules_);
      if (fault != header_fault::none) {
        counters_.drop(fault);
        current.reset();
        return true;
      }
      current.set_header(copy);
      bytes += current.size();
      *next = std::move(current);
      return ++next != frames.data() + frames.size();
    });
    if (left != 0) {
      // The device publishes all buffers of a frame at once, so they are not on their way either.
      reject(ring_fault::num_buffers, left);
    }
    return count(static_cast<std::size_t>(next - frames.data()), bytes);
  }

  std::size_t count(std::size_t frames, std::uint64_t bytes) noexcept {
    counters_.frames.add(frames);
    counters_.bytes.add(bytes);
    return frames;
  }

  // The ring is not to be trusted any more.
  bool reject(ring_fault fault, std::uint32_t value) noexcept {
    ring_.break_queue(fault, ring_.used_position(), value);
    return false;
  }

  [[nodiscard]] Source& source() const noexcept { return cache_.source(); }

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  handle_cache<Source, false> cache_;
  queue_counters counters_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_RX_QUEUE_HPP
