// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_CHAIN_HPP
#define VKRING_RING_CHAIN_HPP

// A chain of buffers, as the driver side offers it and as the device side finds it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace vkring::inline v0 {

/// One buffer of a chain on the driver side: what one descriptor says.
struct chain_buffer {
  std::uint64_t address = 0;     ///< as the device knows it (guest-physical)
  std::uint32_t length = 0;      ///< bytes
  bool device_writable = false;  ///< all readable buffers of a chain come before the writable ones
};

/// A chain of one buffer for a burst on the driver side.
template <class Token>
struct burst_buffer {
  std::uint64_t address;  ///< as the device knows it (guest-physical)
  std::uint64_t length;   ///< below 2^32; in 64 bits, as the descriptor is written
  Token token;            ///< what comes back with the chain
};

/// A chain on the device side: checked, translated, ready to be read and written.
///
/// A descriptor that spans several regions of the address space is several pieces. The pieces are
/// valid while the sink runs; the memory behind them until the head is pushed as used.
struct device_chain {
  std::uint16_t head = 0;                          ///< of the chain: what `push` takes back
  std::span<const std::span<std::byte>> readable;  ///< what the driver sends
  std::span<const std::span<std::byte>> writable;  ///< what the driver wants to be filled
};

/// The most pieces that the device side accepts in one chain; the kernel's vhost has the same bound
/// (UIO_MAXIOV).
inline constexpr std::size_t max_chain_pieces = 1024;

/// Where the tables of indirect chains lie: `entries` descriptors for each of the ring's slots, one
/// table after the other, in memory that the device can reach.
struct indirect_tables {
  std::byte* host = nullptr;  ///< 16-byte aligned
  std::uint64_t address = 0;  ///< of the same byte, as the device knows it
  std::uint16_t entries =
      0;  ///< 0: no tables, a chain of several buffers takes several descriptors

  /// Bytes that the tables of a ring of that size take.
  [[nodiscard]] static constexpr std::size_t bytes(std::uint16_t ring_size,
                                                   std::uint16_t entries) noexcept {
    return std::size_t{ring_size} * entries * descriptor_bytes;
  }

  /// Whether a chain of that many buffers goes into a table.
  [[nodiscard]] constexpr bool take(std::size_t buffers) const noexcept {
    return buffers > 1 && buffers <= entries;
  }
  /// Where the table of the chain with that head or id starts, from `host` or `address` on.
  [[nodiscard]] constexpr std::size_t offset(std::uint16_t slot) const noexcept {
    return bytes(slot, entries);
  }
  /// The most buffers that a chain of a ring may have: no device takes more than `max_chain_pieces`.
  /// With tables that may be more than the ring has descriptors, as with the kernel's drivers; virtio
  /// 1.3 sections 2.7.5.3.1 and 2.8.17 forbid that, but the kernel's devices and the worker take it, and
  /// a small ring could not send large frames otherwise.
  [[nodiscard]] constexpr std::uint16_t max_chain(std::uint16_t ring_size) const noexcept {
    const std::uint16_t fits = entries > ring_size ? entries : ring_size;
    return fits < max_chain_pieces ? fits : std::uint16_t{max_chain_pieces};
  }

 private:
  static constexpr std::size_t descriptor_bytes = 16;  // in both layouts
};

/// Whether a side that asked for notifications may now go to sleep.
enum class notification {
  safe_to_sleep,  ///< nothing is pending; the other side notifies about what comes
  more_pending,   ///< something came in the meantime and may not be notified: look again first
};

/// How a driver-side queue stores its chains at the moment.
enum class ring_mode : std::uint8_t {
  fast,     ///< one descriptor a chain, used in ring order
  general,  ///< a free list: direct chains of several descriptors, or completions out of order
};

namespace detail {

// Gives a sink what comes next. False: it returned that, to get no more.
template <class Sink, class... Given>
bool goes_on(Sink& sink, const Given&... given) noexcept {
  if constexpr (std::is_void_v<decltype(sink(given...))>) {
    sink(given...);
    return true;
  } else {
    return sink(given...);
  }
}

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_RING_CHAIN_HPP
