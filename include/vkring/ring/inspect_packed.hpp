// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_INSPECT_PACKED_HPP
#define VKRING_RING_INSPECT_PACKED_HPP

// A packed ring as it stands, for people and for tools: see ring/inspect.hpp.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/inspect.hpp>
#include <vkring/ring/packed_layout.hpp>

namespace vkring::inline v0 {

/// A descriptor of a packed ring as it lay in memory.
struct packed_descriptor_snapshot {
  /// What its flags say in the lap of the side that was asked.
  enum class state : std::uint8_t { available, used, neither };

  std::uint16_t index = 0;    ///< in the ring
  std::uint64_t address = 0;  ///< of the buffer, as the device knows it
  std::uint32_t length = 0;   ///< bytes
  std::uint16_t id = 0;       ///< of the chain
  std::uint16_t flags = 0;    ///< of `descriptor_flag`, and the two that say whose it is
  state is = state::neither;  ///< read off the flags
};

/// A packed ring: the words in shared memory, and the positions of the side that was asked.
struct packed_snapshot {
  std::uint16_t size = 0;  ///< entries
  bool driver = false;     ///< which side was asked

  /// @{
  /// {flags, position}, see `packed_event`.
  std::uint32_t driver_event = 0, device_event = 0;
  /// @}
  packed_position next_available;     ///< to be added, or popped
  packed_position next_used;          ///< to be reclaimed, or pushed
  std::uint16_t out = 0;              ///< descriptors between them
  ring_mode mode = ring_mode::fast;   ///< driver side only
  std::uint64_t general_entries = 0;  ///< driver side only

