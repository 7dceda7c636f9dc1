// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_STATE_HPP
#define VKRING_RING_PACKED_STATE_HPP

// How the driver side of a packed virtqueue comes to rest, and goes on from there.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/ring/driver_state.hpp>
#include <vkring/ring/mode_switch.hpp>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/ring/packed_unpublished.hpp>
#include <vkring/ring/used_batch.hpp>

namespace vkring::inline v0::detail {

// Of a queue that has it as a friend.
template <class Queue>
struct packed_state {
  using token_type = typename Queue::token_type;

  // `queue` is fresh, but starts at `from.driver_at`, and leaves the ring alone.
  static void restore(Queue& queue, const driver_state& from, std::span<const token_type> tokens) {
    queue.modes_ = mode_switch(from.mode, from.until_fast, from.general_entries, from.fast_entries);
    queue.batch_ = used_batch(from.batch_left, from.batch_written);
    queue.used_ = from.used;
    queue.added_ = queue.published_ = from.avail();
    packed_position at = queue.next_used_;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      queue.tokens_[queue.modes_.is_fast() ? at.slot() : from.order[i]] = tokens[i];
      at.advance(from.chains[i], queue.size_);
    }
    queue.next_ = at;
    queue.unpublished_ = packed_unpublished(at);
    if (!queue.modes_.is_fast()) queue.ledger_.restore(from.chains, from.order);
  }

  template <class Sink>
  static driver_state take(const Queue& queue, Sink&& sink) {
    driver_state now;
    now.used = queue.used_;
    now.driver_at = now.device_at = queue.next_used_.start(queue.size_);
    now.general_entries = now.fast_entries = queue.general_entries();
    // With nothing in flight there is nothing that fast mode could not go on with.
    if (queue.in_flight() == 0) return now;
    now.batch_left = queue.batch_.left();
    now.batch_written = queue.batch_.written();
    if (!queue.modes_.is_fast()) {
      now.mode = ring_mode::general;
      now.fast_entries = queue.fast_entries();
      now.until_fast = queue.modes_.until_fast();
    }
    const auto add = [&](std::uint16_t id) {
      now.chains.push_back(queue.chain_length(id));
      if (!queue.modes_.is_fast()) now.order.push_back(id);
      sink(queue.tokens_[id]);
    };
    if (queue.modes_.is_fast() || queue.in_order_) {
      packed_position at = queue.next_used_;
      for (std::uint16_t left = queue.in_flight(); left != 0; --left) {
        add(at.slot());
        at.advance(now.chains.back(), queue.size_);
      }
      return now;
    }
    for (std::uint16_t id = 0; id < queue.size_; ++id) {
      if (queue.chain_length(id) != 0) add(id);
    }
    queue.ledger_.for_each_free_id([&](std::uint16_t id) { now.order.push_back(id); });
    return now;
  }
};

}  // namespace vkring::inline v0::detail

#endif  // VKRING_RING_PACKED_STATE_HPP
