// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_SPLIT_RING_HPP
#define VKRING_TESTS_MODEL_SPLIT_RING_HPP

// The split layout's part of the model check: its shared words by name.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "machine.hpp"
#include "vkring/ring/split.hpp"

namespace vkring::test::model {

struct model_split {
  using layout = split;
  static constexpr const char* name = "split";

  static split_ring place(std::span<std::byte> block, std::uint16_t size) {
    return split_ring::place(block, size);
  }
  static void add_words(machine& world, const split_ring& ring) {
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const std::string at = "[" + std::to_string(i) + "]";
      world.add_word(ring.descriptors()[i].address, "descriptor" + at + ".address");
      world.add_word(ring.descriptors()[i].rest, "descriptor" + at + ".rest");
      world.add_word(ring.avail_entries()[i], "avail.ring" + at);
      world.add_word(ring.used_elements()[i].id, "used.ring" + at + ".id");
      world.add_word(ring.used_elements()[i].length, "used.ring" + at + ".length");
    }
    world.add_word(ring.avail_flags(), "avail.flags");
    world.add_word(ring.avail_index(), "avail.index");
    world.add_word(ring.used_event(), "used_event");
    world.add_word(ring.used_flags(), "used.flags");
    world.add_word(ring.used_index(), "used.index");
    world.add_word(ring.avail_event(), "avail_event");
  }
};

/// Four messages from here cross 65535.
inline constexpr ring_index model_start{65534};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_SPLIT_RING_HPP
