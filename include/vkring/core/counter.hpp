// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_COUNTER_HPP
#define VKRING_CORE_COUNTER_HPP

// A statistics counter with one writer and any number of readers.

#include <atomic>
#include <cstdint>

namespace vkring::inline v0 {

/// Counts events on the hot path without a locked instruction.
///
/// Thread-safety: one thread at a time calls `add`; any thread calls `value` at any time and sees
/// some recent count, never a torn one. It orders nothing else.
class counter {
 public:
  constexpr counter() noexcept = default;
  /// @{
  /// A copy has the other's count of this moment, and counts on its own from there.
  counter(const counter& other) noexcept : count_(other.value()) {}
  counter& operator=(const counter& other) noexcept {
    count_.store(other.value(), std::memory_order_relaxed);
    return *this;
  }
  /// @}

  /// For the one thread that counts.
  [[gnu::always_inline]] void add(std::uint64_t n) noexcept {
    // Load and store instead of fetch_add: with one writer nothing can come between them.
    count_.store(count_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  /// For any thread: a recent count.
  [[nodiscard]] std::uint64_t value() const noexcept {
    return count_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace vkring::inline v0

#endif  // VKRING_CORE_COUNTER_HPP
