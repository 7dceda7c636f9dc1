// SPDX-License-Identifier: BSD-3-Clause

// Random schedules with peers that turn bad, for a few seconds; ring_schedules_full runs many more.

#include <cstdint>

namespace vkring::test {

inline constexpr std::uint32_t seeds = 600;

}  // namespace vkring::test

#include "schedules.hpp"
