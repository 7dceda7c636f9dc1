// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_LAYOUT_HPP
#define VKRING_RING_LAYOUT_HPP

// What a split ring looks like in memory, and the options that both sides agree on.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vkring/core/error.hpp>
#include <vkring/ring/index.hpp>

namespace vkring::inline v0 {

class split_ring;
class packed_ring;

/// The split virtqueue, virtio 1.3 section 2.7.
struct split {
  using ring_type = split_ring;  ///< where its parts lie
};
/// The packed virtqueue, virtio 1.3 section 2.8.
struct packed {
  using ring_type = packed_ring;  ///< where its parts lie
};

struct driver_side {};  ///< makes buffers available: the application's side of a `device`
struct device_side {};  ///< uses them: vhost-net, the worker

/// Descriptor flags, virtio 1.3 section 2.7.5.
enum descriptor_flag : std::uint16_t {
  descriptor_next = 1,
  descriptor_write = 2,
  descriptor_indirect = 4,
};

/// Notification suppression without event-idx: `avail.flags` and `used.flags` bit 0.
inline constexpr std::uint16_t suppress_notification = 1;

/// A descriptor, virtio 1.3 section 2.7.5: an address, and {le32 length, le16 flags, le16 next} as
/// the one 64-bit word that they are stored with and read as.
struct split_descriptor {
  std::uint64_t address;  ///< of the buffer, as the device knows it
  std::uint64_t rest;     ///< the other three, packed

  /// @{
  /// From the fields to the word `rest`, and back.
  [[nodiscard]] static constexpr std::uint64_t pack(std::uint64_t length, std::uint16_t flags,
                                                    std::uint16_t next = 0) noexcept {
    return length | std::uint64_t{flags} << 32 | std::uint64_t{next} << 48;
  }
  [[nodiscard]] static constexpr std::uint32_t length(std::uint64_t rest) noexcept {
    return static_cast<std::uint32_t>(rest);
  }
  [[nodiscard]] static constexpr std::uint16_t flags(std::uint64_t rest) noexcept {
    return static_cast<std::uint16_t>(rest >> 32);
  }
  [[nodiscard]] static constexpr std::uint16_t next(std::uint64_t rest) noexcept {
    return static_cast<std::uint16_t>(rest >> 48);
  }
  /// @}
};
static_assert(sizeof(split_descriptor) == 16);

/// A used element, virtio 1.3 section 2.7.8.
struct used_element {
  std::uint32_t id;      ///< the first descriptor of the chain
  std::uint32_t length;  ///< bytes that the device wrote into it
};
static_assert(sizeof(used_element) == 8);

/// What the two sides of a ring agreed on. The ring knows no feature bits: this is all it is told.
struct ring_options {
  std::uint16_t size = 256;  ///< entries
  bool event_idx = false;    ///< notifications by index instead of by flag
  bool indirect = false;     ///< chains may lie in a table of their own
  bool in_order = false;     ///< buffers are used in the order in which they were made available
  /// The first position of avail and used; other than 0 in tests and hand-over. On a packed ring: the
  /// descriptors that went by since the ring was fresh (ring/packed_layout.hpp).
  ring_index start{};

  /// The same for a ring of `entries`.
  [[nodiscard]] constexpr ring_options of_size(std::uint16_t entries) const noexcept {
    ring_options other = *this;
    other.size = entries;
    return other;
  }
};

/// The three parts of a split ring, wherever they lie. Source: virtio 1.3 section 2.7.
///
/// A view: owns nothing. `place` lays the parts out in one block, each on a line pair of its own, so
/// that what the driver writes and what the device writes never share one.
class split_ring {
 public:
  /// Bytes, of each part and of the whole block.
  static constexpr std::size_t alignment = 128;
  static constexpr std::uint32_t max_size = 32768;  ///< entries

  split_ring() noexcept = default;

  /// Three parts of a ring of `size` entries. `descriptors` is 16-byte, `avail` 2-byte and `used`
  /// 4-byte aligned; they hold `16 * size`, `6 + 2 * size` and `6 + 8 * size` bytes.
  split_ring(std::byte* descriptors, std::byte* avail, std::byte* used, std::uint16_t size) noexcept
      : descriptors_(reinterpret_cast<split_descriptor*>(descriptors)),
        avail_(reinterpret_cast<std::uint16_t*>(avail)),
        used_(used),
        size_(size) {}

  /// "queue-size=100: a split ring needs a power of two from 1 to 32768", or nothing.
  [[nodiscard]] static result<void> check_size(std::uint64_t size) {
    if (size != 0 && size <= max_size && (size & (size - 1)) == 0) return {};
    return fail(std::errc::invalid_argument, "open", "queue-size=" + std::to_string(size),
                "a split ring needs a power of two from 1 to 32768");
  }

  /// @{
  /// Where the available and the used ring begin in a block of `place`.
  [[nodiscard]] static constexpr std::size_t avail_offset(std::uint16_t size) noexcept {
    return align_up(std::size_t{size} * sizeof(split_descriptor));
  }
  [[nodiscard]] static constexpr std::size_t used_offset(std::uint16_t size) noexcept {
    return avail_offset(size) + align_up(6 + std::size_t{size} * 2);
  }
  /// @}
  /// Bytes of one block that holds the whole ring.
  [[nodiscard]] static constexpr std::size_t bytes(std::uint16_t size) noexcept {
    return used_offset(size) + align_up(6 + std::size_t{size} * sizeof(used_element));
  }
  /// A ring in one block of at least `bytes(size)` bytes, aligned to `alignment`.
  [[nodiscard]] static split_ring place(std::span<std::byte> block, std::uint16_t size) noexcept {
    return {block.data(), block.data() + avail_offset(size), block.data() + used_offset(size),
            size};
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }  ///< entries
  /// `size()` of them.
  [[nodiscard]] split_descriptor* descriptors() const noexcept { return descriptors_; }

  /// @{
  /// `avail.flags`, `avail.idx` and `avail.ring`, which the driver writes.
  [[nodiscard]] std::uint16_t& avail_flags() const noexcept { return avail_[0]; }
  [[nodiscard]] std::uint16_t& avail_index() const noexcept { return avail_[1]; }
  [[nodiscard]] std::uint16_t* avail_entries() const noexcept { return avail_ + 2; }
  /// @}
  /// Where the driver says from which used index on it wants a call.
  [[nodiscard]] std::uint16_t& used_event() const noexcept { return avail_[2 + size_]; }

  /// @{
  /// `used.flags`, `used.idx` and `used.ring`, which the device writes.
  [[nodiscard]] std::uint16_t& used_flags() const noexcept { return used_word(0); }
  [[nodiscard]] std::uint16_t& used_index() const noexcept { return used_word(2); }
  [[nodiscard]] used_element* used_elements() const noexcept {
    return reinterpret_cast<used_element*>(used_ + 4);
  }
  /// @}
  /// Where the device says from which avail index on it wants a kick.
  [[nodiscard]] std::uint16_t& avail_event() const noexcept {
    return used_word(4 + std::size_t{size_} * sizeof(used_element));
  }

 private:
  [[nodiscard]] static constexpr std::size_t align_up(std::size_t n) noexcept {
    return (n + alignment - 1) / alignment * alignment;
  }
  [[nodiscard]] std::uint16_t& used_word(std::size_t offset) const noexcept {
    return *reinterpret_cast<std::uint16_t*>(used_ + offset);
  }

  split_descriptor* descriptors_ = nullptr;
  std::uint16_t* avail_ = nullptr;
  std::byte* used_ = nullptr;
  std::uint16_t size_ = 0;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_LAYOUT_HPP
