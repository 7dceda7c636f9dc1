// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_PACKED_RING_HPP
#define VKRING_TESTS_MODEL_PACKED_RING_HPP

// The packed layout's part of the model check: its shared words by name.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "machine.hpp"
#include "vkring/ring/packed.hpp"

namespace vkring::test::model {

struct model_packed {
  using layout = packed;
  static constexpr const char* name = "packed";

  static packed_ring place(std::span<std::byte> block, std::uint16_t size) {
    return packed_ring::place(block, size);
  }
  static void add_words(machine& world, const packed_ring& ring) {
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const std::string at = "[" + std::to_string(i) + "]";
      world.add_word(ring.descriptors()[i].address, "descriptor" + at + ".address");
      world.add_word(ring.descriptors()[i].rest, "descriptor" + at + ".rest");
    }
    world.add_word(ring.driver_event(), "driver_event");
    world.add_word(ring.device_event(), "device_event");
  }
};

/// The last descriptor of the second lap, whatever the size: the wrap counter goes from 0 to 1.
inline constexpr ring_index packed_start{7};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_PACKED_RING_HPP
