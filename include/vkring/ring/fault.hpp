// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_FAULT_HPP
#define VKRING_RING_FAULT_HPP

// What the other side of a ring can do wrong, by name.

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vkring/core/probe.hpp>
#include <vkring/core/set_once.hpp>

namespace vkring::inline v0 {

/// A breach of the ring's rules by the other side. The queue that met one is broken: it hands out
/// and accepts nothing more, while every other queue keeps running.
enum class ring_fault : std::uint8_t {
  none,
  // by the device, found on the driver side
  used_index_jump,   ///< used more buffers than were available
  used_id_range,     ///< a used id that is not below the queue size
  used_id_not_head,  ///< a used id that is not the head of a chain in flight
  used_id_order,     ///< in-order negotiated, and a used id out of order
  used_length,       ///< more bytes written than the buffer has room for, or fewer than a header
  num_buffers,       ///< a frame over no buffers, or over more than were used with it
  // by the driver, found on the device side
  avail_index_jump,         ///< made more chains available than the ring has entries
  head_range,               ///< an avail entry, or a packed chain's id, not below the queue size
  next_range,               ///< a descriptor's next that is not below the queue size
  chain_too_long,           ///< a loop, or more descriptors than a chain may have
  chain_too_large,          ///< more than 2^32 - 1 bytes in one chain
  readable_after_writable,  ///< the device-readable descriptors have to come first
  address_refused,          ///< a buffer or a table that is not within the address space
  indirect_refused,         ///< an indirect descriptor that was not negotiated, or inside a table
  indirect_with_next,       ///< a descriptor both INDIRECT and NEXT; packed: INDIRECT in a chain
  indirect_length,          ///< a table that is empty or not a multiple of 16 bytes
  buffer_too_small,         ///< a buffer that cannot even hold a header
  checksum_beyond_end,      ///< a frame to send without room for the checksum that it asks for
  chain_direction,     ///< device-writable where the queue carries readable buffers, or the reverse
  next_not_available,  ///< packed: a chain that goes on in a descriptor that is not marked available
  id_in_use,           ///< packed: the id of a chain that is out already
  device_error,        ///< the device says that something is wrong, and the ring does not show what
};

/// The name of a fault, as errors, statistics and JSON print it.
[[nodiscard]] constexpr std::string_view name(ring_fault fault) noexcept {
  switch (fault) {
    case ring_fault::none:
      return "none";
    case ring_fault::used_index_jump:
      return "used_index_jump";
    case ring_fault::used_id_range:
      return "used_id_range";
    case ring_fault::used_id_not_head:
      return "used_id_not_head";
    case ring_fault::used_id_order:
      return "used_id_order";
    case ring_fault::used_length:
      return "used_length";
    case ring_fault::num_buffers:
      return "num_buffers";
    case ring_fault::avail_index_jump:
      return "avail_index_jump";
    case ring_fault::head_range:
      return "head_range";
    case ring_fault::next_range:
      return "next_range";
    case ring_fault::chain_too_long:
      return "chain_too_long";
    case ring_fault::chain_too_large:
      return "chain_too_large";
    case ring_fault::readable_after_writable:
      return "readable_after_writable";
    case ring_fault::address_refused:
      return "address_refused";
    case ring_fault::indirect_refused:
      return "indirect_refused";
    case ring_fault::indirect_with_next:
      return "indirect_with_next";
    case ring_fault::indirect_length:
      return "indirect_length";
    case ring_fault::buffer_too_small:
      return "buffer_too_small";
    case ring_fault::checksum_beyond_end:
      return "checksum_beyond_end";
    case ring_fault::chain_direction:
      return "chain_direction";
    case ring_fault::next_not_available:
      return "next_not_available";
    case ring_fault::id_in_use:
      return "id_in_use";
    case ring_fault::device_error:
      return "device_error";
  }
  return "unknown";
}

/// A fault, where it was met and the value that gave it away.
struct ring_breach {
  ring_fault fault = ring_fault::none;  ///< by name
  std::uint16_t position = 0;           ///< the ring index, or the head of the chain, at fault
  std::uint64_t value = 0;              ///< the offending index, id, length or address

  /// Whether there is a fault.
  explicit operator bool() const noexcept { return fault != ring_fault::none; }
};

/// The head of the chain that a breach is about, where it says so itself. It may be any number.
[[nodiscard]] constexpr std::optional<std::uint64_t> head_of(const ring_breach& breach) noexcept {
  switch (breach.fault) {
    case ring_fault::none:
    case ring_fault::used_index_jump:
    case ring_fault::avail_index_jump:
    case ring_fault::used_id_range:
    case ring_fault::head_range:
    case ring_fault::used_length:
    case ring_fault::num_buffers:
      return std::nullopt;
    case ring_fault::used_id_not_head:
    case ring_fault::used_id_order:
    case ring_fault::device_error:
      return breach.value;
    default:
      return breach.position;
  }
}

namespace detail {

// The first breach of a ring stays, and is shown to whoever traces it.
inline void keep_breach(set_once<ring_breach>& kept, const ring_breach& met,
                        const void* ring) noexcept {
  if (!kept.set(met)) return;
  probe::broken(ring, static_cast<unsigned>(met.fault), met.position, met.value);
}

[[nodiscard]] inline std::string hex(std::uint64_t value) {
  char digits[16];
  return "0x" + std::string(digits, std::to_chars(digits, digits + sizeof digits, value, 16).ptr);
}

}  // namespace detail

/// `descriptor 5: address_refused, value 0x1000`, `position 17: used_id_range, value 0x100`, or
/// `none`. Allocation: the text.
[[nodiscard]] inline std::string to_text(const ring_breach& breach) {
  const std::string fault(name(breach.fault));
  if (!breach) return fault;
  const auto head = head_of(breach);
  return (head ? "descriptor " + std::to_string(*head)
               : "position " + std::to_string(breach.position)) +
         ": " + fault + ", value " + detail::hex(breach.value);
}

}  // namespace vkring::inline v0

#endif  // VKRING_RING_FAULT_HPP
