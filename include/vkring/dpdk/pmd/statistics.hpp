// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_STATISTICS_HPP
#define VKRING_DPDK_PMD_STATISTICS_HPP

// What a port has counted over all its starts, since it was last asked to forget.

#include <vkring/queue/counters.hpp>
#include <vkring/worker/counters.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vkring::inline v0::pmd {

namespace detail {

inline constexpr std::pair<std::string_view, counter queue_counters::*> queue_fields[] = {
    {"packets", &queue_counters::frames},  {"bytes", &queue_counters::bytes},
    {"kicks", &queue_counters::kicks},     {"kicks_suppressed", &queue_counters::kicks_suppressed},
    {"starved", &queue_counters::starved},
};
inline constexpr std::pair<std::string_view, counter worker_counters::*> worker_fields[] = {
    {"tx_frames", &worker_counters::tx_frames},
    {"tx_bytes", &worker_counters::tx_bytes},
    {"tx_refused", &worker_counters::tx_refused},
    {"tx_link_down", &worker_counters::tx_link_down},
    {"tx_failed", &worker_counters::tx_failed},
    {"rx_frames", &worker_counters::rx_frames},
    {"rx_too_long", &worker_counters::rx_too_long},
    {"rx_spilled", &worker_counters::rx_spilled},
    {"calls", &worker_counters::calls},
    {"calls_suppressed", &worker_counters::calls_suppressed},
    {"sleeps", &worker_counters::sleeps},
};
// The fields, and behind them the drops by reason.
inline constexpr std::size_t queue_values = std::size(queue_fields) + drop_reasons;

// Where a field is within its table.
template <class Table, class Field>
constexpr std::size_t position(const Table& table, Field field) noexcept {
  const auto* const found =
      std::find_if(std::begin(table), std::end(table),
                   [field](const auto& each) { return each.second == field; });
  return static_cast<std::size_t>(found - std::begin(table));
}

}  // namespace detail

/// One direction of a queue pair, as `rte_eth_stats` has it.
struct traffic {
  std::uint64_t packets;  ///< that came through
  std::uint64_t bytes;    ///< their payload
  std::uint64_t errors;   ///< packets that were dropped or refused
  std::uint64_t starved;  ///< refills that found the pool short
};

/// All that is counted for a queue pair, as a list of numbers that have names: those of its receive
/// queue, of its transmit queue, and of the worker that serves it (0 with vhost-net).
class pair_counts {
 public:
  /// Of the list.
  static constexpr std::size_t size = 2 * detail::queue_values + std::size(detail::worker_fields);

  /// The name of a number: `rx_packets`, `tx_drop_too_short`, `worker_calls`. Allocation: the text.
  [[nodiscard]] static std::string name(std::size_t index) {
    if (index >= 2 * detail::queue_values) {
      const std::size_t field = index - 2 * detail::queue_values;
      return "worker_" + std::string(detail::worker_fields[field].first);
    }
    const std::string direction = index < detail::queue_values ? "rx_" : "tx_";
    const std::size_t value = index % detail::queue_values;
    const std::size_t fields = std::size(detail::queue_fields);
    if (value >= fields) return direction + "drop_" + std::string(drop_name(value - fields));
    return direction + std::string(detail::queue_fields[value].first);
  }

  pair_counts() noexcept = default;
  /// What is counted at the moment; from any thread. `worker` may be null.
  pair_counts(const queue_counters& rx, const queue_counters& tx,
              const worker_counters* worker) noexcept {
    read(rx, std::span(values_).first(detail::queue_values));
    read(tx, std::span(values_).subspan(detail::queue_values, detail::queue_values));
    if (worker == nullptr) return;
    for (std::size_t i = 0; i != std::size(detail::worker_fields); ++i) {
      values_[2 * detail::queue_values + i] = (worker->*detail::worker_fields[i].second).value();
    }
  }

  /// The number at that place of the list.
  [[nodiscard]] std::uint64_t operator[](std::size_t index) const noexcept {
    return values_[index];
  }
  /// @{
  /// Number by number.
  pair_counts& operator+=(const pair_counts& more) noexcept {
    for (std::size_t i = 0; i != size; ++i) values_[i] += more.values_[i];
    return *this;
  }
  pair_counts& operator-=(const pair_counts& less) noexcept {
    for (std::size_t i = 0; i != size; ++i) values_[i] -= less.values_[i];
    return *this;
  }
  /// @}

  /// What the receive queue has taken in.
  [[nodiscard]] traffic received() const noexcept {
    traffic all = queue(0);
    all.errors += worker(&worker_counters::rx_too_long);
    return all;
  }
  /// What the worker could not hand to the kernel was not sent.
  [[nodiscard]] traffic sent() const noexcept {
    traffic all = queue(detail::queue_values);
    const std::uint64_t failed = worker(&worker_counters::tx_refused) +
                                 worker(&worker_counters::tx_link_down) +
                                 worker(&worker_counters::tx_failed);
    // It may have counted since the queue did.
    all.packets -= std::min(all.packets, failed);
    all.errors += failed;
    return all;
  }

 private:
  static void read(const queue_counters& queue, std::span<std::uint64_t> into) noexcept {
    const std::size_t fields = std::size(detail::queue_fields);
    for (std::size_t i = 0; i != fields; ++i) {
      into[i] = (queue.*detail::queue_fields[i].second).value();
    }
    for (std::size_t i = 0; i != drop_reasons; ++i) into[fields + i] = queue.drops[i].value();
  }
  [[nodiscard]] std::uint64_t worker(counter worker_counters::*field) const noexcept {
    return values_[2 * detail::queue_values + detail::position(detail::worker_fields, field)];
  }
  [[nodiscard]] traffic queue(std::size_t from) const noexcept {
    const auto value = [&](counter queue_counters::*field) {
      return values_[from + detail::position(detail::queue_fields, field)];
    };
    const auto drops =
        values_.begin() + static_cast<std::ptrdiff_t>(from + std::size(detail::queue_fields));
    return {value(&queue_counters::frames), value(&queue_counters::bytes),
            std::accumulate(drops, drops + drop_reasons, std::uint64_t{0}),
            value(&queue_counters::starved)};
  }

  std::array<std::uint64_t, size> values_{};
};

/// The counters of a port. A device counts from 0 on each time that it is started.
class port_counts {
 public:
  /// All at 0.
  explicit port_counts(std::size_t pairs) : past_(pairs), forgotten_(pairs) {}

  /// What a pair has counted since `forget`, `live` being what its device has.
  [[nodiscard]] pair_counts total(std::size_t pair, const pair_counts& live) const noexcept {
    pair_counts all = past_[pair];
    all += live;
    all -= forgotten_[pair];
    return all;
  }
  /// What is there now counts as 0.
  void forget(std::size_t pair, const pair_counts& live) noexcept {
    forgotten_[pair] = past_[pair];
    forgotten_[pair] += live;
  }
  /// The device goes, what it has counted stays.
  void keep(std::size_t pair, const pair_counts& live) noexcept { past_[pair] += live; }

 private:
  std::vector<pair_counts> past_;
  std::vector<pair_counts> forgotten_;
};

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_STATISTICS_HPP