  ring_breach breach;  ///< what the other side did wrong, if it did
  /// Driver: those from `next_used` up to `next_available`. Device: from there on, as long as they are
  /// available.
  std::vector<packed_descriptor_snapshot> descriptors;
  std::size_t descriptors_left_out = 0;  ///< beyond the limit that was asked for
};

namespace detail {

[[nodiscard]] constexpr std::string_view name(packed_descriptor_snapshot::state is) noexcept {
  switch (is) {
    case packed_descriptor_snapshot::state::available:
      return "available";
    case packed_descriptor_snapshot::state::used:
      return "used";
    case packed_descriptor_snapshot::state::neither:
      break;
  }
  return "neither";
}

template <class Access>
[[nodiscard]] packed_descriptor_snapshot load_descriptor(const packed_ring& ring,
                                                         packed_position at) noexcept {
  const packed_descriptor& from = ring.descriptors()[at.slot()];
  const std::uint64_t rest = Access::load(from.rest);
  using state = packed_descriptor_snapshot::state;
  return {at.slot(),
          Access::load(from.address),
          packed_descriptor::length(rest),
          packed_descriptor::id(rest),
          packed_descriptor::flags(rest),
          at.is_available(rest) ? state::available
          : at.is_used(rest)    ? state::used
                                : state::neither};
}

}  // namespace detail

/// Reads a packed ring and the side `queue` that works on it, `most` descriptors of it.
///
/// The result is sound whatever lies in the ring; as nothing stops the other side, its words may stem
/// from different moments. Allocation: the snapshot. Thread-safety: as the queue's own functions.
template <class Access = direct, class Queue>
[[nodiscard]] packed_snapshot inspect(const packed_ring& ring, const Queue& queue,
                                      std::size_t most = inspect_limits{}.descriptors) {
  packed_snapshot all;
  all.size = ring.size();
  all.driver_event = Access::load(ring.driver_event());
  all.device_event = Access::load(ring.device_event());
  all.next_available = queue.next_available();
  all.next_used = queue.next_used();
  all.out = static_cast<std::uint16_t>(all.next_available.since(all.next_used, all.size));
  all.breach = queue.breach();
  const auto add = [&](packed_position at, std::uint32_t count, bool only_available) {
    for (; count != 0; --count, at.advance(1, all.size)) {
      const auto each = detail::load_descriptor<Access>(ring, at);
      if (only_available && each.is != packed_descriptor_snapshot::state::available) break;
      if (all.descriptors.size() == most) {
        ++all.descriptors_left_out;
      } else {
        all.descriptors.push_back(each);
      }
    }
  };
  if constexpr (driver_queue<Queue>) {
    all.driver = true;
    all.mode = queue.mode();
    all.general_entries = queue.general_entries();
    add(all.next_used, all.out, false);
  } else {
    add(all.next_available, std::uint32_t{all.size} - all.out, true);
  }
  return all;
}

namespace detail {

[[nodiscard]] inline std::string text_of_event(std::uint32_t word) {
  const std::uint32_t flags = word >> 16;
  if (flags == packed_event::enable) return "wanted";
  if (flags == packed_event::disable) return "not wanted";
  const std::string at = std::to_string(word & 0x7fff) + ", wrap " + std::to_string(word >> 15 & 1);
  return flags == packed_event::at_descriptor ? "wanted from " + at + " on"
                                              : "flags " + std::to_string(flags) + " at " + at;
}
[[nodiscard]] inline std::string text_of(packed_position at) {
  return std::to_string(at.slot()) + ", wrap " + (at.wrap() ? "1" : "0");
}
[[nodiscard]] inline std::string json_of(packed_position at) {
  return json_object({{"index", std::to_string(at.slot())}, {"wrap", at.wrap() ? "1" : "0"}});
}
[[nodiscard]] inline std::string json_of_event(std::uint32_t word) {
  return json_object({{"index", std::to_string(word & 0x7fff)},
                      {"wrap", std::to_string(word >> 15 & 1)},
                      {"flags", std::to_string(word >> 16)}});
}
[[nodiscard]] inline std::string json_of(const packed_descriptor_snapshot& each) {
  return json_object({{"index", std::to_string(each.index)},
                      {"address", json_string(hex(each.address))},
                      {"length", std::to_string(each.length)},
                      {"id", std::to_string(each.id)},
                      {"flags", std::to_string(each.flags)},
                      {"state", json_string(name(each.is))}});
}

}  // namespace detail

/// The snapshot in lines for people.
[[nodiscard]] inline std::string to_text(const packed_snapshot& ring) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  std::string text = "packed ring of " + number(ring.size);
  text += detail::text_of_side(ring);
  text += "\n  calls " + detail::text_of_event(ring.driver_event) + "; kicks " +
          detail::text_of_event(ring.device_event);
  text += ring.driver ? "\n  next to add " : "\n  next to pop ";
  text += detail::text_of(ring.next_available);
  text += ring.driver ? "; to reclaim " : "; to push ";
  text += detail::text_of(ring.next_used) + "; " + number(ring.out) + " descriptors out\n";
  if (ring.breach) {
    text += "  broken: " + std::string(name(ring.breach.fault));
    text += " at " + number(ring.breach.position);
    text += ", value " + detail::hex(ring.breach.value) + '\n';
  }
  for (const packed_descriptor_snapshot& each : ring.descriptors) {
    text += "  [" + number(each.index) + "] " + std::string(detail::name(each.is)) + ", id " +
            number(each.id) + ", " + detail::hex(each.address) + " +" + number(each.length) +
            " flags " + detail::hex(each.flags) + '\n';
  }
  if (ring.descriptors_left_out != 0) {
    text += "  " + number(ring.descriptors_left_out) + " more descriptors\n";
  }
  return text;
}

/// The snapshot as one JSON object; addresses and fault values are strings, as they have 64 bits.
[[nodiscard]] inline std::string to_json(const packed_snapshot& ring) {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  return detail::json_object(
      {{"layout", "\"packed\""},
       {"side", detail::json_string(ring.driver ? "driver" : "device")},
       {"size", number(ring.size)},
       {"mode", detail::json_mode(ring)},
       {"general_entries", number(ring.general_entries)},
       {"driver_event", detail::json_of_event(ring.driver_event)},
       {"device_event", detail::json_of_event(ring.device_event)},
       {"next_available", detail::json_of(ring.next_available)},
       {"next_used", detail::json_of(ring.next_used)},
       {"out", number(ring.out)},
       {"breach", detail::json_of(ring.breach)},
       {"descriptors", detail::json_array(ring.descriptors,
                                          [](const packed_descriptor_snapshot& each) {
                                            return detail::json_of(each);
                                          })},
       {"descriptors_left_out", number(ring.descriptors_left_out)}});
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_INSPECT_PACKED_HPP
