// SPDX-License-Identifier: BSD-3-Clause

// The ring suite over the packed layout, and what only the packed layout has.

#include <tuple>
#include <vkring/ring/packed.hpp>

#include "kit.hpp"
#include "watching.hpp"

namespace vkring::test {

using ring_layouts = std::tuple<packed>;

template <>
struct ring_of<packed> {
  using type = packed_ring;
  static constexpr std::initializer_list<int> sizes = {1, 2, 3, 255, 256, 32768};
  static constexpr std::initializer_list<int> small_sizes = {1, 2, 3, 255};
};

}  // namespace vkring::test

#include "suite.hpp"
#include "suite_notify.hpp"

namespace vkring::test {
namespace {

using packed_pair = joined_pair<packed>;

TEST_CASE("a packed ring: chains in tables stay in fast mode and take one descriptor", "[ring]") {
  packed_pair pair({.size = 7, .indirect = true, .start = ring_index(5)}, 4);
  for (int lap = 0; lap < 20; ++lap) {
    for (std::uint32_t length = 1; length <= 4; ++length) {
      REQUIRE(pair.add(length / 2, length - length / 2));
      REQUIRE(pair.driver.room() == 7 - length);
    }
    pair.drain();
  }
  REQUIRE(pair.driver.mode() == ring_mode::fast);
  REQUIRE(pair.driver.general_entries() == 0);
}

TEST_CASE("a packed ring: a direct chain leads to general mode and an empty ring back", "[ring]") {
  for (const bool in_order : {false, true}) {
    packed_pair pair({.size = 7, .indirect = true, .in_order = in_order, .start = ring_index(5)},
                     4);
    for (std::uint64_t round = 1; round <= 10; ++round) {
      pair.add(1, 0);
      pair.publish();
      pair.pop(1);
      REQUIRE(pair.driver.mode() == ring_mode::fast);
      REQUIRE(pair.add(2, 3));  // five buffers, and tables of four
      // Only an empty ring goes back, and only after a ring's worth of chains.
      for (int i = 0; i < 7; ++i) {
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
      REQUIRE(pair.driver.fast_entries() == round);
    }
  }
}

TEST_CASE("a packed ring: a completion out of order leads to general mode and never waits",
          "[ring]") {
  packed_pair pair({.size = 5, .start = ring_index(8)});
  for (int i = 0; i < 5; ++i) pair.add(1, 0);
  pair.publish();
  pair.pop(5);
  pair.complete(4);
  pair.publish_used();
  REQUIRE(pair.reclaim(5) == 1);
  REQUIRE(pair.driver.mode() == ring_mode::general);
  REQUIRE(pair.driver.general_entries() == 1);
  // The oldest four are still out; the freed entry goes round and round.
  for (int i = 0; i < 100; ++i) {
    REQUIRE(pair.add(1, 0));
    pair.publish();
    REQUIRE(pair.pop(5) == 1);
    pair.complete(4);
    pair.publish_used();
    REQUIRE(pair.reclaim(5) == 1);
  }
  pair.drain();
  REQUIRE(pair.driver.mode() == ring_mode::fast);
}

TEST_CASE("a packed ring: ids keep apart from descriptors when long chains complete out of order",
          "[ring]") {
  // A long chain stays out while its descriptors are used again and again by others.
  packed_pair pair({.size = 6, .start = ring_index(3)});
  REQUIRE(pair.add(1, 2));
  pair.publish();
  REQUIRE(pair.pop(1) == 1);
  for (int i = 0; i < 100; ++i) {
    REQUIRE(pair.add(1, i % 3));
    pair.publish();
    REQUIRE(pair.pop(1) == 1);
    pair.unpop(1);
    REQUIRE(pair.pop(1) == 1);
    pair.complete(1);
    pair.publish_used();
    REQUIRE(pair.reclaim(6) == 1);
  }
  pair.drain();
}

TEST_CASE("a packed ring: each word is loaded once in an operation, also by lawful sides",
          "[ring]") {
  // The Access answers a second look with another value, at which the oracle would stumble.
  watch_book::get() = {};
  std::uint32_t seed = 100;
  for_each_option({2, 3, 256}, [&](const ring_options& options) {
    run_random_pair<packed, watching>(options, ++seed, 10000);
  });
  REQUIRE(watch_book::get().second_loads == 0);
}

TEST_CASE("a packed ring: any start is a slot and a wrap counter", "[ring]") {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{3}, std::uint16_t{4}}) {
    for (std::uint32_t start = 0; start < 2u * size; ++start) {
      CAPTURE(size, start);
      packed_pair pair({.size = size, .event_idx = true, .start = ring_index(start)});
      REQUIRE(pair.driver.next_available().slot() == start % size);
      REQUIRE(pair.driver.next_available().wrap() == (start < size));
      REQUIRE(pair.device.next_used().start(size) == ring_index(start));
      for (int lap = 0; lap < 5; ++lap) {
        REQUIRE(pair.enable_kick());
        REQUIRE(pair.add(1, 0));
        pair.publish();
        REQUIRE(pair.kick_needed());
        pair.pop(1);
        REQUIRE(pair.enable_call(0));
        pair.complete(0);
        pair.publish_used();
        REQUIRE(pair.call_needed());
        pair.reclaim(1);
      }
      pair.drain();
    }
  }
}

TEST_CASE("a packed ring: what was added or pushed shows at its first descriptor last", "[ring]") {
  packed_pair pair({.size = 4});
  const auto flags = [&](std::uint16_t slot) {
    return packed_descriptor::flags(direct::load(pair.ring.descriptors()[slot].rest));
  };
  pair.add(1, 0), pair.add(0, 1);
  REQUIRE(flags(0) == 0);
  REQUIRE(flags(1) == (packed_descriptor::avail_flag | descriptor_write));
  pair.publish();
  REQUIRE(flags(0) == packed_descriptor::avail_flag);
  pair.pop(2);
  pair.complete(0), pair.complete(0);
  REQUIRE(flags(0) == packed_descriptor::avail_flag);
  REQUIRE(flags(1) ==
          (packed_descriptor::avail_flag | packed_descriptor::used_flag | descriptor_write));
  pair.publish_used();
  REQUIRE(flags(0) == (packed_descriptor::avail_flag | packed_descriptor::used_flag));
  pair.reclaim(4);
}

}  // namespace
}  // namespace vkring::test
