// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_RULES_HPP
#define VKRING_QUEUE_RULES_HPP

// What a queue was told about the frames of its direction.

#include <cstddef>
#include <cstdint>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/header.hpp>

namespace vkring::inline v0 {

/// The outcome of negotiation, as far as the frames of one queue are concerned.
struct frame_rules {
  std::uint32_t header_size = vkring::header_size;  ///< 12, or 24 with a tunnel offload
  link_layer link = link_layer::ethernet;         ///< what a frame starts with
  std::uint32_t min_size = shortest_frame(link);  ///< shorter ones are dropped, on both sides
  bool mergeable = false;                         ///< rx: a frame may lie in several buffers
  frame_offloads offloads{};                      ///< what the header of a frame may ask for
  /// What segments may lie in; null: whoever sends them knows.
  const memory_table* memory = nullptr;
};
static_assert(tunnel_header_size <= header_reserve);

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_RULES_HPP
