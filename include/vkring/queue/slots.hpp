// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_SLOTS_HPP
#define VKRING_QUEUE_SLOTS_HPP

// Queues whose buffers stay in the ring: the application works in the slots themselves, in order.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/common.hpp>
#include <vkring/queue/slot_queue.hpp>
#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

/// A transmit queue that is written in place: `reserve` some buffers, fill them, `commit` them.
///
/// For applications that make their frames, or copy them anyway: no buffer is allocated, mapped or
/// handed back. A frame lies in one buffer. Frames that an application already has in memory of the
/// device are for `tx_queue`.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: in `make` only.
template <driver_queue Ring, buffer_source Source, std::invocable Notify>
class slot_tx : public detail::slot_queue<Ring, Source, Notify> {
  using base = detail::slot_queue<Ring, Source, Notify>;
  using access = typename base::access;
  using base::at, base::counters_, base::ring_, base::rules_, base::unbound_;

 public:
  /// Takes a buffer for each slot of the ring from `source`, which outlives the queue. `notify` kicks
  /// the device. Errors: ENOBUFS.
  [[nodiscard]] static result<slot_tx> make(Ring ring, Source& source, const frame_rules& rules,
                                            Notify notify) {
    auto handles = base::take(ring, source);
    if (!handles) return tl::unexpected(std::move(handles.error()));
    return slot_tx(std::move(ring), source, std::move(*handles), rules, std::move(notify));
  }

  /// Up to `n` buffers to fill, in the order in which they will be sent. Those that were reserved
  /// before and not committed come first, as they were left; the others have size 0 and a plain
  /// header. Fewer when the ring is full (or broken: `ring().breach()`), and where its end comes
  /// between: once these are committed, the next call goes on from there. Valid until the next call
  /// of any member.
  [[nodiscard]] std::span<slot_frame* const> reserve(std::size_t n) noexcept {
    if (ring_.room() < n) reclaim();
    return base::next(std::min<std::size_t>(n, ring_.room()));
  }

  /// Sends the first `n` of the buffers that were just reserved, and returns how many of them: what
  /// must not be sent is dropped instead, and `counters().drops` says why. Kicks the device once at
  /// most, if it asked for that.
  std::size_t commit(std::size_t n) noexcept {
    n = base::next(std::min<std::size_t>(n, ring_.room())).size();
    std::size_t sent = unbound_ == 0 ? commit_plain(n) : 0;
    if (sent != n) [[unlikely]]
      sent += commit_rest(n - sent);
    if (sent != 0) base::publish();
    return sent;
  }

  /// Takes back what the device has read. `reserve` does so when it is short.
  void reclaim() noexcept {
    const std::uint16_t pending = ring_.used_at_most(ring_.size());
    const auto in_order = [](std::size_t, slot_frame*) __attribute__((always_inline)) {
      return true;
    };
    const std::uint16_t done = ring_.reclaim_burst(pending, in_order);
    if (done != pending && base::any_used()) [[unlikely]]
      reclaim_any();
  }

  /// Asks for a call once the device has read half of what is in flight now. `more_pending`: it has.
  [[nodiscard]] notification enable_call() noexcept {
    return ring_.enable_call(ring_.in_flight() / 2);
  }

 private:
  slot_tx(Ring ring, Source& source, std::vector<typename base::handle> handles,
          const frame_rules& rules, Notify notify)
      : base(std::move(ring), source, std::move(handles), rules, std::move(notify)) {}

  // The hot case: nothing in any header, and each buffer in the slot where it was last. Stops at the
  // first frame that is not plain; returns how many it added.
  [[gnu::always_inline]] std::size_t commit_plain(std::size_t n) noexcept {
    slot_frame* const* const frames = base::next(n).data();
    const std::uint64_t minus_shortest = minus_shortest_;
    const std::uint64_t header_bytes = rules_.header_size;
    std::uint64_t lengths = 0;
    const auto take = [&](std::uint64_t & length, std::size_t nth) __attribute__((always_inline)) {
      std::uint64_t& extent = access::extent(*frames[nth]);
      const std::uint64_t size = extent;
      // Resizing keeps within the buffer. Only flags make it larger.
      if (size + minus_shortest > UINT32_MAX) [[unlikely]]
        return false;
      extent = 0;
      length = size + header_bytes;
      lengths += length;
      return true;
    };
    const std::uint16_t added =
        ring_.template add_bound<false>(static_cast<std::uint32_t>(n), take);
    counters_.frames.add(added);
    counters_.bytes.add(lengths - added * std::uint64_t{rules_.header_size});
    return added;
  }

