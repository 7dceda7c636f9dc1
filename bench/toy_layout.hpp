// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_TOY_LAYOUT_HPP
#define VKRING_BENCH_TOY_LAYOUT_HPP

// A layout that is not virtio's, to show how one adds one's own: docs/ring-layouts.md goes through it.
// It is a split ring without an avail ring and without ids: chains are used in the order in which they
// were made available, so that two counts say everything. What a ring costs beyond that is what its
// freedom costs.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>
#include <vkring/core/set_once.hpp>
#include <vkring/ring/chain_collector.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/slots.hpp>

namespace bench {

using namespace vkring;

class counted_ring;

/// The layout, as `virtqueue` is told.
struct counted {
  using ring_type = counted_ring;
};

/// The three parts of a counted ring: descriptors, written by the driver; its count and whether it
/// wants calls; the device's count, whether it wants kicks, and the bytes that it wrote to each chain.
class counted_ring {
 public:
  struct side {
    std::uint16_t count;     // of chains made available or used, modulo 65536
    std::uint16_t suppress;  // 1: this side is not to be notified
  };

  counted_ring(std::byte* descriptors, std::byte* driver, std::byte* device,
               std::uint16_t size) noexcept
      : descriptors_(reinterpret_cast<split_descriptor*>(descriptors)),
        driver_(reinterpret_cast<side*>(driver)),
        device_(reinterpret_cast<side*>(device)),
        size_(size) {}

  /// For the benchmarks: how large the parts are.
  [[nodiscard]] static constexpr std::array<std::size_t, 3> part_bytes(std::size_t size) noexcept {
    return {sizeof(split_descriptor) * size, sizeof(side),
            sizeof(side) + sizeof(std::uint32_t) * size};
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }
  [[nodiscard]] split_descriptor* descriptors() const noexcept { return descriptors_; }
  [[nodiscard]] side& driver() const noexcept { return *driver_; }
  [[nodiscard]] side& device() const noexcept { return *device_; }
  [[nodiscard]] std::uint32_t* written() const noexcept {
    return reinterpret_cast<std::uint32_t*>(device_ + 1);
  }

 private:
  split_descriptor* descriptors_;
  side* driver_;
  side* device_;
  std::uint16_t size_;
};

}  // namespace bench

namespace vkring::inline v0 {

/// The driver side of a counted ring. Chains have one buffer.
template <ring_token Token, class Access>
class virtqueue<bench::counted, driver_side, Token, Access> {
 public:
  using token_type = Token;
  using layout_type = bench::counted;

  virtqueue(const bench::counted_ring& ring, const ring_options& options, indirect_tables = {},
            std::uint32_t max_written = UINT32_MAX)
      : ring_(ring),
        mask_(static_cast<std::uint16_t>(options.size - 1)),
        max_written_(max_written),
        avail_(options.start),
        published_(options.start),
        used_(options.start),
        used_seen_(options.start),
        tokens_(options.size) {
    Access::store(ring_.device().count, used_.value());
    Access::store(ring_.device().suppress, std::uint16_t{0});
    disable_call();
    publish();
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return ring_.size(); }
  [[nodiscard]] ring_mode mode() const noexcept { return ring_mode::fast; }
  [[nodiscard]] std::uint64_t general_entries() const noexcept { return 0; }
  [[nodiscard]] ring_breach breach() const noexcept { return breach_.get(); }
  [[nodiscard]] ring_index avail_position() const noexcept { return avail_; }
  [[nodiscard]] ring_index published_position() const noexcept { return published_; }
  [[nodiscard]] ring_index used_position() const noexcept { return used_; }
  [[nodiscard]] std::uint16_t slot_of(ring_index position) const noexcept {
    return position.slot(mask_);
  }
  [[nodiscard]] std::uint16_t in_flight() const noexcept { return avail_ - used_; }
  [[nodiscard]] std::uint16_t room() const noexcept {
    return breach_.is_set() ? std::uint16_t{0} : static_cast<std::uint16_t>(size() - in_flight());
  }
  [[nodiscard]] bool has_room(std::size_t buffers) const noexcept {
    return buffers <= max_chain() && room() != 0;
  }
  [[nodiscard]] std::uint16_t max_chain() const noexcept { return 1; }

