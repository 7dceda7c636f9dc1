// SPDX-License-Identifier: BSD-3-Clause
#ifndef LWIP_HEAP_HPP
#define LWIP_HEAP_HPP

// Where lwIP's memory comes from.

#include <vkring/memory/buffer_pool.hpp>

namespace lwip_example {

/// From now on lwIP's packets, and what else is as large, are buffers of `pool`, one each, so that a
/// device on this pool sends them from where they lie. Null: they are in no pool, as before the first call. For the time that
/// lwIP has but one thread; a pool outlives all that was allocated from it.
void allocate_packets_from(vkring::buffer_pool* pool) noexcept;

}  // namespace lwip_example

#endif  // LWIP_HEAP_HPP
