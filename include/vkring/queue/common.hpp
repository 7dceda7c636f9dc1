// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_COMMON_HPP
#define VKRING_QUEUE_COMMON_HPP

// What every kind of queue does with its ring and with the headers in its buffers.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/ring/shared.hpp>

namespace vkring::inline v0::detail {

// Shows the device what was added, and kicks it if it asked for that.
template <class Ring, class Notify>
[[gnu::always_inline]] inline void publish(Ring& ring, queue_counters& counters,
                                           Notify& notify) noexcept {
  ring.publish();
  if (ring.kick_needed()) {
    counters.kicks.add(1);
    notify();
  } else {
    counters.kicks_suppressed.add(1);
  }
}

// All of the reserve before a payload, so that a header of any size is zero afterwards.
inline void clear_header(std::byte* payload) noexcept {
  std::memset(payload - header_reserve, 0, header_reserve);
}

// Writes a header before a payload. How many buffers a frame lies in is for the device to say.
inline void write_header(std::byte* payload, std::size_t header_bytes,
                         virtio_net_hdr header) noexcept {
  header.num_buffers = 0;
  store_header(payload - header_bytes, header_bytes, header);
}

// Copies the header of a received frame out, once, and checks it against what was negotiated. How many
// buffers the frame lies in is read elsewhere: the frame says so itself, not what is there by now.
inline header_fault read_header(virtio_net_hdr& to, const std::byte* payload, std::uint32_t size,
                                const frame_rules& rules) noexcept {
  to = load_header(payload - rules.header_size, rules.header_size);
  to.num_buffers = 0;
  // The other fields mean nothing then.
  if ((to.flags | to.gso_type) == 0) to = {};
  return check_rx_header(to, size, rules.offloads);
}

// The two bytes of a header that are zero on a frame with nothing left to do. One load: the device may
// still be writing, and what is decided here is not decided again.
[[nodiscard]] inline std::uint16_t flags_and_gso(const std::byte* header) noexcept {
  return direct::load(reinterpret_cast<const std::uint16_t&>(*header));
}

// How many buffers a frame lies in, as the header in the first of them says.
[[nodiscard]] inline std::uint16_t num_buffers(const std::byte* header) noexcept {
  return direct::load(reinterpret_cast<const std::uint16_t&>(header[10]));
}

}  // namespace vkring::inline v0::detail

#endif  // VKRING_QUEUE_COMMON_HPP
