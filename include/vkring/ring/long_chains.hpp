// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_LONG_CHAINS_HPP
#define VKRING_RING_LONG_CHAINS_HPP

// Which of the chains that a packed ring's device side has out take several descriptors.

#include <cstdint>
#include <vector>

namespace vkring::inline v0 {

/// The account that the device side of a packed virtqueue keeps, in private memory: by id, how many
/// descriptors a chain takes, and by descriptor, where a chain starts and ends. Chains of one
/// descriptor are not in it, so that who meets no others need not look.
///
/// Thread-safety: one thread. Allocation: in the constructor only.
class long_chains {
 public:
  /// None yet, on a ring of `size` descriptors.
  explicit long_chains(std::uint16_t size) : size_(size), entries_(size) {}

  /// How many there are.
  [[nodiscard]] std::uint16_t count() const noexcept { return count_; }
  /// Whether the chain with this id is in here: has more than one descriptor.
  [[nodiscard]] bool contains(std::uint16_t id) const noexcept { return entries_[id].length != 0; }
  /// A chain of `length` descriptors from `first` on; its id is below the size and not in here.
  void add(std::uint16_t id, std::uint16_t first, std::uint16_t length) noexcept {
    if (length == 1) {
      // Another one may have been here a lap ago, and still be out.
      entries_[first].starts = entries_[first].ends = none;
      return;
    }
    ++count_;
    entries_[id].length = length;
    entries_[id].first = first;
    entries_[first].starts = id;
    entries_[last(first, length)].ends = id;
  }
  /// The chain with this id is not out any more. Returns how many descriptors it took.
  std::uint16_t remove(std::uint16_t id) noexcept {
    if (!contains(id)) return 1;
    --count_;
    const std::uint16_t length = entries_[id].length;
    const std::uint16_t first = entries_[id].first;
    entries_[id].length = 0;
    if (entries_[first].starts == id) entries_[first].starts = none;
    if (entries_[last(first, length)].ends == id) entries_[last(first, length)].ends = none;
    return length;
  }
  /// The same for the chain that starts at this descriptor, and for the one that ends there.
  std::uint16_t remove_from(std::uint16_t slot) noexcept {
    return entries_[slot].starts == none ? std::uint16_t{1} : remove(entries_[slot].starts);
  }
  /// See `remove_from`.
  std::uint16_t remove_to(std::uint16_t slot) noexcept {
    return entries_[slot].ends == none ? std::uint16_t{1} : remove(entries_[slot].ends);
  }

  /// Calls `visit` with every word of it.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.count_);
    for (auto& each : self.entries_) visit(each);
  }

 private:
  static constexpr std::uint16_t none = 0xffff;

  struct entry {
    std::uint16_t length = 0;     // of the chain with this id, if that is a long one
    std::uint16_t first = 0;      // descriptor of it
    std::uint16_t starts = none;  // the id of the chain that starts at this descriptor
    std::uint16_t ends = none;    // the id of the chain that ends at this descriptor
  };

  [[nodiscard]] std::uint16_t last(std::uint16_t first, std::uint16_t length) const noexcept {
    return static_cast<std::uint16_t>((first + length - 1u) % size_);
  }

  std::uint16_t size_;
  std::uint16_t count_ = 0;
  std::vector<entry> entries_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_LONG_CHAINS_HPP
