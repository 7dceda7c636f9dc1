// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_SPLIT_DEVICE_HPP
#define VKRING_RING_SPLIT_DEVICE_HPP

// The device side of a split virtqueue.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vkring/core/set_once.hpp>
#include <vkring/ring/chain_collector.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/slots.hpp>

namespace vkring::inline v0 {

/// The device side of a split virtqueue, virtio 1.3 section 2.7: the peer of a driver that may be
/// hostile. Each shared word is read once, into a local, and checked before it is used.
///
/// Chains may be pushed as used in any order, unless in-order was agreed on: then in the order of
/// `pop`. Several chains may be out at a time.
///
/// Allocation: in the constructor only. Thread-safety: one thread at a time.
template <address_space AddressSpace, class Access>
class virtqueue<split, device_side, AddressSpace, Access> {
 public:
  using layout_type = split;  ///< of the ring that is served

  /// Serves `ring`, whose memory the driver side has initialised.
  virtqueue(const split_ring& ring, const ring_options& options, AddressSpace space)
      : ring_(ring),
        size_(options.size),
        mask_(static_cast<std::uint16_t>(options.size - 1)),
        event_idx_(options.event_idx),
        indirect_(options.indirect),
        avail_(options.start),
        avail_seen_(options.start),
        used_(options.start),
        published_(options.start),
        call_checked_(options.start),
        chain_(std::move(space)) {}

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }  ///< entries of the ring
  /// What the driver did wrong, if it did. A broken queue has nothing available. From any thread.
  [[nodiscard]] ring_breach breach() const noexcept { return breach_.get(); }
  /// The next position to pop and the next to push: what a stopped device is resumed at.
  [[nodiscard]] ring_index avail_position() const noexcept { return avail_; }
  /// See `avail_position`.
  [[nodiscard]] ring_index used_position() const noexcept { return used_; }

  /// How many chains wait, looking at the driver's index only if fewer than `enough` are known of.
  [[nodiscard]] std::uint16_t avail(std::uint16_t enough) noexcept {
    if (breach_.is_set()) [[unlikely]]
      return 0;
    if (avail_seen_ - avail_ < enough) {
      const ring_index seen(Access::observe_avail(ring_.avail_index()));
      // More than the ring holds, counting what is out, or an index that went back.
      if (seen - used_ > size_ || seen - used_ < avail_seen_ - used_) [[unlikely]] {
        break_queue(ring_fault::avail_index_jump, avail_.value(), seen.value());
        return 0;
      }
      avail_seen_ = seen;
    }
    return avail_seen_ - avail_;
  }

  /// An upper bound of how many chains wait, for `pop_burst`. Here the index tells it exactly.
  [[nodiscard]] std::uint16_t avail_at_most(std::uint16_t enough) noexcept { return avail(enough); }

