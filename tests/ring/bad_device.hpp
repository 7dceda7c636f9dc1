// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_BAD_DEVICE_HPP
#define VKRING_TESTS_RING_BAD_DEVICE_HPP

// A driver side against a device that turns bad, in an order that follows from a seed.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "hands.hpp"
#include "random_pair.hpp"
#include "seeded_ring.hpp"

namespace vkring::test {

/// As long as the device is honest, the oracle of the pair sees to it that nothing breaks, is lost or
/// waits for ever. Then the device either does one thing that is not allowed, and the driver side has
/// to call it by its name; or it does anything, and also changes what it wrote between two loads. In
/// any case each token comes back once, by `abandon` if the ring broke, and a broken ring stays as
/// it is.
template <class Layout>
class bad_device {
 public:
  explicit bad_device(std::uint32_t seed)
      : both_((meddler::get() = {}, ring_of_seed<Layout>(seed)), seed),
        hand_(pair_.ring, pair_.options) {
    device_hand<Layout>::allow(meddler::get(), pair_.ring_memory.bytes(), size_);
    meddler::get().may_store.push_back({pair_.table_memory.bytes()});
    meddler::get().seed = seed;
  }

  /// Returns in how many steps.
  std::uint32_t run() {
    steps_ = chance_.below(4000);
    both_.run(steps_);
    hand_over_all();
    if (chance_.once_in(2)) {
      commit_a_crime();
      vandalise(50);
    } else {
      vandalise(100 + chance_.below(2000));
    }
    give_up();
    return steps_;
  }

 private:
  using pair_type = joined_pair<Layout, meddling, direct>;

  // The device has everything that is in flight. From here on the oracle is not asked any more.
  void hand_over_all() {
    pair_.publish();
    pair_.publish_used();
    pair_.reclaim(size_);
    for (int i = 0; i < 2; ++i) pair_.add(0, 1);
    pair_.publish();
    pair_.pop(size_);
    for (const std::uint64_t token : pair_.tokens_in_flight()) in_flight_.insert(token);
    for (std::size_t i = 0; i < pair_.out(); ++i) held_.push_back(pair_.out_chain(i).head);
  }

  // ---- one thing that is not allowed ----

  void commit_a_crime() {
    hand_.take_over(pair_.device);
    std::size_t lawful = 0;
    const ring_fault fault = crime(lawful);
    const std::size_t before = in_flight_.size();
    take_some(size_);
    expect(before - in_flight_.size() == lawful, "another number came back than was used");
    expect(driver_.breach().fault == fault, "a breach was called by another name, or by none");
  }

