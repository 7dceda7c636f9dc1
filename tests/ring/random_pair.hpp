// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_RANDOM_PAIR_HPP
#define VKRING_TESTS_RING_RANDOM_PAIR_HPP

// Both sides of a ring at random, against the oracle.

#include <algorithm>

#include "kit.hpp"

namespace vkring::test {

/// A pair whose sides do whatever lawful sides may do, in an order that follows from the seed: each
/// sleeps when it may, and whoever sleeps runs again only when notified.
template <class Layout, class DriverAccess = direct, class DeviceAccess = direct>
class random_pair {
 public:
  random_pair(const ring_options& options, std::uint32_t seed)
      : pair(options, static_cast<std::uint16_t>(1 + seed % 5)),
        chance(seed),
        size_(options.size),
        longest_(std::min<std::uint32_t>(options.size, seed % 3 == 0 ? 1 : 9)) {}

  void run(std::uint32_t steps) {
    // Long stretches of one side alone make the ring run full and empty.
    for (std::uint32_t bias = 1; steps != 0; --steps) {
      if (chance.once_in(200)) bias = chance.below(4);
      const bool driver_turn = chance.below(4) < bias;
      // The device sleeps when all is used, the driver while not all is: one of them has work.
      expect(!driver_sleeps_ || !device_sleeps_, "both sides sleep");
      if (driver_turn ? driver_sleeps_ : device_sleeps_) continue;
      driver_turn ? driver_step() : device_step();
    }
  }

  joined_pair<Layout, DriverAccess, DeviceAccess> pair;
  schedule chance;

 private:
  [[nodiscard]] std::uint16_t some() {
    return static_cast<std::uint16_t>(chance.below(std::min<std::uint32_t>(size_, 40u) + 1));
  }

  void driver_step() {
    const std::uint16_t count = some();
    switch (chance.below(8)) {
      case 0:
      case 1:
        for (std::uint32_t i = 0; i < count; ++i) {
          const std::uint32_t length = 1 + chance.below(longest_);
          const std::uint32_t readable = chance.below(length + 1);
          if (!pair.add(readable, length - readable)) break;
        }
        break;
      case 2:
        pair.template add_burst<true>(count);
        break;
      case 3:
        pair.template add_burst<false>(count);
        break;
      case 4:
        pair.publish();
        break;
      case 5:
        chance.once_in(2) ? pair.reclaim(count) : pair.reclaim_burst(count);
        break;
      case 6:
        pair.reclaim(size_, 1 + count);
        break;
      default: {
        pair.publish();
        if (chance.once_in(3)) pair.add(1, 0);  // what is not published is not to count
        const bool kick = pair.kick_needed();
        expect(kick || !device_sleeps_ || pair.visible() == 0, "a kick was lost");
        device_sleeps_ = device_sleeps_ && !kick;
        if (chance.once_in(4)) pair.driver.disable_call();
        const std::uint32_t published = pair.in_flight() - pair.hidden();
        after_ = static_cast<std::uint16_t>(published == 0 ? 0 : chance.below(published));
        if (chance.once_in(2)) break;
        driver_sleeps_ = pair.enable_call(after_) && published != 0;
      }
    }
  }

  void device_step() {
    const std::uint16_t count = some();
    switch (chance.below(7)) {
      case 0:
        chance.once_in(2) ? pair.pop(count) : pair.pop_burst(count);
        break;
      case 1:
        pair.unpop(static_cast<std::uint16_t>(chance.below(pair.pop(count, 3) + 1u)));
        break;
      case 2:
      case 3:
        for (std::uint32_t i = 0; i < count && pair.out() != 0; ++i) {
          const std::uint32_t which = pair.options.in_order ? 0 : chance.below(pair.out());
          pair.complete(which, chance.below(5));
        }
        break;
      case 4:
        if (pair.out() != 0) {
          const auto oldest = static_cast<std::uint16_t>(1 + chance.below(pair.out()));
          pair.options.in_order&& chance.once_in(2) ? pair.complete_batch(oldest)
                                                    : pair.complete_burst(oldest);
        }
        break;
      case 5:
        pair.publish_used();
        break;
      default: {
        pair.publish_used();
        if (pair.out() != 0 && chance.once_in(3)) pair.complete(0);
        const bool call = pair.call_needed();
        expect(call || !driver_sleeps_ || pair.used() <= after_, "a call was lost");
        driver_sleeps_ = driver_sleeps_ && !call;
        if (chance.once_in(4)) pair.device.disable_kick();
        if (pair.out() != 0 || pair.pushed() != 0 || chance.once_in(2)) break;
        device_sleeps_ = pair.enable_kick();
      }
    }
  }

  std::uint16_t size_;
  std::uint32_t longest_;  // chain, in buffers
  bool driver_sleeps_ = false;
  bool device_sleeps_ = false;
  std::uint16_t after_ = 0;  // how many used chains the driver sleeps through
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_RANDOM_PAIR_HPP
