// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_SLOTS_HPP
#define VKRING_RING_PACKED_SLOTS_HPP

// The loop of all bursts over a packed ring, whose flags change their meaning at its end.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/ring/slots.hpp>

namespace vkring::inline v0 {

/// Calls `visit(slot, nth)` for `count` descriptors, at most `size`, from `at` on, until it returns
/// false; `nth` counts the calls from 0. `wrap()` is called before the first descriptor beyond the end
/// of the ring. Returns how many calls of `visit` returned true.
///
/// Like `for_each_slot`, eight slots per turn up to the end of the ring, and what is left one by one.
template <class Visit, class Wrap>
[[gnu::always_inline]] inline std::uint32_t for_each_packed_slot(packed_position at,
                                                                 std::uint32_t count,
                                                                 std::uint16_t size, Visit&& visit,
                                                                 Wrap&& wrap) noexcept {
  constexpr std::size_t turn = 8;
  const std::size_t start = at.slot();
  const std::size_t to_end = size - start;
  const std::size_t run = count < to_end ? count : to_end;
  std::size_t nth = 0;
  for (; nth + turn <= run; nth += turn) {
    const std::size_t done =
        detail::visit_turn(start + nth, nth, visit, std::make_index_sequence<turn>());
    if (done != turn) return static_cast<std::uint32_t>(nth + done);
  }
  for (; nth != count; ++nth) {
    if (nth == to_end) wrap();
    if (!visit(nth < to_end ? start + nth : nth - to_end, nth)) {
      return static_cast<std::uint32_t>(nth);
    }
  }
  return count;
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_PACKED_SLOTS_HPP