  // The next `n` frames, of any kind and in any mode. Returns how many were added.
  [[gnu::noinline]] std::size_t commit_rest(std::size_t n) noexcept {
    std::size_t sent = 0;
    for (; n != 0; --n) {
      slot_frame& f = *at(ring_.avail_position());
      if (put_header(f)) {
        counters_.frames.add(1);
        counters_.bytes.add(f.size());
        base::template add_next<false>(f.size() + rules_.header_size);
        ++sent;
      } else {
        skip();
      }
      access::extent(f) &= access::stale_header;
    }
    return sent;
  }

  // The next buffer goes behind all others of the application, which are sent without a gap.
  void skip() noexcept {
    const ring_index last = ring_.avail_position() + (ring_.room() - 1);
    for (ring_index position = ring_.avail_position(); position != last; position += 1) {
      std::swap(at(position), at(position + 1));
    }
    unbound_ = ring_.size();
  }

  // Makes the header in memory that of the frame, if it may be sent.
  bool put_header(slot_frame& f) noexcept {
    if (f.size() < rules_.min_size) {
      counters_.drop(drop_reason::too_short);
      return false;
    }
    const virtio_net_hdr header = f.header();
    if (const header_fault fault = check_tx_header(header, f.size(), rules_.offloads, rules_.link);
        fault != header_fault::none) {
      counters_.drop(fault);
      return false;
    }
    std::byte* const payload = access::payload(f);
    if (!header.is_plain()) {
      detail::write_header(payload, rules_.header_size, header);
      access::extent(f) |= access::stale_header;
    } else if ((access::extent(f) & access::stale_header) != 0) {
      detail::clear_header(payload);
      access::extent(f) &= ~access::stale_header;
    }
    return true;
  }

  [[gnu::noinline]] void reclaim_any() noexcept {
    ring_.reclaim(ring_.size(), [this](slot_frame* f) { base::came_back(f); });
  }

  std::uint64_t minus_shortest_ = 0 - std::uint64_t{rules_.min_size};
};

/// A receive queue that is read in place: `peek` at the frames, `release` them.
///
/// For applications that look at a frame and are done with it, or copy it: no buffer is allocated,
/// mapped or handed back, and the device gets them again for a write to the ring's index alone. A
/// frame lies in one buffer; mergeable buffers are refused.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: in `make` only.
template <driver_queue Ring, buffer_source Source, std::invocable Notify>
class slot_rx : public detail::slot_queue<Ring, Source, Notify> {
  using base = detail::slot_queue<Ring, Source, Notify>;
  using access = typename base::access;
  using base::at, base::counters_, base::ring_, base::rules_, base::unbound_;

 public:
  /// The most bytes that a device may write to a buffer: what the ring is constructed with.
  [[nodiscard]] static std::uint32_t max_written(const Source& source,
                                                 const frame_rules& rules) noexcept {
    return source.capacity() + rules.header_size;
  }

  /// Takes a buffer for each slot of the ring from `source`, which outlives the queue, and puts them
  /// into the ring. `notify` kicks the device. Errors: ENOBUFS; ENOTSUP for mergeable buffers.
  [[nodiscard]] static result<slot_rx> make(Ring ring, Source& source, const frame_rules& rules,
                                            Notify notify) {
    if (rules.mergeable) {
      return fail(std::errc::not_supported, "open", "mrg=on",
                  "a slot queue has one buffer for each frame: use leases, or large buffers");
    }
    auto handles = base::take(ring, source);
    if (!handles) return tl::unexpected(std::move(handles.error()));
    return slot_rx(std::move(ring), source, std::move(*handles), rules, std::move(notify));
  }

  /// Up to `n` of the frames that wait, oldest first: those that were not released come again. Fewer
  /// where the end of the ring comes between, and where frames were dropped, because their header
  /// cannot be believed: release these, and call again. None when there are no more; when the ring is
  /// broken, none after those that came before the breach. Valid until the next call of any member.
  [[nodiscard]] std::span<slot_frame* const> peek(std::size_t n) noexcept {
    std::size_t held = ring_.room();
    if (held < n) {
      ring_index before = ring_.used_position();
      held = collect(n);
      while (held == 0 && ring_.used_position() != before) [[unlikely]] {  // all were dropped
          before = ring_.used_position();
          held = collect(n);
        }
    }
    return base::next(std::min(n, held));
  }

