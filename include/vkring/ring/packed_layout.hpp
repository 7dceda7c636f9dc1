// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_PACKED_LAYOUT_HPP
#define VKRING_RING_PACKED_LAYOUT_HPP

// What a packed ring looks like in memory, and how its positions are counted.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vkring/core/error.hpp>
#include <vkring/ring/index.hpp>
#include <vkring/ring/layout.hpp>

namespace vkring::inline v0 {

/// A descriptor, virtio 1.3 section 2.8.13: an address, and {le32 length, le16 id, le16 flags} as the
/// one 64-bit word that it is stored with and read as. Both sides write that word in turn.
struct packed_descriptor {
  std::uint64_t address;  ///< of the buffer, as the device knows it
  std::uint64_t rest;     ///< the other three, packed

  /// Flags beside those of `descriptor_flag`, virtio 1.3 section 2.8.1.
  static constexpr std::uint16_t avail_flag = 0x0080;
  /// Like `avail_flag` or unlike, by whether it was used in this lap.
  static constexpr std::uint16_t used_flag = 0x8000;

  /// What to add to `rest` for the next higher id.
  static constexpr std::uint64_t next_id = std::uint64_t{1} << 32;

  /// @{
  /// From the fields to the word `rest`, and back.
  [[nodiscard]] static constexpr std::uint64_t pack(std::uint64_t length, std::uint64_t id,
                                                    std::uint16_t flags) noexcept {
    return length | id << 32 | std::uint64_t{flags} << 48;
  }
  [[nodiscard]] static constexpr std::uint32_t length(std::uint64_t rest) noexcept {
    return static_cast<std::uint32_t>(rest);
  }
  [[nodiscard]] static constexpr std::uint16_t id(std::uint64_t rest) noexcept {
    return static_cast<std::uint16_t>(rest >> 32);
  }
  [[nodiscard]] static constexpr std::uint16_t flags(std::uint64_t rest) noexcept {
    return static_cast<std::uint16_t>(rest >> 48);
  }
  /// @}
};
static_assert(sizeof(packed_descriptor) == 16);

/// Where a side is in a packed ring: a descriptor and the side's wrap counter.
///
/// As `ring_options::start` it is the number of descriptors that went by since the ring was fresh,
/// modulo twice its size: what is beyond the size is the second lap, with the wrap counter at 0.
/// So 0 is the start of a fresh ring, whose wrap counters are 1. Source: virtio 1.3 section 2.8.1.
class packed_position {
 public:
  constexpr packed_position() noexcept = default;
  /// Where `start` is, as in `ring_options::start`, on a ring of `size` descriptors.
  constexpr packed_position(ring_index start, std::uint16_t size) noexcept
      : slot_(start.value() % size), used_(start.value() / size % 2 == 0 ? both : 0) {}

  /// The first descriptor of a lap.
  constexpr explicit packed_position(bool wrap) noexcept : used_(wrap ? both : 0) {}

  /// The descriptor, below the ring's size.
  [[nodiscard]] constexpr std::uint16_t slot() const noexcept { return slot_; }
  [[nodiscard]] constexpr bool wrap() const noexcept { return used_ != 0; }  ///< the wrap counter
  /// What marks a descriptor here as available, and as used.
  [[nodiscard]] constexpr std::uint16_t available() const noexcept {
    return used_ ^ packed_descriptor::used_flag;
  }
  /// See `available`.
  [[nodiscard]] constexpr std::uint16_t used() const noexcept { return used_; }
  /// Whether the driver made the descriptor here available in this lap, going by its word.
  [[nodiscard]] constexpr bool is_available(std::uint64_t rest) const noexcept {
    return (packed_descriptor::flags(rest) & both) == available();
  }
  /// Whether the device used it in this lap.
  [[nodiscard]] constexpr bool is_used(std::uint64_t rest) const noexcept {
    return (packed_descriptor::flags(rest) & both) == used();
  }
  /// The slot with the wrap counter in bit 15: as event words and VHOST_SET_VRING_BASE have it.
  [[nodiscard]] constexpr std::uint16_t word() const noexcept {
    return static_cast<std::uint16_t>(slot_ | (wrap() ? 0x8000 : 0));
  }
  /// As `ring_options::start`.
  [[nodiscard]] constexpr ring_index start(std::uint16_t size) const noexcept {
    return ring_index(slot_ + (wrap() ? 0u : size));
  }

  /// Goes `n` descriptors on, at most `size`.
  constexpr void advance(std::uint32_t n, std::uint16_t size) noexcept {
    std::uint32_t to = slot_ + n;
    if (to >= size) [[unlikely]] {
      to -= size;
      used_ ^= both;
    }
    slot_ = static_cast<std::uint16_t>(to);
  }
  /// Goes `n` descriptors back, at most `size`.
  constexpr void go_back(std::uint32_t n, std::uint16_t size) noexcept {
    std::uint32_t from = slot_;
    if (n > from) [[unlikely]] {
      from += size;
      used_ ^= both;
    }
    slot_ = static_cast<std::uint16_t>(from - n);
  }
  /// The position `n` descriptors further on, at most a lap.
  [[nodiscard]] constexpr packed_position plus(std::uint32_t n, std::uint16_t size) const noexcept {
    packed_position to = *this;
    to.advance(n, size);
    return to;
  }
  /// How many descriptors `from` has to go on to get here, less than two laps.
  [[nodiscard]] constexpr std::uint32_t since(packed_position from,
                                              std::uint16_t size) const noexcept {
    const std::uint32_t to = start(size).value(), first = from.start(size).value();
    return to >= first ? to - first : to + 2u * size - first;
  }
  friend constexpr bool operator==(packed_position, packed_position) noexcept = default;

