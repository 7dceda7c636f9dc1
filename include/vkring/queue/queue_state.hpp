// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_QUEUE_STATE_HPP
#define VKRING_QUEUE_QUEUE_STATE_HPP

// What a tx or rx queue knows by itself, in a form that can go to another process.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>
#include <vkring/memory/shareable_source.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/ring/driver_state.hpp>

namespace vkring::inline v0 {

/// A buffer in flight: its number in the source, and whether the header in front of it is known to
/// be zero.
struct buffer_state {
  std::uint32_t number = 0;  ///< as `Source::number_of` counts
  bool plain = false;        ///< the header is known to be zero

  /// The state of the buffer `h`.
  template <shareable_source Source>
  [[nodiscard]] static buffer_state of(const Source& source, typename Source::handle h) noexcept {
    return {source.number_of(Source::with_plain_header(h, false)), Source::plain_header(h)};
  }
  /// The same buffer, in a source of the same shape.
  template <shareable_source Source>
  [[nodiscard]] typename Source::handle in(const Source& source) const noexcept {
    return Source::with_plain_header(source.handle_of(number), plain);
  }
};

/// The private state of a queue that is at rest, its stock of free buffers being with the source.
struct queue_state {
  driver_state ring;                  ///< its driver side
  std::vector<std::uint16_t> counts;  ///< buffers of each chain in flight, as in `ring.chains`
  std::vector<buffer_state> buffers;  ///< of all these chains, one after the other
  queue_counters counters;            ///< as far as it has counted
};

/// What no queue on a source of that many buffers can ever have had as its state, but for the
/// ring's part of it; empty if nothing. `busy` has a bit for each buffer, which is set for those
/// that are in flight here and must not be yet.
[[nodiscard]] inline std::string_view flaw(const queue_state& state, std::vector<bool>& busy) {
  if (state.counts.size() != state.ring.chains.size()) return "chains without buffers";
  std::size_t all = 0;
  for (const std::uint16_t count : state.counts) {
    if (count == 0 || count > max_chain_pieces) return "a chain with an impossible number of buffers";
    all += count;
  }
  if (all != state.buffers.size()) return "a wrong count of buffers";
  for (const buffer_state& each : state.buffers) {
    if (each.number >= busy.size() || busy[each.number]) {
      return "a buffer that does not exist, or is in flight twice";
    }
    busy[each.number] = true;
  }
  return {};
}

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_QUEUE_STATE_HPP