  bool try_add(std::span<const chain_buffer> chain, Token token) noexcept {
    if (!has_room(chain.size())) return false;
    const auto take = [&](burst_buffer<Token>& fresh, std::size_t) {
      fresh = {chain.front().address, chain.front().length, token};
      return true;
    };
    chain.front().device_writable ? add_burst<true>(1, take) : add_burst<false>(1, take);
    return true;
  }
  template <bool DeviceWritable, class Generate>
  [[gnu::always_inline]] std::uint16_t add_burst(std::uint32_t count, Generate&& generate,
                                                 std::uint32_t least = 0) noexcept {
    split_descriptor* const descriptors = ring_.descriptors();
    Token* const tokens = tokens_.data();
    return add(count, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
      burst_buffer<Token> fresh;
      if (!generate(fresh, nth)) return false;
      Access::store(descriptors[slot].address, fresh.address);
      Access::store(descriptors[slot].rest, rest<DeviceWritable>(least + fresh.length));
      tokens[slot] = fresh.token;
      return true;
    });
  }
  template <bool DeviceWritable, class Generate>
  [[gnu::always_inline]] std::uint16_t add_bound(std::uint32_t count,
                                                 Generate&& generate) noexcept {
    split_descriptor* const descriptors = ring_.descriptors();
    return add(count, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
      std::uint64_t length;
      if (!generate(length, nth)) return false;
      Access::store(descriptors[slot].rest, rest<DeviceWritable>(length));
      return true;
    });
  }
  template <bool DeviceWritable>
  std::uint16_t add_again(std::uint16_t count, std::uint32_t) noexcept {
    avail_ += count;  // all of it is still there
    return count;
  }
  void publish() noexcept {
    published_ = avail_;
    Access::publish_avail(ring_.driver().count, avail_.value());
  }
  [[nodiscard]] bool kick_needed() noexcept {
    Access::before_kick_check();
    return Access::load(ring_.device().suppress) == 0;
  }

  [[nodiscard]] std::uint16_t used_pending(std::size_t enough) noexcept {
    if (breach_.is_set()) return 0;
    if (used_seen_ - used_ < enough) {
      const ring_index seen(Access::observe_used(ring_.device().count));
      if (seen - used_ > published_ - used_ || seen - used_ < used_seen_ - used_) {
        break_queue(ring_fault::used_index_jump, used_, seen.value());
        return 0;
      }
      used_seen_ = seen;
    }
    return used_seen_ - used_;
  }
  [[nodiscard]] std::uint16_t used_at_most(std::size_t enough) noexcept {
    return used_pending(enough);
  }
  template <class Sink>
  [[gnu::always_inline]] std::uint16_t reclaim_burst(std::uint32_t count, Sink&& sink,
                                                     std::uint32_t least = 0) noexcept {
    if (least > max_written_) return 0;
    const std::uint32_t* const written = ring_.written();
    const Token* const tokens = tokens_.data();
    const std::uint32_t most_beyond = max_written_ - least;
    const std::uint32_t done = for_each_slot(
        used_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          if constexpr (std::is_invocable_v<Sink&, std::size_t, Token>) {
            return sink(nth, tokens[slot]);
          } else {
            const std::uint32_t beyond = Access::load(written[slot]) - least;
            return beyond <= most_beyond && sink(nth, tokens[slot], beyond);
          }
        });
    used_ += done;
    return static_cast<std::uint16_t>(done);
  }
  template <class Sink>
  std::uint16_t reclaim(std::uint16_t max, Sink&& sink) noexcept {
    const std::uint16_t pending = used_pending(max);
    const std::uint16_t count = pending < max ? pending : max;
    const ring_index first = used_;
    for (bool more = true; more && used_ - first != count; used_ += 1) {
      const std::uint16_t slot = used_.slot(mask_);
      if constexpr (std::is_invocable_v<Sink&, Token, std::uint32_t>) {
        const std::uint32_t written = Access::load(ring_.written()[slot]);
        if (written > max_written_) break_queue(ring_fault::used_length, used_, written);
        if (breach_.is_set()) break;
        more = detail::goes_on(sink, tokens_[slot], written);
      } else {
        more = detail::goes_on(sink, tokens_[slot]);
      }
    }
    return used_ - first;
  }
  [[nodiscard]] notification enable_call(std::uint16_t after = 0) noexcept {
    Access::store(ring_.driver().suppress, std::uint16_t{0});
    Access::after_call_enabled();
    return used_pending(size()) > after ? notification::more_pending : notification::safe_to_sleep;
  }
  void disable_call() noexcept { Access::store(ring_.driver().suppress, std::uint16_t{1}); }

  template <class Sink>
  void abandon(Sink&& sink) noexcept {
    for (; used_ != avail_; used_ += 1) sink(tokens_[used_.slot(mask_)]);
    break_queue(ring_fault::none, used_, 0);
  }
  void break_queue(ring_fault fault, ring_index position, std::uint64_t value) noexcept {
    breach_.set({fault, position.value(), value});
  }

 private:
  template <bool DeviceWritable>
  [[nodiscard]] static constexpr std::uint64_t rest(std::uint64_t length) noexcept {
    return split_descriptor::pack(length, DeviceWritable ? descriptor_write : 0);
  }
  template <class Fill>
  [[gnu::always_inline]] std::uint16_t add(std::uint32_t count, Fill&& fill) noexcept {
    prefetch_slots(ring_.descriptors(), avail_.value(), count, mask_);
    const std::uint32_t added = for_each_slot(avail_.value(), count, mask_, fill);
    avail_ += added;
    return static_cast<std::uint16_t>(added);
  }

  bench::counted_ring ring_;
  std::uint16_t mask_;
  std::uint32_t max_written_;
  ring_index avail_;
  ring_index published_;
  ring_index used_;
  ring_index used_seen_;
  set_once<ring_breach> breach_;
  std::vector<Token> tokens_;
};

