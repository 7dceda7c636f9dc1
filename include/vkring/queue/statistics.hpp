// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_STATISTICS_HPP
#define VKRING_QUEUE_STATISTICS_HPP

// The counters of a queue at one moment, by name.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>
#include <vkring/queue/counters.hpp>

namespace vkring::inline v0 {

/// A drop reason and how many frames it took.
struct drop_count {
  std::string_view reason;  ///< by its name: `too_short`
  std::uint64_t frames;     ///< that it took, 1 at least
};

/// What a queue had counted. Only reasons that took frames are listed.
struct queue_statistics {
  /// @{
  /// As in `queue_counters`, at one moment for each.
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::uint64_t kicks = 0;
  std::uint64_t kicks_suppressed = 0;
  std::uint64_t starved = 0;
  std::vector<drop_count> drops;
  /// @}
};

/// Reads the counters of a queue. From any thread. Allocation: the list.
[[nodiscard]] inline queue_statistics snapshot(const queue_counters& counters) {
  queue_statistics now{counters.frames.value(),  counters.bytes.value(),
                       counters.kicks.value(),   counters.kicks_suppressed.value(),
                       counters.starved.value(), {}};
  for (std::size_t i = 0; i < counters.drops.size(); ++i) {
    const std::uint64_t frames = counters.drops[i].value();
    if (frames != 0) now.drops.push_back({drop_name(i), frames});
  }
  return now;
}

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_STATISTICS_HPP