  // Returns what it is; `lawful` chains were used before.
  [[nodiscard]] ring_fault crime(std::size_t& lawful) {
    const bool in_order = pair_.options.in_order;
    const auto& chain = pair_.out_chain(in_order ? 0 : chance_.below(held_.size()));
    const std::uint32_t descriptors = pair_.messages[chain.id].descriptors;
    const std::uint32_t idle = in_no_chain();
    switch (chance_.below(std::same_as<Layout, split> ? 5 : 4)) {
      case 0:
        if (held_.size() < 2) break;
        hand_.use(chain.head, 0);
        hand_.show_chain(descriptors);
        hand_.use(chain.head, 0);
        hand_.show_chain(descriptors);
        lawful = 1;
        return in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head;
      case 1:
        if (idle == size_) break;
        hand_.use(idle, 0);
        hand_.show_chain(1);
        return in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head;
      case 2:
        hand_.use(chain.head, (pair_type::max_written + 1 + chance_.below(100'000)) | 1);
        hand_.show_chain(descriptors);
        return ring_fault::used_length;
      case 3:
        break;
      default: {
        const auto all = static_cast<std::uint32_t>(held_.size());
        hand_.show(all + 1 + chance_.below(0xffff - all));
        return ring_fault::used_index_jump;
      }
    }
    hand_.use(size_ + chance_.below(0x10000u - size_), 0);
    hand_.show_chain(1);
    return ring_fault::used_id_range;
  }

  // A descriptor, or an id, that is no chain's; the size if there is none.
  [[nodiscard]] std::uint32_t in_no_chain() {
    std::vector<bool> taken(size_);
    for (const std::uint16_t head : held_) taken[head] = true;
    std::uint32_t at = chance_.below(size_);
    for (std::uint32_t left = size_; left != 0; --left, at = (at + 1) % size_) {
      if (!taken[at]) return at;
    }
    return size_;
  }

  // ---- anything ----

  void vandalise(std::uint32_t steps) {
    const std::uint32_t rarely = 2u << chance_.below(8);
    for (std::uint32_t after_breach = 0; steps != 0 && after_breach < 50; --steps, ++steps_) {
      if (driver_.breach()) ++after_breach;
      if (chance_.once_in(20)) meddler::get().rate = 0;
      if (chance_.once_in(rarely)) vandal_step();
      chance_.once_in(2) ? driver_step() : device_step();
      check();
    }
    meddler::get().rate = 0;
  }

  void driver_step() {
    const auto some = static_cast<std::uint16_t>(chance_.below(40));
    switch (chance_.below(8)) {
      case 0: {
        const std::uint32_t length = 1 + chance_.below(longest_);
        const chain_buffer buffer{message_pool::base, 16, chance_.once_in(2)};
        const std::vector<chain_buffer> chain(length, buffer);
        if (driver_.try_add(chain, next_token_)) in_flight_.insert(next_token_++);
        break;
      }
      case 1:
        add_burst<true>(some);
        break;
      case 2:
        add_burst<false>(some);
        break;
      case 3:
        driver_.publish();
        (void)driver_.kick_needed();
        break;
      case 4:
        driver_.disable_call();
        break;
      case 5: {
        const bool sleeps = driver_.enable_call(some) == notification::safe_to_sleep;
        expect(!sleeps || meddler::get().rate != 0 || driver_.used_pending(size_) <= some,
               "the driver side sleeps on used chains");
        break;
      }
      default:
        take_some(some);
    }
  }

  template <bool DeviceWritable>
  void add_burst(std::uint16_t some) {
    driver_.template add_burst<DeviceWritable>(
        std::min(some, driver_.room()), [&](burst_buffer<std::uint64_t>& fresh, std::size_t) {
          fresh = {message_pool::base, 16, next_token_};
          in_flight_.insert(next_token_++);
          return true;
        });
  }

  // As queues do it: a burst, and what is left one by one.
  void take_some(std::uint16_t max) {
    const std::uint16_t most = std::min(driver_.used_at_most(max), max);
    const std::uint16_t done = driver_.reclaim_burst(
        most, [&](std::size_t, std::uint64_t token, std::uint32_t written) {
          take_back(token, written);
          return true;
        });
    driver_.reclaim(static_cast<std::uint16_t>(max - done),
                    [&](std::uint64_t token, std::uint32_t written) { take_back(token, written); });
  }

  void take_back(std::uint64_t token, std::uint32_t written) {
    expect(!driver_.breach(), "a broken ring gave a token back");
    expect(in_flight_.erase(token) == 1, "a token came back that was not in flight");
    expect(written <= pair_type::max_written, "more was written than there was room for");
  }

  // What an honest device would do, as far as the ring lets it.
  void device_step() {
    switch (chance_.below(4)) {
      case 0:
        pair_.device.pop(static_cast<std::uint16_t>(chance_.below(40)),
                         [&](const device_chain& chain) { held_.push_back(chain.head); });
        break;
      case 1:
        for (std::uint32_t left = chance_.below(20); left != 0 && !held_.empty(); --left) {
          const std::uint32_t which = pair_.options.in_order ? 0 : chance_.below(held_.size());
          pair_.device.push_used(held_[which], chance_.below(2));
          last_ = held_[which];
          held_.erase(held_.begin() + which);
        }
        break;
      case 2:
        pair_.device.publish();
        (void)pair_.device.call_needed();
        break;
      default:
        chance_.once_in(2) ? pair_.device.disable_kick() : (void)pair_.device.enable_kick();
    }
  }

  void vandal_step() {
    if (!chance_.once_in(4)) hand_.take_over(pair_.device);
    const std::array<std::uint32_t, 4> ids = {last_, chance_.below(size_), size_,
                                              chance_.below(UINT32_MAX)};
    const std::uint32_t id = ids[chance_.below(4)];
    switch (chance_.below(6)) {
      case 0:
      case 1:
        hand_.use(id, chance_.once_in(4) ? chance_.below(UINT32_MAX) : 16);
        hand_.show_chain(1 + chance_.below(3));
        break;
      case 2:
        flip_a_bit(pair_.ring_memory.bytes(), chance_);
        break;
      case 3:
        hand_.show(chance_.once_in(4) ? chance_.below(0x10000) : chance_.below(8));
        break;
      case 4:
        hand_.set_event(chance_.below(UINT32_MAX));
        break;
      default:
        meddler::get().rate = 1 + chance_.below(64);
    }
  }

  // ---- what holds in any case ----

  void check() {
    expect(driver_.in_flight() == in_flight_.size(), "in_flight() is off");
    expect(driver_.room() + driver_.in_flight() <= size_, "more room than there is");
    if (!driver_.breach()) return;
    if (!breach_) breach_ = driver_.breach();
    expect(driver_.breach().fault == breach_.fault && driver_.breach().value == breach_.value,
           "a broken ring found another reason");
    expect(breach_.fault < ring_fault::avail_index_jump, "a breach that no device can commit");
    expect(driver_.room() == 0 && driver_.used_pending(size_) == 0, "a broken ring goes on");
  }

  void give_up() {
    driver_.abandon([&](std::uint64_t token) {
      expect(in_flight_.erase(token) == 1, "a token was given up that was not in flight");
    });
    expect(in_flight_.empty(), "a token was lost");
    expect(driver_.reclaim(size_, [](std::uint64_t) {}) == 0 && driver_.room() == 0,
           "a ring that was given up goes on");
  }

  random_pair<Layout, meddling, direct> both_;
  pair_type& pair_ = both_.pair;
  schedule& chance_ = both_.chance;
  typename pair_type::driver_type& driver_ = pair_.driver;
  const std::uint16_t size_ = pair_.options.size;
  device_hand<Layout> hand_;

  const std::uint32_t longest_ = chance_.once_in(2) ? 1 : std::min<std::uint32_t>(size_, 9);
  std::uint32_t steps_ = 0;
  std::unordered_set<std::uint64_t> in_flight_;
  std::uint64_t next_token_ = 0;
  std::vector<std::uint16_t> held_;  // what the honest part of the device has
  std::uint16_t last_ = 0;           // what it used last
  ring_breach breach_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_BAD_DEVICE_HPP
