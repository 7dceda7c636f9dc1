// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_UNPUBLISHED_HPP
#define VKRING_RING_PACKED_UNPUBLISHED_HPP

// What one side of a packed ring has written and not shown to the other.

#include <cstdint>
#include <utility>
#include <vkring/ring/packed_layout.hpp>

namespace vkring::inline v0 {

/// There is no index that would tell how far a side got: each descriptor tells by itself. So the word
/// of the first new one is kept back and written last, with a release, and shows all that follow it.
/// Both sides do it this way. Thread-safety: one thread.
class packed_unpublished {
 public:
  /// Nothing is kept back yet; `start` is where the side begins.
  explicit packed_unpublished(packed_position start) noexcept : first_(start) {}

  /// Nothing is kept back by a side that goes on at `next`.
  [[nodiscard]] bool is_empty(const packed_position& next) const noexcept { return first_ == next; }
  /// The descriptor whose word is kept back, if one is; in any case the first that was not shown.
  [[nodiscard]] packed_position first() const noexcept { return first_; }
  /// The word that is kept back.
  [[nodiscard]] std::uint64_t first_rest() const noexcept { return first_rest_; }
  /// Keeps back the word of the first new descriptor.
  void keep(std::uint64_t rest) noexcept { first_rest_ = rest; }

  /// All before `next` is about to be shown. With `counted`, `take_untold` will count it.
  void show(const packed_position& next, std::uint16_t size, bool counted) noexcept {
    if (counted) untold_ += next.since(first_, size);
    first_ = next;
  }
  /// How many descriptors were shown since this was last asked, for event-idx.
  [[nodiscard]] std::uint32_t take_untold() noexcept { return std::exchange(untold_, 0); }

  /// Calls `visit` with every word of it.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    packed_position::visit_state(self.first_, visit);
    visit(self.first_rest_), visit(self.untold_);
  }

 private:
  packed_position first_;
  std::uint32_t untold_ = 0;
  std::uint64_t first_rest_ = 0;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_PACKED_UNPUBLISHED_HPP
