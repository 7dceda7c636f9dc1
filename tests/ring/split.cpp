// SPDX-License-Identifier: BSD-3-Clause

// The ring suite over the split layout, and what only the split layout has.

#include <tuple>
#include <vkring/ring/split.hpp>

#include "kit.hpp"

namespace vkring::test {

using ring_layouts = std::tuple<split>;

template <>
struct ring_of<split> {
  using type = split_ring;
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

}  // namespace
}  // namespace vkring::test
