// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_SUITE_HPP
#define VKRING_TESTS_RING_SUITE_HPP

// What every ring layout has to do, written against the concepts. A test program defines
// `ring_layouts`, a tuple of layouts, and `ring_of` for each of them before it includes this.

#include <numeric>

#include "kit.hpp"

namespace vkring::test {

TEMPLATE_LIST_TEST_CASE("every message arrives once, in order and with its content", "[ring]",
                        ring_layouts) {
  for_each_option(ring_of<TestType>::sizes, [](const ring_options& options) {
    joined_pair<TestType> pair(options);
    schedule chance(options.size);
    const std::uint32_t messages = options.size > 1000 ? 70000 : 2000;
    for (std::uint32_t sent = 0; sent < messages;) {
      const std::uint32_t burst = 1 + chance.below(std::min<std::uint32_t>(options.size, 700u));
      switch (chance.below(3)) {
        case 0:
          sent += pair.template add_burst<false>(burst);
          break;
        case 1:
          sent += pair.template add_burst<true>(burst);
          break;
        default:
          for (std::uint32_t i = 0; i < burst && pair.add(i & 1, ~i & 1); ++i) ++sent;
      }
      pair.publish();
      const auto some = static_cast<std::uint16_t>(1 + chance.below(options.size));
      if (chance.once_in(2)) {
        pair.pop(some);
        while (pair.out() != 0) pair.complete(0, chance.below(5));
        pair.publish_used();
        pair.reclaim(some);
      } else {
        pair.pop_burst(some);
        pair.complete_burst(static_cast<std::uint16_t>(pair.out()));
        pair.publish_used();
        pair.reclaim_burst(some, chance.below(100));
      }
    }
    pair.drain();
    expect(pair.driver.mode() == ring_mode::fast, "one-buffer chains in order left fast mode");
  });
}

TEMPLATE_LIST_TEST_CASE("a ring can be filled to the last entry and emptied again", "[ring]",
                        ring_layouts) {
  for_each_option(ring_of<TestType>::sizes, [](const ring_options& options) {
    joined_pair<TestType> pair(options);
    const std::uint16_t size = options.size;
    for (int lap = 0; lap < 3; ++lap) {
      expect(pair.driver.room() == size && pair.driver.in_flight() == 0, "not empty at first");
      expect(pair.device.avail(1) == 0 && pair.driver.used_pending(1) == 0, "not empty at first");
      for (std::uint16_t i = 0; i < size; ++i) expect(pair.add(1, 0), "not full yet");
      expect(!pair.add(1, 0) && pair.template add_burst<true>(1) == 0, "full");
      expect(pair.driver.room() == 0 && pair.driver.in_flight() == size, "full");
      expect(pair.device.avail(size) == 0, "the device saw what was not published");
      pair.publish();
      expect(pair.device.avail(size) == size, "all are available");
      expect(pair.pop(size) == size && pair.pop(1) == 0, "all can be out at a time");
      for (std::uint16_t i = 0; i < size; ++i) pair.complete(0);
      expect(pair.driver.used_pending(size) == 0, "the driver saw what was not published");
      pair.publish_used();
      expect(pair.driver.used_pending(size) == size, "all are used");
      expect(!pair.add(1, 0), "used but not reclaimed takes room");
      expect(pair.reclaim(size) == size && pair.reclaim(1) == 0, "all come back");
    }
  });
}

TEMPLATE_LIST_TEST_CASE("chains of every length and mix of directions", "[ring]", ring_layouts) {
  const auto try_length = [](joined_pair<TestType>& pair, std::uint32_t length) {
    for (const std::uint32_t readable : {0u, 1u, length / 2, length}) {
      expect(pair.add(readable, length - readable), "a chain that fits an empty ring was refused");
      pair.publish();
      pair.pop(1);
      pair.complete(0, 1 + length % 4);
      pair.publish_used();
      pair.reclaim(1);
    }
  };
  for_each_option(ring_of<TestType>::small_sizes, [&](const ring_options& options) {
    joined_pair<TestType> pair(options);
    for (std::uint32_t length = 1; length <= pair.driver.max_chain(); ++length) {
      CAPTURE(length);
      try_length(pair, length);
    }
    pair.drain();
  });
  for_each_option({32768}, [&](const ring_options& options) {
    joined_pair<TestType> pair(options);
    // Longer ones are of no use to any device: the kernel's takes 1024 pieces, and so does ours.
    expect(pair.driver.max_chain() == max_chain_pieces, "max_chain() is off");
    for (const std::uint32_t length : {1u, 2u, 4u, 5u, 1023u, 1024u}) try_length(pair, length);
    pair.drain();
  });
}

TEMPLATE_LIST_TEST_CASE("several long chains at a time, until the ring is full", "[ring]",
                        ring_layouts) {
  for_each_option({2, 256}, [](const ring_options& options) {
    joined_pair<TestType> pair(options, 8);
    schedule chance(7);
    for (int lap = 0; lap < 40; ++lap) {
      for (std::uint32_t length = 1 + chance.below(16);; length = 1 + chance.below(16)) {
        const std::uint32_t readable = chance.below(length + 1);
        if (!pair.add(readable, length - readable)) break;
      }
      pair.publish();
      pair.pop(options.size);
      while (pair.out() != 0) {
        pair.complete(options.in_order ? 0 : chance.below(pair.out()), chance.below(5));
      }
      pair.publish_used();
      pair.reclaim(options.size);
    }
    pair.drain();
  });
}

TEMPLATE_LIST_TEST_CASE("a chain larger than the room is refused and changes nothing", "[ring]",
                        ring_layouts) {
  for_each_option({2, 256}, [](const ring_options& options) {
    joined_pair<TestType> pair(options, 0);
    expect(!pair.add(options.size + 1u, 0), "a chain larger than the ring was taken");
    expect(pair.driver.mode() == ring_mode::fast, "a refusal changed the mode");
    for (std::uint32_t taken = 1; taken < options.size; ++taken) {
      pair.template add_burst<true>(taken);
      expect(!pair.add(1, options.size - taken), "a chain larger than the room was taken");
      expect(pair.add(1, options.size - taken - 1), "a chain as large as the room was refused");
      expect(!pair.add(1, 0), "the ring is full");
      pair.drain();
    }
  });
}

TEMPLATE_LIST_TEST_CASE("chains come back in any order", "[ring]", ring_layouts) {
  const auto in_this_order = [](joined_pair<TestType>& pair, std::span<const std::size_t> order,
                                std::uint32_t length) {
    std::vector<std::size_t> left(order.size());
    std::iota(left.begin(), left.end(), std::size_t{0});
    for (std::size_t i = 0; i < order.size(); ++i) {
      expect(pair.add(1, length - 1), "no room for the chain");
    }
    pair.publish();
    pair.pop(pair.options.size);
    for (const std::size_t which : order) {
      const auto at = std::find(left.begin(), left.end(), which);
      pair.complete(static_cast<std::size_t>(at - left.begin()));
      left.erase(at);
    }
    pair.publish_used();
    expect(pair.reclaim(pair.options.size) == order.size(), "not all came back");
  };
  for (const bool indirect : {false, true}) {
    for (const std::uint32_t length : {1u, 2u}) {
      joined_pair<TestType> four({.size = 8, .indirect = indirect, .start = ring_index(65530)}, 2);
      std::vector<std::size_t> order{0, 1, 2, 3};
      do {
        in_this_order(four, order, length);
      } while (std::next_permutation(order.begin(), order.end()));
      four.drain();

      joined_pair<TestType> many({.size = 256, .indirect = indirect, .start = ring_index(65530)},
                                 2);
      order.resize(128);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::minstd_rand engine(5);
      for (int i = 0; i < 20; ++i) {
        std::shuffle(order.begin(), order.end(), engine);
        in_this_order(many, order, length);
      }
      many.drain();
    }
  }
}

TEMPLATE_LIST_TEST_CASE("in-order batches: one used element for many chains", "[ring]",
                        ring_layouts) {
  for (const int each : ring_of<TestType>::small_sizes) {
    const auto size = static_cast<std::uint16_t>(each);
    for (const std::uint32_t max_length : {1u, 3u, 7u}) {  // fast; in tables; direct
      for (const bool indirect : {false, true}) {
        CAPTURE(size, max_length, indirect);
        joined_pair<TestType> pair(
            {.size = size, .indirect = indirect, .in_order = true, .start = ring_index(65530)}, 3);
        schedule chance(11);
        for (int step = 0; step < 3000; ++step) {
          const std::uint32_t length = 1 + chance.below(std::min<std::uint32_t>(max_length, size));
          const std::uint32_t readable = chance.below(length + 1);
          while (chance.once_in(2) && pair.add(readable, length - readable)) {
          }
          pair.publish();
          pair.pop(static_cast<std::uint16_t>(chance.below(size + 1u)));
          while (pair.out() != 0 && !chance.once_in(3)) {
            if (chance.once_in(4)) {
              pair.complete(0);
            } else {
              pair.complete_batch(static_cast<std::uint16_t>(1 + chance.below(pair.out())));
            }
          }
          if (!chance.once_in(4)) pair.publish_used();
          // The batch is cut by what is asked for, and by the sink.
          if (chance.once_in(2)) pair.reclaim(static_cast<std::uint16_t>(chance.below(5)));
          if (chance.once_in(4)) pair.reclaim(size, 1 + chance.below(4));
        }
        pair.drain();
        // The whole ring as one batch.
        while (pair.add(1, 0)) {
        }
        pair.publish();
        pair.pop(size);
        pair.complete_batch(size);
        pair.publish_used();
        pair.reclaim(size);
        pair.drain();
      }
    }
  }
}

TEMPLATE_LIST_TEST_CASE("chains that were put back are found again", "[ring]", ring_layouts) {
  for_each_option(ring_of<TestType>::small_sizes, [](const ring_options& options) {
    joined_pair<TestType> pair(options);
    schedule chance(3);
    for (int step = 0; step < 500; ++step) {
      while (chance.once_in(2) && pair.add(chance.below(2), 1 + chance.below(6))) {
      }
      pair.publish();
      const std::uint16_t got =
          pair.pop(static_cast<std::uint16_t>(chance.below(options.size + 1u)),
                   1 + chance.below(options.size));
      const auto back = static_cast<std::uint16_t>(chance.below(got + 1u));
      pair.unpop(back);
      expect(pair.device.avail(options.size) == pair.visible(), "avail() is off after unpop()");
      while (pair.out() != 0 && !chance.once_in(3)) pair.complete(0);
      pair.publish_used();
      pair.reclaim(options.size);
    }
    pair.drain();
  });
}

TEMPLATE_LIST_TEST_CASE("what is given up comes back exactly once", "[ring]", ring_layouts) {
  for_each_option(ring_of<TestType>::small_sizes, [](const ring_options& options) {
    for (std::uint32_t seed = 1; seed <= 20; ++seed) {
      joined_pair<TestType> pair(options, 2);
      schedule chance(seed);
      const std::uint32_t max_length = 1 + seed % 3;  // fast, in tables, direct
      for (int step = 0; step < 40; ++step) {
        while (!chance.once_in(4) &&
               pair.add(0, 1 + chance.below(std::min<std::uint32_t>(max_length, options.size)))) {
        }
        if (!chance.once_in(3)) pair.publish();
        pair.pop(static_cast<std::uint16_t>(chance.below(options.size + 1u)));
        if (options.in_order && pair.out() > 1) {
          pair.complete_batch(static_cast<std::uint16_t>(pair.out()));  // a batch cut in the middle
        }
        while (pair.out() != 0 && !chance.once_in(3)) {
          pair.complete(options.in_order ? 0 : chance.below(pair.out()));
        }
        pair.publish_used();
        pair.reclaim(static_cast<std::uint16_t>(chance.below(options.size + 1u)));
      }
      std::vector<std::uint64_t> given;
      pair.driver.abandon([&](std::uint64_t token) { given.push_back(token); });
      std::sort(given.begin(), given.end());
      expect(given == pair.tokens_in_flight(), "other tokens came back than were in flight");
      pair.driver.abandon([](std::uint64_t) { FAIL("a token was given up twice"); });
      expect(pair.driver.reclaim(options.size, [](std::uint64_t, std::uint32_t) {}) == 0,
             "a token was given up and reclaimed");
    }
  });
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_SUITE_HPP
