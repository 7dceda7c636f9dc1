// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_FUZZ_SUPPORT_RING_MIX_HPP
#define VKRING_TESTS_FUZZ_SUPPORT_RING_MIX_HPP

// What a fuzzer chooses of a ring.

#include <cstdint>
#include <vkring/ring/concepts.hpp>

namespace vkring::test {

/// The four low bits of `mix` as the options of a ring of that size; the others are the body's.
[[nodiscard]] inline ring_options options_of(std::uint8_t mix, std::uint32_t size) {
  return {static_cast<std::uint16_t>(size), (mix & 1) != 0, (mix & 2) != 0, (mix & 4) != 0,
          ring_index((mix & 8) != 0 ? 65530u : 0u)};
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_FUZZ_SUPPORT_RING_MIX_HPP