  /// Gives the oldest `n` frames back to the device.
  void release(std::size_t n) noexcept {
    const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(n, ring_.room()));
    if (unbound_ != 0 || ring_.template add_again<true>(count, length_) != count) [[unlikely]]
      release_any(count);
    if (count != 0) base::publish();
  }

  /// Asks for a call when the next frame comes. `more_pending`: one is there already.
  [[nodiscard]] notification enable_call() noexcept { return ring_.enable_call(); }

 private:
  slot_rx(Ring ring, Source& source, std::vector<typename base::handle> handles,
          const frame_rules& rules, Notify notify)
      : base(std::move(ring), source, std::move(handles), rules, std::move(notify)),
        length_(max_written(source, rules)) {
    release(ring_.size());
  }

  // Looks for more frames, so that there are `n`. Returns how many there are.
  [[gnu::always_inline]] std::size_t collect(std::size_t n) noexcept {
    const std::size_t held = ring_.room();
    const ring_index first = ring_.used_position();
    const std::uint16_t pending =
        static_cast<std::uint16_t>(std::min<std::size_t>(ring_.used_at_most(n - held), n - held));
    const std::ptrdiff_t header_offset = -std::ptrdiff_t{rules_.header_size};
    const std::uint64_t shortest = rules_.min_size;
    std::uint64_t sizes = 0;
    bool any_offload = false;
    const auto keep = [&](std::size_t, slot_frame * f, std::uint32_t beyond)
        __attribute__((always_inline)) {
      const std::uint64_t size = shortest + beyond;
      access::extent(*f) = size;
      sizes += size;
      if (detail::flags_and_gso(access::payload(*f) + header_offset) != 0) [[unlikely]] {
        access::extent(*f) = size | access::offload;
        any_offload = true;
      }
      return true;
    };
    const std::uint16_t done =
        ring_.reclaim_burst(pending, keep, rules_.header_size + rules_.min_size);
    if ((done != pending && base::any_used()) || any_offload) [[unlikely]]
      return collect_any(first, static_cast<std::uint16_t>(pending - done));
    counters_.frames.add(done);
    counters_.bytes.add(sizes);
    return held + done;
  }

  // Where the oldest frame is that the application has: a ring's worth before the next position to be
  // added.
  [[nodiscard]] ring_index oldest() const noexcept {
    return ring_.avail_position() + (0x10000u - ring_.size());
  }

  // Takes up to `count` more frames in whatever mode the ring is. Then, for all frames from position
  // `first` on, takes the headers that there are, and drops what cannot be believed. Returns how many
  // frames the application has, also in a ring that was found broken behind them.
  [[gnu::noinline]] std::size_t collect_any(ring_index first, std::uint16_t count) noexcept {
    bool is_cut = false;
    ring_.reclaim(count, [&](slot_frame* f, std::uint32_t written) {
      base::came_back(f);
      if (written < rules_.header_size) {
        ring_.break_queue(ring_fault::used_length, ring_.used_position(), written);
        is_cut = true;
        return false;
      }
      // Whether there is something in the header is for the copy to say.
      access::extent(*f) = (written - rules_.header_size) | access::offload;
      return true;
    });
    // The last one is no frame then.
    const ring_index end = ring_.used_position() + (is_cut ? 0xffff : 0);
    std::uint16_t dropped = 0;
    for (; first != end; first += 1) {
      slot_frame& f = *at(first);
      if ((access::extent(f) & access::offload) != 0 && !take_header(f)) {
        access::extent(f) = access::dropped;
        ++dropped;
      } else {
        counters_.frames.add(1);
        counters_.bytes.add(f.size());
      }
    }
    return dropped == 0 ? end - oldest() : give_back(dropped, end);
  }

  // Copies the header out, once, and checks it against what was negotiated.
  bool take_header(slot_frame& f) noexcept {
    if (f.size() < rules_.min_size) {
      counters_.drop(drop_reason::too_short);
      return false;
    }
    virtio_net_hdr header;
    const header_fault fault = detail::read_header(header, access::payload(f), f.size(), rules_);
    if (fault != header_fault::none) {
      counters_.drop(fault);
      return false;
    }
    f.set_header(header);
    return true;
  }

  // Gives the buffers of dropped frames, which lie before position `end`, back to the device: before
  // those of the frames that are older and still with the application. Returns how many it has.
  std::size_t give_back(std::uint16_t dropped, ring_index end) noexcept {
    const auto is_dropped = [](slot_frame* f) { return access::extent(*f) == access::dropped; };
    unbound_ = ring_.size();
    if (ring_.breach()) {
      // Nothing goes back any more. The frames that are left come first.
      ring_index to = oldest();
      for (ring_index from = to; from != end; from += 1) {
        if (is_dropped(at(from))) continue;
        std::swap(at(from), at(to));
        to += 1;
      }
      return to - oldest();
    }
    ring_index to = end;
    for (ring_index from = end; from != oldest();) {
      from += 0xffff;
      if (is_dropped(at(from))) continue;
      to += 0xffff;
      std::swap(at(from), at(to));
    }
    release_any(dropped);
    base::publish();
    return end - oldest();
  }

  [[gnu::noinline]] void release_any(std::uint16_t count) noexcept {
    for (; count != 0; --count) base::template add_next<true>(length_);
  }

  std::uint32_t length_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_SLOTS_HPP