  /// Calls `visit` with every word of it.
  template <class Self, class Visit>
  static void visit_state(Self& self, Visit&& visit) {
    visit(self.slot_), visit(self.used_);
  }

 private:
  static constexpr std::uint16_t both =
      packed_descriptor::avail_flag | packed_descriptor::used_flag;

  std::uint16_t slot_ = 0;
  std::uint16_t used_ = both;  // the wrap counter as the flags of a used descriptor
};

/// An event suppression structure, virtio 1.3 section 2.8.14: {le16 position, le16 flags} as the one
/// 32-bit word that it is stored with and read as, so that the two always belong together.
struct packed_event {
  enum : std::uint16_t { enable = 0, disable = 1, at_descriptor = 2 };

  /// The word with these fields.
  [[nodiscard]] static constexpr std::uint32_t pack(std::uint16_t position,
                                                    std::uint16_t flags) noexcept {
    return position | std::uint32_t{flags} << 16;
  }

  /// Whether the side that stored `word` wants to hear of anything at all. A flag that means nothing
  /// counts as `enable`: once too often does no harm.
  [[nodiscard]] static constexpr bool is_enabled(std::uint32_t word) noexcept {
    return word >> 16 != disable;
  }
  /// With event-idx: whether it wants to hear of a move of `moved` descriptors to `now`.
  [[nodiscard]] static constexpr bool wanted(std::uint32_t word, packed_position now,
                                             std::uint32_t moved, std::uint16_t size) noexcept {
    if (word >> 16 != at_descriptor) return is_enabled(word);
    // Both counted in descriptors over two laps, after which slot and wrap counter come again.
    const std::uint32_t lap = 2u * size;
    const std::uint32_t event = ((word & 0x7fff) + ((word & 0x8000) != 0 ? 0u : size)) % lap;
    const std::uint32_t behind = (now.start(size).value() + lap - event - 1) % lap;
    return behind < moved;
  }
};

/// The three parts of a packed ring, wherever they lie. Source: virtio 1.3 section 2.8.
///
/// A view: owns nothing. `place` lays the parts out in one block, each on a line pair of its own.
class packed_ring {
 public:
  /// Bytes, of each part and of the whole block.
  static constexpr std::size_t alignment = 128;
  static constexpr std::uint32_t max_size = 32768;  ///< descriptors

  packed_ring() noexcept = default;

  /// Three parts of a ring of `size` entries: `16 * size` bytes of descriptors, 16-byte aligned, and
  /// two event structures of 4 bytes, 4-byte aligned.
  packed_ring(std::byte* descriptors, std::byte* driver_event, std::byte* device_event,
              std::uint16_t size) noexcept
      : descriptors_(reinterpret_cast<packed_descriptor*>(descriptors)),
        driver_event_(reinterpret_cast<std::uint32_t*>(driver_event)),
        device_event_(reinterpret_cast<std::uint32_t*>(device_event)),
        size_(size) {}

  /// "queue-size=0: a packed ring has 1 to 32768 entries", or nothing.
  [[nodiscard]] static result<void> check_size(std::uint64_t size) {
    if (size != 0 && size <= max_size) return {};
    return fail(std::errc::invalid_argument, "open", "queue-size=" + std::to_string(size),
                "a packed ring has 1 to 32768 entries");
  }

  /// @{
  /// Where the event structures begin in a block of `place`.
  [[nodiscard]] static constexpr std::size_t driver_event_offset(std::uint16_t size) noexcept {
    const std::size_t end = std::size_t{size} * sizeof(packed_descriptor);
    return (end + alignment - 1) / alignment * alignment;
  }
  [[nodiscard]] static constexpr std::size_t device_event_offset(std::uint16_t size) noexcept {
    return driver_event_offset(size) + alignment;
  }
  /// @}
  /// Bytes of one block that holds the whole ring.
  [[nodiscard]] static constexpr std::size_t bytes(std::uint16_t size) noexcept {
    return device_event_offset(size) + alignment;
  }
  /// A ring in one block of at least `bytes(size)` bytes, aligned to `alignment`.
  [[nodiscard]] static packed_ring place(std::span<std::byte> block, std::uint16_t size) noexcept {
    return {block.data(), block.data() + driver_event_offset(size),
            block.data() + device_event_offset(size), size};
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return size_; }  ///< descriptors
  /// `size()` of them.
  [[nodiscard]] packed_descriptor* descriptors() const noexcept { return descriptors_; }
  /// Where the driver says from which used descriptor on it wants a call.
  [[nodiscard]] std::uint32_t& driver_event() const noexcept { return *driver_event_; }
  /// Where the device says from which available descriptor on it wants a kick.
  [[nodiscard]] std::uint32_t& device_event() const noexcept { return *device_event_; }

 private:
  packed_descriptor* descriptors_ = nullptr;
  std::uint32_t* driver_event_ = nullptr;
  std::uint32_t* device_event_ = nullptr;
  std::uint16_t size_ = 0;
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_PACKED_LAYOUT_HPP
