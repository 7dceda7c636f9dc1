// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_BAD_DRIVER_HPP
#define VKRING_TESTS_RING_BAD_DRIVER_HPP

// A device side against a driver that turns bad, in an order that follows from a seed.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "hands.hpp"
#include "random_pair.hpp"
#include "seeded_ring.hpp"

namespace vkring::test {

/// As long as the driver is honest, the oracle of the pair sees to it that nothing breaks, is lost or
/// waits for ever. Then the driver either does one thing that is not allowed, and the device side has
/// to call it by its name; or it does anything, and also changes what it wrote between two loads. In
/// any case the device side hands out no more than the address space allows, and a broken ring stays
/// as it is.
template <class Layout>
class bad_driver {
 public:
  explicit bad_driver(std::uint32_t seed)
      : both_((meddler::get() = {}, ring_of_seed<Layout>(seed)), seed),
        hand_(pair_.ring, pair_.options) {
    hand_type::allow(meddler::get(), pair_.ring_memory.bytes(), size_);
    if (pair_.options.indirect) {
      meddler::get().may_load.push_back({pair_.table_memory.bytes(), 8});
      meddler::get().may_load.push_back({pair_.messages.memory(), 8});
    }
    meddler::get().seed = seed;
  }

  /// Returns in how many steps.
  std::uint32_t run() {
    steps_ = chance_.below(4000);
    both_.run(steps_);
    take_back_some();
    if (chance_.once_in(2)) {
      commit_a_crime();
      vandalise(50);
    } else {
      vandalise(100 + chance_.below(2000));
    }
    return steps_;
  }

 private:
  using pair_type = joined_pair<Layout, direct, meddling>;
  using descriptor =
      std::remove_pointer_t<decltype(std::declval<typename Layout::ring_type&>().descriptors())>;
  using hand_type = driver_hand<Layout>;
  static constexpr bool is_split = std::same_as<Layout, split>;

  // The driver has room for a few descriptors, and the device has all chains that are in flight. From
  // here on the oracle is not asked any more.
  void take_back_some() {
    pair_.publish();
    pair_.pop(size_);
    while (pair_.driver.room() < 8) {
      if (pair_.out() != 0) pair_.complete(0);
      pair_.publish_used();
      pair_.reclaim(size_);
    }
    for (std::size_t i = 0; i < pair_.out(); ++i) held_.push_back(pair_.out_chain(i).head);
  }

  // ---- one thing that is not allowed ----

  void commit_a_crime() {
    const ring_fault fault = crime();
    const std::size_t before = held_.size();
    take_some(size_);
    expect(held_.size() == before, "a chain came out that is not allowed");
    expect(device_.breach().fault == fault, "a breach was called by another name, or by none");
  }

