// SPDX-License-Identifier: BSD-3-Clause

// Random schedules with peers that turn bad, for a minute or two: tens of millions of steps.

#include <cstdint>

namespace vkring::test {

inline constexpr std::uint32_t seeds = 10'000;

}  // namespace vkring::test

#include "schedules.hpp"
