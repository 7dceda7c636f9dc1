// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_DEVICE_HPP
#define VKRING_RING_PACKED_DEVICE_HPP

// The device side of a packed virtqueue.

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vkring/core/set_once.hpp>
#include <vkring/ring/chain_collector.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/long_chains.hpp>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/ring/packed_slots.hpp>
#include <vkring/ring/packed_unpublished.hpp>

namespace vkring::inline v0 {

/// The device side of a packed virtqueue, virtio 1.3 section 2.8: the peer of a driver that may be
/// hostile. Each shared word is read once, into a local, and checked before it is used.
///
/// What is called the head of a chain is its id, which the driver chooses. A driver that gives two
/// chains of one descriptor the same id gets that id back twice.
///
/// Chains may be pushed as used in any order, unless in-order was agreed on: then in the order of
/// `pop`. Several chains may be out at a time. What was pushed stays invisible until `publish` because
/// the first new used descriptor is written last, with a release.
///
/// Allocation: in the constructor only. Thread-safety: one thread at a time.
template <address_space AddressSpace, class Access>
class virtqueue<packed, device_side, AddressSpace, Access> {
 public:
  using layout_type = packed;  ///< of the ring that is served

  /// Serves `ring`, whose memory the driver side has initialised.
  virtqueue(const packed_ring& ring, const ring_options& options, AddressSpace space)
      : ring_(ring),
        size_(options.size),
        event_idx_(options.event_idx),
        indirect_(options.indirect),
        next_(options.start, options.size),
        next_used_(next_),
        unpublished_(next_),
        long_chains_(options.size),
        chain_(std::move(space)) {}

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }  ///< descriptors in the ring
  /// What the driver did wrong, if it did. A broken queue has nothing available. From any thread.
  [[nodiscard]] ring_breach breach() const noexcept { return breach_.get(); }
  /// The next descriptor to pop and the next to push: what a stopped device is resumed at.
  [[nodiscard]] packed_position next_available() const noexcept { return next_; }
  /// See `next_available`.
  [[nodiscard]] packed_position next_used() const noexcept { return next_used_; }
  /// Descriptors of chains that were popped and not pushed.
  [[nodiscard]] std::uint16_t out() const noexcept { return out_; }

  /// How many chains wait, looking no further than the first `enough`. There is no index that says so:
  /// it walks along the flags.
  [[nodiscard]] std::uint16_t avail(std::uint16_t enough) noexcept {
    std::uint16_t seen = 0;
    std::uint32_t left = avail_at_most(enough);
    for (packed_position at = next_; seen < enough && left != 0; ++seen) {
      std::uint64_t rest = Access::observe_avail(ring_.descriptors()[at.slot()].rest);
      if (!at.is_available(rest)) break;
      // A chain that does not end is for `pop` to judge.
      for (--left; (packed_descriptor::flags(rest) & descriptor_next) != 0 && left != 0; --left) {
        at.advance(1, size_);
        rest = Access::load(ring_.descriptors()[at.slot()].rest);
      }
      at.advance(1, size_);
    }
    return seen;
  }

  /// An upper bound of how many chains wait, for `pop_burst`, which finds out where they end. It looks
  /// at none of them. 0 on a broken queue.
  [[nodiscard]] std::uint16_t avail_at_most(std::uint16_t /*enough*/) const noexcept {
    return breach_.is_set() ? std::uint16_t{0} : static_cast<std::uint16_t>(size_ - out_);
  }

