// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_SLOT_QUEUE_HPP
#define VKRING_QUEUE_SLOT_QUEUE_HPP

// What slot queues of both directions share: which buffer is in which slot.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/queue/common.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/queue/slot_frame.hpp>
#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

namespace detail {

// A ring with a buffer for each slot, and which buffer is at which position.
//
// The position that a chain is added at decides its slot; there, `order_` names its buffer. As long as
// the device completes in ring order, a buffer comes back to the slot that it was in, whose descriptor
// still says where it is. A completion out of order, or a frame that is dropped, moves buffers to other
// slots: then `unbound_` counts the additions that have to write their address, a ring's worth.
template <class Ring, buffer_source Source, std::invocable Notify>
class slot_queue {
 public:
  static_assert(std::same_as<typename Ring::token_type, slot_frame*>);

  slot_queue(const slot_queue&) = delete;
  slot_queue& operator=(slot_queue&&) = delete;

  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: all buffers go to their source. The queue is
  /// spent.
  void stop() noexcept {
    ring_.abandon([](slot_frame*) {});
    source_->put(handles_);
    handles_.clear();
  }

  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 protected:
  using access = slot_access;
  using handle = typename Source::handle;

  // The buffers of a queue: as many as its ring has slots.
  [[nodiscard]] static result<std::vector<handle>> take(const Ring& ring, Source& source) {
    std::vector<handle> handles(ring.size());
    const std::size_t n = source.take(handles);
    for (handle& h : handles) h = Source::with_plain_header(h, false);
    if (n == handles.size()) return handles;
    source.put({handles.data(), n});
    return fail(std::errc::no_buffer_space, "open", "queue-size=" + std::to_string(ring.size()),
                "a slot queue needs a buffer for each slot, and the source has " +
                    std::to_string(n) + " left");
  }

  slot_queue(Ring ring, Source& source, std::vector<handle> handles, const frame_rules& rules,
             Notify notify)
      : ring_(std::move(ring)),
        rules_(rules),
        notify_(std::move(notify)),
        unbound_(ring_.size()),
        source_(&source),
        handles_(std::move(handles)),
        frames_(ring_.size()),
        order_(ring_.size()) {
    const auto map = source.mapper();
    const std::size_t first = slot_of(ring_.avail_position());
    for (std::size_t i = 0; i < frames_.size(); ++i) {
      const mapped_buffer buffer = map(handles_[i]);
      access::payload(frames_[i]) = buffer.payload;
      access::address(frames_[i]) = buffer.address;
      access::capacity(frames_[i]) = buffer.capacity;
      clear_header(buffer.payload);
      order_[(first + i) % order_.size()] = &frames_[i];
    }
  }
  slot_queue(slot_queue&&) noexcept = default;
  ~slot_queue() = default;

  [[nodiscard]] std::size_t slot_of(ring_index position) const noexcept {
    return ring_.slot_of(position);
  }

  // The buffer at a position.
  [[nodiscard]] slot_frame*& at(ring_index position) noexcept { return order_[slot_of(position)]; }

  // The buffers at the next positions to be added: `n` at most, up to the end of the ring.
  [[nodiscard]] std::span<slot_frame* const> next(std::size_t n) const noexcept {
    const std::size_t first = slot_of(ring_.avail_position());
    return {order_.data() + first, std::min(n, order_.size() - first)};
  }

  // The device is done with a buffer: it takes the position that comes next in the order of use.
  void came_back(slot_frame* f) noexcept {
    slot_frame*& there = at(ring_.used_position());
    if (there == f) return;
    there = f;
    unbound_ = ring_.size();
  }

  // Adds the next buffer in whatever mode the ring is; there is room.
  template <bool DeviceWritable>
  void add_next(std::uint32_t length) noexcept {
    slot_frame* const f = at(ring_.avail_position());
    const std::uint64_t start = access::address(*f) - rules_.header_size;
    const auto take = [&](burst_buffer<slot_frame*>& fresh, std::size_t) {
      fresh = {start, length, f};
      return true;
    };
    if (ring_.template add_burst<DeviceWritable>(1, take) != 0) {
      if (unbound_ != 0) --unbound_;
      return;
    }
    unbound_ = ring_.size();
    const chain_buffer buffer{start, length, DeviceWritable};
    ring_.try_add({&buffer, 1}, f);
  }

  // Whether more was used than a burst took. Not inlined, as bursts seldom end early.
  [[nodiscard, gnu::noinline]] bool any_used() noexcept { return ring_.used_pending(1) != 0; }

  [[gnu::always_inline]] void publish() noexcept { detail::publish(ring_, counters_, notify_); }

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  queue_counters counters_;
  std::uint32_t unbound_;
  Source* source_;
  std::vector<handle> handles_;
  std::vector<slot_frame> frames_;
  std::vector<slot_frame*> order_;
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_SLOT_QUEUE_HPP
