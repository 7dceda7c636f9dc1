// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_DRIVER_HPP
#define VKRING_RING_PACKED_DRIVER_HPP

// The driver side of a packed virtqueue.

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>
#include <vkring/core/set_once.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/driver_state.hpp>
#include <vkring/ring/id_ledger.hpp>
#include <vkring/ring/mode_switch.hpp>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/ring/packed_slots.hpp>
#include <vkring/ring/packed_state.hpp>
#include <vkring/ring/packed_unpublished.hpp>
#include <vkring/ring/used_batch.hpp>

namespace vkring::inline v0 {

/// The driver side of a packed virtqueue, virtio 1.3 section 2.8.
///
/// All bookkeeping is private: nothing that the device can write is read back, but the next used
/// descriptor and the device's event word, each once and checked before use. What was added stays
/// invisible until `publish` because the first new descriptor is written last, with a release.
///
/// *Fast mode*: each chain takes one descriptor, whose number is its id, and is used in ring order. A
/// direct chain of several descriptors or a completion out of order switches to *general mode*, which
/// keeps an account of the ids. The queue goes back when nothing is in flight and a ring's worth of
/// chains has paid for the two switches.
///
/// Allocation: in the constructor only. Thread-safety: one thread at a time. A copy is a snapshot of
/// the private state over the same shared memory; only one of the two may go on.
template <ring_token Token, class Access>
class virtqueue<packed, driver_side, Token, Access> {
 public:
  using token_type = Token;    ///< what comes back with a chain
  using layout_type = packed;  ///< of the ring

  /// Takes `ring`, whose memory it initialises, with calls suppressed until `enable_call`.
  /// `options.size` is `ring.size()`, from 1 to 32768. A chain that comes back with more than
  /// `max_written` bytes written is `ring_fault::used_length`: a receive queue gives the size of its
  /// buffers.
  virtqueue(const packed_ring& ring, const ring_options& options, indirect_tables tables = {},
            std::uint32_t max_written = UINT32_MAX)
      : virtqueue(ring, options, tables, max_written, options.start) {
    for (std::uint16_t i = 0; i < size_; ++i) {
      Access::store(ring_.descriptors()[i].address, std::uint64_t{0});
      Access::store(ring_.descriptors()[i].rest, std::uint64_t{0});
    }
    Access::store(ring_.device_event(), packed_event::pack(0, packed_event::enable));
    disable_call();
  }

  /// Goes on with a ring whose driver side was at rest as `from` says, with calls suppressed until
  /// `enable_call`. `tokens` are those of its chains. Precondition: `from` has no `flaw`.
  virtqueue(const packed_ring& ring, const ring_options& options, const indirect_tables& tables,
            std::uint32_t max_written, const driver_state& from, std::span<const Token> tokens)
      : virtqueue(ring, options, tables, max_written, from.driver_at) {
    detail::packed_state<virtqueue>::restore(*this, from, tokens);
    disable_call();
  }

  /// What has to be known to go on with the ring elsewhere, everything being published;
  /// `sink(token)` is called for each chain in flight, in the order of `chains`. Where the device
  /// side is, somebody else has to add. Allocation: the lists.
  template <class Sink>
  [[nodiscard]] driver_state state(Sink&& sink) const {
    return detail::packed_state<virtqueue>::take(*this, sink);
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }  ///< descriptors
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
  /// Chains that were added, published and reclaimed since the start, modulo 65536.
  [[nodiscard]] ring_index avail_position() const noexcept { return added_; }
  /// @{
  /// See `avail_position`.
  [[nodiscard]] ring_index published_position() const noexcept { return published_; }
  [[nodiscard]] ring_index used_position() const noexcept { return used_; }
  /// @}
  /// The next descriptor to make available and the next that the device is to use.
  [[nodiscard]] packed_position next_available() const noexcept { return next_; }
  /// See `next_available`.
  [[nodiscard]] packed_position next_used() const noexcept { return next_used_; }
  /// The descriptor of the chain at a position less than a ring away, where chains have one each.
  [[nodiscard]] std::uint16_t slot_of(ring_index position) const noexcept {
    const auto ahead = static_cast<std::int16_t>(position - added_);
    packed_position at = next_;
    ahead < 0 ? at.go_back(static_cast<std::uint32_t>(-ahead), size_)
              : at.advance(static_cast<std::uint32_t>(ahead), size_);
    return at.slot();
  }

