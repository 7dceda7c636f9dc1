// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_STATISTICS_HPP
#define VKRING_DPDK_PMD_STATISTICS_HPP

// What a port has counted over all its starts, since it was last asked to forget.

#include <vkring/queue/counters.hpp>
#include <vkring/worker/counters.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vkring::inline v0::pmd {

/// What one direction of a queue pair has counted.
struct traffic {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;   ///< packets that were dropped or refused
  std::uint64_t starved = 0;  ///< refills that found the pool short

  traffic& operator+=(const traffic& more) noexcept {
    packets += more.packets;
    bytes += more.bytes;
    errors += more.errors;
    starved += more.starved;
    return *this;
  }
  friend traffic operator-(const traffic& now, const traffic& before) noexcept {
    return {now.packets - before.packets, now.bytes - before.bytes, now.errors - before.errors,
            now.starved - before.starved};
  }
};

/// What a queue has counted. From any thread.
[[nodiscard]] inline traffic traffic_of(const queue_counters& queue) noexcept {
  return {queue.frames.value(), queue.bytes.value(), queue.dropped(), queue.starved.value()};
}

/// The counters of one direction of a port. A device counts from 0 on each time that it is started.
class traffic_log {
 public:
  explicit traffic_log(std::size_t pairs) : past_(pairs), forgotten_(pairs) {}

  /// What a pair has counted since `forget`, `live` being what its device has.
  [[nodiscard]] traffic total(std::size_t pair, const traffic& live = {}) const noexcept {
    traffic all = past_[pair];
    all += live;
    return all - forgotten_[pair];
  }
  /// Counts as 0 what is there now.
  void forget(std::size_t pair, const traffic& live) noexcept {
    forgotten_[pair] = past_[pair];
    forgotten_[pair] += live;
  }
  /// The device goes, with what it has counted.
  void keep(std::size_t pair, const traffic& live) noexcept { past_[pair] += live; }

 private:
  std::vector<traffic> past_;
  std::vector<traffic> forgotten_;
};

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_STATISTICS_HPP
