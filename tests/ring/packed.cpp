// SPDX-License-Identifier: BSD-3-Clause

// The ring suite over the packed layout, and what only the packed layout has.

#include <tuple>
#include <vkring/ring/packed.hpp>

#include "kit.hpp"

namespace vkring::test {

using ring_layouts = std::tuple<packed>;

template <>
struct ring_of<packed> {
  static constexpr std::initializer_list<int> sizes = {1, 2, 3, 255, 256, 32768};
  static constexpr std::initializer_list<int> small_sizes = {1, 2, 3, 255};
};

}  // namespace vkring::test

#include "suite.hpp"
#include "suite_modes.hpp"
#include "suite_notify.hpp"

namespace vkring::test {
namespace {

using packed_pair = joined_pair<packed>;

TEST_CASE("a packed ring: ids keep apart from descriptors when long chains complete out of order",
          "[ring]") {
  // A long chain stays out while its descriptors are used again and again by others.
  packed_pair pair({.size = 6, .start = ring_index(3)});
  REQUIRE(pair.add(1, 2));
  pair.publish();
  REQUIRE(pair.pop(1) == 1);
  for (std::uint32_t i = 0; i < 100; ++i) {
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

TEST_CASE("a packed ring: in a table no flag but WRITE is set", "[ring]") {
  packed_pair pair({.size = 4, .indirect = true}, 4);
  REQUIRE(pair.add(2, 2));
  const auto* const table = reinterpret_cast<const packed_descriptor*>(pair.table_memory.data());
  for (int i = 0; i < 4; ++i) {
    CHECK(packed_descriptor::flags(direct::load(table[i].rest)) == (i < 2 ? 0 : descriptor_write));
  }
  pair.drain();
}

TEST_CASE("a packed ring over memory that was used before starts like a fresh one", "[ring]") {
  const guarded_memory memory(packed_ring::bytes(7));
  std::fill(memory.bytes().begin(), memory.bytes().end(), std::byte{0xff});
  const packed_ring ring = packed_ring::place(memory.bytes(), 7);
  const virtqueue<packed, driver_side, std::uint64_t> driver(ring, {.size = 7, .event_idx = true});
  for (int i = 0; i < 7; ++i) CHECK(direct::load(ring.descriptors()[i].rest) == 0);
  CHECK(direct::load(ring.device_event()) == packed_event::pack(0, packed_event::enable));
  CHECK(direct::load(ring.driver_event()) == packed_event::pack(0, packed_event::disable));
}

}  // namespace
}  // namespace vkring::test
