// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_STATISTICS_HPP
#define VKRING_FWD_STATISTICS_HPP

// What the ports have counted, as tables for people and as JSON for programs.

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>
#include <vkring/net/offload.hpp>
#include <vkring/queue/statistics.hpp>

namespace fwd {

/// One queue pair. In the modes that send what they receive, what was received by all queues is what
/// was sent by all queues plus all drops, minus `gso_segments` plus `gso_frames`.
struct queue_report {
  std::uint64_t rx_packets = 0;  ///< those that were dropped on the way in included
  std::uint64_t rx_bytes = 0;
  std::uint64_t tx_packets = 0;  ///< handed to the kernel
  std::uint64_t tx_bytes = 0;
  std::uint64_t in_ring = 0;              ///< on their way to the kernel
  std::vector<vkring::drop_count> drops;  ///< on the way in here, or on the way out here
  std::uint64_t kicks = 0;
  std::uint64_t kicks_suppressed = 0;
  std::uint64_t calls = 0;
  std::string_view mode;    ///< of its rings; empty where there are none
  std::string_view broken;  ///< why it serves no more; empty if it does
  std::string trouble;      ///< all that is wrong with it, for people; empty if nothing is
  // Finished in software on the way out here.
  std::uint64_t checksums = 0;
  std::uint64_t gso_frames = 0;
  std::uint64_t gso_segments = 0;
};

struct port_report {
  std::string name;
  std::string_view kind;
  std::string_view backend;
  std::string_view layout;  ///< empty where there are no rings
  std::string_view wait;
  std::uint64_t kernel_rx_dropped = 0;  ///< from the kernel's point of view
  std::uint64_t kernel_tx_dropped = 0;
  std::vector<vkring::feature_decision> negotiation;
  std::vector<queue_report> queues;
};

struct report {
  double seconds = 0;
  std::vector<port_report> ports;
};

/// Adds `frames` drops for `reason` where there are any.
void add_drops(std::vector<vkring::drop_count>& to, std::string_view reason, std::uint64_t frames);

/// All that was counted, queue by queue.
[[nodiscard]] std::string final_table(const report& all);
/// Rates between two reports, port by port.
[[nodiscard]] std::string period_table(const report& before, const report& now);
[[nodiscard]] std::string json(const report& all);
/// What was negotiated on a port, a line for each feature.
[[nodiscard]] std::string negotiation_table(const port_report& port);

}  // namespace fwd

#endif  // VKRING_FWD_STATISTICS_HPP
