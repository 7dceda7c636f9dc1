// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_COUNTERS_HPP
#define VKRING_QUEUE_COUNTERS_HPP

// What a queue counts: every frame, and every frame that did not make it, by reason.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vkring/core/counter.hpp>
#include <vkring/core/probe.hpp>
#include <vkring/net/header.hpp>

namespace vkring::inline v0 {

/// Why a queue dropped a frame. The reasons from `header` on are the header's: `header` plus the
/// `header_fault`.
enum class drop_reason : std::uint8_t {
  empty_frame,     ///< a frame that owns no buffer
  foreign_source,  ///< its buffers are not those of this queue's source
  too_short,       ///< fewer bytes than the link layer's header
  too_large,       ///< more buffers than a chain of this ring can have, or 4 GiB
  no_buffer,       ///< no buffer for the header of segments that were sent
  unreachable,     ///< segments in memory that the device does not know of
  header,
};

/// The number of drop reasons, those of the header included.
inline constexpr std::size_t drop_reasons =
    static_cast<std::size_t>(drop_reason::header) + header_fault_count;

/// The reason that a bad header is counted as.
[[nodiscard]] constexpr std::size_t index_of(header_fault fault) noexcept {
  return static_cast<std::size_t>(drop_reason::header) + static_cast<std::size_t>(fault);
}

/// The name of a drop reason by its index in `queue_counters::drops`.
[[nodiscard]] constexpr std::string_view drop_name(std::size_t index) noexcept {
  switch (static_cast<drop_reason>(index)) {
    case drop_reason::empty_frame:
      return "empty_frame";
    case drop_reason::foreign_source:
      return "foreign_source";
    case drop_reason::too_short:
      return "too_short";
    case drop_reason::too_large:
      return "too_large";
    case drop_reason::no_buffer:
      return "no_buffer";
    case drop_reason::unreachable:
      return "unreachable";
    case drop_reason::header:
      break;
  }
  return name(static_cast<header_fault>(index - static_cast<std::size_t>(drop_reason::header)));
}

/// The statistics of one queue. One writer, the queue's thread; readable from any thread.
struct queue_counters {
  counter frames;                           ///< sent or received
  counter bytes;                            ///< their payload
  counter kicks;                            ///< notifications sent to the device
  counter kicks_suppressed;                 ///< publications for which the device wanted none
  counter starved;                          ///< refills that found the source short of buffers
  std::array<counter, drop_reasons> drops;  ///< by `drop_reason`; those of a `header_fault` follow

  /// @{
  /// Counts a frame that was dropped for this reason.
  void drop(drop_reason reason) noexcept { drop(static_cast<std::size_t>(reason)); }
  void drop(header_fault fault) noexcept { drop(index_of(fault)); }
  /// @}
  /// All drops together.
  [[nodiscard]] std::uint64_t dropped() const noexcept {
    std::uint64_t sum = 0;
    for (const counter& each : drops) sum += each.value();
    return sum;
  }

 private:
  void drop(std::size_t reason) noexcept {
    drops[reason].add(1);
    probe::drop(this, reason);
  }
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_COUNTERS_HPP
