// SPDX-License-Identifier: BSD-3-Clause

// The split ring between two threads. About two seconds; the hidden case `[.full]` runs for
// minutes.

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "stress.hpp"
#include "vkring/ring/split.hpp"

namespace {

using namespace vkring;
using namespace vkring::test::model;

struct stress_split {
  using layout = split;
  static constexpr std::uint16_t large = 256;
  static std::size_t bytes(std::uint16_t size) { return split_ring::bytes(size); }
  static split_ring place(std::span<std::byte> block, std::uint16_t size) {
    return split_ring::place(block, size);
  }
};

}  // namespace

TEST_CASE("stress: a split ring between two threads") { stress_all<stress_split>(1500); }

TEST_CASE("stress: a split ring between two threads, for minutes", "[.full]") {
  stress_all<stress_split>(500000);
}
