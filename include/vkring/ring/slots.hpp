// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_SLOTS_HPP
#define VKRING_RING_SLOTS_HPP

// The loop of all bursts: over consecutive slots of a ring, fast.

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vkring/core/prefetch.hpp>

namespace vkring::inline v0 {

namespace detail {

// The next `sizeof...(I)` slots; returns how many `visit` calls returned true before one did not.
template <class Visit, std::size_t... I>
[[gnu::always_inline]] inline std::size_t visit_turn(std::size_t slot, std::size_t nth,
                                                     Visit& visit,
                                                     std::index_sequence<I...>) noexcept {
  std::size_t done = 0;
  (void)((visit(slot + I, nth + I) && (done = I + 1, true)) && ...);
  return done;
}

}  // namespace detail

/// Has the lines of `count` slots from position `first` on, in a ring of `mask + 1`, brought here to be
/// written, all at once instead of one after the other as the stores come to them; without what lies
/// beyond a wrap, and without the last slots where `count` is no multiple of sixteen. No line further
/// than the slots go, as the other side may be at work there.
template <class Slot>
[[gnu::always_inline]] inline void prefetch_slots(const Slot* slots, std::uint32_t first,
                                                  std::uint32_t count,
                                                  std::uint32_t mask) noexcept {
  constexpr std::size_t turn = 16, line = 64;
  const std::size_t start = first & mask;
  const std::size_t to_end = std::size_t{mask} + 1 - start;
  const Slot* at = slots + start;
  for (std::size_t left = (count < to_end ? count : to_end) / turn; left != 0; --left) {
    const char* const bytes = reinterpret_cast<const char*>(at);
    for (std::size_t i = 0; i < turn * sizeof(Slot); i += line) prefetch_to_write(bytes + i);
    at += turn;
  }
}

/// Calls `visit(slot, nth)` for `count` slots from position `first` on, around a ring of `mask + 1`
/// slots, until it returns false; `nth` counts the calls from 0. Returns how many returned true.
///
/// Eight slots per turn up to the end of the ring, so that all of them are addressed with constant
/// offsets from the same registers: half the instructions of a loop that masks each position. That
/// is for the rest: less than a turn, and what lies beyond a wrap, which most bursts do not have.
template <class Visit>
[[gnu::always_inline]] inline std::uint32_t for_each_slot(std::uint32_t first, std::uint32_t count,
                                                          std::uint32_t mask,
                                                          Visit&& visit) noexcept {
  constexpr std::size_t turn = 8;
  const std::size_t start = first & mask;
  const std::size_t to_end = std::size_t{mask} + 1 - start;
  const std::size_t run = count < to_end ? count : to_end;
  std::size_t nth = 0;
  for (; nth + turn <= run; nth += turn) {
    const std::size_t done =
        detail::visit_turn(start + nth, nth, visit, std::make_index_sequence<turn>());
    if (done != turn) return static_cast<std::uint32_t>(nth + done);
  }
  for (; nth != count; ++nth) {
    if (!visit((start + nth) & mask, nth)) return static_cast<std::uint32_t>(nth);
  }
  return count;
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_SLOTS_HPP
