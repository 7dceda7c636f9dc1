// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_ID_LEDGER_HPP
#define VKRING_RING_ID_LEDGER_HPP

// Which ids of a packed ring are free, and how many descriptors the chains in flight take.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vkring::inline v0 {

/// The account that the driver side of a packed virtqueue keeps in general mode, in private memory.
///
/// In order, a chain has the number of its first descriptor as id, which says where the next one
/// starts. Else ids are taken from a list, first in, first out: a chain that completes early leaves
/// its descriptors to others while its id may still be in use.
/// Thread-safety: one thread. Allocation: in the constructor only.
class id_ledger {
 public:
  /// For a ring of `size` entries; with `in_order` ids are taken in order, too.
  id_ledger(std::uint16_t size, bool in_order) : in_order_(in_order), entries_(size) {}

  /// Starts anew: from descriptor `first` on `busy` chains of one descriptor each, the rest free.
  void restart(std::uint16_t first, std::uint16_t busy) noexcept {
    const auto size = static_cast<std::uint16_t>(entries_.size());
    free_ = static_cast<std::uint16_t>(size - busy);
    for (std::uint32_t i = 0; i < size; ++i) {
      entries_[(first + i) % size] = {static_cast<std::uint16_t>((first + i + 1) % size),
                                      static_cast<std::uint16_t>(i < busy ? 1 : 0)};
    }
    ids_ = free_;
    head_ = static_cast<std::uint16_t>((first + busy) % size);
    tail_ = static_cast<std::uint16_t>((first + size - 1u) % size);
  }
  /// Takes over an account from elsewhere: `ids` are those of the chains in flight, `chains` being
  /// how many descriptors each has; if not in order, the free ones follow as they are to be taken.
  void restore(std::span<const std::uint16_t> chains, std::span<const std::uint16_t> ids) noexcept {
    clear();
    free_ = static_cast<std::uint16_t>(entries_.size());
    for (std::size_t i = 0; i < chains.size(); ++i) {
      entries_[ids[i]].count = chains[i];
      free_ = static_cast<std::uint16_t>(free_ - chains[i]);
    }
    if (in_order_) return;
    for (std::size_t i = 0; i < ids.size(); ++i) entries_[ids[i]].next = ids[(i + 1) % ids.size()];
    ids_ = static_cast<std::uint16_t>(ids.size() - chains.size());
    head_ = ids[chains.size() % ids.size()];
    tail_ = ids.back();
  }
  /// Forgets all chains and has nothing free.
  void clear() noexcept {
    for (entry& each : entries_) each.count = 0;
    free_ = 0;
  }

  /// How many descriptors are free.
  [[nodiscard]] std::uint16_t free() const noexcept { return free_; }
  /// The id of the next chain, which starts at descriptor `slot`.
  [[nodiscard]] std::uint16_t next_id(std::uint16_t slot) const noexcept {
    return in_order_ ? slot : head_;
  }
  /// How many descriptors the chain in flight with this id has; 0 if there is none.
  [[nodiscard]] std::uint16_t count(std::uint16_t id) const noexcept { return entries_[id].count; }
  /// Not in order: calls `visit(id)` for the free ids as they are to be taken.
  template <class Visit>
  void for_each_free_id(Visit&& visit) const {
    std::uint16_t id = head_;
    for (std::uint16_t left = ids_; left != 0; --left, id = entries_[id].next) visit(id);
  }

  /// Gives `count` descriptors, at most `free()`, to a chain with the id `next_id` named.
  void take(std::uint16_t id, std::uint16_t count) noexcept {
    if (!in_order_) {
      head_ = entries_[id].next;
      --ids_;
    }
    entries_[id].count = count;
    free_ = static_cast<std::uint16_t>(free_ - count);
  }
  /// The chain with this id is complete. Returns how many descriptors it had.
  std::uint16_t release(std::uint16_t id) noexcept {
    const std::uint16_t count = entries_[id].count;
    entries_[id].count = 0;
    if (!in_order_) {
      (ids_ == 0 ? head_ : entries_[tail_].next) = id;
      tail_ = id;
      ++ids_;
    }
    free_ = static_cast<std::uint16_t>(free_ + count);
    return count;
  }

  /// Calls `visit` with every word of it.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.free_), visit(self.ids_), visit(self.head_), visit(self.tail_);
    for (auto& each : self.entries_) visit(each.next), visit(each.count);
  }

 private:
  struct entry {
    std::uint16_t next = 0;   // in the list of free ids
    std::uint16_t count = 0;  // descriptors of the chain in flight with this id
  };

  bool in_order_;
  std::vector<entry> entries_;
  std::uint16_t free_ = 0;  // descriptors
  std::uint16_t ids_ = 0;   // in the list
  std::uint16_t head_ = 0;
  std::uint16_t tail_ = 0;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_ID_LEDGER_HPP
