// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_GUEST_MEMORY_HPP
#define VKRING_TESTS_RING_GUEST_MEMORY_HPP

// What a device side can reach, whatever its ring's layout.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/ring/layout.hpp>

#include "arena.hpp"

namespace vkring::test {

inline constexpr std::uint16_t next_flag = descriptor_next, write_flag = descriptor_write,
                               indirect_flag = descriptor_indirect;

// Guest addresses: two regions side by side, elsewhere on the host; one that is read only; a large
// one that is never touched.
inline constexpr std::uint64_t low = 0x1'0000, high = low + 4096, rom = 0x8'0000,
                               large = 0x100'0000;
inline constexpr std::uint32_t large_bytes = 8u << 20;

/// Memory at these addresses, and how much of it a device was given to read and to write.
struct guest_memory {
  guarded_memory low_memory{4096}, high_memory{4096}, rom_memory{4096}, large_memory{large_bytes};
  address_map map = make_map();
  std::size_t readable = 0, writable = 0;

  /// Uses a piece as a device does: it has to lie in what is there.
  void touch(std::span<std::byte> piece, bool writes) {
    (writes ? writable : readable) += piece.size();
    const bool within =
        map.holds(piece.data(), piece.size(), writes ? memory_access::write : memory_access::read);
    REQUIRE((within || piece.empty()));
    if (writes && piece.size() <= 4096) std::fill(piece.begin(), piece.end(), std::byte{0xdd});
  }

 private:
  [[nodiscard]] address_map make_map() const {
    address_map made;
    made.add(low, low_memory.bytes());
    made.add(high, high_memory.bytes());
    made.add(rom, rom_memory.bytes(), false);
    made.add(large, large_memory.bytes());
    return made;
  }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_GUEST_MEMORY_HPP
