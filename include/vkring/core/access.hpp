// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_ACCESS_HPP
#define VKRING_CORE_ACCESS_HPP

// The direction of an access to shared memory, as the address space is asked for it.

#include <cstdint>

namespace vkring::inline v0 {

/// What the asker is about to do with the memory behind a guest address: the device side reads
/// device-readable buffers and writes device-writable ones.
enum class memory_access : std::uint8_t { read, write };

}  // namespace vkring::inline v0

#endif  // VKRING_CORE_ACCESS_HPP
