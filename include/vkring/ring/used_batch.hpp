// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_USED_BATCH_HPP
#define VKRING_RING_USED_BATCH_HPP

// In-order: what one used entry says of several chains.

#include <cstdint>

namespace vkring::inline v0 {

/// A used entry that stands for all chains up to the one that it names, on the driver side, which
/// takes them back one by one. What was written is known of the last of them alone.
/// Source: virtio 1.3 sections 2.7.9 and 2.8.8.
/// Thread-safety: one thread.
class used_batch {
 public:
  constexpr used_batch() noexcept = default;
  /// `chains` of them, `written` bytes having been written to the last one.
  constexpr used_batch(std::uint16_t chains, std::uint32_t written) noexcept
      : left_(chains), written_(written) {}

  /// Chains that are still to be taken back.
  [[nodiscard]] constexpr std::uint16_t left() const noexcept { return left_; }
  /// What was written to the last of them.
  [[nodiscard]] constexpr std::uint32_t written() const noexcept { return written_; }

  /// Takes one back, there being one; returns what was written to it: `full` if that is not known.
  constexpr std::uint32_t take(std::uint32_t full) noexcept {
    --left_;
    return left_ == 0 ? written_ : full;
  }

  /// Calls `visit` with every word of it.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.left_), visit(self.written_);
  }

 private:
  std::uint16_t left_ = 0;
  std::uint32_t written_ = 0;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_USED_BATCH_HPP
