// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_SUITE_NOTIFY_HPP
#define VKRING_TESTS_RING_SUITE_NOTIFY_HPP

// The suite's part on notifications, and the long random run of both sides against the oracle.

#include "kit.hpp"

namespace vkring::test {

// One chain through the whole ring, so that positions move on.
template <class Layout>
void pass_chains(joined_pair<Layout>& pair, std::uint32_t count) {
  for (; count != 0; --count) {
    pair.add(1, 0);
    pair.publish();
    pair.pop(1);
    pair.complete(0);
    pair.publish_used();
    pair.reclaim(1);
  }
}

TEMPLATE_LIST_TEST_CASE("a kick is asked for, suppressed and never lost over the index wrap",
                        "[ring]", ring_layouts) {
  for_each_option(ring_of<TestType>::small_sizes, [](const ring_options& options) {
    joined_pair<TestType> pair(options);
    const std::uint16_t size = options.size;
    const std::uint32_t laps = options.event_idx ? 66000u / size + 2 : 20u;
    for (std::uint32_t lap = 0, burst = 1; lap < laps; ++lap, burst = burst % size + 1) {
      // Asked for on an empty ring: the first chain kicks, those after it do not with event-idx.
      expect(pair.enable_kick(), "nothing is pending");
      pair.template add_burst<false>(burst);
      pair.publish();
      expect(pair.kick_needed(), "a kick was lost");
      if (pair.template add_burst<false>(size) != 0) {
        pair.publish();
        expect(pair.kick_needed() == !options.event_idx, "the event was passed before");
      }
      expect(!pair.enable_kick(), "chains are pending");
      pair.pop(size);
      pair.device.disable_kick();
      while (pair.out() != 0) pair.complete(0);
      pair.publish_used();
      pair.reclaim(size);
      pair.template add_burst<false>(burst);
      pair.publish();
      expect(!pair.kick_needed(), "a kick was suppressed");
      pair.drain();
      expect(!options.event_idx || !pair.kick_needed(), "nothing new was published");
    }
  });
}

TEMPLATE_LIST_TEST_CASE("a call is asked for, suppressed and never lost over the index wrap",
                        "[ring]", ring_layouts) {
  for_each_option(ring_of<TestType>::small_sizes, [](const ring_options& options) {
    joined_pair<TestType> pair(options);
    const std::uint16_t size = options.size;
    const std::uint32_t laps = options.event_idx ? 66000u / size + 2 : 20u;
    for (std::uint32_t lap = 0; lap < laps; ++lap) {
      const auto after = static_cast<std::uint16_t>(lap % size);
      const std::uint32_t step = 1 + lap % 5;
      pair.template add_burst<true>(size);
      pair.publish();
      pair.pop(size);
      expect(pair.enable_call(after), "nothing is used");
      for (std::uint32_t done = 0; pair.out() != 0;) {
        const std::uint32_t before = done;
        for (std::uint32_t i = 0; i < step && pair.out() != 0; ++i, ++done) pair.complete(0);
        pair.publish_used();
        const bool crosses = before <= after && done > after;
        expect(pair.call_needed() == (options.event_idx ? crosses : true),
               "a call was lost, or came out of turn");
      }
      expect(!options.event_idx || !pair.call_needed(), "nothing new was published");
      for (std::uint32_t more = 0; more <= size; more += 1 + size / 4u) {
        pair.enable_call(static_cast<std::uint16_t>(more));
      }
      pair.reclaim(size);
      pair.driver.disable_call();
      pair.template add_burst<true>(size);
      pair.drain();
      expect(!pair.call_needed(), "a call was suppressed");
    }
  });
}

TEMPLATE_LIST_TEST_CASE("a fresh ring wants kicks and no calls", "[ring]", ring_layouts) {
  for_each_option(ring_of<TestType>::small_sizes, [](const ring_options& options) {
    joined_pair<TestType> pair(options);
    pair.add(1, 0);
    pair.publish();
    expect(pair.kick_needed(), "the device has not said that it polls");
    pair.pop(1);
    pair.complete(0);
    pair.publish_used();
    expect(!pair.call_needed(), "the driver has not asked for calls");
    pair.reclaim(1);
    pass_chains(pair, 300);
  });
}

// Both sides at random, each asleep when it may be: whoever sleeps runs again only when notified.
template <class Layout, class Access = direct>
void run_random_pair(const ring_options& options, std::uint32_t seed, std::uint32_t steps) {
  joined_pair<Layout, Access> pair(options, static_cast<std::uint16_t>(1 + seed % 5));
  schedule chance(seed);
  const std::uint16_t size = options.size;
  const std::uint32_t longest = std::min<std::uint32_t>(size, seed % 3 == 0 ? 1 : 9);
  bool driver_sleeps = false, device_sleeps = false;
  std::uint16_t after = 0;
  std::uint32_t idle_steps = 0;

  const auto driver_step = [&] {
    const auto some =
        static_cast<std::uint16_t>(chance.below(std::min<std::uint32_t>(size, 40u) + 1));
    switch (chance.below(8)) {
      case 0:
      case 1:
        for (std::uint32_t i = 0; i < some; ++i) {
          const std::uint32_t length = 1 + chance.below(longest);
          const std::uint32_t readable = chance.below(length + 1);
          if (!pair.add(readable, length - readable)) break;
        }
        break;
      case 2:
        pair.template add_burst<true>(some);
        break;
      case 3:
        pair.template add_burst<false>(some);
        break;
      case 4:
        pair.publish();
        break;
      case 5:
        chance.once_in(2) ? pair.reclaim(some) : pair.reclaim_burst(some);
        break;
      case 6:
        pair.reclaim(size, 1 + some);
        break;
      default: {
        pair.publish();
        if (chance.once_in(3)) pair.add(1, 0);  // what is not published is not to count
        const bool kick = pair.kick_needed();
        expect(kick || !device_sleeps || pair.visible() == 0, "a kick was lost");
        device_sleeps = device_sleeps && !kick;
        if (chance.once_in(4)) pair.driver.disable_call();
        after = pair.in_flight() == 0 ? std::uint16_t{0}
                                      : static_cast<std::uint16_t>(chance.below(pair.in_flight()));
        if (chance.once_in(2)) break;
        driver_sleeps = pair.enable_call(after) && pair.in_flight() != 0;
      }
    }
  };
  const auto device_step = [&] {
    const auto some =
        static_cast<std::uint16_t>(chance.below(std::min<std::uint32_t>(size, 40u) + 1));
    switch (chance.below(7)) {
      case 0:
        chance.once_in(2) ? pair.pop(some) : pair.pop_burst(some);
        break;
      case 1:
        pair.unpop(static_cast<std::uint16_t>(chance.below(pair.pop(some, 3) + 1u)));
        break;
      case 2:
      case 3:
        for (std::uint32_t i = 0; i < some && pair.out() != 0; ++i) {
          pair.complete(options.in_order ? 0 : chance.below(pair.out()), chance.below(5));
        }
        break;
      case 4:
        if (pair.out() != 0) {
          const auto count = static_cast<std::uint16_t>(1 + chance.below(pair.out()));
          options.in_order&& chance.once_in(2) ? pair.complete_batch(count)
                                               : pair.complete_burst(count);
        }
        break;
      case 5:
        pair.publish_used();
        break;
      default: {
        pair.publish_used();
        if (pair.out() != 0 && chance.once_in(3)) pair.complete(0);
        const bool call = pair.call_needed();
        expect(call || !driver_sleeps || pair.used() <= after, "a call was lost");
        driver_sleeps = driver_sleeps && !call;
        if (chance.once_in(4)) pair.device.disable_kick();
        if (pair.out() != 0 || chance.once_in(2)) break;
        device_sleeps = pair.enable_kick();
      }
    }
  };
  // Long stretches of one side alone make the ring run full and empty.
  for (std::uint32_t bias = 1; steps != 0; --steps) {
    if (chance.once_in(200)) bias = chance.below(4);
    const bool driver_turn = chance.below(4) < bias;
    if (driver_turn ? driver_sleeps : device_sleeps) {
      expect(++idle_steps < 100000, "both sides sleep");
      continue;
    }
    idle_steps = 0;
    driver_turn ? driver_step() : device_step();
  }
  pair.drain();
}

TEMPLATE_LIST_TEST_CASE("both sides at random agree with the oracle", "[ring]", ring_layouts) {
  std::uint32_t seed = 0;
  for_each_option(ring_of<TestType>::sizes, [&](const ring_options& options) {
    CAPTURE(++seed);
    run_random_pair<TestType>(options, seed, 100000);
  });
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_SUITE_NOTIFY_HPP