  /// Takes up to `count` chains, at most `avail_at_most`, as long as each is available, one descriptor
  /// and one piece of memory; returns how many. `sink(nth, id, buffer, writable)` is called for each.
  /// The hot path: what is left is for `pop`.
  template <class Sink>
  [[gnu::always_inline]] std::uint16_t pop_burst(std::uint16_t count, Sink&& sink) noexcept {
    if (long_chains_.count() != 0) [[unlikely]]
      return 0;
    const packed_descriptor* const descriptors = ring_.descriptors();
    AddressSpace& space = chain_.space();
    const std::size_t size = size_;
    constexpr std::uint16_t telling = packed_descriptor::avail_flag | packed_descriptor::used_flag |
                                      descriptor_next | descriptor_indirect;
    std::uint32_t available = next_.available();
    const std::uint32_t done = for_each_packed_slot(
        next_, count, size_,
        [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          const std::uint64_t rest = Access::observe_avail(descriptors[slot].rest);
          const std::uint32_t flags = packed_descriptor::flags(rest);
          if ((flags & telling) != available) [[unlikely]]
            return false;
          const std::uint16_t id = packed_descriptor::id(rest);
          if (id >= size) [[unlikely]]
            return false;
          const std::uint64_t address = Access::load(descriptors[slot].address);
          const std::uint32_t length = packed_descriptor::length(rest);
          const bool writable = (flags & descriptor_write) != 0;
          const std::span<std::byte> buffer =
              space.translate(address, length, collector::direction(writable));
          if (buffer.size() != length) [[unlikely]]
            return false;
          sink(nth, id, buffer, writable);
          return true;
        },
        [&]() __attribute__((always_inline)) {
          available = packed_position(!next_.wrap()).available();
        });
    next_.advance(done, size_);
    out_ = static_cast<std::uint16_t>(out_ + done);
    return static_cast<std::uint16_t>(done);
  }

  /// Takes up to `max` chains of any shape: `sink(chain)` for each, in the order of the ring, and
  /// returns how many. `sink` may return false to stop after the chain that it was given.
  template <class Sink>
  std::uint16_t pop(std::uint16_t max, Sink&& sink) noexcept {
    std::uint16_t done = 0;
    for (bool more = true; more && done != max && avail_at_most(1) != 0; ++done) {
      const std::uint64_t rest = Access::observe_avail(ring_.descriptors()[next_.slot()].rest);
      if (!next_.is_available(rest)) break;
      chain_.begin();
      device_chain chain;
      std::uint16_t descriptors = 1;
      if (!walk(rest, chain.head, descriptors)) break;
      chain_.give(chain);
      if (descriptors != 1 || long_chains_.count() != 0) {
        long_chains_.add(chain.head, next_.slot(), descriptors);
      }
      next_.advance(descriptors, size_);
      out_ = static_cast<std::uint16_t>(out_ + descriptors);
      more = detail::goes_on(sink, chain);
    }
    return done;
  }

  /// Puts back the last `n` popped chains, none of which was pushed: the next `pop` finds them again.
  void unpop(std::uint16_t n) noexcept {
    std::uint32_t descriptors = n;
    if (long_chains_.count() != 0) {
      descriptors = 0;
      for (packed_position at = next_; n != 0; --n) {
        at.go_back(1, size_);
        const std::uint16_t length = long_chains_.remove_to(at.slot());
        at.go_back(length - 1u, size_);
        descriptors += length;
      }
    }
    next_.go_back(descriptors, size_);
    out_ = static_cast<std::uint16_t>(out_ - descriptors);
  }

  /// Returns one chain, of which the device wrote the first `written` bytes of the writable part.
  /// Invisible to the driver until `publish`.
  void push_used(std::uint16_t id, std::uint32_t written) noexcept {
    put(id, written, long_chains_.count() == 0 ? 1u : long_chains_.remove(id));
  }

  /// Returns `count` chains: `generate(element, nth)` fills in the id and the bytes written of the next
  /// one. `count` is at most what was popped and not yet pushed.
  template <class Generate>
  [[gnu::always_inline]] void push_burst(std::uint16_t count, Generate&& generate) noexcept {
    if (long_chains_.count() != 0) [[unlikely]]
      return push_one_by_one(count, generate);  // a copy, or the loop's would have to lie in memory
    packed_descriptor* const descriptors = ring_.descriptors();
    const bool nothing_hidden = unpublished_.is_empty(next_used_);
    std::uint64_t empty = used_rest(0, 0, next_used_);
    std::uint64_t filled = used_rest(0, 1, next_used_) - 1;
    for_each_packed_slot(
        next_used_, count, size_,
        [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          used_element fresh;
          generate(fresh, nth);
          const std::uint64_t flags = fresh.length != 0 ? filled : empty;
          const std::uint64_t rest = flags | std::uint64_t{fresh.id} << 32 | fresh.length;
          if (nth == 0 && nothing_hidden) [[unlikely]] {
            unpublished_.keep(rest);
          } else {
            Access::store(descriptors[slot].rest, rest);
          }
          return true;
        },
        [&]() __attribute__((always_inline)) {
          empty = used_rest(0, 0, packed_position(!next_used_.wrap()));
          filled = used_rest(0, 1, packed_position(!next_used_.wrap())) - 1;
        });
    count_pushed(count);
  }

