// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_SLOT_FRAME_HPP
#define VKRING_QUEUE_SLOT_FRAME_HPP

// A frame in a buffer that stays in its ring.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/net/header.hpp>

namespace vkring::inline v0 {

namespace detail {
struct slot_access;
}

/// One buffer of a slot queue, with the frame in it. It belongs to the queue, which says when it is
/// the application's to use.
class slot_frame {
 public:
  /// The frame's bytes; where there is no frame yet, none.
  [[nodiscard]] std::span<std::byte> payload() const noexcept { return {payload_, size()}; }
  /// Bytes of payload.
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(extent_); }
  /// All bytes of the buffer, for the frame that is going to be in it.
  [[nodiscard]] std::span<std::byte> buffer() const noexcept { return {payload_, capacity_}; }

  /// Sets the number of payload bytes. False, and nothing is changed: more than `buffer()` has.
  bool resize(std::uint32_t size) noexcept {
    if (size > capacity_) return false;
    extent_ = (extent_ & flags) | size;
    return true;
  }

  /// The offload header: copied out and checked once when the frame was received.
  [[nodiscard]] virtio_net_hdr header() const noexcept {
    return (extent_ & offload) != 0 ? header_ : virtio_net_hdr{};
  }
  /// What to send the frame with; a frame for which this is not called has nothing left to do.
  /// Checked by `commit`.
  void set_header(const virtio_net_hdr& header) noexcept {
    header_ = header;
    extent_ = header.is_plain() ? extent_ & ~offload : extent_ | offload;
  }

 private:
  friend struct detail::slot_access;
  // extent_: the size in the low half and two flags on top, so that one comparison asks for all that
  // a frame has to be to be sent in the simplest way: `header_` means something; the header in
  // memory is one that an earlier frame left behind.
  static constexpr std::uint64_t offload = std::uint64_t{1} << 62;
  static constexpr std::uint64_t stale_header = std::uint64_t{1} << 63;
  static constexpr std::uint64_t flags = offload | stale_header;

  std::byte* payload_ = nullptr;
  std::uint64_t extent_ = 0;
  virtio_net_hdr header_;
  std::uint64_t address_ = 0;  // of the payload, as the device knows it
  std::uint32_t capacity_ = 0;
};

namespace detail {

struct slot_access {
  static constexpr std::uint64_t offload = slot_frame::offload;
  static constexpr std::uint64_t stale_header = slot_frame::stale_header;
  // No frame has such an extent: instead of one in a buffer whose frame was dropped.
  static constexpr std::uint64_t dropped = ~std::uint64_t{0};

  static std::byte*& payload(slot_frame& f) noexcept { return f.payload_; }
  static std::uint64_t& extent(slot_frame& f) noexcept { return f.extent_; }
  static virtio_net_hdr& header(slot_frame& f) noexcept { return f.header_; }
  static std::uint64_t& address(slot_frame& f) noexcept { return f.address_; }
  static std::uint32_t& capacity(slot_frame& f) noexcept { return f.capacity_; }
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_SLOT_FRAME_HPP
