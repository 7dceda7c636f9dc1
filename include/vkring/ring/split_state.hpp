// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_SPLIT_STATE_HPP
#define VKRING_RING_SPLIT_STATE_HPP

// How the driver side of a split virtqueue comes to rest, and goes on from there.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/ring/driver_state.hpp>
#include <vkring/ring/mode_switch.hpp>
#include <vkring/ring/used_batch.hpp>

namespace vkring::inline v0::detail {

// Of a queue that has it as a friend.
template <class Queue>
struct split_state {
  using token_type = typename Queue::token_type;

  // `queue` is fresh, but for its positions, and leaves the ring alone.
  static void restore(Queue& queue, const driver_state& from, std::span<const token_type> tokens) {
    queue.modes_ = mode_switch(from.mode, from.until_fast, from.general_entries, from.fast_entries);
    queue.batch_ = used_batch(from.batch_left, from.batch_written);
    queue.avail_ = queue.published_ = queue.kick_checked_ = from.avail();
    if (queue.modes_.is_fast()) {
      for (std::uint16_t i = 0; i < tokens.size(); ++i) {
        queue.tokens_[(queue.used_ + i).slot(queue.mask_)] = tokens[i];
      }
      return;
    }
    queue.ledger_.restore(from.chains, from.order);
    std::size_t at = 0;
    for (std::size_t i = 0; i < tokens.size(); at += from.chains[i++]) {
      queue.tokens_[from.order[at]] = tokens[i];
    }
  }

  template <class Sink>
  static driver_state take(const Queue& queue, Sink&& sink) {
    driver_state now;
    now.used = queue.used_;
    now.general_entries = now.fast_entries = queue.general_entries();
    // With nothing in flight there is nothing that fast mode could not go on with.
    if (queue.in_flight() == 0) return now;
    now.batch_left = queue.batch_.left();
    now.batch_written = queue.batch_.written();
    if (queue.modes_.is_fast()) {
      now.chains.assign(queue.in_flight(), std::uint16_t{1});
      for (ring_index at = queue.used_; at != queue.avail_; at += 1) {
        sink(queue.tokens_[at.slot(queue.mask_)]);
      }
      return now;
    }
    now.mode = ring_mode::general;
    now.fast_entries = queue.fast_entries();
    now.until_fast = queue.modes_.until_fast();
    take_general(queue, now, sink);
    return now;
  }

 private:
  template <class Sink>
  static void take_general(const Queue& queue, driver_state& now, Sink& sink) {
    const auto& ledger = queue.ledger_;
    const auto add = [&](std::uint16_t head) {
      const std::uint16_t count = ledger.chain_length(head);
      now.chains.push_back(count);
      for (std::uint16_t i = 0, at = head; i < count; ++i, at = ledger.after(at)) {
        now.order.push_back(at);
      }
      sink(queue.tokens_[head]);
    };
    if (queue.in_order_) {
      std::uint16_t head = ledger.oldest();
      for (std::uint16_t left = queue.in_flight(); left != 0; --left) {
        add(head);
        head = queue.chain_after(head);
      }
    } else {
      for (std::uint16_t head = 0; head < queue.size_; ++head) {
        if (ledger.chain_length(head) != 0) add(head);
      }
    }
    for (std::uint16_t i = 0, at = ledger.first_free(); i < ledger.free(); ++i) {
      now.order.push_back(at);
      at = ledger.after(at);
    }
  }
};

}  // namespace vkring::inline v0::detail

#endif  // VKRING_RING_SPLIT_STATE_HPP