  /// In-order only: returns the `count` oldest chains with one descriptor that names `last`, the id of
  /// the last of them. The driver takes the others as written in full. Source: virtio 1.3 section 2.8.8.
  void push_used_batch(std::uint16_t last, std::uint32_t written, std::uint16_t count) noexcept {
    std::uint32_t descriptors = count;
    if (long_chains_.count() != 0) {
      descriptors = 0;
      packed_position at = next_used_;
      for (; count != 0; --count) {
        const std::uint16_t length = long_chains_.remove_from(at.slot());
        at.advance(length, size_);
        descriptors += length;
      }
    }
    put(last, written, descriptors);
  }

  /// Makes everything that was pushed visible to the driver.
  void publish() noexcept {
    if (unpublished_.is_empty(next_used_)) return;
    const std::uint16_t first = unpublished_.first().slot();
    unpublished_.show(next_used_, size_, event_idx_);
    Access::publish_used(ring_.descriptors()[first].rest, unpublished_.first_rest());
  }

  /// Whether the driver asked to be called for what was published since this was last asked.
  /// Source: virtio 1.3 sections 2.8.10 and 2.8.14.
  [[nodiscard]] bool call_needed() noexcept {
    Access::before_call_check();
    const std::uint32_t event = Access::load(ring_.driver_event());
    if (!event_idx_) return packed_event::is_enabled(event);
    return packed_event::wanted(event, unpublished_.first(), unpublished_.take_untold(), size_);
  }

  /// Asks for a kick at the next chain. `more_pending`: there are chains already, perhaps without one.
  [[nodiscard]] notification enable_kick() noexcept {
    Access::store(ring_.device_event(),
                  event_idx_ ? packed_event::pack(next_.word(), packed_event::at_descriptor)
                             : packed_event::pack(0, packed_event::enable));
    Access::after_kick_enabled();
    if (avail_at_most(1) == 0) return notification::safe_to_sleep;
    const std::uint64_t rest = Access::observe_avail(ring_.descriptors()[next_.slot()].rest);
    return next_.is_available(rest) ? notification::more_pending : notification::safe_to_sleep;
  }

  /// Asks for no kicks. One that is on its way may still come.
  void disable_kick() noexcept {
    Access::store(ring_.device_event(), packed_event::pack(0, packed_event::disable));
  }

  /// Marks the queue broken for a breach that the ring alone cannot see.
  void break_queue(ring_fault fault, std::uint16_t position, std::uint64_t value) noexcept {
    detail::keep_breach(breach_, {fault, position, value}, this);
  }

