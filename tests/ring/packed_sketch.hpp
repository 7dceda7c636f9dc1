// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_PACKED_SKETCH_HPP
#define VKRING_TESTS_RING_PACKED_SKETCH_HPP

// What the packed virtqueue will declare, so that the concepts are known to fit it before it exists.
// Nothing here is defined; ring/packed.hpp takes its place.

#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

/// A descriptor ring and two event words, virtio 1.3 section 2.8. Any size from 1 to 32768.
class packed_ring;

/// Buffers have ids instead of heads: the id comes out of a private free list and its account holds
/// the descriptors that the chain takes. Fast mode: id k in descriptor k.
template <ring_token Token, class Access>
class virtqueue<packed, driver_side, Token, Access> {
 public:
  using token_type = Token;
  using layout_type = packed;

  /// `options.start` holds the wrap counter in bit 15, as VHOST_SET_VRING_BASE does.
  virtqueue(const packed_ring& ring, const ring_options& options, indirect_tables tables = {},
            std::uint32_t max_written = UINT32_MAX);

  [[nodiscard]] std::uint16_t size() const noexcept;
  [[nodiscard]] ring_mode mode() const noexcept;
  [[nodiscard]] ring_breach breach() const noexcept;
  [[nodiscard]] std::uint64_t general_entries() const noexcept;
  [[nodiscard]] ring_index avail_position() const noexcept;
  [[nodiscard]] ring_index published_position() const noexcept;
  [[nodiscard]] ring_index used_position() const noexcept;
  [[nodiscard]] std::uint16_t in_flight() const noexcept;
  [[nodiscard]] std::uint16_t room() const noexcept;
  [[nodiscard]] std::uint16_t max_chain() const noexcept;
  [[nodiscard]] bool has_room(std::size_t buffers) const noexcept;

  bool try_add(std::span<const chain_buffer> chain, Token token) noexcept;
  template <bool DeviceWritable, class Generate>
  std::uint16_t add_burst(std::uint16_t count, Generate&& generate) noexcept;
  /// The device has overwritten the id, the length and the flags: only the address is still there.
  template <bool DeviceWritable, class Generate>
  std::uint16_t add_bound(std::uint16_t count, Generate&& generate) noexcept;
  std::uint16_t add_again(std::uint16_t count) noexcept;
  /// Writes the flags of the first new descriptor: `Access::publish_avail` on them.
  void publish() noexcept;
  /// Loads both event words as one 32-bit word.
  [[nodiscard]] bool kick_needed() noexcept;

  /// There is no index to look at: walks up to `enough` descriptors ahead by their flags, each with
  /// `Access::observe_used`, and remembers how far it came.
  [[nodiscard]] std::uint16_t used_pending(std::uint16_t enough) noexcept;
  template <class Sink>
  std::uint16_t reclaim_burst(std::uint16_t count, Sink&& sink, std::uint32_t least = 0) noexcept;
  template <class Sink>
  std::uint16_t reclaim(std::uint16_t max, Sink&& sink) noexcept;

  /// Stores both event words as one 32-bit word, so that no further ordered access is needed.
  [[nodiscard]] notification enable_call(std::uint16_t after = 0) noexcept;
  void disable_call() noexcept;
  template <class Sink>
  void abandon(Sink&& sink) noexcept;
  void break_queue(ring_fault fault, ring_index position, std::uint64_t value) noexcept;
};

/// `device_chain::head` is the buffer id. A private account per id holds how many descriptors the
/// chain took, which `push_used` skips; a log of the latest pops is what `unpop` walks back.
template <address_space AddressSpace, class Access>
class virtqueue<packed, device_side, AddressSpace, Access> {
 public:
  using layout_type = packed;

  virtqueue(const packed_ring& ring, const ring_options& options, AddressSpace space);

  [[nodiscard]] std::uint16_t size() const noexcept;
  [[nodiscard]] ring_breach breach() const noexcept;
  /// Walks ahead by the flags, as the driver's `used_pending` does.
  [[nodiscard]] std::uint16_t avail(std::uint16_t enough) noexcept;
  template <class Sink>
  std::uint16_t pop_burst(std::uint16_t count, Sink&& sink) noexcept;
  template <class Sink>
  std::uint16_t pop(std::uint16_t max, Sink&& sink) noexcept;
  void unpop(std::uint16_t n) noexcept;
  void push_used(std::uint16_t id, std::uint32_t written) noexcept;
  template <class Generate>
  void push_burst(std::uint16_t count, Generate&& generate) noexcept;
  void push_used_batch(std::uint16_t last, std::uint32_t written, std::uint16_t count) noexcept;
  /// Writes the flags of the first new used descriptor: `Access::publish_used` on them.
  void publish() noexcept;
  [[nodiscard]] bool call_needed() noexcept;
  [[nodiscard]] notification enable_kick() noexcept;
  void disable_kick() noexcept;
  void break_queue(ring_fault fault, std::uint16_t position, std::uint64_t value) noexcept;
};

}  // namespace vkring::inline v0

namespace vkring::test {

struct any_space {
  std::span<std::byte> translate(std::uint64_t, std::uint32_t, memory_access) noexcept;
};

static_assert(driver_queue<virtqueue<packed, driver_side, std::uint64_t>>);
static_assert(driver_queue<virtqueue<packed, driver_side, void*>>);
static_assert(device_queue<virtqueue<packed, device_side, any_space>>);

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_PACKED_SKETCH_HPP
