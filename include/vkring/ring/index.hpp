// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_INDEX_HPP
#define VKRING_RING_INDEX_HPP

// The free-running 16-bit ring index and the only arithmetic that is right on it.

#include <cstdint>

namespace vkring::inline v0 {

/// A position in a split ring's avail or used ring, counted modulo 65536 and never modulo the size.
///
/// `uint16_t` promotes to `int`, so a difference written by hand can come out negative; here it
/// cannot. Source: virtio 1.3 section 2.7.6 and 2.7.8.
class ring_index {
 public:
  constexpr ring_index() noexcept = default;
  constexpr explicit ring_index(std::uint32_t value) noexcept  ///< modulo 65536
      : value_(static_cast<std::uint16_t>(value)) {}

  /// From 0 to 65535.
  [[nodiscard]] constexpr std::uint16_t value() const noexcept { return value_; }

  /// The entry that this position falls on in a ring of `mask + 1` entries.
  [[nodiscard]] constexpr std::uint16_t slot(std::uint16_t mask) const noexcept {
    return value_ & mask;
  }

  /// Goes on by `n`.
  constexpr ring_index& operator+=(std::uint32_t n) noexcept {
    value_ = static_cast<std::uint16_t>(value_ + n);
    return *this;
  }
  /// The index `n` further on.
  friend constexpr ring_index operator+(ring_index index, std::uint32_t n) noexcept {
    return index += n;
  }
  /// How far `from` has to go forward to reach `to`.
  friend constexpr std::uint16_t operator-(ring_index to, ring_index from) noexcept {
    return static_cast<std::uint16_t>(to.value_ - from.value_);
  }
  friend constexpr bool operator==(ring_index, ring_index) noexcept = default;

 private:
  std::uint16_t value_ = 0;
};

/// Whether a move from `before` to `now` passed `event`, so that the other side asked to be told.
/// Source: virtio 1.3 section 2.7.10.1.
[[nodiscard]] constexpr bool passed(ring_index event, ring_index now, ring_index before) noexcept {
  return static_cast<std::uint16_t>((now - event) - 1) < now - before;
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_INDEX_HPP
