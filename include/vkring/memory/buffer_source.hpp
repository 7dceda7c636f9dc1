// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_BUFFER_SOURCE_HPP
#define VKRING_MEMORY_BUFFER_SOURCE_HPP

// Where the buffers of queues and frames come from and go back to.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vkring/memory/table.hpp>

namespace vkring::inline v0 {

/// Bytes before the payload that are reserved for the virtio-net header, which grows downward from
/// the payload: 12 or 24 bytes today, 32 in drafts of virtio 1.4.
inline constexpr std::uint32_t header_reserve = 32;

/// A buffer, mapped: `[headroom | header | payload]`, the payload on a cache line boundary.
struct mapped_buffer {
  std::byte* payload;      ///< in this process
  std::uint64_t address;   ///< of the payload, as the device knows it (guest-physical)
  std::uint32_t capacity;  ///< bytes from the payload on
  std::uint32_t headroom;  ///< bytes before the payload, `header_reserve` at least
};

/// How a buffer continues a frame: kept by the source in private memory, one for each buffer, and
/// meaningful while the buffer is part of a frame of several buffers.
template <class Handle>
struct buffer_link {
  Handle next{};            ///< the frame's next buffer, if this is not the last
  std::uint32_t size = 0;   ///< bytes of the frame in this buffer
  std::int32_t offset = 0;  ///< where they start, relative to the payload; negative in the headroom
};

/// Buffers for queues.
///
/// `take` fills its span with as many handles as there are and returns how many; `put` takes handles
/// back; `size` is how many buffers there are in all. `mapper()` is a small value that maps a
/// handle without touching the source, so that a loop keeps it in registers. `link` is the source's
/// private account of a buffer. `capacity` is what every buffer holds at least. `regions` is the
/// memory that all buffers lie in, with the guest addresses that `mapper` computes: it goes into
/// the memory table of each device on the source.
///
/// `plain_header(h)` tells whether the bytes reserved for the header are known to be zero, and
/// `with_plain_header` is the same handle with that knowledge: it spares most frames a write to the
/// line before the payload. A source that cannot keep it says false. `mapper` and `link` are for
/// handles without: `with_plain_header(h, false)`.
///
/// A handle is 64 bits. Those without the mark, taken as a number, are multiples of
/// `handle_alignment`, as pointers to buffers are: bit 0 is for the mark, bit 1 for the queues.
///
/// Thread-safety: `take` and `put` from any thread; the rest touches nothing shared.
template <class S>
concept buffer_source = requires(S& source, const S& constant, typename S::handle handle,
                                 std::span<typename S::handle> out,
                                 std::span<const typename S::handle> in) {
  requires std::is_trivially_copyable_v<typename S::handle> && sizeof(handle) == 8;
  requires S::handle_alignment >= 4;
  { source.take(out) }
  noexcept->std::same_as<std::size_t>;
  { source.put(in) }
  noexcept;
  { constant.mapper()(handle) }
  noexcept->std::same_as<mapped_buffer>;
  { source.link(handle) }
  noexcept->std::same_as<buffer_link<typename S::handle>&>;
  { constant.size() }
  noexcept->std::same_as<std::size_t>;
  { constant.capacity() }
  noexcept->std::same_as<std::uint32_t>;
  { constant.regions() }
  noexcept->std::convertible_to<std::span<const guest_region>>;
  { S::plain_header(handle) }
  noexcept->std::same_as<bool>;
  { S::with_plain_header(handle, true) }
  noexcept->std::same_as<typename S::handle>;
};

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_BUFFER_SOURCE_HPP