/// The device side of a counted ring. What is called the head of a chain means nothing: chains are
/// pushed in the order of `pop`.
template <address_space AddressSpace, class Access>
class virtqueue<bench::counted, device_side, AddressSpace, Access> {
 public:
  using layout_type = bench::counted;

  virtqueue(const bench::counted_ring& ring, const ring_options& options, AddressSpace space)
      : ring_(ring),
        mask_(static_cast<std::uint16_t>(options.size - 1)),
        avail_(options.start),
        avail_seen_(options.start),
        used_(options.start),
        space_(std::move(space)) {}

  [[nodiscard]] std::uint16_t size() const noexcept { return ring_.size(); }
  [[nodiscard]] ring_breach breach() const noexcept { return breach_.get(); }

  [[nodiscard]] std::uint16_t avail(std::uint16_t enough) noexcept {
    if (breach_.is_set()) return 0;
    if (avail_seen_ - avail_ < enough) {
      const ring_index seen(Access::observe_avail(ring_.driver().count));
      if (seen - used_ > size() || seen - used_ < avail_seen_ - used_) {
        break_queue(ring_fault::avail_index_jump, avail_.value(), seen.value());
        return 0;
      }
      avail_seen_ = seen;
    }
    return avail_seen_ - avail_;
  }
  [[nodiscard]] std::uint16_t avail_at_most(std::uint16_t enough) noexcept { return avail(enough); }