  /// Chains that were added and not yet reclaimed.
  [[nodiscard]] std::uint16_t in_flight() const noexcept { return added_ - used_; }
  /// How many descriptors the chain in flight with this id has, which is below the size; 0: none has
  /// it.
  [[nodiscard]] std::uint16_t chain_length(std::uint16_t id) const noexcept {
    if (!modes_.is_fast()) return ledger_.count(id);
    const std::uint32_t first = next_used_.slot();
    const std::uint32_t ahead = id < first ? id + size_ - first : id - first;
    return ahead < in_flight() ? 1 : 0;
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
    const bool in_table = tables_.take(chain.size());
    if (chain.size() > 1 && !in_table) leave_fast();
    const std::uint16_t id = modes_.is_fast() ? next_.slot() : ledger_.next_id(next_.slot());
    if (in_table) {
      write_table(id, chain);
      const chain_buffer table{
          tables_.address + tables_.offset(id),
          static_cast<std::uint32_t>(chain.size() * sizeof(packed_descriptor))};
      add_chain({&table, 1}, id, descriptor_indirect);
    } else {
      add_chain(chain, id, 0);
    }
    tokens_[id] = token;
    return true;
  }

  /// Adds up to `count` chains of one buffer each, all of one direction: `generate(fresh, nth)` fills
  /// in the next one, or returns false to end the burst before it. Returns how many were added: none in
  /// general mode, where `try_add` has to do. `count` is at most `room()`. The buffers have `least` bytes
  /// more than `fresh.length` says. The hot path of sending and refilling.
  template <bool DeviceWritable, class Generate>
  [[gnu::always_inline]] std::uint16_t add_burst(std::uint32_t count, Generate&& generate,
                                                 std::uint32_t least = 0) noexcept {
    Token* const tokens = tokens_.data();
    packed_descriptor* const descriptors = ring_.descriptors();
    return add_slots<DeviceWritable>(
        count, least, [&](std::size_t slot, std::size_t nth, std::uint64_t & length)
                          __attribute__((always_inline)) {
                            burst_buffer<Token> fresh;
                            if (!generate(fresh, nth)) return false;
                            Access::store(descriptors[slot].address, fresh.address);
                            tokens[slot] = fresh.token;
                            length = fresh.length;
                            return true;
                          });
  }

  /// Adds up to `count` chains like `add_burst`, each with the address and the token that its slot
  /// had last: `generate(length, nth)` fills in the length alone.
  template <bool DeviceWritable, class Generate>
  [[gnu::always_inline]] std::uint16_t add_bound(std::uint32_t count,
                                                 Generate&& generate) noexcept {
    return add_slots<DeviceWritable>(
        count, 0, [&](std::size_t, std::size_t nth, std::uint64_t & length)
                      __attribute__((always_inline)) { return generate(length, nth); });
  }

  /// Adds `count` chains, at most `room()`, each with the address and the token that its slot had
  /// last, and with the `length` that all of them had. Returns how many: none in general mode.
  template <bool DeviceWritable>
  std::uint16_t add_again(std::uint16_t count, std::uint32_t length) noexcept {
    return add_slots<DeviceWritable>(
        count, length, [](std::size_t, std::size_t, std::uint64_t & more)
                           __attribute__((always_inline)) {
                             more = 0;
                             return true;
                           });
  }

  /// Makes everything that was added visible to the device.
  [[gnu::always_inline]] void publish() noexcept {
    if (published_ == added_) return;
    published_ = added_;
    const std::uint16_t first = unpublished_.first().slot();
    unpublished_.show(next_, size_, event_idx_);
    Access::publish_avail(ring_.descriptors()[first].rest, unpublished_.first_rest());
  }

