// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_SPLIT_DRIVER_HPP
#define VKRING_RING_SPLIT_DRIVER_HPP

// The driver side of a split virtqueue.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>
#include <vkring/core/set_once.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/descriptor_ledger.hpp>
#include <vkring/ring/driver_state.hpp>
#include <vkring/ring/mode_switch.hpp>
#include <vkring/ring/slots.hpp>
#include <vkring/ring/split_state.hpp>
#include <vkring/ring/used_batch.hpp>

namespace vkring::inline v0 {

/// The driver side of a split virtqueue, virtio 1.3 section 2.7.
///
/// All bookkeeping is private: nothing that the device can write is read back, but its used ring and
/// its notification words, each word once and checked before use.
///
/// *Fast mode*: chain k lies in descriptor k modulo the size and is used k-th, so the avail ring is
/// written once for ever and a free list is not needed. A direct chain of several descriptors or a
/// completion out of order switches to *general mode*, which keeps a free list. The queue goes back
/// when nothing is in flight and a ring's worth of chains has paid for the two switches.
///
/// Allocation: in the constructor only. Thread-safety: one thread at a time. A copy is a snapshot of
/// the private state over the same shared memory; only one of the two may go on.
template <ring_token Token, class Access>
class virtqueue<split, driver_side, Token, Access> {
 public:
  using token_type = Token;   ///< what comes back with a chain
  using layout_type = split;  ///< of the ring

  /// Takes `ring`, whose memory it initialises, with calls suppressed until `enable_call`.
  /// `options.size` is `ring.size()` and a power of two. A chain that comes back with more than
  /// `max_written` bytes written is `ring_fault::used_length`: a receive queue gives the size of its
  /// buffers.
  virtqueue(const split_ring& ring, const ring_options& options, indirect_tables tables = {},
            std::uint32_t max_written = UINT32_MAX)
      : virtqueue(ring, options, tables, max_written, options.start) {
    write_avail_entries();
    for (std::uint16_t i = 0; i < size_; ++i) {
      Access::store(ring_.descriptors()[i].address, std::uint64_t{0});
      Access::store(ring_.descriptors()[i].rest, std::uint64_t{0});
    }
    // With event-idx nobody writes these again.
    Access::store(ring_.avail_flags(), std::uint16_t{0});
    Access::store(ring_.used_flags(), std::uint16_t{0});
    Access::store(ring_.avail_event(), options.start.value());
    Access::store(ring_.used_index(), options.start.value());
    disable_call();
    Access::publish_avail(ring_.avail_index(), options.start.value());
  }

  /// Goes on with a ring whose driver side was at rest as `from` says, with calls suppressed until
  /// `enable_call`. `tokens` are those of its chains. Precondition: `from` has no `flaw`.
  virtqueue(const split_ring& ring, const ring_options& options, const indirect_tables& tables,
            std::uint32_t max_written, const driver_state& from, std::span<const Token> tokens)
      : virtqueue(ring, options, tables, max_written, from.used) {
    detail::split_state<virtqueue>::restore(*this, from, tokens);
    if (modes_.is_fast()) write_avail_entries();
    disable_call();
  }

  /// What has to be known to go on with the ring elsewhere, everything being published;
  /// `sink(token)` is called for each chain in flight, in the order of `chains`. Allocation: the lists.
  template <class Sink>
  [[nodiscard]] driver_state state(Sink&& sink) const {
    return detail::split_state<virtqueue>::take(*this, sink);
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }  ///< entries of the ring
  /// The mode that the queue is in.
  [[nodiscard]] ring_mode mode() const noexcept { return modes_.mode(); }
  /// What the device did wrong, if it did. A broken queue has no room and nothing pending. From any
  /// thread.
  [[nodiscard]] ring_breach breach() const noexcept { return breach_.get(); }
  /// How often the queue left fast mode and went back to it; different in general mode. From any
  /// thread.
  [[nodiscard]] std::uint64_t general_entries() const noexcept { return modes_.general_entries(); }
  /// See `general_entries`.
  [[nodiscard]] std::uint64_t fast_entries() const noexcept { return modes_.fast_entries(); }
  /// The next position to make available and the next to reclaim.
  [[nodiscard]] ring_index avail_position() const noexcept { return avail_; }
  /// See `avail_position`.
  [[nodiscard]] ring_index used_position() const noexcept { return used_; }
  /// The position up to which the device was shown what is available.
  [[nodiscard]] ring_index published_position() const noexcept { return published_; }
  /// The descriptor of the chain at a position, in fast mode.
  [[nodiscard]] std::uint16_t slot_of(ring_index position) const noexcept {
    return position.slot(mask_);
  }

