// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_MODE_SWITCH_HPP
#define VKRING_RING_MODE_SWITCH_HPP

// When the driver side of a ring changes over between fast and general mode.

#include <cstdint>
#include <vkring/core/counter.hpp>
#include <vkring/ring/chain.hpp>

namespace vkring::inline v0 {

/// The mode of a driver side. The way into general mode and back costs work for each entry of the
/// ring: it is taken back after as many chains.
/// Thread-safety: one thread; the counts are for any.
class mode_switch {
 public:
  mode_switch() noexcept = default;
  /// Goes on in a mode that was entered before, `left` chains having yet to pay for the way back.
  mode_switch(ring_mode mode, std::uint16_t left, std::uint64_t general_entries,
              std::uint64_t fast_entries) noexcept
      : mode_(mode), until_fast_(left) {
    general_entries_.add(general_entries);
    fast_entries_.add(fast_entries);
  }

  [[nodiscard]] ring_mode mode() const noexcept { return mode_; }  ///< in which the queue is
  /// In fast mode.
  [[nodiscard]] bool is_fast() const noexcept { return mode_ == ring_mode::fast; }
  /// How often general mode was entered, and fast mode again.
  [[nodiscard]] std::uint64_t general_entries() const noexcept { return general_entries_.value(); }
  /// See `general_entries`.
  [[nodiscard]] std::uint64_t fast_entries() const noexcept { return fast_entries_.value(); }
  /// General mode: chains that have yet to pay for the switches.
  [[nodiscard]] std::uint16_t until_fast() const noexcept { return until_fast_; }
  [[nodiscard]] bool is_paid() const noexcept { return until_fast_ == 0; }  ///< nothing left to pay

  /// Leaves fast mode, on a ring of `size` entries.
  void leave_fast(std::uint16_t size) noexcept {
    seal(size);
    general_entries_.add(1);
  }
  /// A chain came back in general mode.
  void pay() noexcept {
    if (until_fast_ != 0) --until_fast_;
  }
  /// Goes back to fast mode.
  void enter_fast() noexcept {
    mode_ = ring_mode::fast;
    fast_entries_.add(1);
  }
  /// Ends in general mode: nothing comes back any more.
  void seal(std::uint16_t size) noexcept {
    mode_ = ring_mode::general;
    until_fast_ = size;
  }

  /// Calls `visit` with every word that decides anything.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.mode_), visit(self.until_fast_);
  }

 private:
  ring_mode mode_ = ring_mode::fast;
  std::uint16_t until_fast_ = 0;
  counter general_entries_;
  counter fast_entries_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_MODE_SWITCH_HPP
