// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_BUFFER_ARENA_HPP
#define VKRING_MEMORY_BUFFER_ARENA_HPP

// Equal buffers carved from one block of memory: what buffer_pool and registered_memory share.

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/memory/shareable_source.hpp>

namespace vkring::inline v0 {

/// A buffer of an arena: the address of its payload, and in the low bit, which alignment leaves
/// free, whether the header before it is known to be zero.
struct buffer_handle {
  std::uintptr_t bits = 0;  ///< the payload's address in this process, and the mark; 0: no buffer

  /// Whether there is a buffer.
  explicit operator bool() const noexcept { return bits != 0; }
};

/// Buffers of one size in one block of memory; a `buffer_source` that owns no memory of its own.
///
/// Each buffer is an odd number of cache lines, so that the first lines of many buffers do not fall
/// into the same few sets of a cache. Free buffers are reused last in, first out: warm ones first.
///
/// Allocation: in the constructor only. Thread-safety: `take`, `put` and `available` from any thread,
/// under one short lock; queues call them for whole bursts.
class buffer_arena {
 public:
  using handle = buffer_handle;  ///< what `buffer_source` asks for
  /// Bytes of a cache line, which the payload starts on and the header has before it.
  static constexpr std::size_t line = 64;
  /// So the low six bits of an address are free.
  static constexpr std::size_t handle_alignment = line;

  /// Bytes of a block that holds `count` buffers with `capacity` bytes of payload each.
  [[nodiscard]] static constexpr std::size_t bytes(std::size_t count,
                                                   std::uint32_t capacity) noexcept {
    return count * stride(capacity);
  }

  /// Buffers with `capacity` bytes of payload each, as many as fit into `block`, whose first byte
  /// has the guest address `guest`. Precondition: `block` is aligned to a cache line.
  buffer_arena(std::span<std::byte> block, std::uint32_t capacity, std::uint64_t guest)
      : region_{guest, block.data(), block.size()},
        stride_(stride(capacity)),
        mapper_{guest - reinterpret_cast<std::uintptr_t>(block.data()),
                static_cast<std::uint32_t>(stride_ - line)},
        links_(block.size() / stride_) {
    free_.reserve(links_.size());
    for (std::size_t i = links_.size(); i-- != 0;) {
      free_.push_back(handle_of(static_cast<std::uint32_t>(i)));
    }
  }
  buffer_arena(const buffer_arena&) = delete;  // frames and queues point to it
  buffer_arena& operator=(const buffer_arena&) = delete;

  /// Fills `out` with free buffers, warm ones first; returns how many: fewer when there are no
  /// more.
  std::size_t take(std::span<handle> out) noexcept {
    const std::lock_guard lock(mutex_);
    const std::size_t n = out.size() < free_.size() ? out.size() : free_.size();
    for (std::size_t i = 0; i < n; ++i) out[i] = free_[free_.size() - 1 - i];
    free_.resize(free_.size() - n);
    return n;
  }
  /// Takes buffers back, with the mark or without; the last one is the first to go out again.
  void put(std::span<const handle> in) noexcept {
    const std::lock_guard lock(mutex_);
    free_.insert(free_.end(), in.begin(), in.end());  // within the reserved capacity
  }
  /// Buffers that nobody holds now, not counting those in the caches of queues.
  [[nodiscard]] std::size_t available() const noexcept {
    const std::lock_guard lock(mutex_);
    return free_.size();
  }
  /// All buffers.
  [[nodiscard]] std::size_t size() const noexcept { return links_.size(); }
  /// Bytes of payload in each.
  [[nodiscard]] std::uint32_t capacity() const noexcept { return mapper_.capacity; }
  /// The block, with its guest address.
  [[nodiscard]] std::span<const guest_region> regions() const noexcept { return {&region_, 1}; }

  /// Maps handles of one arena; see `buffer_source`.
  struct handle_mapper {
    std::uint64_t guest_minus_host;  ///< what makes a guest address of an address here
    std::uint32_t capacity;          ///< bytes of payload in each buffer

    /// Where the buffer lies; `h` is without the mark.
    [[nodiscard]] mapped_buffer operator()(handle h) const noexcept {
      return {reinterpret_cast<std::byte*>(h.bits), h.bits + guest_minus_host, capacity, line};
    }
  };
  /// Good for as long as the arena.
  [[nodiscard]] handle_mapper mapper() const noexcept { return mapper_; }

  /// How the buffer goes on, in private memory; `h` is without the mark.
  [[nodiscard]] buffer_link<handle>& link(handle h) noexcept {
    return links_[number_of(h)];
  }

  /// Buffers are numbered in the order of their addresses; `h` is without the mark.
  [[nodiscard]] std::uint32_t number_of(handle h) const noexcept {
    return static_cast<std::uint32_t>(
        (h.bits - reinterpret_cast<std::uintptr_t>(region_.host)) / stride_);
  }
  /// The reverse of `number_of`.
  [[nodiscard]] handle handle_of(std::uint32_t number) const noexcept {
    return {reinterpret_cast<std::uintptr_t>(region_.host) + number * stride_ + line};
  }
  /// What another process needs to make the same source over the same memory.
  [[nodiscard]] source_shape shape() const noexcept {
    return {static_cast<std::uint32_t>(size()), capacity(), region_.guest};
  }
  /// Takes the free buffers whose bits are set in `busy`, which has `size()` of them, out of the stock.
  void keep_out(const std::vector<bool>& busy) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase_if(free_, [&](handle h) { return busy[number_of(h)]; });
  }

  /// The mark of a handle.
  [[nodiscard]] static bool plain_header(handle h) noexcept { return (h.bits & 1) != 0; }
  /// The same buffer, with the mark set or cleared.
  [[nodiscard]] static handle with_plain_header(handle h, bool plain) noexcept {
    return {plain ? h.bits | 1 : h.bits & ~std::uintptr_t{1}};
  }

 private:
  [[nodiscard]] static constexpr std::size_t stride(std::uint32_t capacity) noexcept {
    const std::size_t lines = 1 + (std::size_t{capacity} + line - 1) / line;
    return (lines | 1) * line;
  }

  guest_region region_;
  std::size_t stride_;
  handle_mapper mapper_;
  std::vector<buffer_link<handle>> links_;
  std::vector<handle> free_;
  mutable std::mutex mutex_;
};
static_assert(header_reserve <= buffer_arena::line);
static_assert(buffer_source<buffer_arena>);

/// An application's own memory as a source of buffers, the memory staying the application's.
///
/// `block` is aligned to a cache line, outlives the source, and is cut into buffers with `capacity`
/// bytes of payload (and a cache line before it); `guest` is any page-aligned address that no other
/// source of the same device uses.
class registered_memory : public buffer_arena {
 public:
  using buffer_arena::buffer_arena;
};

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_BUFFER_ARENA_HPP