  /// Chains that were added and not yet reclaimed.
  [[nodiscard]] std::uint16_t in_flight() const noexcept { return avail_ - used_; }
  /// Whether one of them starts at this descriptor, which is below the size.
  [[nodiscard]] bool in_flight_at(std::uint16_t descriptor) const noexcept {
    if (!modes_.is_fast()) return ledger_.chain_length(descriptor) != 0;
    return (ring_index(descriptor) - used_ & mask_) < in_flight();
  }

  /// How many more descriptors can be added now.
  [[nodiscard]] std::uint16_t room() const noexcept {
    if (breach_.is_set()) return 0;
    return modes_.is_fast() ? static_cast<std::uint16_t>(size_ - in_flight()) : ledger_.free();
  }
  /// Whether there is room now for a chain of that many buffers.
  [[nodiscard]] bool has_room(std::size_t buffers) const noexcept {
    return room() >= (buffers <= tables_.entries ? 1 : buffers);
  }
  /// The most buffers that a chain may have: see `indirect_tables::max_chain`.
  [[nodiscard]] std::uint16_t max_chain() const noexcept {
    return tables_.max_chain(size_);
  }

  /// Adds a chain, invisible to the device until `publish`. False: not enough room for it now, and
  /// nothing was touched. `chain` has 1 to `max_chain()` buffers, the readable ones first.
  bool try_add(std::span<const chain_buffer> chain, Token token) noexcept {
    if (!has_room(chain.size())) return false;
    if (tables_.take(chain.size())) {
      const std::uint16_t head = next_head();
      const auto length = static_cast<std::uint32_t>(chain.size() * sizeof(split_descriptor));
      write_table(head, chain);
      add_one(tables_.address + tables_.offset(head), length, descriptor_indirect, token);
      return true;
    }
    if (chain.size() == 1) {
      const chain_buffer& only = chain.front();
      add_one(only.address, only.length, only.device_writable ? descriptor_write : 0, token);
      return true;
    }
    leave_fast();
    add_chain(chain, token);
    return true;
  }

  /// Adds up to `count` chains of one buffer each, all of one direction: `generate(fresh, nth)` fills
  /// in the next one, or returns false to end the burst before it. Returns how many were added: none in
  /// general mode, where `try_add` has to do. `count` is at most `room()`. The buffers have `least` bytes
  /// more than `fresh.length` says. The hot path of sending and refilling.
  template <bool DeviceWritable, class Generate>
  [[gnu::always_inline]] std::uint16_t add_burst(std::uint32_t count, Generate&& generate,
                                                 std::uint32_t least = 0) noexcept {
    if (!modes_.is_fast()) [[unlikely]]
      return 0;
    // State in locals, or each store would make the compiler reload it.
    split_descriptor* const descriptors = ring_.descriptors();
    Token* const tokens = tokens_.data();
    prefetch_slots(descriptors, avail_.value(), count, mask_);
    const std::uint32_t added = for_each_slot(
        avail_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          burst_buffer<Token> fresh;
          if (!generate(fresh, nth)) return false;
          Access::store(descriptors[slot].address, fresh.address);
          Access::store(
              descriptors[slot].rest,
              split_descriptor::pack(least + fresh.length, DeviceWritable ? descriptor_write : 0));
          tokens[slot] = fresh.token;
          return true;
        });
    avail_ += added;
    return static_cast<std::uint16_t>(added);
  }