  // Returns what it is.
  [[nodiscard]] ring_fault crime() {
    switch (chance_.below(8)) {
      case 0: {
        const std::uint32_t readable = chance_.below(5);
        const auto chain = add(readable, 4 - readable);
        const std::array<std::uint64_t, 3> outside = {0, message_pool::base - 1,
                                                      0xffff'ffff'ffff'ffff};
        descriptor& which = *chain[chance_.below(4)];
        direct::store(which.address, outside[chance_.below(3)]);
        return ring_fault::address_refused;
      }
      case 1:
        flip(*add(2, 1).front(), descriptor_write);
        return ring_fault::readable_after_writable;
      case 2:
        (void)add(1, 0);
        hand_.rename_last(pair_.driver, beyond_the_ring());
        return ring_fault::head_range;
      case 3: {
        descriptor& last = *add_direct().back();
        flip(last, descriptor_next);
        if (!is_split) return ring_fault::next_not_available;
        set_link(last, beyond_the_ring());
        return ring_fault::next_range;
      }
      case 4: {
        descriptor& only = *add(1, 0).front();
        flip(only, descriptor_indirect);
        direct::store(only.rest, direct::load(only.rest) | 1);  // no multiple of an entry
        return pair_.options.indirect ? ring_fault::indirect_length : ring_fault::indirect_refused;
      }
      case 5:
        flip(*add(1, 0).front(), descriptor_indirect | descriptor_next);
        return ring_fault::indirect_with_next;
      case 6:
        return is_split ? lead_back() : use_an_id_twice();
      default:
        return is_split ? jump() : use_an_id_twice();
    }
  }
  [[nodiscard]] ring_fault lead_back() {
    const auto chain = add_direct();
    flip(*chain.back(), descriptor_next);
    set_link(*chain.back(), hand_.last_chain(pair_.driver, 0));
    return ring_fault::chain_too_long;
  }
  [[nodiscard]] ring_fault jump() {
    if constexpr (is_split) {
      hand_.take_over(pair_.driver);
      const std::uint32_t ahead = pair_.driver.published_position() - device_.used_position();
      hand_.show(size_ + 1u - ahead + chance_.below(0xffffu - size_));
    }
    return ring_fault::avail_index_jump;
  }
  // Of several descriptors: those of one share one.
  [[nodiscard]] ring_fault use_an_id_twice() {
    (void)add_direct();
    take_some(size_);
    const std::uint16_t id = held_.back();
    (void)add(1, 0);
    hand_.rename_last(pair_.driver, id);
    return ring_fault::id_in_use;
  }
  [[nodiscard]] std::uint16_t beyond_the_ring() {
    return static_cast<std::uint16_t>(size_ + chance_.below(0x10000u - size_));
  }

  // Publishes a chain; returns its descriptors, in the ring or in a table.
  std::vector<descriptor*> add(std::uint32_t readable, std::uint32_t writable) {
    const std::uint32_t count = readable + writable;
    const bool in_table = count > 1 && count <= pair_.entries;
    expect(pair_.add(readable, writable), "there is room");
    pair_.publish();
    std::uint16_t at = hand_.last_chain(pair_.driver, in_table ? 1 : count);
    std::vector<descriptor*> chain(count);
    if (in_table) {
      const std::size_t first = std::size_t{hand_.table_of(at)} * pair_.entries;
      auto* const tables = reinterpret_cast<descriptor*>(pair_.table_memory.data());
      for (std::uint32_t i = 0; i < count; ++i) chain[i] = tables + first + i;
    } else {
      for (descriptor*& each : chain) {
        each = &pair_.ring.descriptors()[at];
        at = hand_.after(at);
      }
    }
    return chain;
  }
  // One for readable buffers of which a table could not hold all.
  std::vector<descriptor*> add_direct() { return add(std::max(2u, pair_.entries + 1u), 0); }
  static void flip(descriptor& which, std::uint64_t flags) {
    direct::store(which.rest, direct::load(which.rest) ^ flags << hand_type::flags_at);
  }
  static void set_link(descriptor& which, std::uint64_t link) {
    constexpr std::uint64_t all = std::uint64_t{0xffff} << hand_type::link_at;
    direct::store(which.rest, (direct::load(which.rest) & ~all) | link << hand_type::link_at);
  }

  // ---- anything ----

  void vandalise(std::uint32_t steps) {
    const std::uint32_t rarely = 2u << chance_.below(8);
    for (std::uint32_t after_breach = 0; steps != 0 && after_breach < 50; --steps, ++steps_) {
      if (device_.breach()) ++after_breach;
      if (chance_.once_in(20)) meddler::get().rate = 0;
      if (chance_.once_in(rarely)) vandal_step();
      chance_.once_in(2) ? driver_step() : device_step();
      check();
    }
    meddler::get().rate = 0;
  }

  // What an honest driver would do, as far as the ring lets it.
  void driver_step() {
    auto& driver = pair_.driver;
    const auto some = static_cast<std::uint16_t>(chance_.below(40));
    switch (chance_.below(5)) {
      case 0: {
        const std::uint32_t length = 1 + chance_.below(longest_);
        const chain_buffer buffer{message_pool::base, 16, chance_.once_in(2)};
        (void)driver.try_add(std::vector<chain_buffer>(length, buffer), 0);
        break;
      }
      case 1:
        driver.template add_burst<true>(std::min(some, driver.room()),
                                        [](burst_buffer<std::uint64_t>& fresh, std::size_t) {
                                          fresh = {message_pool::base, 16, 0};
                                          return true;
                                        });
        break;
      case 2:
        driver.publish();
        (void)driver.kick_needed();
        break;
      case 3:
        driver.reclaim(some, [](std::uint64_t) {});
        break;
      default:
        chance_.once_in(2) ? driver.disable_call() : (void)driver.enable_call(some);
    }
  }

  void device_step() {
    const auto some = static_cast<std::uint16_t>(chance_.below(40));
    switch (chance_.below(7)) {
      case 0:
      case 1:
        take_some(some);
        break;
      case 2: {
        const auto n = static_cast<std::uint16_t>(chance_.below(fresh_ + 1));
        device_.unpop(n);
        held_.resize(held_.size() - n);
        fresh_ -= n;
        break;
      }
      case 3:
        for (std::uint32_t left = some; left != 0 && !held_.empty(); --left) {
          const std::uint32_t which = pair_.options.in_order ? 0 : chance_.below(held_.size());
          device_.push_used(held_[which], 1);
          held_.erase(held_.begin() + which);
          fresh_ = 0;
        }
        break;
      case 4:
        if (const auto count = std::min<std::size_t>(some, held_.size()); count != 0) {
          push_oldest(static_cast<std::uint16_t>(count));
        }
        break;
      case 5:
        device_.publish();
        (void)device_.call_needed();
        break;
      default:
        if (chance_.once_in(2)) {
          device_.disable_kick();
        } else {
          const bool sleeps = device_.enable_kick() == notification::safe_to_sleep;
          expect(!sleeps || meddler::get().rate != 0 || device_.avail(1) == 0,
                 "the device side sleeps on available chains");
        }
    }
  }
  void push_oldest(std::uint16_t count) {
    if (pair_.options.in_order && chance_.once_in(2)) {
      device_.push_used_batch(held_[count - 1u], 1, count);
    } else {
      device_.push_burst(count, [&](used_element& element, std::size_t nth) {
        element = {held_[nth], 1};
      });
    }
    held_.erase(held_.begin(), held_.begin() + count);
    fresh_ = 0;
  }

  // As workers do it: a burst, and what is left one by one.
  void take_some(std::uint16_t max) {
    const std::uint16_t most = std::min(device_.avail_at_most(max), max);
    const std::uint16_t done = device_.pop_burst(
        most, [&](std::size_t, std::uint16_t head, std::span<std::byte> buffer, bool writable) {
          const std::span<const std::span<std::byte>> all(&buffer, 1);
          take({head, all.first(writable ? 0 : 1), all.first(writable ? 1 : 0)});
        });
    device_.pop(static_cast<std::uint16_t>(max - done),
                [&](const device_chain& chain) { take(chain); });
  }
  void take(const device_chain& chain) {
    expect(!device_.breach(), "a broken ring handed out a chain");
    expect(chain.head < size_, "a head beyond the ring");
    expect(chain.readable.size() + chain.writable.size() <= max_chain_pieces, "too many pieces");
    for (const std::span<std::byte> piece : chain.readable) {
      expect(pair_.map.holds(piece.data(), piece.size(), memory_access::read) || piece.empty(),
             "a readable piece outside the address space");
    }
    for (const std::span<std::byte> piece : chain.writable) {
      expect(pair_.map.holds(piece.data(), piece.size(), memory_access::write) || piece.empty(),
             "a writable piece outside the address space");
      std::fill(piece.begin(), piece.end(), std::byte{0xdd});
    }
    held_.push_back(chain.head);
    ++fresh_;
  }

  void vandal_step() {
    if (!chance_.once_in(4)) hand_.take_over(pair_.driver);
    const std::array<std::uint64_t, 4> addresses = {message_pool::base, pair_type::table_base,
                                                    message_pool::base - 8, 0};
    switch (chance_.below(6)) {
      case 0:
      case 1: {
        const std::uint32_t at = chance_.below(size_);
        descriptor& which = pair_.ring.descriptors()[at];
        const std::uint64_t address = addresses[chance_.below(4)];
        const std::uint32_t length = 16 * chance_.below(8);
        const auto flags = static_cast<std::uint16_t>(chance_.below(8));
        const auto link = static_cast<std::uint16_t>(chance_.below(size_ + 1u));
        direct::store(which.address, address + 16 * chance_.below(8));
        direct::store(which.rest, hand_.rest(length, flags, link, true));
        hand_.offer(chance_.once_in(4) ? chance_.below(0x10000) : at);
        hand_.show(1);
        break;
      }
      case 2:
        flip_a_bit(pair_.ring_memory.bytes(), chance_);
        break;
      case 3:
        hand_.show(chance_.once_in(4) ? chance_.below(0x10000) : chance_.below(8));
        break;
      case 4:
        flip_a_bit(pair_.table_memory.bytes(), chance_);
        break;
      default:
        meddler::get().rate = 1 + chance_.below(64);
    }
  }

  // ---- what holds in any case ----

  void check() {
    const std::uint16_t pending = device_.avail(1);
    expect(held_.size() + pending <= size_, "more chains than the ring holds");
    if (!device_.breach()) return;
    if (!breach_) breach_ = device_.breach();
    expect(device_.breach().fault == breach_.fault && device_.breach().value == breach_.value,
           "a broken ring found another reason");
    expect(breach_.fault >= ring_fault::avail_index_jump, "a breach that no driver can commit");
    expect(device_.avail(size_) == 0, "a broken ring goes on");
  }

  random_pair<Layout, direct, meddling> both_;
  pair_type& pair_ = both_.pair;
  schedule& chance_ = both_.chance;
  typename pair_type::device_type& device_ = pair_.device;
  const std::uint16_t size_ = pair_.options.size;
  hand_type hand_;

  const std::uint32_t longest_ = chance_.once_in(2) ? 1 : std::min<std::uint32_t>(size_, 9);
  std::uint32_t steps_ = 0;
  std::vector<std::uint16_t> held_;  // heads that were popped and not pushed
  std::uint32_t fresh_ = 0;          // of these, popped since the last push
  ring_breach breach_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_BAD_DRIVER_HPP
