// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_DRIVER_STATE_HPP
#define VKRING_RING_DRIVER_STATE_HPP

// What the driver side of a split ring knows by itself, in a form that can go to another process.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>
#include <vkring/ring/chain.hpp>
#include <vkring/ring/index.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/shared.hpp>

namespace vkring::inline v0 {

/// The private state of a driver side that is at rest, but for the tokens of its chains.
struct driver_state {
  ring_mode mode = ring_mode::fast;
  ring_index used;                    ///< the next position to reclaim
  std::uint16_t batch_left = 0;       ///< in-order: chains of a used batch still to be reclaimed
  std::uint32_t batch_written = 0;    ///< and what was written to the last of them
  std::uint16_t until_fast = 0;       ///< general mode: chains that have yet to pay for the switches
  std::uint64_t general_entries = 0;  ///< how often fast mode was left, and entered again
  std::uint64_t fast_entries = 0;
  /// Descriptors of each chain in flight; 1 in fast mode, where the oldest comes first.
  std::vector<std::uint16_t> chains;
  /// General mode: the descriptors of these chains, one chain after the other, then those that are
  /// free, in the order in which they are taken. Each descriptor stands there once.
  std::vector<std::uint16_t> order;

  /// The next position to make available.
  [[nodiscard]] ring_index avail() const noexcept {
    return used + static_cast<std::uint32_t>(chains.size());
  }
};

/// What no driver side of a ring with these options can ever have had as its state, in words; empty if
/// nothing. Allocation: a bit for each descriptor.
[[nodiscard]] inline std::string_view flaw(const driver_state& state,
                                           const ring_options& options) {
  const std::size_t size = options.size;
  if (state.chains.size() > size) return "more chains in flight than the ring has entries";
  if (state.batch_left > state.chains.size() || (state.batch_left != 0 && !options.in_order)) {
    return "a used batch that is not in flight";
  }
  if (state.until_fast > size) return "more chains to come than the ring has entries";
  const bool general = state.mode == ring_mode::general;
  if (state.general_entries - state.fast_entries != (general ? 1u : 0u)) {
    return "another mode than the switches lead to";
  }
  std::size_t busy = 0;
  for (const std::uint16_t count : state.chains) {
    if (count == 0 || (count != 1 && !general)) return "a chain of an impossible length";
    busy += count;
  }
  if (!general) return state.order.empty() ? "" : "descriptors in an order of their own in fast mode";
  if (state.order.size() != size || busy == 0 || busy > size) return "a wrong count of descriptors";
  std::vector<bool> met(size);
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint16_t at = state.order[i];
    if (at >= size || met[at]) return "a descriptor that does not exist, or is there twice";
    if (options.in_order && at != (state.order[0] + i) % size) return "descriptors out of order";
    met[at] = true;
  }
  return {};
}

/// The same about the indices that `ring` shows.
template <class Ring>
[[nodiscard]] std::string_view flaw(const driver_state& state, const Ring& ring) noexcept {
  if (direct::load(ring.avail_index()) != state.avail().value()) {
    return "the ring shows another avail index";
  }
  const ring_index used(direct::load(ring.used_index()));
  return used - state.used > state.chains.size() ? "the ring shows an impossible used index" : "";
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_DRIVER_STATE_HPP
