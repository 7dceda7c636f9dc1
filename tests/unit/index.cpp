// SPDX-License-Identifier: BSD-3-Clause

#include <vkring/ring/index.hpp>
//
#include <catch2/catch.hpp>

namespace vkring::test {
namespace {

// Cases go into the hundreds of millions: no CHECK for each.
template <class Holds>
std::uint64_t count_failures(Holds&& holds) {
  std::uint64_t failures = 0;
  for (std::uint32_t at = 0; at < 65536; ++at) failures += holds(at) ? 0 : 1;
  return failures;
}

constexpr std::uint32_t selected[] = {0,     1,     2,     3,     7,     255,
                                      256,   257,   4095,  32766, 32767, 32768,
                                      32769, 65279, 65280, 65533, 65534, 65535};

TEST_CASE("positions count modulo 65536", "[unit]") {
  for (const std::uint32_t n : selected) {
    CAPTURE(n);
    CHECK(count_failures([n](std::uint32_t at) {
            const ring_index from(at);
            const ring_index to = from + n;
            ring_index moved = from;
            moved += n;
            return to.value() == (at + n) % 65536 && to - from == n && moved == to &&
                   from - to == (65536 - n) % 65536 && ring_index(at + 65536 * 3) == from;
          }) == 0);
  }
}

TEST_CASE("a position falls on an entry of the ring", "[unit]") {
  for (std::uint32_t size = 1; size <= 32768; size *= 2) {
    const auto mask = static_cast<std::uint16_t>(size - 1);
    CAPTURE(size);
    CHECK(count_failures([=](std::uint32_t at) {
            return ring_index(at).slot(mask) == at % size &&
                   (ring_index(at) + size).slot(mask) == ring_index(at).slot(mask);
          }) == 0);
  }
}

// Whether one of the steps from `before` to `now` left `event` behind.
bool walk_passes(std::uint32_t event, std::uint32_t now, std::uint32_t before) {
  for (std::uint32_t at = before; at != now; at = (at + 1) % 65536) {
    if (at == event) return true;
  }
  return false;
}

TEST_CASE("an event is passed exactly by the step that leaves it behind", "[unit]") {
  for (const std::uint32_t before : selected) {
    for (const std::uint32_t step : {0u, 1u, 2u, 31u, 256u}) {
      const std::uint32_t now = (before + step) % 65536;
      CAPTURE(before, step);
      CHECK(count_failures([=](std::uint32_t event) {
              return passed(ring_index(event), ring_index(now), ring_index(before)) ==
                     walk_passes(event, now, before);
            }) == 0);
    }
  }
}

TEST_CASE("passed is the specification's formula", "[unit]") {
  // The formula of section 2.7.10 in 16-bit words, with every conversion written out.
  const auto formula = [](std::uint16_t event, std::uint16_t now, std::uint16_t before) {
    const auto since_event = static_cast<std::uint16_t>(now - event - 1);
    const auto since_before = static_cast<std::uint16_t>(now - before);
    return since_event < since_before;
  };
  for (const std::uint32_t before : selected) {
    for (const std::uint32_t step : selected) {
      const auto now = static_cast<std::uint16_t>(before + step);
      CAPTURE(before, step);
      CHECK(count_failures([&](std::uint32_t event) {
              return passed(ring_index(event), ring_index(now), ring_index(before)) ==
                     formula(static_cast<std::uint16_t>(event), now,
                             static_cast<std::uint16_t>(before));
            }) == 0);
    }
  }
}

static_assert(ring_index().value() == 0);
static_assert((ring_index(3) - ring_index(65533)) == 6);
static_assert(passed(ring_index(65535), ring_index(0), ring_index(65535)));
static_assert(!passed(ring_index(0), ring_index(0), ring_index(65535)));
static_assert(!passed(ring_index(5), ring_index(5), ring_index(5)));

}  // namespace
}  // namespace vkring::test