  /// Takes the first of the `count` chains that `avail` told of, as long as each is one descriptor
  /// and one piece of memory; returns how many. `sink(nth, head, buffer, writable)` is called for each.
  /// The hot path: what is left is for `pop`.
  template <class Sink>
  [[gnu::always_inline]] std::uint16_t pop_burst(std::uint16_t count, Sink&& sink) noexcept {
    const std::uint16_t* const entries = ring_.avail_entries();
    const split_descriptor* const descriptors = ring_.descriptors();
    const std::size_t mask = mask_;
    AddressSpace& space = chain_.space();
    constexpr std::uint64_t unusual =
        split_descriptor::pack(0, descriptor_next | descriptor_indirect);
    const std::uint32_t done = for_each_slot(
        avail_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          const std::size_t head = Access::load(entries[slot]);
          if (head > mask) [[unlikely]]
            return false;
          const std::uint64_t address = Access::load(descriptors[head].address);
          const std::uint64_t rest = Access::load(descriptors[head].rest);
          if ((rest & unusual) != 0) [[unlikely]]
            return false;
          const bool writable = (split_descriptor::flags(rest) & descriptor_write) != 0;
          const std::span<std::byte> buffer = space.translate(
              address, split_descriptor::length(rest), collector::direction(writable));
          if (buffer.size() != split_descriptor::length(rest)) [[unlikely]]
            return false;
          sink(nth, static_cast<std::uint16_t>(head), buffer, writable);
          return true;
        });
    avail_ += done;
    return static_cast<std::uint16_t>(done);
  }

  /// Takes up to `max` chains of any shape: `sink(chain)` for each, in the order of the ring, and
  /// returns how many. `sink` may return false to stop after the chain that it was given.
  template <class Sink>
  std::uint16_t pop(std::uint16_t max, Sink&& sink) noexcept {
    const std::uint16_t pending = avail(max);
    const std::uint16_t count = pending < max ? pending : max;
    std::uint16_t done = 0;
    for (bool more = true; more && done != count; ++done) {
      const std::uint16_t head = Access::load(ring_.avail_entries()[avail_.slot(mask_)]);
      if (head >= size_) {
        break_queue(ring_fault::head_range, avail_.value(), head);
        break;
      }
      device_chain chain{head, {}, {}};
      if (!walk(chain)) break;
      avail_ += 1;
      more = detail::goes_on(sink, chain);
    }
    return done;
  }

  /// Puts back the last `n` popped chains, none of which was pushed: the next `pop` finds them again.
  void unpop(std::uint16_t n) noexcept { avail_ += 0x10000u - n; }

  /// Returns one chain, of which the device wrote the first `written` bytes of the writable part.
  /// Invisible to the driver until `publish`.
  void push_used(std::uint16_t head, std::uint32_t written) noexcept {
    used_element& element = ring_.used_elements()[used_.slot(mask_)];
    Access::store(element.id, std::uint32_t{head});
    Access::store(element.length, written);
    used_ += 1;
  }

  /// Returns `count` chains: `generate(element, nth)` fills in the head and the bytes written of the next
  /// one. `count` is at most what was popped and not yet pushed.
  template <class Generate>
  [[gnu::always_inline]] void push_burst(std::uint16_t count, Generate&& generate) noexcept {
    used_element* const elements = ring_.used_elements();
    for_each_slot(
        used_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          used_element fresh;
          generate(fresh, nth);
          Access::store(elements[slot].id, fresh.id);
          Access::store(elements[slot].length, fresh.length);
          return true;
        });
    used_ += count;
  }

  /// In-order only: returns the `count` oldest chains with one element that names `last`, the head of
  /// the last of them. The driver takes the others as written in full. Source: virtio 1.3 section 2.7.9.
  void push_used_batch(std::uint16_t last, std::uint32_t written, std::uint16_t count) noexcept {
    used_element& element = ring_.used_elements()[used_.slot(mask_)];
    Access::store(element.id, std::uint32_t{last});
    Access::store(element.length, written);
    used_ += count;
  }

  /// Makes everything that was pushed visible to the driver.
  void publish() noexcept {
    published_ = used_;
    Access::publish_used(ring_.used_index(), used_.value());
  }

  /// Whether the driver asked to be called for what was published since this was last asked, which
  /// has to be less than 65536 chains ago.
  /// Source: virtio 1.3 sections 2.7.7.2 and 2.7.10.
  [[nodiscard]] bool call_needed() noexcept {
    const ring_index before = call_checked_;
    call_checked_ = published_;
    Access::before_call_check();
    if (event_idx_) {
      return passed(ring_index(Access::load(ring_.used_event())), published_, before);
    }
    return (Access::load(ring_.avail_flags()) & suppress_notification) == 0;
  }

  /// Asks for a kick at the next chain. `more_pending`: there are chains already, perhaps without one.
  [[nodiscard]] notification enable_kick() noexcept {
    if (event_idx_) {
      Access::store(ring_.avail_event(), avail_.value());
    } else {
      Access::store(ring_.used_flags(), std::uint16_t{0});
    }
    Access::after_kick_enabled();
    return avail(size_) != 0 ? notification::more_pending : notification::safe_to_sleep;
  }

  /// Asks for no kicks. With event-idx the flag stays 0 and the event is left behind, which after
  /// 65536 chains may bring one kick: expect spurious ones.
  void disable_kick() noexcept {
    if (event_idx_) {
      Access::store(ring_.avail_event(), (avail_ + 0xffff).value());
    } else {
      Access::store(ring_.used_flags(), suppress_notification);
    }
  }

  /// Marks the queue broken for a breach that the ring alone cannot see.
  void break_queue(ring_fault fault, std::uint16_t position, std::uint64_t value) noexcept {
    detail::keep_breach(breach_, {fault, position, value}, this);
  }

  /// Calls `visit` with every word of private state: what a snapshot or a comparison has to cover.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.avail_), visit(self.avail_seen_), visit(self.used_);
    visit(self.published_), visit(self.call_checked_);
    self.breach_.visit_state(self.breach_, visit);
  }

 private:
  using collector = chain_collector<AddressSpace>;

  // Collects the buffers of the chain. False: a breach.
  bool walk(device_chain& chain) noexcept {
    chain_.begin();
    if (!walk_ring(chain.head)) return false;
    chain_.give(chain);
    return true;
  }

  bool walk_ring(std::uint16_t head) noexcept {
    std::uint16_t at = head;
    // Empty buffers make no pieces, and no work without end either.
    const std::uint32_t most = size_ < max_chain_pieces ? size_ : max_chain_pieces;
    for (std::uint32_t left = most;; --left) {
      const std::uint64_t address = Access::load(ring_.descriptors()[at].address);
      const std::uint64_t rest = Access::load(ring_.descriptors()[at].rest);
      const std::uint16_t flags = split_descriptor::flags(rest);
      const bool more = (flags & descriptor_next) != 0;
      if ((flags & descriptor_indirect) != 0) {
        if (more) return breach(ring_fault::indirect_with_next, head, rest);
        return walk_table(head, address, split_descriptor::length(rest));
      }
      if (!add(head, address, rest)) return false;
      if (!more) return true;
      const std::uint16_t next = split_descriptor::next(rest);
      if (next >= size_) return breach(ring_fault::next_range, head, next);
      if (left == 1) return breach(ring_fault::chain_too_long, head, most);
      at = next;
    }
  }

  // A table of descriptors outside the ring.
  bool walk_table(std::uint16_t head, std::uint64_t table, std::uint32_t bytes) noexcept {
    if (!indirect_) return breach(ring_fault::indirect_refused, head, table);
    const std::uint32_t count = chain_.template table_entries<split_descriptor>(bytes);
    if (count == 0) return breach(head);
    std::uint32_t at = 0;
    for (std::uint32_t left = count < max_chain_pieces ? count : max_chain_pieces;; --left) {
      const auto* const descriptor = chain_.template table_entry<split_descriptor>(table, at);
      if (descriptor == nullptr) return breach(head);
      const std::uint64_t address = Access::load(descriptor->address);
      const std::uint64_t rest = Access::load(descriptor->rest);
      const std::uint16_t flags = split_descriptor::flags(rest);
      if ((flags & descriptor_indirect) != 0) {
        return breach(ring_fault::indirect_refused, head, rest);
      }
      if (!add(head, address, rest)) return false;
      if ((flags & descriptor_next) == 0) return true;
      at = split_descriptor::next(rest);
      if (at >= count) return breach(ring_fault::next_range, head, at);
      if (left == 1) return breach(ring_fault::chain_too_long, head, count);
    }
  }

  bool add(std::uint16_t head, std::uint64_t address, std::uint64_t rest) noexcept {
    const bool writable = (split_descriptor::flags(rest) & descriptor_write) != 0;
    return chain_.add(address, split_descriptor::length(rest), writable) || breach(head);
  }

  // What the collector found.
  bool breach(std::uint16_t head) noexcept { return breach(chain_.fault(), head, chain_.value()); }
  bool breach(ring_fault fault, std::uint16_t head, std::uint64_t value) noexcept {
    break_queue(fault, head, value);
    return false;
  }

  split_ring ring_;
  std::uint16_t size_;
  std::uint16_t mask_;
  bool event_idx_;
  bool indirect_;

  ring_index avail_;         // next position to pop
  ring_index avail_seen_;    // the driver's index when it was last looked at
  ring_index used_;          // next position to push
  ring_index published_;     // what the driver was shown
  ring_index call_checked_;  // published_ when call_needed was last asked

  set_once<ring_breach> breach_;
  chain_collector<AddressSpace> chain_;  // that was popped last
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_SPLIT_DEVICE_HPP
