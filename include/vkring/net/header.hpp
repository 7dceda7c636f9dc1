// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_HEADER_HPP
#define VKRING_NET_HEADER_HPP

// The header that virtio-net puts before every frame: its fields, how it lies in memory, and which
// ones must not be sent or believed.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "vkring/core/endian.hpp"

namespace vkring::inline v0 {

/// What a frame starts with: an Ethernet header (TAP), or the IP header (TUN).
enum class link_layer : std::uint8_t { ethernet, none };

/// Bytes before the IP header, VLAN tags not counted.
[[nodiscard]] constexpr std::uint32_t link_header_size(link_layer link) noexcept {
  return link == link_layer::ethernet ? 14 : 0;
}
/// Bytes of the shortest frame that anybody can do something with: an Ethernet or an IPv4 header.
[[nodiscard]] constexpr std::uint32_t shortest_frame(link_layer link) noexcept {
  return link == link_layer::ethernet ? 14 : 20;
}

/// Bits of `virtio_net_hdr::flags`.
namespace header_flag {
inline constexpr std::uint8_t needs_csum = 1;  ///< the L4 checksum is still to be completed
inline constexpr std::uint8_t data_valid = 2;  ///< rx only: the L4 checksum has been verified
inline constexpr std::uint8_t rsc_info = 4;    ///< rx only: csum_start and csum_offset are counts
inline constexpr std::uint8_t udp_tunnel_csum = 8;  ///< the outer UDP header needs a checksum too
}  // namespace header_flag

/// Values and bits of `virtio_net_hdr::gso_type`.
namespace gso {
inline constexpr std::uint8_t none = 0;    ///< a frame for one packet
inline constexpr std::uint8_t tcpv4 = 1;   ///< TCP over IPv4 (TSO)
inline constexpr std::uint8_t udp = 3;     ///< IP fragments (UFO); without effect since Linux 4.14
inline constexpr std::uint8_t tcpv6 = 4;   ///< TCP over IPv6 (TSO)
inline constexpr std::uint8_t udp_l4 = 5;  ///< UDP datagrams (USO), over IPv4 and IPv6 alike
inline constexpr std::uint8_t udp_tunnel_ipv4 = 0x20;  ///< a bit; the outer IP version
inline constexpr std::uint8_t udp_tunnel_ipv6 = 0x40;  ///< a bit; the outer IP version
inline constexpr std::uint8_t ecn = 0x80;              ///< a bit; TCP with CWR set
}  // namespace gso

/// The frame header in host byte order. Offsets count from the frame's first byte.
///
/// Source: virtio 1.3, section 5.1.6; the tunnel fields from virtio 1.4.
struct virtio_net_hdr {
  std::uint8_t flags = 0;             ///< of `header_flag`
  std::uint8_t gso_type = gso::none;  ///< of `gso`
  std::uint16_t hdr_len = 0;          ///< bytes of all headers, a hint; 0 if unknown
  std::uint16_t gso_size = 0;         ///< payload bytes of each segment (the MSS)
  std::uint16_t csum_start = 0;       ///< where the checksummed part starts: the L4 header
  std::uint16_t csum_offset = 0;      ///< where in that part the checksum goes: 16 TCP, 6 UDP
  std::uint16_t num_buffers = 0;      ///< rx: buffers that the frame lies in; tx: 0
  std::uint16_t outer_th_offset = 0;  ///< tunnels: where the outer UDP header starts
  std::uint16_t inner_nh_offset = 0;  ///< tunnels: where the inner IP header starts

  /// True when nothing is left to do for the frame: the first 8 bytes are zero.
  [[nodiscard]] constexpr bool is_plain() const noexcept;

