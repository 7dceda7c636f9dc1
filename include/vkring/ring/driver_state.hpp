// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_DRIVER_STATE_HPP
#define VKRING_RING_DRIVER_STATE_HPP

// What the driver side of a ring knows by itself, in a form that can go to another process.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <vector>
#include <vkring/ring/chain.hpp>
#include <vkring/ring/index.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/ring/shared.hpp>

namespace vkring::inline v0 {

/// The private state of a driver side that is at rest, but for the tokens of its chains.
struct driver_state {
  ring_mode mode = ring_mode::fast;   ///< in which it goes on
  ring_index used;                    ///< the next position to reclaim
  /// Packed: the next descriptor that the driver side looks at for a used one, like
  /// `ring_options::start`; and the next one of the device side, which a split ring shows itself.
  ring_index driver_at{};
  ring_index device_at{};             ///< see `driver_at`
  std::uint16_t batch_left = 0;       ///< in-order: chains of a used batch still to be reclaimed
  std::uint32_t batch_written = 0;    ///< and what was written to the last of them
  std::uint16_t until_fast = 0;       ///< general mode: chains that have yet to pay for the switches
  std::uint64_t general_entries = 0;  ///< how often fast mode was left, and entered again
  std::uint64_t fast_entries = 0;     ///< see `general_entries`
  /// Descriptors of each chain in flight; 1 in fast mode, where the oldest comes first.
  std::vector<std::uint16_t> chains;
  /// General mode: the descriptors of these chains, one chain after the other, then those that are
  /// free, in the order in which they are taken. Each descriptor stands there once. Of a packed ring,
  /// the id of each chain, and if ids are not taken in order, then those that are free.
  std::vector<std::uint16_t> order;

  /// The next position to make available.
  [[nodiscard]] ring_index avail() const noexcept {
    return used + static_cast<std::uint32_t>(chains.size());
  }
};

namespace detail {

// The same about the descriptors of a split ring, or the ids of a packed one, in general mode.
[[nodiscard]] inline std::string_view general_flaw(const driver_state& state,
                                                   const ring_options& options, bool is_packed) {
  const std::size_t size = options.size;
  std::size_t busy = 0;
  for (const std::uint16_t count : state.chains) busy += count;
  // In order, an id is the number of a descriptor, and those of no chain are not kept.
  const bool only_chains = is_packed && options.in_order;
  const std::size_t listed = only_chains ? state.chains.size() : size;
  if (state.order.size() != listed || busy == 0 || busy > size) {
    return "a wrong count of descriptors";
  }
  std::vector<bool> met(size);
  std::size_t next = is_packed ? state.driver_at.value() : state.order[0];
  for (std::size_t i = 0; i < state.order.size(); ++i) {
    const std::uint16_t at = state.order[i];
    if (at >= size || met[at]) return "a descriptor that does not exist, or is there twice";
    if (options.in_order && at != next % size) return "descriptors out of order";
    met[at] = true;
    next += only_chains ? state.chains[i] : 1;
  }
  return {};
}

}  // namespace detail

/// What no driver side of a ring of that layout with these options can ever have had as its state,
/// in words; empty if nothing. Allocation: a bit for each descriptor.
template <class Layout>
[[nodiscard]] std::string_view flaw(const driver_state& state, const ring_options& options) {
  constexpr bool is_packed = std::is_same_v<Layout, packed>;
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
  for (const std::uint16_t count : state.chains) {
    if (count == 0 || count > size || (count != 1 && !general)) {
      return "a chain of an impossible length";
    }
  }
  const std::size_t positions = is_packed ? 2 * size : 1;
  if (state.driver_at.value() >= positions || state.device_at.value() >= positions) {
    return "a position that the ring does not have";
  }
  if (general) return detail::general_flaw(state, options, is_packed);
  return state.order.empty() ? "" : "descriptors in an order of their own in fast mode";
}

/// The same about the indices that `ring` shows.
[[nodiscard]] inline std::string_view flaw(const driver_state& state,
                                           const split_ring& ring) noexcept {
  if (direct::load(ring.avail_index()) != state.avail().value()) {
    return "the ring shows another avail index";
  }
  const ring_index used(direct::load(ring.used_index()));
  return used - state.used > state.chains.size() ? "the ring shows an impossible used index" : "";
}
/// The same about the positions of both sides, and what `ring` shows there.
[[nodiscard]] inline std::string_view flaw(const driver_state& state,
                                           const packed_ring& ring) noexcept {
  const std::uint16_t size = ring.size();
  const packed_position driver(state.driver_at, size);
  const packed_position device(state.device_at, size);
  std::uint32_t busy = 0;
  for (const std::uint16_t count : state.chains) busy += count;
  const std::uint32_t used = device.since(driver, size);
  if (used > busy) return "a device side that has used more than was available";
  const bool available =
      device.is_available(direct::load(ring.descriptors()[device.slot()].rest));
  return available == (used != busy) ? "" : "the ring shows another position of the device side";
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_DRIVER_STATE_HPP
