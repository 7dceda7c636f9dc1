// SPDX-License-Identifier: BSD-3-Clause

#include <vkring/ring/packed_layout.hpp>
//
#include <catch2/catch.hpp>

namespace vkring::test {
namespace {

TEST_CASE("the parts of a packed ring lie on line pairs of their own", "[unit]") {
  alignas(packed_ring::alignment) static std::byte block[packed_ring::bytes(256)];
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{3}, std::uint16_t{255}}) {
    CAPTURE(size);
    const packed_ring ring = packed_ring::place(block, size);
    const auto offset = [](const void* to) {
      return static_cast<std::size_t>(static_cast<const std::byte*>(to) - block);
    };
    CHECK(ring.size() == size);
    CHECK(offset(ring.descriptors()) == 0);
    CHECK(offset(&ring.driver_event()) >= 16u * size);
    CHECK(offset(&ring.driver_event()) % packed_ring::alignment == 0);
    CHECK(offset(&ring.device_event()) == offset(&ring.driver_event()) + packed_ring::alignment);
    CHECK(packed_ring::bytes(size) == offset(&ring.device_event()) + packed_ring::alignment);
  }
}

TEST_CASE("a packed ring has any number of entries from 1 to 32768", "[unit]") {
  for (const std::uint64_t size : {1u, 2u, 3u, 255u, 32767u, 32768u}) {
    CHECK(packed_ring::check_size(size));
  }
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{32769}, UINT64_MAX}) {
    CHECK_FALSE(packed_ring::check_size(size));
  }
  const result<void> refused = packed_ring::check_size(0);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().object == "queue-size=0");
  CHECK(refused.error().hint == "a packed ring has 1 to 32768 entries");
}

TEST_CASE("a position in a packed ring goes on, back and over the end", "[unit]") {
  for (const std::uint32_t wide : {1u, 2u, 3u, 5u, 32767u, 32768u}) {
    const auto size = static_cast<std::uint16_t>(wide);
    CAPTURE(size);
    CHECK(packed_position(ring_index(0), size) == packed_position());
    const std::uint32_t step = wide > 100 ? 8191 : 1;
    bool right = true;
    for (std::uint32_t start = 0; start < 2 * wide; start += step) {
      const packed_position from(ring_index(start), size);
      right = right && from.slot() == start % wide && from.wrap() == (start < wide);
      right = right && from.start(size).value() == start;
      right = right && from.word() == (start % wide | (start < wide ? 0x8000u : 0u));
      for (std::uint32_t n = 0; n <= wide; n += step) {
        packed_position to = from.plus(n, size);
        right = right && to.start(size).value() == (start + n) % (2 * wide);
        right = right && to.since(from, size) == n;
        to.go_back(n, size);
        right = right && to == from;
      }
    }
    CHECK(right);
  }
}

TEST_CASE("a descriptor is available, used, or neither, as its lap says", "[unit]") {
  for (const bool wrap : {false, true}) {
    const packed_position here(wrap), other(!wrap);
    const auto with = [](std::uint16_t flags) { return packed_descriptor::pack(7, 1, flags); };
    CHECK(here.is_available(with(here.available())));
    CHECK(here.is_used(with(here.used())));
    CHECK_FALSE(here.is_used(with(here.available())));
    CHECK_FALSE(here.is_available(with(here.used())));
    // What the lap before left behind.
    CHECK_FALSE(here.is_available(with(other.used())));
    CHECK_FALSE(here.is_used(with(other.used())));
    CHECK_FALSE(here.is_available(with(other.available())));
  }
}

TEST_CASE("a fresh packed ring of zeros has nothing in it", "[unit]") {
  CHECK_FALSE(packed_position().is_available(0));
  CHECK_FALSE(packed_position().is_used(0));
}

}  // namespace
}  // namespace vkring::test
