// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_SUITE_NOTIFY_HPP
#define VKRING_TESTS_RING_SUITE_NOTIFY_HPP

// The suite's part on notifications, and the long random run of both sides against the oracle.

#include "kit.hpp"
#include "random_pair.hpp"

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

TEMPLATE_LIST_TEST_CASE("both sides at random agree with the oracle", "[ring]", ring_layouts) {
  std::uint32_t seed = 0;
  for_each_option(ring_of<TestType>::sizes, [&](const ring_options& options) {
    CAPTURE(++seed);
    random_pair<TestType> both(options, seed);
    both.run(100000);
    both.pair.drain();
  });
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_SUITE_NOTIFY_HPP
