// SPDX-License-Identifier: BSD-3-Clause

// The packed ring between two threads. About two seconds; the hidden case `[.full]` runs for
// minutes.

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "stress.hpp"
#include "vkring/ring/packed.hpp"

namespace {

using namespace vkring;
using namespace vkring::test::model;

struct stress_packed {
  using layout = packed;
  static constexpr std::uint16_t large = 255;
  static std::size_t bytes(std::uint16_t size) { return packed_ring::bytes(size); }
  static packed_ring place(std::span<std::byte> block, std::uint16_t size) {
    return packed_ring::place(block, size);
  }
};

}  // namespace

TEST_CASE("stress: a packed ring between two threads") { stress_all<stress_packed>(1500); }

TEST_CASE("stress: a packed ring between two threads, for minutes", "[.full]") {
  stress_all<stress_packed>(500000);
}