  /// Whether the device asked to be kicked for what was published since this was last asked.
  /// Source: virtio 1.3 sections 2.8.10 and 2.8.21.2.
  [[nodiscard, gnu::always_inline]] bool kick_needed() noexcept {
    Access::before_kick_check();
    const std::uint32_t event = Access::load(ring_.device_event());
    if (!event_idx_) return packed_event::is_enabled(event);
    return packed_event::wanted(event, unpublished_.first(), unpublished_.take_untold(), size_);
  }

  /// How many used chains wait to be reclaimed, looking no further than the first `enough`: more
  /// only where the device used several at once. 0 on a broken queue.
  [[nodiscard]] std::uint16_t used_pending(std::size_t enough) noexcept {
    packed_position at;
    return walk_used(enough, at);
  }

  /// An upper bound of how many used chains wait, for `reclaim_burst`, which finds out where they end.
  /// It looks at none of them. 0 on a broken queue.
  [[nodiscard, gnu::always_inline]] std::uint16_t used_at_most(std::size_t) const noexcept {
    if (breach_.is_set()) [[unlikely]]
      return 0;
    return published_ - used_;
  }

  /// Takes back up to `count` used chains, at most `used_at_most`, as long as they come back one by
  /// one in the order in which they were added; returns how many. The hot path: what is left is for
  /// `reclaim`.
  ///
  /// `sink(nth, token, beyond)` is called for each, `nth` counting from 0 and `beyond` being what the
  /// device wrote more than `least` bytes; chains with less end the burst, as do those with more than
  /// they can hold. `sink(nth, token)` serves chains that the device only reads. It may return false
  /// to leave its chain to `reclaim`.
  template <class Sink>
  [[gnu::always_inline]] std::uint16_t reclaim_burst(std::uint32_t count, Sink&& sink,
                                                     std::uint32_t least = 0) noexcept {
    constexpr bool only_read = std::is_invocable_v<Sink&, std::size_t, Token>;
    if (!modes_.is_fast() || batch_.left() != 0 || least > max_written_) [[unlikely]]
      return 0;
    const packed_descriptor* const descriptors = ring_.descriptors();
    const Token* const tokens = tokens_.data();
    const std::uint64_t most_beyond = max_written_ - least;
    const std::uint64_t step = id_step_;
    // Whether it is used, by which id and how much was written, all in one number.
    constexpr std::uint16_t written = only_read ? 0 : descriptor_write;
    const std::uint32_t shortest = only_read ? 0 : least;
    std::uint64_t expected = used_rest(shortest, next_used_, written);
    const std::uint32_t done = for_each_packed_slot(
        next_used_, count, size_,
        [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          const std::uint64_t beyond = Access::observe_used(descriptors[slot].rest) - expected;
          expected += step;
          if constexpr (only_read) {
            if (beyond >> 32 != 0) [[unlikely]]
              return false;
            return sink(nth, tokens[slot]);
          } else {
            if (beyond > most_beyond) [[unlikely]]
              return false;
            return sink(nth, tokens[slot], static_cast<std::uint32_t>(beyond));
          }
        },
        [&]() __attribute__((always_inline)) {
          expected = used_rest(shortest, packed_position(!next_used_.wrap()), written);
        });
    used_ += done;
    next_used_.advance(done, size_);
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
    const std::uint16_t limit = used_at_most(max);
    const std::uint16_t count = limit < max ? limit : max;
    const ring_index first = used_;
    for (bool more = true; more && used_ - first != count;) {
      std::uint32_t written = 0;
      const std::uint32_t id = in_order_ ? next_in_order(written) : next_any_order(written);
      if (id == no_id) break;
      if (wants_written && written > max_written_) {
        break_queue(ring_fault::used_length, used_, written);
        break;
      }
      const Token token = tokens_[id];
      const std::uint16_t descriptors = complete(static_cast<std::uint16_t>(id));
      if constexpr (wants_written) {
        more = detail::goes_on(sink, token, written);
      } else {
        more = detail::goes_on(sink, token);
      }
      used_ += 1;
      next_used_.advance(descriptors, size_);
    }
    if (!modes_.is_fast() && used_ == added_ && modes_.is_paid()) modes_.enter_fast();
    return used_ - first;
  }

