// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_TRAFFIC_HPP
#define VKRING_FWD_TRAFFIC_HPP

// What the modes do to frames: made-up ones, their pace, and swapped addresses.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>
#include <vkring/memory/frame.hpp>
#include <vkring/net/mac.hpp>

namespace fwd {

/// The frame that txonly sends: UDP over IPv4 to the discard port, of an address range that is
/// reserved for examples, so that a kernel that routes it to nobody drops it without an answer.
/// `size` counts from the Ethernet header; 42 at least.
[[nodiscard]] std::vector<std::byte> udp_frame(std::size_t size, const vkring::mac_address& to);

/// Sends a frame back to where it came from.
void swap_addresses(vkring::frame& frame) noexcept;

/// Spreads frames evenly over time.
class pacer {
 public:
  using clock = std::chrono::steady_clock;

  /// `rate` frames per second; 0: no limit.
  explicit pacer(std::uint64_t rate) : rate_(static_cast<std::int64_t>(rate)) {}

  /// How many of `wanted` frames may be sent now.
  [[nodiscard]] std::size_t allowance(clock::time_point now, std::size_t wanted) noexcept {
    if (rate_ == 0) return wanted;
    if (start_ == clock::time_point{}) start_ = now;
    // Anew from time to time, so that nothing overflows and a long stop is not made up for.
    if (const auto since = now - start_; since >= period) {
      start_ += since / period * period;
      sent_ = std::max(sent_ - rate_ * (since / period), -rate_);
    }
    const std::int64_t due = due_until(now) - sent_;
    return due <= 0 ? 0 : std::min(static_cast<std::size_t>(due), wanted);
  }
  void sent(std::size_t frames) noexcept { sent_ += static_cast<std::int64_t>(frames); }
  /// When it is time to look again: not for each frame, so that waking up is worth it.
  [[nodiscard]] clock::time_point next(clock::time_point now) const noexcept {
    const auto frame_at = start_ + std::chrono::nanoseconds((sent_ + 1) * 1'000'000'000 / rate_);
    return std::max(frame_at, now + std::chrono::microseconds(100));
  }
  [[nodiscard]] bool limits() const noexcept { return rate_ != 0; }

 private:
  static constexpr std::chrono::seconds period{1};

  [[nodiscard]] std::int64_t due_until(clock::time_point now) const noexcept {
    return std::chrono::nanoseconds(now - start_).count() * rate_ / 1'000'000'000;
  }

  std::int64_t rate_;
  clock::time_point start_{};
  std::int64_t sent_ = 0;  // since start_
};

}  // namespace fwd

#endif  // VKRING_FWD_TRAFFIC_HPP
