// SPDX-License-Identifier: BSD-3-Clause

// The ring suite over the split layout, and what only the split layout has.

#include <tuple>
#include <utility>
#include <vkring/ring/split.hpp>

#include "kit.hpp"

namespace vkring::test {

using ring_layouts = std::tuple<split>;

template <>
struct ring_of<split> {
  static constexpr std::initializer_list<int> sizes = {1, 2, 256, 32768};
  static constexpr std::initializer_list<int> small_sizes = {1, 2, 256};
};

}  // namespace vkring::test

#include "suite.hpp"
#include "suite_modes.hpp"
#include "suite_notify.hpp"

namespace vkring::test {
namespace {

using split_pair = joined_pair<split>;

TEST_CASE("in-order, the way back waits until descriptors and positions meet", "[ring]") {
  split_pair pair({.size = 8, .in_order = true, .start = ring_index(65530)});
  for (std::uint64_t round = 1; round <= 10; ++round) {
    REQUIRE(pair.add(2, 3));  // one position, five descriptors
    for (int i = 0; i < 20; ++i) {
      pair.drain();
      REQUIRE(pair.driver.mode() == ring_mode::general);
      REQUIRE(pair.add(0, 1));
    }
    REQUIRE(pair.add(2, 3));  // four ahead and four ahead is once around
    pair.drain();
    REQUIRE(pair.driver.mode() == ring_mode::fast);
    REQUIRE(pair.driver.general_entries() == round);
  }
}

TEST_CASE("the descriptors of a chain follow one another, in the ring if in-order, and in tables",
          "[ring]") {
  const auto check = [](const split_descriptor& descriptor, int flags, int next) {
    const std::uint64_t rest = direct::load(descriptor.rest);
    CHECK(split_descriptor::flags(rest) == flags);
    if ((flags & descriptor_next) != 0) CHECK(split_descriptor::next(rest) == next);
  };
  split_pair direct_chains({.size = 8, .in_order = true, .start = ring_index(65530)});
  for (int chain = 0, at = 2; chain < 20; ++chain) {
    REQUIRE(direct_chains.add(1, 2));
    for (int i = 0; i < 3; ++i) {
      const int flags = (i > 0 ? descriptor_write : 0) | (i < 2 ? descriptor_next : 0);
      const int next = (at + 1) % 8;
      check(direct_chains.ring.descriptors()[at], flags, next);
      at = next;
    }
    direct_chains.drain();
  }
  for (const bool in_order : {false, true}) {
    split_pair in_table({.size = 8, .indirect = true, .in_order = in_order}, 4);
    REQUIRE(in_table.add(2, 2));
    const auto* const table =
        reinterpret_cast<const split_descriptor*>(in_table.table_memory.data());
    for (int i = 0; i < 4; ++i) {
      check(table[i], (i > 1 ? descriptor_write : 0) | (i < 3 ? descriptor_next : 0), i + 1);
    }
    in_table.drain();
  }
}

TEST_CASE("each side goes by the word that was agreed on, and leaves the other one alone",
          "[ring]") {
  for (const bool event_idx : {false, true}) {
    split_pair pair({.size = 4, .event_idx = event_idx, .start = ring_index(65530)});
    const auto read_flags = [&pair] {
      return std::pair(direct::load(pair.ring.avail_flags()), direct::load(pair.ring.used_flags()));
    };
    const std::uint16_t off = event_idx ? std::uint16_t{0} : suppress_notification;
    CHECK(read_flags() == std::pair(off, std::uint16_t{0}));
    pair.device.disable_kick();
    CHECK(read_flags() == std::pair(off, off));
    REQUIRE(pair.enable_kick());
    REQUIRE(pair.enable_call(0));
    CHECK(read_flags() == std::pair(std::uint16_t{0}, std::uint16_t{0}));

    // The word that was not agreed on says the opposite of the one that was.
    const auto say = [event_idx](std::uint16_t& flags, std::uint16_t& event, bool wanted,
                                 ring_index next) {
      direct::store(flags, wanted != event_idx ? std::uint16_t{0} : suppress_notification);
      direct::store(event, (wanted == event_idx ? next : next + 100).value());
    };
    for (const bool wanted : {true, false}) {
      CAPTURE(event_idx, wanted);
      pair.add(1, 0);
      say(pair.ring.used_flags(), pair.ring.avail_event(), wanted,
          pair.driver.published_position());
      pair.publish();
      CHECK(pair.kick_needed() == wanted);
      pair.pop(1);
      say(pair.ring.avail_flags(), pair.ring.used_event(), wanted, pair.device.used_position());
      pair.complete(0);
      pair.publish_used();
      CHECK(pair.call_needed() == wanted);
      pair.reclaim(1);
    }
  }
}

TEST_CASE("a ring over memory that was used before starts like a fresh one", "[ring]") {
  for (const bool event_idx : {false, true}) {
    CAPTURE(event_idx);
    const guarded_memory memory(split_ring::bytes(8));
    std::fill(memory.bytes().begin(), memory.bytes().end(), std::byte{0xff});
    const split_ring ring = split_ring::place(memory.bytes(), 8);
    const virtqueue<split, driver_side, std::uint64_t> driver(
        ring, {.size = 8, .event_idx = event_idx, .start = ring_index(65530)});
    CHECK(direct::load(ring.avail_flags()) == (event_idx ? 0 : suppress_notification));
    CHECK(direct::load(ring.used_flags()) == 0);
    CHECK(direct::load(ring.avail_index()) == 65530);
    CHECK(direct::load(ring.used_index()) == 65530);
    CHECK(direct::load(ring.avail_event()) == 65530);
  }
}

}  // namespace
}  // namespace vkring::test