  /// Asks for a call when the device uses a chain beyond the `after` next ones (0: the next one); for
  /// chains of several descriptors it may come earlier. `more_pending`: there are used chains already,
  /// perhaps without a call. Source: virtio 1.3 sections 2.8.10 and 2.8.14.
  [[nodiscard]] notification enable_call(std::uint16_t after = 0) noexcept {
    packed_position at = next_used_;
    std::uint16_t seen = 0;
    // Events count descriptors. Where chains have several, an event that is not beyond what was used
    // by now might have been passed already, with fewer chains than asked for.
    if (!modes_.is_fast()) seen = walk_used(std::size_t{after} + 1, at);
    const std::uint32_t left = seen < after ? after - seen : 0;
    const packed_position event = at.plus(left < size_ ? left : size_, size_);
    Access::store(ring_.driver_event(),
                  event_idx_ ? packed_event::pack(event.word(), packed_event::at_descriptor)
                             : packed_event::pack(0, packed_event::enable));
    Access::after_call_enabled();
    const bool more = modes_.is_fast()
                          ? used_pending(std::size_t{after} + 1) > after
                          : seen > after || (seen < used_at_most(1) && is_used(at));
    return more ? notification::more_pending : notification::safe_to_sleep;
  }

  /// Asks for no calls. One that is on its way may still come.
  void disable_call() noexcept {
    Access::store(ring_.driver_event(), packed_event::pack(0, packed_event::disable));
  }

  /// Gives up what is in flight: `sink(token)` once for each chain that was added and not reclaimed.
  /// Only when the device no longer serves the ring. The queue is spent: nothing can follow.
  template <class Sink>
  void abandon(Sink&& sink) noexcept {
    for (std::uint16_t id = 0; id < size_; ++id) {
      if (chain_length(id) != 0) sink(tokens_[id]);
    }
    used_ = published_ = added_;
    batch_ = {};
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
    visit(self.added_), visit(self.published_), visit(self.used_);
    packed_position::visit_state(self.next_, visit);
    packed_position::visit_state(self.next_used_, visit);
    packed_unpublished::visit_state(self.unpublished_, visit);
    mode_switch::visit_state(self.modes_, visit);
    used_batch::visit_state(self.batch_, visit);
    self.breach_.visit_state(self.breach_, visit);
    for (auto& token : self.tokens_) visit(token);
    id_ledger::visit_state(self.ledger_, visit);
  }

 private:
  friend struct detail::packed_state<virtqueue>;

  // Private state alone, with nothing in flight.
  virtqueue(const packed_ring& ring, const ring_options& options, const indirect_tables& tables,
            std::uint32_t max_written, ring_index start)
      : ring_(ring),
        size_(options.size),
        event_idx_(options.event_idx),
        in_order_(options.in_order),
        tables_(options.indirect ? tables : indirect_tables{}),
        max_written_(max_written),
        next_(start, options.size),
        next_used_(next_),
        unpublished_(next_),
        tokens_(options.size),
        ledger_(options.size, options.in_order) {}

  static constexpr std::uint32_t no_id = UINT32_MAX;

  void write_table(std::uint16_t id, std::span<const chain_buffer> chain) noexcept {
    auto* const table = reinterpret_cast<packed_descriptor*>(tables_.host + tables_.offset(id));
    for (std::size_t i = 0; i < chain.size(); ++i) {
      Access::store(table[i].address, chain[i].address);
      Access::store(table[i].rest,
                    packed_descriptor::pack(chain[i].length, 0, direction(chain[i])));
    }
  }
  [[nodiscard]] static constexpr std::uint16_t direction(const chain_buffer& buffer) noexcept {
    return buffer.device_writable ? descriptor_write : 0;
  }

  // What a descriptor says besides its length, in fast mode.
  [[nodiscard]] static constexpr std::uint64_t available_rest(packed_position at,
                                                              std::uint16_t flags) noexcept {
    return packed_descriptor::pack(0, at.slot(),
                                   static_cast<std::uint16_t>(at.available() | flags));
  }
  [[nodiscard]] static constexpr std::uint64_t used_rest(std::uint64_t length, packed_position at,
                                                         std::uint16_t flags) noexcept {
    return packed_descriptor::pack(length, at.slot(),
                                   static_cast<std::uint16_t>(at.used() | flags));
  }