  friend constexpr bool operator==(const virtio_net_hdr&, const virtio_net_hdr&) noexcept = default;
};

namespace detail {
struct header_words {
  std::uint64_t first;
  std::uint64_t second;
};
}  // namespace detail

constexpr bool virtio_net_hdr::is_plain() const noexcept {
  return std::bit_cast<detail::header_words>(*this).first == 0;
}

/// Bytes of the header before a frame, without VERSION_1 and mergeable buffers.
inline constexpr std::size_t legacy_header_size = 10;
inline constexpr std::size_t header_size = 12;         ///< with one of them, or both
inline constexpr std::size_t tunnel_header_size = 24;  ///< with a tunnel offload

/// Copies a header out of memory that another party may be writing. Every byte is read once, so
/// what was checked is what is used.
///
/// `size` is one of the three sizes, and that many bytes are readable at `at`, at any alignment.
[[nodiscard]] inline virtio_net_hdr load_header(const std::byte* at, std::size_t size) noexcept {
  std::uint64_t first;
  std::uint16_t csum_offset;
  std::uint16_t num_buffers = 0;
  std::uint16_t tunnel[2] = {};
  std::memcpy(&first, at, sizeof first);
  std::memcpy(&csum_offset, at + 8, sizeof csum_offset);
  if (size >= header_size) std::memcpy(&num_buffers, at + 10, sizeof num_buffers);
  if (size >= tunnel_header_size) std::memcpy(&tunnel, at + 20, sizeof tunnel);
  // Keeps the compiler from reading the memory again instead of keeping what it has read.
  std::atomic_signal_fence(std::memory_order_acquire);
  first = little(first);
  virtio_net_hdr header;
  header.flags = static_cast<std::uint8_t>(first);
  header.gso_type = static_cast<std::uint8_t>(first >> 8);
  header.hdr_len = static_cast<std::uint16_t>(first >> 16);
  header.gso_size = static_cast<std::uint16_t>(first >> 32);
  header.csum_start = static_cast<std::uint16_t>(first >> 48);
  header.csum_offset = little(csum_offset);
  header.num_buffers = little(num_buffers);
  header.outer_th_offset = little(tunnel[0]);
  header.inner_nh_offset = little(tunnel[1]);
  return header;
}

/// Writes a header as the `size` bytes at `at` that the other side expects, at any alignment.
/// Fields that a size has no room for are left out; the hash fields of the longest are zero.
inline void store_header(std::byte* at, std::size_t size, const virtio_net_hdr& header) noexcept {
  const std::uint64_t first =
      little(std::uint64_t{header.flags} | std::uint64_t{header.gso_type} << 8 |
             std::uint64_t{header.hdr_len} << 16 | std::uint64_t{header.gso_size} << 32 |
             std::uint64_t{header.csum_start} << 48);
  const std::uint16_t csum_offset = little(header.csum_offset);
  const std::uint16_t num_buffers = little(header.num_buffers);
  std::memcpy(at, &first, sizeof first);
  std::memcpy(at + 8, &csum_offset, sizeof csum_offset);
  if (size >= header_size) std::memcpy(at + 10, &num_buffers, sizeof num_buffers);
  if (size >= tunnel_header_size) {
    const std::uint16_t tunnel[2] = {little(header.outer_th_offset),
                                     little(header.inner_nh_offset)};
    std::memset(at + 12, 0, 8);
    std::memcpy(at + 20, tunnel, sizeof tunnel);
  }
}

/// What the frames of one direction may ask of the side that takes them.
struct frame_offloads {
  bool csum = false;             ///< partial checksums; every other one needs it
  bool tso4 = false;             ///< TCP segments over IPv4
  bool tso6 = false;             ///< TCP segments over IPv6
  bool ecn = false;              ///< such segments with ECN
  bool uso = false;              ///< segments of UDP datagrams
  bool udp_tunnel = false;       ///< segments within a UDP tunnel
  bool udp_tunnel_csum = false;  ///< with a checksum in the outer UDP header