  /// Adds up to `count` chains like `add_burst`, each with the address and the token that its slot
  /// had last: `generate(length, nth)` fills in the length alone.
  template <bool DeviceWritable, class Generate>
  [[gnu::always_inline]] std::uint16_t add_bound(std::uint32_t count,
                                                 Generate&& generate) noexcept {
    if (!modes_.is_fast()) [[unlikely]]
      return 0;
    split_descriptor* const descriptors = ring_.descriptors();
    prefetch_slots(descriptors, avail_.value(), count, mask_);
    const std::uint32_t added = for_each_slot(
        avail_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          std::uint64_t length;
          if (!generate(length, nth)) return false;
          Access::store(descriptors[slot].rest,
                        split_descriptor::pack(length, DeviceWritable ? descriptor_write : 0));
          return true;
        });
    avail_ += added;
    return static_cast<std::uint16_t>(added);
  }

  /// Adds `count` chains, at most `room()`, each with the address, the token and the `length` that its
  /// slot had last: what the device reads of them is in the ring already. Returns how many: none in
  /// general mode.
  template <bool DeviceWritable>
  std::uint16_t add_again(std::uint16_t count, std::uint32_t /*length*/) noexcept {
    if (!modes_.is_fast()) [[unlikely]]
      return 0;
    avail_ += count;
    return count;
  }

  /// Makes everything that was added visible to the device.
  void publish() noexcept {
    const ring_index now = avail_;
    published_ = now;
    Access::publish_avail(ring_.avail_index(), now.value());
  }

  /// Whether the device asked to be kicked for what was published since this was last asked, which
  /// has to be less than 65536 chains ago.
  /// Source: virtio 1.3 sections 2.7.10 and 2.7.13.4.1.
  [[nodiscard, gnu::always_inline]] bool kick_needed() noexcept {
    const ring_index before = kick_checked_;
    kick_checked_ = published_;
    Access::before_kick_check();
    if (event_idx_) {
      return passed(ring_index(Access::load(ring_.avail_event())), published_, before);
    }
    return (Access::load(ring_.used_flags()) & suppress_notification) == 0;
  }

  /// How many used chains wait to be reclaimed, looking at the device's index only if fewer than
  /// `enough` are known of. 0 on a broken queue.
  [[nodiscard, gnu::always_inline]] std::uint16_t used_pending(std::size_t enough) noexcept {
    if (breach_.is_set()) [[unlikely]]
      return 0;
    if (used_seen_ - used_ < enough) {
      const ring_index seen(Access::observe_used(ring_.used_index()));
      if (seen - used_ > published_ - used_ || seen - used_ < used_seen_ - used_) [[unlikely]] {
        const bool is_spent =
            in_flight() == 0 && room() == 0;  // what was used after it was abandoned
        if (!is_spent) break_queue(ring_fault::used_index_jump, used_, seen.value());
        return 0;
      }
      used_seen_ = seen;
    }
    return used_seen_ - used_;
  }

  /// An upper bound of how many used chains wait, for `reclaim_burst`. Here the index tells it exactly.
  [[nodiscard, gnu::always_inline]] std::uint16_t used_at_most(std::size_t enough) noexcept {
    return used_pending(enough);
  }

  /// Takes back the first of the `count` used chains that `used_pending` told of, as long as they
  /// come back one by one in the order in which they were added; returns how many. The hot path:
  /// what is left is for `reclaim`.
  ///
  /// `sink(nth, token, beyond)` is called for each, `nth` counting from 0 and `beyond` being what the
  /// device wrote more than `least` bytes; chains with less end the burst, as do those with more than
  /// they can hold. `sink(nth, token)` serves chains that the device only reads. It may return false
  /// to leave its chain to `reclaim`.
  template <class Sink>
  [[gnu::always_inline]] std::uint16_t reclaim_burst(std::uint32_t count, Sink&& sink,
                                                     std::uint32_t least = 0) noexcept {
    if (!modes_.is_fast() || batch_.left() != 0 || least > max_written_) [[unlikely]]
      return 0;
    const used_element* const elements = ring_.used_elements();
    const Token* const tokens = tokens_.data();
    const std::uint64_t most_beyond = max_written_ - least;
    const std::uint64_t minus_least = 0 - (std::uint64_t{least} << 32);
    const std::uint32_t done = for_each_slot(
        used_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          if constexpr (std::is_invocable_v<Sink&, std::size_t, Token>) {
            if (Access::load(elements[slot].id) != slot) [[unlikely]]
              return false;
            return sink(nth, tokens[slot]);
          } else {
            // With another id than the slot's, bits above the length are left over.
            const std::uint64_t beyond =
                std::rotl(load_element(elements[slot]) + (minus_least - slot), 32);
            if (beyond > most_beyond) [[unlikely]]
              return false;
            return sink(nth, tokens[slot], static_cast<std::uint32_t>(beyond));
          }
        });
    used_ += done;
    return static_cast<std::uint16_t>(done);
  }

  /// Takes back up to `max` used chains, in the order of use, and returns how many.
  ///
  /// `sink(token, written)` is called for each, `written` checked against what the device may write;
  /// it may return false to stop after the chain that it was given. `sink(token)` serves chains that
  /// the device only reads: what it claims to have written to those is not looked at. With in-order
  /// batches the device does not say what it wrote to each chain: they count as full. Sinks do not
  /// call the queue but to break it, `used_position()` being that of the chain that they are given.
  template <class Sink>
  std::uint16_t reclaim(std::uint16_t max, Sink&& sink) noexcept {
    constexpr bool wants_written = std::is_invocable_v<Sink&, Token, std::uint32_t>;
    const std::uint16_t pending = used_pending(max);
    const std::uint16_t count = pending < max ? pending : max;
    const ring_index first = used_;
    for (bool more = true; more && used_ - first != count;) {
      std::uint32_t written = 0;
      const std::uint32_t head = in_order_ ? next_in_order(written) : next_any_order(written);
      if (wants_written && written > max_written_) {
        break_queue(ring_fault::used_length, used_, written);
      }
      if (breach_.is_set()) break;
      const Token token = tokens_[head];
      if (!modes_.is_fast()) complete(static_cast<std::uint16_t>(head));
      if constexpr (wants_written) {
        more = detail::goes_on(sink, token, written);
      } else {
        more = detail::goes_on(sink, token);
      }
      used_ += 1;
    }
    // In-order, the next chain has to start where the last one ended: in ring order, or a device that
    // foretells the heads instead of reading them (the kernel's, since 6.17) goes astray.
    if (!modes_.is_fast() && used_ == avail_ && modes_.is_paid() &&
        (!in_order_ || ledger_.first_free() == avail_.slot(mask_))) {
      enter_fast();
    }
    return used_ - first;
  }

  /// Asks for a call when the device uses a chain beyond the `after` next ones (0: the next one).
  /// `more_pending`: there are used chains already, perhaps without a call.
  /// Source: virtio 1.3 section 2.7.7.1 and 2.7.10.
  [[nodiscard]] notification enable_call(std::uint16_t after = 0) noexcept {
    if (event_idx_) {
      Access::store(ring_.used_event(), (used_ + after).value());
    } else {
      Access::store(ring_.avail_flags(), std::uint16_t{0});
    }
    Access::after_call_enabled();
    return used_pending(size_) > after ? notification::more_pending : notification::safe_to_sleep;
  }

  /// Asks for no calls. With event-idx one may still come after 65536 chains: expect spurious ones.
  void disable_call() noexcept {
    if (event_idx_) {
      Access::store(ring_.used_event(), (used_ + 0xffff).value());
    } else {
      Access::store(ring_.avail_flags(), suppress_notification);
    }
  }

  /// Gives up what is in flight: `sink(token)` once for each chain that was added and not reclaimed.
  /// Only when the device no longer serves the ring. The queue is spent: nothing can follow.
  template <class Sink>
  void abandon(Sink&& sink) noexcept {
    if (modes_.is_fast()) {
      for (; used_ != avail_; used_ += 1) sink(tokens_[used_.slot(mask_)]);
    } else {
      for (std::uint16_t id = 0; id < size_; ++id) {
        if (ledger_.chain_length(id) != 0) sink(tokens_[id]);
      }
    }
    used_ = used_seen_ = published_ = avail_;
    // No room any more: nobody would take what came now.
    modes_.seal(size_);
    ledger_.clear();
  }

  /// Marks the queue broken for a breach that was found in the buffers instead of in the ring.
  void break_queue(ring_fault fault, ring_index position, std::uint64_t value) noexcept {
    detail::keep_breach(breach_, {fault, position.value(), value}, this);
  }

  /// Calls `visit` with every word of private state: what a snapshot or a comparison has to cover.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.avail_), visit(self.published_), visit(self.kick_checked_);
    visit(self.used_), visit(self.used_seen_);
    mode_switch::visit_state(self.modes_, visit);
    used_batch::visit_state(self.batch_, visit);
    self.breach_.visit_state(self.breach_, visit);
    for (auto& token : self.tokens_) visit(token);
    descriptor_ledger::visit_state(self.ledger_, visit);
  }

 private:
  friend struct detail::split_state<virtqueue>;

  // Private state alone, with nothing in flight.
  virtqueue(const split_ring& ring, const ring_options& options, const indirect_tables& tables,
            std::uint32_t max_written, ring_index start)
      : ring_(ring),
        size_(options.size),
        mask_(static_cast<std::uint16_t>(options.size - 1)),
        event_idx_(options.event_idx),
        in_order_(options.in_order),
        tables_(options.indirect ? tables : indirect_tables{}),
        max_written_(max_written),
        avail_(start),
        published_(start),
        kick_checked_(start),
        used_(start),
        used_seen_(start),
        tokens_(options.size),
        ledger_(options.size) {}

  // A used element as one word, the id in its low half. Whoever watches the accesses sees two words.
  [[nodiscard]] static std::uint64_t load_element(const used_element& element) noexcept {
    if constexpr (std::is_same_v<Access, direct>) {
      return direct::load_pair(element.id);
    } else {
      const std::uint64_t id = Access::load(element.id);
      return id | std::uint64_t{Access::load(element.length)} << 32;
    }
  }

  [[nodiscard]] std::uint16_t next_head() const noexcept {
    return modes_.is_fast() ? avail_.slot(mask_) : ledger_.first_free();
  }

  // Writes one descriptor of a chain of several.
  static void link(split_descriptor& descriptor, const chain_buffer& buffer, bool last,
                   std::uint16_t next) noexcept {
    const int flags =
        (buffer.device_writable ? descriptor_write : 0) | (last ? 0 : descriptor_next);
    Access::store(descriptor.address, buffer.address);
    Access::store(descriptor.rest,
                  split_descriptor::pack(buffer.length, static_cast<std::uint16_t>(flags),
                                         last ? std::uint16_t{0} : next));
  }

  void write_table(std::uint16_t head, std::span<const chain_buffer> chain) noexcept {
    auto* const table = reinterpret_cast<split_descriptor*>(tables_.host + tables_.offset(head));
    for (std::size_t i = 0; i < chain.size(); ++i) {
      link(table[i], chain[i], i + 1 == chain.size(), static_cast<std::uint16_t>(i + 1));
    }
  }

  // Adds a chain of one descriptor in either mode.
  void add_one(std::uint64_t address, std::uint32_t length, std::uint16_t flags,
               Token token) noexcept {
    const std::uint16_t head = next_head();
    Access::store(ring_.descriptors()[head].address, address);
    Access::store(ring_.descriptors()[head].rest, split_descriptor::pack(length, flags));
    tokens_[head] = token;
    if (!modes_.is_fast()) offer(head, 1);
    avail_ += 1;
  }

  // Adds a direct chain in general mode; there is room.
  void add_chain(std::span<const chain_buffer> chain, Token token) noexcept {
    const std::uint16_t head = ledger_.first_free();
    std::uint16_t at = head;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const std::uint16_t next = ledger_.after(at);
      link(ring_.descriptors()[at], chain[i], i + 1 == chain.size(), next);
      at = next;
    }
    tokens_[head] = token;
    offer(head, static_cast<std::uint16_t>(chain.size()));
    avail_ += 1;
  }

  // General mode: writes the avail entry and takes the chain's descriptors, the first free ones.
  void offer(std::uint16_t head, std::uint16_t count) noexcept {
    ledger_.take(count);
    Access::store(ring_.avail_entries()[avail_.slot(mask_)], head);
  }

  // In ring order, so that the free list starts where fast mode would have gone on: with in-order
  // completions descriptors stay in ring order, as virtio 1.3 section 2.7.9 (in-order) demands.
  void leave_fast() noexcept {
    if (!modes_.is_fast()) return;
    modes_.leave_fast(size_);
    ledger_.restart(used_, in_flight());
  }

  // Back to descriptor k in avail entry k. Nothing is in flight.
  void enter_fast() noexcept {
    modes_.enter_fast();
    write_avail_entries();
  }
  void write_avail_entries() noexcept {
    for (std::uint16_t i = 0; i < size_; ++i) Access::store(ring_.avail_entries()[i], i);
  }

  // General mode: the chain at `head` was used.
  void complete(std::uint16_t head) noexcept {
    ledger_.release(head);
    modes_.pay();
  }

  // The head that the next used element names.
  std::uint32_t next_any_order(std::uint32_t& written) noexcept {
    const used_element& element = ring_.used_elements()[used_.slot(mask_)];
    const std::uint32_t id = Access::load(element.id);
    written = Access::load(element.length);
    if (id >= size_) {
      break_queue(ring_fault::used_id_range, used_, id);
      return 0;
    }
    if (modes_.is_fast() && id == used_.slot(mask_)) return id;
    leave_fast();
    if (ledger_.chain_length(static_cast<std::uint16_t>(id)) == 0)
      break_queue(ring_fault::used_id_not_head, used_, id);
    return id;
  }

  // In-order: one element may stand for all chains up to the one that it names, and then the entries
  // that it skips are not written. Source: virtio 1.3 section 2.7.9.
  std::uint32_t next_in_order(std::uint32_t& written) noexcept {
    const std::uint16_t head = modes_.is_fast() ? used_.slot(mask_) : ledger_.oldest();
    if (batch_.left() == 0) {
      const used_element& element = ring_.used_elements()[used_.slot(mask_)];
      const std::uint32_t id = Access::load(element.id);
      const std::uint32_t last_written = Access::load(element.length);
      if (id >= size_) {
        break_queue(ring_fault::used_id_range, used_, id);
        return 0;
      }
      const std::uint16_t limit = used_seen_ - used_;
      std::uint16_t chains = 1;
      for (std::uint16_t at = head; at != id && chains <= limit; ++chains) at = chain_after(at);
      if (chains > limit) {
        break_queue(ring_fault::used_id_order, used_, id);
        return 0;
      }
      batch_ = used_batch(chains, last_written);
    }
    written = batch_.take(max_written_);
    return head;
  }

  // In-order: the head of the chain that was added after the one at `head`.
  [[nodiscard]] std::uint16_t chain_after(std::uint16_t head) const noexcept {
    const std::uint16_t count =
        modes_.is_fast() ? std::uint16_t{1} : ledger_.chain_length(head);
    return (ring_index(head) + count).slot(mask_);
  }

  split_ring ring_;
  std::uint16_t size_;
  std::uint16_t mask_;
  bool event_idx_;
  bool in_order_;
  indirect_tables tables_;
  std::uint32_t max_written_;

  ring_index avail_;         // next position to make available
  ring_index published_;     // what the device was shown
  ring_index kick_checked_;  // published_ when kick_needed was last asked
  ring_index used_;          // next position to reclaim
  ring_index used_seen_;     // the device's index when it was last looked at

  mode_switch modes_;
  used_batch batch_;  // in-order: what is left of the last one

  set_once<ring_breach> breach_;
  std::vector<Token> tokens_;
  descriptor_ledger ledger_;  // in general mode
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_SPLIT_DRIVER_HPP
