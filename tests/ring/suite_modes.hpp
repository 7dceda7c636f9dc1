// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_SUITE_MODES_HPP
#define VKRING_TESTS_RING_SUITE_MODES_HPP

// The suite's part on the driver side's two modes, and on what an operation looks at.

#include "kit.hpp"
#include "random_pair.hpp"
#include "watching.hpp"

namespace vkring::test {

TEMPLATE_LIST_TEST_CASE("chains in tables stay in fast mode and take one descriptor", "[ring]",
                        ring_layouts) {
  joined_pair<TestType> pair({.size = 8, .indirect = true, .start = ring_index(65530)}, 4);
  for (int lap = 0; lap < 20; ++lap) {
    for (std::uint32_t length = 1; length <= 4; ++length) {
      REQUIRE(pair.add(length / 2, length - length / 2));
      REQUIRE(pair.driver.room() == 8 - length);
    }
    pair.drain();
  }
  REQUIRE(pair.driver.mode() == ring_mode::fast);
  REQUIRE(pair.driver.general_entries() == 0);
}

TEMPLATE_LIST_TEST_CASE("without indirect there are no tables, whatever memory was given", "[ring]",
                        ring_layouts) {
  joined_pair<TestType> pair({.size = 8}, 4);
  REQUIRE(pair.add(2, 2));
  REQUIRE(pair.driver.room() == 4);
  REQUIRE(pair.driver.mode() == ring_mode::general);
  pair.drain();
}

TEMPLATE_LIST_TEST_CASE("a direct chain leads to general mode and an empty ring back", "[ring]",
                        ring_layouts) {
  joined_pair<TestType> pair({.size = 8, .indirect = true, .start = ring_index(65530)}, 4);
  for (std::uint64_t round = 1; round <= 10; ++round) {
    pair.add(1, 0);
    pair.publish();
    pair.pop(1);
    REQUIRE(pair.driver.mode() == ring_mode::fast);
    REQUIRE(pair.add(2, 3));  // five buffers, and tables of four
    // Only an empty ring goes back, and only after a ring's worth of chains.
    for (int i = 0; i < 8; ++i) {
      REQUIRE(pair.driver.mode() == ring_mode::general);
      pair.add(0, 1);
      pair.publish();
      pair.pop(1);
      pair.complete(0);
      pair.publish_used();
      pair.reclaim(1);
    }
    REQUIRE(pair.driver.mode() == ring_mode::general);
    pair.drain();
    REQUIRE(pair.driver.mode() == ring_mode::fast);
    REQUIRE(pair.driver.general_entries() == round);
  }
}

TEMPLATE_LIST_TEST_CASE("a completion out of order leads to general mode and never waits", "[ring]",
                        ring_layouts) {
  joined_pair<TestType> pair({.size = 4, .start = ring_index(65530)});
  for (int i = 0; i < 4; ++i) pair.add(1, 0);
  pair.publish();
  pair.pop(4);
  pair.complete(3);
  pair.publish_used();
  REQUIRE(pair.reclaim(4) == 1);
  REQUIRE(pair.driver.mode() == ring_mode::general);
  REQUIRE(pair.driver.general_entries() == 1);
  // The oldest three are still out; the freed entry goes round and round.
  for (int i = 0; i < 100; ++i) {
    REQUIRE(pair.add(1, 0));
    pair.publish();
    REQUIRE(pair.pop(4) == 1);
    pair.complete(3);
    pair.publish_used();
    REQUIRE(pair.reclaim(4) == 1);
  }
  pair.drain();
  REQUIRE(pair.driver.mode() == ring_mode::fast);
}

TEMPLATE_LIST_TEST_CASE("each word is loaded once in an operation, also by lawful sides", "[ring]",
                        ring_layouts) {
  // The Access answers a second look with another value, at which the oracle would stumble.
  watch_book::get() = {};
  std::uint32_t seed = 100;
  for_each_option({2, 256}, [&](const ring_options& options) {
    random_pair<TestType, watching, watching> both(options, ++seed);
    both.run(10000);
    both.pair.drain();
  });
  REQUIRE(watch_book::get().second_loads == 0);
}

TEMPLATE_LIST_TEST_CASE("tokens alone are reclaimed in every mode and order", "[ring]",
                        ring_layouts) {
  for (int mix = 0; mix < 4; ++mix) {
    const bool in_order = (mix & 1) != 0, direct_chains = (mix & 2) != 0;
    joined_pair<TestType> pair({.size = 16, .in_order = in_order, .start = ring_index(65530)});
    for (std::uint32_t lap = 0; lap < 50; ++lap) {
      for (int i = 0; i < 5; ++i) REQUIRE(pair.add(direct_chains ? 1 + lap % 3 : 1, 0));
      pair.publish();
      pair.pop(16);
      const std::vector<std::uint64_t> expected = pair.tokens_in_flight();
      if (in_order && lap % 2 == 0) pair.complete_batch(5);
      while (pair.out() != 0) pair.complete(in_order ? 0 : pair.out() - 1);
      pair.publish_used();
      std::vector<std::uint64_t> got;
      const auto keep = [&got](std::uint64_t token) { got.push_back(token); };
      REQUIRE(pair.driver.reclaim(2, keep) == 2);
      REQUIRE(pair.driver.reclaim(16, keep) == 3);
      std::sort(got.begin(), got.end());
      REQUIRE(got == expected);
      pair.forget_used();
    }
    pair.drain();
  }
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_SUITE_MODES_HPP