  // Adds chains of one descriptor each in fast mode; `fill(slot, nth, length)` does the rest. They have
  // `least` bytes more than `length` says: what all have is in the word that is counted on.
  template <bool DeviceWritable, class Fill>
  [[gnu::always_inline]] std::uint16_t add_slots(std::uint32_t count, std::uint32_t least,
                                                 Fill&& fill) noexcept {
    if (!modes_.is_fast()) [[unlikely]]
      return 0;
    // State in locals, or each store would make the compiler reload it.
    packed_descriptor* const descriptors = ring_.descriptors();
    const bool nothing_hidden = published_ == added_;
    // But for this where bursts have no early end, as in refilling: of a local the compiler would keep
    // eight multiples instead of adding.
    const std::conditional_t<DeviceWritable, const std::uint64_t&, std::uint64_t> step = id_step_;
    constexpr std::uint16_t written = DeviceWritable ? descriptor_write : 0;
    std::uint64_t first_rest = unpublished_.first_rest();
    std::uint64_t rest = available_rest(next_, written) + least;
    const std::uint32_t added = for_each_packed_slot(
        next_, count, size_,
        [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          std::uint64_t length;
          if (!fill(slot, nth, length)) return false;
          if (nth == 0 && nothing_hidden) [[unlikely]] {
            first_rest = rest + length;
          } else {
            Access::store(descriptors[slot].rest, rest + length);
          }
          rest += step;
          return true;
        },
        [&]() __attribute__((always_inline)) {
          rest = available_rest(packed_position(!next_.wrap()), written) + least;
        });
    unpublished_.keep(first_rest);
    count_added(added, added);
    return static_cast<std::uint16_t>(added);
  }

  // Adds a chain with one descriptor for each buffer; there is room. The id goes into all of them,
  // though only that of the last one counts.
  void add_chain(std::span<const chain_buffer> chain, std::uint16_t id,
                 std::uint16_t flags) noexcept {
    packed_position at = next_;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      const auto all = static_cast<std::uint16_t>(at.available() | direction(chain[i]) | flags |
                                                  (i + 1 == chain.size() ? 0 : descriptor_next));
      const std::uint64_t rest = packed_descriptor::pack(chain[i].length, id, all);
      packed_descriptor& descriptor = ring_.descriptors()[at.slot()];
      Access::store(descriptor.address, chain[i].address);
      if (i == 0 && published_ == added_) {
        unpublished_.keep(rest);
      } else {
        Access::store(descriptor.rest, rest);
      }
      at.advance(1, size_);
    }
    const auto count = static_cast<std::uint16_t>(chain.size());
    if (!modes_.is_fast()) ledger_.take(id, count);
    count_added(1, count);
  }

  void count_added(std::uint32_t chains, std::uint32_t descriptors) noexcept {
    added_ += chains;
    next_.advance(descriptors, size_);
  }

  void leave_fast() noexcept {
    if (!modes_.is_fast()) return;
    modes_.leave_fast(size_);
    ledger_.restart(next_used_.slot(), in_flight());
  }

  [[nodiscard]] bool is_used(packed_position at) const noexcept {
    const std::uint64_t rest = Access::observe_used(ring_.descriptors()[at.slot()].rest);
    return at.is_used(rest);
  }

  // `used_pending`, and the first descriptor that was not used.
  std::uint16_t walk_used(std::size_t enough, packed_position& at) const noexcept {
    const std::uint16_t limit = used_at_most(enough);
    std::uint16_t seen = batch_.left();
    at = next_used_;
    for (std::uint16_t i = 0; i < seen; ++i) at.advance(chain_length(at.slot()), size_);
    while (seen < enough && seen < limit) {
      const std::uint64_t rest = Access::observe_used(ring_.descriptors()[at.slot()].rest);
      if (!at.is_used(rest)) break;
      // What is wrong with it is for `reclaim` to say.
      const std::uint16_t id = packed_descriptor::id(rest);
      std::uint32_t descriptors = 0;
      std::uint16_t chains = 1;
      if (in_order_) {
        chains = batch_up_to(id, at.slot(), limit - seen, descriptors);
      } else if (id < size_) {
        descriptors = chain_length(id);
      }
      if (descriptors == 0) return static_cast<std::uint16_t>(seen + 1);
      seen = static_cast<std::uint16_t>(seen + chains);
      at.advance(descriptors, size_);
    }
    return seen < limit ? seen : limit;
  }

