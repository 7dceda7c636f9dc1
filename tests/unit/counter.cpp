// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/core/counter.hpp"

#include <catch2/catch.hpp>
#include <cstdint>

using vkring::counter;

TEST_CASE("a counter starts at zero and adds up") {
  counter events;
  CHECK(events.value() == 0);
  events.add(3);
  events.add(0);
  events.add(std::uint64_t{1} << 40);
  CHECK(events.value() == (std::uint64_t{1} << 40) + 3);
}

TEST_CASE("a copy of a counter counts on its own") {
  counter events;
  events.add(5);
  counter copy = events;
  copy.add(1);
  CHECK(events.value() == 5);
  CHECK(copy.value() == 6);
  events = copy;
  CHECK(events.value() == 6);
}

TEST_CASE("a counter is one word") { static_assert(sizeof(counter) == sizeof(std::uint64_t)); }
