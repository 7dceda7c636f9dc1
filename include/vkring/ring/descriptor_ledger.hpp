// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_DESCRIPTOR_LEDGER_HPP
#define VKRING_RING_DESCRIPTOR_LEDGER_HPP

// Which descriptors of a split ring are free, and which belong to a chain in flight.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>
#include <vkring/ring/index.hpp>

namespace vkring::inline v0 {

/// The account that the driver side of a split virtqueue keeps in general mode, in private memory.
///
/// Free descriptors are taken first in, first out. So while chains complete in the order in which
/// they were added, descriptors stay in ring order, as virtio 1.3 section 2.7.9 (in-order) demands.
/// Thread-safety: one thread. Allocation: in the constructor only.
class descriptor_ledger {
 public:
  /// For a ring of `size` entries; to be started by `restart` or `restore`.
  explicit descriptor_ledger(std::uint16_t size) : entries_(size) {}

  /// Starts anew: from position `used` on `busy` chains of one descriptor each, the rest free.
  void restart(ring_index used, std::uint16_t busy) noexcept {
    const auto size = static_cast<std::uint16_t>(entries_.size());
    const auto mask = static_cast<std::uint16_t>(size - 1);
    oldest_ = used.slot(mask);
    free_ = static_cast<std::uint16_t>(size - busy);
    free_head_ = (used + busy).slot(mask);
    free_tail_ = (used + 0xffff).slot(mask);
    for (std::uint16_t i = 0; i < size; ++i) {
      entries_[i] = {(ring_index(i) + 1).slot(mask), std::uint16_t{0}};
    }
    for (std::uint16_t i = 0; i < busy; ++i) entries_[(used + i).slot(mask)].count = 1;
  }
  /// Takes over an account from elsewhere: `order` names each descriptor once, first those of the
  /// chains in flight, `chains` being how many each has, then the free ones as they are to be
  /// taken.
  void restore(std::span<const std::uint16_t> chains,
               std::span<const std::uint16_t> order) noexcept {
    for (std::size_t i = 0; i < order.size(); ++i) {
      entries_[order[i]] = {order[(i + 1) % order.size()], std::uint16_t{0}};
    }
    std::size_t busy = 0;
    for (const std::uint16_t count : chains) {
      entries_[order[busy]].count = count;
      busy += count;
    }
    oldest_ = order.front();
    free_ = static_cast<std::uint16_t>(order.size() - busy);
    free_head_ = order[busy % order.size()];
    free_tail_ = order.back();
  }
  /// Forgets all chains and has nothing free.
  void clear() noexcept {
    for (entry& each : entries_) each.count = 0;
    free_ = 0;
  }

  /// How many descriptors are free.
  [[nodiscard]] std::uint16_t free() const noexcept { return free_; }
  /// Where the next chain starts.
  [[nodiscard]] std::uint16_t first_free() const noexcept { return free_head_; }
  /// The descriptor after this one in its chain or in the free list.
  [[nodiscard]] std::uint16_t after(std::uint16_t descriptor) const noexcept {
    return entries_[descriptor].next;
  }
  /// How many descriptors the chain has that starts at this one; 0 if none in flight does.
  [[nodiscard]] std::uint16_t chain_length(std::uint16_t head) const noexcept {
    return entries_[head].count;
  }
  /// Where the oldest chain in flight starts, as long as chains complete in order.
  [[nodiscard]] std::uint16_t oldest() const noexcept { return oldest_; }

  /// Makes the first `count` free descriptors, at most `free()`, a chain that starts at `first_free()`.
  void take(std::uint16_t count) noexcept {
    entries_[free_head_].count = count;
    for (std::uint16_t i = 0; i < count; ++i) free_head_ = entries_[free_head_].next;
    free_ = static_cast<std::uint16_t>(free_ - count);
  }
  /// The chain that starts at `head` is complete: its descriptors go to the end of the free list.
  void release(std::uint16_t head) noexcept {
    const std::uint16_t count = entries_[head].count;
    std::uint16_t last = head;
    for (std::uint16_t i = 1; i < count; ++i) last = entries_[last].next;
    if (free_ == 0) {
      free_head_ = head;
    } else {
      entries_[free_tail_].next = head;
    }
    oldest_ = entries_[last].next;
    free_tail_ = last;
    free_ = static_cast<std::uint16_t>(free_ + count);
    entries_[head].count = 0;
  }

  /// Calls `visit` with every word of it.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.oldest_), visit(self.free_), visit(self.free_head_), visit(self.free_tail_);
    for (auto& each : self.entries_) visit(each.next), visit(each.count);
  }

 private:
  struct entry {
    std::uint16_t next = 0;
    std::uint16_t count = 0;  // descriptors of the chain in flight that starts here
  };

  std::vector<entry> entries_;
  std::uint16_t oldest_ = 0;
  std::uint16_t free_ = 0;
  std::uint16_t free_head_ = 0;
  std::uint16_t free_tail_ = 0;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_DESCRIPTOR_LEDGER_HPP