  // The chain with this id was used. Returns how many descriptors it had.
  std::uint16_t complete(std::uint16_t id) noexcept {
    if (modes_.is_fast()) return 1;
    modes_.pay();
    return ledger_.release(id);
  }

  // The next used descriptor. False: there is none yet, or it is a breach.
  bool next_descriptor(std::uint16_t& id, std::uint32_t& written) noexcept {
    const std::uint64_t rest = Access::observe_used(ring_.descriptors()[next_used_.slot()].rest);
    if (!next_used_.is_used(rest)) return false;
    id = packed_descriptor::id(rest);
    // The length means something only with this flag.
    const bool is_written = (packed_descriptor::flags(rest) & descriptor_write) != 0;
    written = is_written ? packed_descriptor::length(rest) : 0;
    if (id < size_) return true;
    break_queue(ring_fault::used_id_range, used_, id);
    return false;
  }

  // The id that the next used descriptor names.
  std::uint32_t next_any_order(std::uint32_t& written) noexcept {
    std::uint16_t id = 0;
    if (!next_descriptor(id, written)) return no_id;
    if (modes_.is_fast() && id == next_used_.slot()) return id;
    leave_fast();
    if (ledger_.count(id) != 0) return id;
    break_queue(ring_fault::used_id_not_head, used_, id);
    return no_id;
  }

  // In-order: one descriptor may stand for all chains up to the one whose id it names, and then the
  // descriptors of those that it skips are not written. Source: virtio 1.3 section 2.8.8.
  std::uint32_t next_in_order(std::uint32_t& written) noexcept {
    const std::uint16_t first = next_used_.slot();
    if (batch_.left() == 0) {
      std::uint16_t id = 0;
      std::uint32_t last_written = 0;
      if (!next_descriptor(id, last_written)) return no_id;
      std::uint32_t descriptors = 0;
      const std::uint16_t chains = batch_up_to(id, first, published_ - used_, descriptors);
      if (descriptors == 0) {
        break_queue(ring_fault::used_id_order, used_, id);
        return no_id;
      }
      batch_ = used_batch(chains, last_written);
    }
    written = batch_.take(max_written_);
    return first;
  }

  // In-order: how many chains there are from that at `first` to the one with this id, at most `limit`,
  // and how many descriptors they take: none if the id is not among them.
  [[nodiscard]] std::uint16_t batch_up_to(std::uint16_t id, std::uint16_t first,
                                          std::uint32_t limit,
                                          std::uint32_t& descriptors) const noexcept {
    packed_position at(ring_index(first), size_);
    descriptors = 0;
    for (std::uint16_t chains = 1; chains <= limit; ++chains) {
      const std::uint16_t head = at.slot();
      const std::uint16_t length = chain_length(head);
      descriptors += length;
      if (head == id) return chains;
      at.advance(length, size_);
    }
    descriptors = 0;
    return 1;
  }

  packed_ring ring_;
  std::uint16_t size_;
  bool event_idx_;
  bool in_order_;
  indirect_tables tables_;
  std::uint32_t max_written_;
  // From one descriptor's word to the next. Not a constant for the compiler: it would build a new one
  // for each slot of a turn instead of adding.
  std::uint64_t id_step_ = packed_descriptor::next_id;

  ring_index added_;           // chains
  ring_index published_;       // of those
  ring_index used_;            // of those
  packed_position next_;       // to be made available
  packed_position next_used_;  // by the device
  packed_unpublished unpublished_;
  mode_switch modes_;
  used_batch batch_;  // in-order: what is left of the last one

  set_once<ring_breach> breach_;
  std::vector<Token> tokens_;  // by id
  id_ledger ledger_;           // in general mode
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_PACKED_DRIVER_HPP