  friend constexpr bool operator==(const frame_offloads&, const frame_offloads&) noexcept = default;
};

/// Why a header must not be sent, or must not be believed.
enum class header_fault : std::uint8_t {
  none,
  frame_too_short,        ///< less than an Ethernet header, or on a TUN than an IPv4 header
  unknown_flags,          ///< a flag that is reserved, or belongs to the other direction
  csum_not_negotiated,    ///< a partial checksum
  csum_start_too_low,     ///< no IP header fits before it
  csum_start_beyond_end,  ///< the checksum field does not lie within the frame
  csum_offset,            ///< not that of the protocol to segment
  unknown_gso_type,
  gso_not_negotiated,
  ecn_not_negotiated,
  tunnel_not_negotiated,
  gso_without_csum,
  gso_size_zero,
  gso_size_reserved,      ///< 0xffff, which the kernel keeps for itself
  gso_header_beyond_end,  ///< the TCP or UDP header does not lie within the frame
  too_many_segments,      ///< USO: more than 128
  hdr_len_too_short,      ///< less than an Ethernet header, and not 0
  hdr_len_beyond_end,
  tunnel_offsets,  ///< the headers of a tunnel that are out of order, or on top of each other
};
/// How many faults there are, `none` among them.
inline constexpr std::size_t header_fault_count =
    static_cast<std::size_t>(header_fault::tunnel_offsets) + 1;

/// The name of a fault, as counters and JSON print it.
[[nodiscard]] constexpr std::string_view name(header_fault fault) noexcept {
  switch (fault) {
    case header_fault::none:
      return "none";
    case header_fault::frame_too_short:
      return "frame_too_short";
    case header_fault::unknown_flags:
      return "unknown_flags";
    case header_fault::csum_not_negotiated:
      return "csum_not_negotiated";
    case header_fault::csum_start_too_low:
      return "csum_start_too_low";
    case header_fault::csum_start_beyond_end:
      return "csum_start_beyond_end";
    case header_fault::csum_offset:
      return "csum_offset";
    case header_fault::unknown_gso_type:
      return "unknown_gso_type";
    case header_fault::gso_not_negotiated:
      return "gso_not_negotiated";
    case header_fault::ecn_not_negotiated:
      return "ecn_not_negotiated";
    case header_fault::tunnel_not_negotiated:
      return "tunnel_not_negotiated";
    case header_fault::gso_without_csum:
      return "gso_without_csum";
    case header_fault::gso_size_zero:
      return "gso_size_zero";
    case header_fault::gso_size_reserved:
      return "gso_size_reserved";
    case header_fault::gso_header_beyond_end:
      return "gso_header_beyond_end";
    case header_fault::too_many_segments:
      return "too_many_segments";
    case header_fault::hdr_len_too_short:
      return "hdr_len_too_short";
    case header_fault::hdr_len_beyond_end:
      return "hdr_len_beyond_end";
    case header_fault::tunnel_offsets:
      return "tunnel_offsets";
  }
  return "unknown";
}

namespace detail {

inline constexpr std::uint32_t ethernet_header_size = link_header_size(link_layer::ethernet);
inline constexpr std::uint32_t ipv4_header_size = 20;
inline constexpr std::uint32_t ipv6_header_size = 40;
inline constexpr std::uint32_t tcp_header_size = 20;
inline constexpr std::uint32_t udp_header_size = 8;
inline constexpr std::uint16_t tcp_csum_offset = 16;
inline constexpr std::uint16_t udp_csum_offset = 6;
inline constexpr std::uint32_t max_uso_segments = 128;

[[nodiscard]] constexpr header_fault check_tunnel(const virtio_net_hdr& header,
                                                  const frame_offloads& allowed) noexcept {
  const bool outer_v4 = (header.gso_type & gso::udp_tunnel_ipv4) != 0;
  const bool outer_v6 = (header.gso_type & gso::udp_tunnel_ipv6) != 0;
  const bool outer_csum = (header.flags & header_flag::udp_tunnel_csum) != 0;
  if (!outer_v4 && !outer_v6) return outer_csum ? header_fault::unknown_flags : header_fault::none;
  if (outer_v4 && outer_v6) return header_fault::unknown_gso_type;
  if (!allowed.udp_tunnel || (outer_csum && !allowed.udp_tunnel_csum))
    return header_fault::tunnel_not_negotiated;
  const std::uint32_t outer_ip = outer_v4 ? ipv4_header_size : ipv6_header_size;
  const bool inner_v6 =
      (header.gso_type & ~(gso::ecn | gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6)) == gso::tcpv6;
  const std::uint32_t inner_ip = inner_v6 ? ipv6_header_size : ipv4_header_size;
  if (header.outer_th_offset < ethernet_header_size + outer_ip ||
      header.inner_nh_offset < header.outer_th_offset + udp_header_size ||
      header.csum_start < header.inner_nh_offset + inner_ip)
    return header_fault::tunnel_offsets;
  return header_fault::none;
}

// What both directions demand of a GSO frame whose checksum fields are known to be within it.
[[nodiscard]] constexpr header_fault check_gso(const virtio_net_hdr& header, std::size_t frame_size,
                                               const frame_offloads& allowed) noexcept {
  bool tcp = true;
  bool negotiated = false;
  switch (header.gso_type & ~(gso::ecn | gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6)) {
    case gso::tcpv4:
      negotiated = allowed.tso4;
      break;
    case gso::tcpv6:
      negotiated = allowed.tso6;
      break;
    case gso::udp_l4:
      negotiated = allowed.uso;
      tcp = false;
      break;
    case gso::udp:
      tcp = false;
      break;
    default:
      return header_fault::unknown_gso_type;
  }
  if (!negotiated) return header_fault::gso_not_negotiated;
  if ((header.gso_type & gso::ecn) != 0) {
    if (!tcp) return header_fault::unknown_gso_type;
    if (!allowed.ecn) return header_fault::ecn_not_negotiated;
  }
  if ((header.flags & header_flag::needs_csum) == 0) return header_fault::gso_without_csum;
  if (header.gso_size == 0) return header_fault::gso_size_zero;
  if (header.gso_size == 0xffff) return header_fault::gso_size_reserved;
  if (header.csum_offset != (tcp ? tcp_csum_offset : udp_csum_offset))
    return header_fault::csum_offset;
  if (header.csum_start + (tcp ? tcp_header_size : udp_header_size) > frame_size)
    return header_fault::gso_header_beyond_end;
  return check_tunnel(header, allowed);
}

[[nodiscard]] constexpr header_fault check_csum(const virtio_net_hdr& header,
                                                std::size_t frame_size,
                                                const frame_offloads& allowed) noexcept {
  if ((header.flags & header_flag::needs_csum) == 0) return header_fault::none;
  if (!allowed.csum) return header_fault::csum_not_negotiated;
  if (std::size_t{header.csum_start} + header.csum_offset + 2 > frame_size)
    return header_fault::csum_start_beyond_end;
  return header_fault::none;
}

}  // namespace detail

/// Why a frame of `frame_size` bytes (the header not counted) cannot be sent with that header.
///
/// Refuses what virtio forbids and what the kernel refuses; a vhost worker that is handed such a
/// frame drops it in silence or tries it again for ever, with no error anywhere. The frame itself
/// is not looked at. Costs some ten compares; a plain header needs no call.
/// Source: virtio 1.3, section 5.1.6.2; include/linux/virtio_net.h and drivers/vhost/net.c.
[[nodiscard]] constexpr header_fault check_tx_header(
    const virtio_net_hdr& header, std::size_t frame_size, const frame_offloads& allowed,
    link_layer link = link_layer::ethernet) noexcept {
  using namespace detail;
  if (frame_size < shortest_frame(link)) return header_fault::frame_too_short;
  if ((header.flags & ~(header_flag::needs_csum | header_flag::udp_tunnel_csum)) != 0)
    return header_fault::unknown_flags;
  if (const header_fault fault = check_csum(header, frame_size, allowed);
      fault != header_fault::none)
    return fault;
  const bool partial = (header.flags & header_flag::needs_csum) != 0;
  const bool v6 = (header.gso_type & ~gso::ecn) == gso::tcpv6;
  if (partial && header.csum_start < (v6 ? ipv6_header_size : ipv4_header_size))
    return header_fault::csum_start_too_low;
  if (header.hdr_len > frame_size) return header_fault::hdr_len_beyond_end;
  if (header.hdr_len != 0 && header.hdr_len < link_header_size(link))
    return header_fault::hdr_len_too_short;
  if (header.gso_type == gso::none)
    return (header.flags & header_flag::udp_tunnel_csum) != 0 ? header_fault::unknown_flags
                                                              : header_fault::none;
  if (const header_fault fault = check_gso(header, frame_size, allowed);
      fault != header_fault::none)
    return fault;
  if ((header.gso_type & ~(gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6)) == gso::udp_l4 &&
      frame_size - header.csum_start - udp_header_size > header.gso_size * max_uso_segments)
    return header_fault::too_many_segments;
  return header_fault::none;
}

/// Why a header that came with a received frame of `frame_size` bytes cannot be believed.
///
/// `allowed` is what was negotiated for that direction. Fields that mean nothing for the frame
/// (`hdr_len` and `gso_size` without a GSO type, unknown flags) are not looked at.
/// Source: virtio 1.3, section 5.1.6.4.
[[nodiscard]] constexpr header_fault check_rx_header(const virtio_net_hdr& header,
                                                     std::size_t frame_size,
                                                     const frame_offloads& allowed) noexcept {
  if (const header_fault fault = detail::check_csum(header, frame_size, allowed);
      fault != header_fault::none)
    return fault;
  if (header.gso_type == gso::none) return header_fault::none;
  if (header.hdr_len > frame_size) return header_fault::hdr_len_beyond_end;
  return detail::check_gso(header, frame_size, allowed);
}

/// The header to send a received frame on with: what is left to do stays, what only a receiver is
/// told goes.
[[nodiscard]] constexpr virtio_net_hdr to_tx_header(const virtio_net_hdr& received) noexcept {
  virtio_net_hdr header;
  header.flags = received.flags & (header_flag::needs_csum | header_flag::udp_tunnel_csum);
  if ((received.flags & header_flag::needs_csum) != 0) {
    header.csum_start = received.csum_start;
    header.csum_offset = received.csum_offset;
  }
  header.gso_type = received.gso_type;
  if (received.gso_type == gso::none) {
    header.flags &= header_flag::needs_csum;
    return header;
  }
  header.hdr_len = received.hdr_len;
  header.gso_size = received.gso_size;
  if ((received.gso_type & (gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6)) != 0) {
    header.outer_th_offset = received.outer_th_offset;
    header.inner_nh_offset = received.inner_nh_offset;
  }
  return header;
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_HEADER_HPP