  template <class Sink>
  [[gnu::always_inline]] std::uint16_t pop_burst(std::uint16_t count, Sink&& sink) noexcept {
    const split_descriptor* const descriptors = ring_.descriptors();
    const std::uint32_t done = for_each_slot(
        avail_.value(), count,
        mask_, [&](std::size_t slot, std::size_t nth) __attribute__((always_inline)) {
          const std::uint64_t address = Access::load(descriptors[slot].address);
          const std::uint64_t rest = Access::load(descriptors[slot].rest);
          const std::uint32_t length = split_descriptor::length(rest);
          const bool writable = (split_descriptor::flags(rest) & descriptor_write) != 0;
          const std::span<std::byte> buffer =
              space_.translate(address, length, collector::direction(writable));
          if (buffer.size() != length) return false;
          sink(nth, static_cast<std::uint16_t>(slot), buffer, writable);
          return true;
        });
    avail_ += done;
    return static_cast<std::uint16_t>(done);
  }
  template <class Sink>
  std::uint16_t pop(std::uint16_t max, Sink&& sink) noexcept {
    const std::uint16_t pending = avail(max);
    bool more = true;
    std::uint16_t done = 0;
    for (; more && done < max && done < pending; ++done) {
      const auto take = [&](std::size_t, std::uint16_t head, std::span<std::byte> buffer,
                            bool writable) {
        const std::span<const std::span<std::byte>> one(&buffer, 1);
        more = detail::goes_on(
            sink, writable ? device_chain{head, {}, one} : device_chain{head, one, {}});
      };
      if (pop_burst(1, take) == 0) {
        break_queue(ring_fault::address_refused, avail_.slot(mask_), 0);
        break;
      }
    }
    return done;
  }
  void unpop(std::uint16_t n) noexcept { avail_ += 0x10000u - n; }

  void push_used(std::uint16_t, std::uint32_t written) noexcept {
    Access::store(ring_.written()[used_.slot(mask_)], written);
    used_ += 1;
  }
  template <class Generate>
  [[gnu::always_inline]] void push_burst(std::uint16_t count, Generate&& generate) noexcept {
    for (std::size_t nth = 0; nth != count; ++nth) {
      used_element fresh;
      generate(fresh, nth);
      // Nobody reads what was written to a chain that the device only reads.
      if (fresh.length != 0) Access::store(ring_.written()[used_.slot(mask_)], fresh.length);
      used_ += 1;
    }
  }
  void push_used_batch(std::uint16_t, std::uint32_t written, std::uint16_t count) noexcept {
    for (; count != 0; --count) push_used(0, written);
  }
  void publish() noexcept { Access::publish_used(ring_.device().count, used_.value()); }
  [[nodiscard]] bool call_needed() noexcept {
    Access::before_call_check();
    return Access::load(ring_.driver().suppress) == 0;
  }
  [[nodiscard]] notification enable_kick() noexcept {
    Access::store(ring_.device().suppress, std::uint16_t{0});
    Access::after_kick_enabled();
    return avail(size()) != 0 ? notification::more_pending : notification::safe_to_sleep;
  }
  void disable_kick() noexcept { Access::store(ring_.device().suppress, std::uint16_t{1}); }
  void break_queue(ring_fault fault, std::uint16_t position, std::uint64_t value) noexcept {
    breach_.set({fault, position, value});
  }

 private:
  using collector = chain_collector<AddressSpace>;

  bench::counted_ring ring_;
  std::uint16_t mask_;
  ring_index avail_;
  ring_index avail_seen_;
  ring_index used_;
  set_once<ring_breach> breach_;
  AddressSpace space_;
};

}  // namespace vkring::inline v0

namespace bench {

static_assert(driver_queue<virtqueue<counted, driver_side, std::uint32_t>>);
static_assert(device_queue<virtqueue<counted, device_side, table_cursor>>);

}  // namespace bench

#endif  // VKRING_BENCH_TOY_LAYOUT_HPP
