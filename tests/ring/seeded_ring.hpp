// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_SEEDED_RING_HPP
#define VKRING_TESTS_RING_SEEDED_RING_HPP

// What the schedules of both sides share.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kit.hpp"

namespace vkring::test {

/// A ring of 8 to 4096 entries, any mix of options and any start.
template <class Layout>
[[nodiscard]] ring_options ring_of_seed(std::uint32_t seed) {
  schedule chance(seed * 2654435761u);  // seeds follow one another
  ring_options options;
  const std::uint32_t power = 3 + chance.below(10);
  options.size = static_cast<std::uint16_t>(
      std::same_as<Layout, split> ? 1u << power : 8 + chance.below(1u << power));
  options.event_idx = chance.once_in(2);
  options.indirect = chance.once_in(2);
  options.in_order = chance.once_in(2);
  options.start = ring_index(
      std::same_as<Layout, split> ? chance.below(0x10000) : chance.below(2u * options.size));
  return options;
}

/// What a vandal does who does not know what he is looking at.
inline void flip_a_bit(std::span<std::byte> memory, schedule& chance) {
  std::byte& one = memory[chance.below(memory.size())];
  one ^= static_cast<std::byte>(1u << chance.below(8));
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_SEEDED_RING_HPP