  /// Calls `visit` with every word of private state: what a snapshot or a comparison has to cover.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    packed_position::visit_state(self.next_, visit);
    packed_position::visit_state(self.next_used_, visit);
    packed_unpublished::visit_state(self.unpublished_, visit);
    visit(self.out_);
    self.breach_.visit_state(self.breach_, visit);
    long_chains::visit_state(self.long_chains_, visit);
  }

 private:
  using collector = chain_collector<AddressSpace>;

  // The flag says whether the length means anything.
  [[nodiscard]] static constexpr std::uint64_t used_rest(std::uint64_t id, std::uint32_t written,
                                                         packed_position at) noexcept {
    const int flags = at.used() | (written != 0 ? descriptor_write : 0);
    return packed_descriptor::pack(written, id, static_cast<std::uint16_t>(flags));
  }

  // Writes one used descriptor for chains that took that many.
  void put(std::uint16_t id, std::uint32_t written, std::uint32_t descriptors) noexcept {
    const std::uint64_t rest = used_rest(id, written, next_used_);
    if (unpublished_.is_empty(next_used_)) {
      unpublished_.keep(rest);
    } else {
      Access::store(ring_.descriptors()[next_used_.slot()].rest, rest);
    }
    count_pushed(descriptors);
  }
  void count_pushed(std::uint32_t descriptors) noexcept {
    out_ = static_cast<std::uint16_t>(out_ - descriptors);
    next_used_.advance(descriptors, size_);
  }
  template <class Generate>
  [[gnu::noinline]] void push_one_by_one(std::uint16_t count, Generate generate) noexcept {
    for (std::size_t nth = 0; nth != count; ++nth) {
      used_element fresh;
      generate(fresh, nth);
      push_used(static_cast<std::uint16_t>(fresh.id), fresh.length);
    }
  }

  // Collects the buffers of the chain that starts with the descriptor whose word is `rest`, and counts
  // on from one descriptor. False: a breach.
  bool walk(std::uint64_t rest, std::uint16_t& id, std::uint16_t& descriptors) noexcept {
    // Empty buffers make no pieces, and no work without end either.
    const std::uint32_t room = size_ - std::uint32_t{out_};
    const std::uint32_t most = room < max_chain_pieces ? room : max_chain_pieces;
    packed_position at = next_;
    for (;; ++descriptors) {
      const std::uint64_t address = Access::load(ring_.descriptors()[at.slot()].address);
      const std::uint16_t flags = packed_descriptor::flags(rest);
      const bool more = (flags & descriptor_next) != 0;
      if ((flags & descriptor_indirect) != 0) {
        if (more || descriptors != 1) return refuse(ring_fault::indirect_with_next, rest);
        if (!walk_table(address, packed_descriptor::length(rest))) return false;
      } else if (!add(address, rest)) {
        return false;
      }
      if (!more) {
        id = packed_descriptor::id(rest);
        if (id >= size_) return refuse(ring_fault::head_range, id);
        if (long_chains_.contains(id)) return refuse(ring_fault::id_in_use, id);
        return true;
      }
      if (descriptors == most) return refuse(ring_fault::chain_too_long, most);
      at.advance(1, size_);
      rest = Access::load(ring_.descriptors()[at.slot()].rest);
      if (!at.is_available(rest)) {
        return refuse(ring_fault::next_not_available, packed_descriptor::flags(rest));
      }
    }
  }

  // A table of descriptors outside the ring, in which they follow one another: of their flags and ids
  // only the direction means anything. Source: virtio 1.3 section 2.8.7.
  bool walk_table(std::uint64_t table, std::uint32_t bytes) noexcept {
    if (!indirect_) return refuse(ring_fault::indirect_refused, table);
    const std::uint32_t count = chain_.template table_entries<packed_descriptor>(bytes);
    if (count == 0) return refuse();
    if (count > max_chain_pieces) return refuse(ring_fault::chain_too_long, count);
    for (std::uint32_t i = 0; i != count; ++i) {
      const auto* const descriptor = chain_.template table_entry<packed_descriptor>(table, i);
      if (descriptor == nullptr) return refuse();
      const std::uint64_t address = Access::load(descriptor->address);
      if (!add(address, Access::load(descriptor->rest))) return false;
    }
    return true;
  }

  bool add(std::uint64_t address, std::uint64_t rest) noexcept {
    const bool writable = (packed_descriptor::flags(rest) & descriptor_write) != 0;
    return chain_.add(address, packed_descriptor::length(rest), writable) || refuse();
  }

  // What is wrong with the chain that starts at the next descriptor. Always false.
  bool refuse(ring_fault fault, std::uint64_t value) noexcept {
    break_queue(fault, next_.slot(), value);
    return false;
  }
  bool refuse() noexcept { return refuse(chain_.fault(), chain_.value()); }

  packed_ring ring_;
  std::uint16_t size_;
  bool event_idx_;
  bool indirect_;

  packed_position next_;       // to be popped
  packed_position next_used_;  // to be pushed
  packed_unpublished unpublished_;
  std::uint16_t out_ = 0;  // descriptors that were popped and not pushed

  set_once<ring_breach> breach_;
  long_chains long_chains_;
  chain_collector<AddressSpace> chain_;  // that was popped last
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_PACKED_DEVICE_HPP
