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
#include <vkring/core/endian.hpp>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/handle_cache.hpp>
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
  using frame = basic_frame<Source>;
  using handle = typename Source::handle;
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
        cache_(source, std::min<std::size_t>(max_burst, ring_.size())) {}
  rx_queue(rx_queue&&) noexcept = default;
  rx_queue& operator=(rx_queue&&) = delete;

  /// Receives up to `frames.size()` frames and returns how many; puts fresh buffers into the ring.
  /// Frames that were not empty give their buffers back first. A frame whose header cannot be
  /// believed is dropped and counted.
  std::size_t receive(std::span<frame> frames) noexcept {
    const std::size_t received =
        rules_.mergeable ? receive_mergeable(frames) : receive_single(frames);
    if (ring_.room() >= cache_.burst() / 2) refill();
    return received;
  }

  /// Gives frames of this queue's source back to it through the queue's own stock, which costs no
  /// lock. The frames are empty afterwards. (Their destructors do the same through the source.)
  void recycle(std::span<frame> frames) noexcept {
    for (frame& f : frames) {
      if (f.buffers() == 1 && f.source() == &cache_.source()) {
        cache_.put(access::first(f));
        access::source(f) = nullptr;
      } else {
        f.reset();
      }
    }
  }

  /// Puts buffers into the ring until it is full or the source is empty. `receive` does so; call it
  /// once before the device starts, and where the source had run dry.
  void refill() noexcept {
    std::uint32_t added = 0;
    while (const std::uint16_t room = ring_.room()) {
      const std::uint16_t count = post(room);
      if (count == 0) break;
      added += count;
    }
    if (added == 0) return;
    ring_.publish();
    if (ring_.kick_needed()) {
      counters_.kicks.add(1);
      notify_();
    } else {
      counters_.kicks_suppressed.add(1);
    }
  }

  /// Asks for a call when the next frame comes. `more_pending`: one is there already.
  [[nodiscard]] notification enable_call() noexcept { return ring_.enable_call(); }
  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: every buffer in flight goes to its source.
  /// Frames that were used and not received go with them. The queue is spent.
  void stop() noexcept {
    ring_.abandon([this](handle h) { cache_.put(h); });
    cache_.flush();
  }

  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 private:
  using access = detail::frame_access<Source>;
  static constexpr std::size_t max_burst = 64;

  // Adds one burst of buffers, unpublished.
  std::uint16_t post(std::uint16_t room) noexcept {
    const std::span<const handle> stock =
        cache_.stock(std::min<std::size_t>(room, cache_.burst()));
    if (stock.empty()) {
      counters_.starved.add(1);
      return 0;
    }
    const auto map = cache_.source().mapper();
    const std::uint32_t header_bytes = rules_.header_size;
    const std::uint32_t length = max_written(cache_.source(), rules_);
    const handle* next = stock.data() + stock.size();
    const std::uint16_t added = ring_.template add_burst<true>(
        static_cast<std::uint16_t>(stock.size()), [&](burst_buffer<handle>& fresh) {
          const handle h = Source::with_plain_header(*--next, false);
          fresh.address = map(h).address - header_bytes;
          fresh.length = length;
          fresh.token = h;
          return true;
        });
    cache_.drop(added);
    return added;
  }

  // One buffer, one frame. Nothing else can be: no buffer is continued.
  std::size_t receive_single(std::span<frame> frames) noexcept {
    const auto map = cache_.source().mapper();
    const std::uint32_t header_bytes = rules_.header_size;
    Source* const source = &cache_.source();
    const std::uint32_t capacity = cache_.source().capacity();
    const auto max = static_cast<std::uint16_t>(std::min<std::size_t>(frames.size(), ring_.size()));
    frame* next = frames.data();
    std::uint64_t bytes = 0;
    const auto sink = [&](handle h, std::uint32_t written) {
      frame& f = *next;
      const std::uint32_t size = written - header_bytes;
      if (size > capacity) [[unlikely]] return reject(h, written);
      if (access::source(f) != nullptr) [[unlikely]] f.reset();
      if (fill(f, source, h, map(h).payload - header_bytes, size)) {
        bytes += size;
        ++next;
      }
      return true;
    };
    ring_.reclaim(max, sink);
    return count(next - frames.data(), bytes);
  }

  // A frame lies in as many buffers as its header says, used one after the other.
  std::size_t receive_mergeable(std::span<frame> frames) noexcept {
    const auto map = cache_.source().mapper();
    const std::uint32_t header_bytes = rules_.header_size;
    Source* const source = &cache_.source();
    const std::uint32_t capacity = cache_.source().capacity();
    frame* next = frames.data();
    frame* const end = next + frames.size();
    if (next == end) return 0;
    std::uint64_t bytes = 0;
    std::uint32_t left = 0;  // buffers of the current frame that are still to come
    handle last{};           // the buffer of it that came last
    frame partial;
    const auto sink = [&](handle h, std::uint32_t written) {
      if (left != 0) [[unlikely]] {
        // A continuation: no header, so its bytes start where the header would.
        source->link(last).next = h;
        source->link(h) = {{}, written, -static_cast<std::int32_t>(header_bytes)};
        last = h;
        access::extent(partial) += access::one_buffer | written;
        if (--left != 0) return true;
        const std::byte* const header = map(access::first(partial)).payload - header_bytes;
        if (!accept_header(access::header(partial), header, partial.size())) {
          partial.reset();
          return true;
        }
        bytes += partial.size();
        *next = std::move(partial);
        return ++next != end;
      }
      frame& f = *next;
      const std::uint32_t size = written - header_bytes;
      if (size > capacity) [[unlikely]] return reject(h, written);
      const std::byte* const header = map(h).payload - header_bytes;
      const std::uint16_t buffers = num_buffers(header);
      if (buffers != 1) [[unlikely]] {
        if (buffers == 0 || buffers > ring_.size()) return reject(h, buffers);
        partial = frame(*source, h);
        access::extent(partial) = access::one_buffer | size;
        source->link(h) = {{}, size, 0};
        last = h;
        left = buffers - 1u;
        return true;
      }
      if (access::source(f) != nullptr) [[unlikely]] f.reset();
      if (!fill(f, source, h, header, size)) return true;
      bytes += size;
      return ++next != end;
    };
    ring_.reclaim(ring_.size(), sink);
    if (left != 0) [[unlikely]] {
      // The device publishes all buffers of a frame at once, so they are not on their way either.
      ring_.break_queue(ring_fault::num_buffers, ring_.used_position(), left);
    }
    return count(next - frames.data(), bytes);
  }

  // Makes an empty frame of one received buffer. False: its header cannot be believed.
  [[gnu::always_inline]] bool fill(frame& f, Source* source, handle h, const std::byte* header,
                                   std::uint32_t size) noexcept {
    if (flags_and_gso(header) == 0) [[likely]] {
      access::header(f) = {};
    } else if (!accept_header(access::header(f), header, size)) {
      cache_.put(h);
      return false;
    }
    access::first(f) = h;
    access::source(f) = source;
    access::extent(f) = access::one_buffer | size;
    return true;
  }

  std::size_t count(std::ptrdiff_t frames, std::uint64_t bytes) noexcept {
    counters_.frames.add(static_cast<std::uint64_t>(frames));
    counters_.bytes.add(bytes);
    return static_cast<std::size_t>(frames);
  }

  // The ring is not to be trusted any more; the buffer is still ours.
  bool reject(handle h, std::uint32_t value) noexcept {
    const bool length = value < rules_.header_size || value > max_written(cache_.source(), rules_);
    ring_.break_queue(length ? ring_fault::used_length : ring_fault::num_buffers,
                      ring_.used_position(), value);
    cache_.put(h);
    return false;
  }

  // Copies the header out, once, and checks it against what was negotiated.
  bool accept_header(virtio_net_hdr& to, const std::byte* from, std::uint32_t size) noexcept {
    to = load_header(from, rules_.header_size);
    const header_fault fault = check_rx_header(to, size, rules_.offloads);
    if (fault == header_fault::none) return true;
    counters_.drop(fault);
    return false;
  }

  // The two bytes that are zero on a frame with nothing left to do. One load: the device may still
  // be writing, and what is decided here is not decided again.
  [[nodiscard]] static std::uint16_t flags_and_gso(const std::byte* header) noexcept {
    return direct::load(reinterpret_cast<const std::uint16_t&>(*header));
  }
  [[nodiscard]] static std::uint16_t num_buffers(const std::byte* header) noexcept {
    return direct::load(reinterpret_cast<const std::uint16_t&>(header[10]));
  }

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  handle_cache<Source> cache_;
  queue_counters counters_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_RX_QUEUE_HPP
