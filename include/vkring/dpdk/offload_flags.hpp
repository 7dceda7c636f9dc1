// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_OFFLOAD_FLAGS_HPP
#define VKRING_DPDK_OFFLOAD_FLAGS_HPP

// What an mbuf says about the work that is left to do for its packet, as a virtio-net header, and
// the other way round.

#include <rte_mbuf.h>
#include <vkring/core/endian.hpp>
#include <vkring/net/checksum.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/packet.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace vkring::inline v0 {

namespace detail {

// Flags that ask for nothing by themselves.
inline constexpr std::uint64_t mbuf_hints =
    RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_OUTER_IPV4 | RTE_MBUF_F_TX_OUTER_IPV6 |
    RTE_MBUF_F_TX_TUNNEL_MASK;
// What the header of a frame can ask a device for.
inline constexpr std::uint64_t mbuf_requests = RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG |
                                               RTE_MBUF_F_TX_UDP_SEG |
                                               RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
// What is done in software, before the packet is sent.
inline constexpr std::uint64_t mbuf_chores =
    RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_OUTER_IP_CKSUM | RTE_MBUF_F_TX_VLAN;

[[nodiscard]] inline bool has(const ::rte_mbuf& m, std::uint64_t flag) noexcept {
  return (m.ol_flags & flag) != 0;
}

[[nodiscard]] inline std::span<std::byte> data_of(const ::rte_mbuf& m) noexcept {
  return {static_cast<std::byte*>(m.buf_addr) + m.data_off, m.data_len};
}

// The longest headers that an mbuf can tell of.
inline constexpr std::uint32_t max_l2_len = 127;
inline constexpr std::uint32_t max_l3_len = 511;

// Where an mbuf says that its headers are.
struct mbuf_headers {
  explicit mbuf_headers(const ::rte_mbuf& m) noexcept
      : tunnel((m.ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK) != 0),
        outer_l3(m.outer_l2_len & max_l2_len),
        outer_l4(outer_l3 + (m.outer_l3_len & max_l3_len)),
        l3((tunnel ? outer_l4 : 0) + (m.l2_len & max_l2_len)),
        l4(l3 + (m.l3_len & max_l3_len)) {}

  bool tunnel;
  std::uint32_t outer_l3;
  std::uint32_t outer_l4;
  std::uint32_t l3;
  std::uint32_t l4;
};

[[nodiscard]] inline bool wants_tcp(const ::rte_mbuf& m) noexcept {
  return has(m, RTE_MBUF_F_TX_TCP_SEG) ||
         (m.ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_TCP_CKSUM;
}
[[nodiscard]] inline bool wants_udp(const ::rte_mbuf& m) noexcept {
  return has(m, RTE_MBUF_F_TX_UDP_SEG) ||
         (m.ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM;
}

// UDP tunnels with an Ethernet header inside, which is what the kernel segments.
[[nodiscard]] inline bool is_udp_tunnel(const ::rte_mbuf& m) noexcept {
  const std::uint64_t kind = m.ol_flags & RTE_MBUF_F_TX_TUNNEL_MASK;
  return kind == RTE_MBUF_F_TX_TUNNEL_VXLAN || kind == RTE_MBUF_F_TX_TUNNEL_GENEVE ||
         kind == RTE_MBUF_F_TX_TUNNEL_UDP;
}

inline constexpr std::byte tcp_cwr{0x80};

}  // namespace detail

/// The header for a packet, or why its flags cannot be said in one.
struct mbuf_header {
  virtio_net_hdr header;                    ///< what to send the packet with
  header_fault fault = header_fault::none;  ///< why it has none; `none` if it has
};

/// What the flags and lengths of a packet ask for, as the header to send it with: TCP and UDP
/// checksums, also those inside of any tunnel; TSO over IPv4 and IPv6; UDP segmentation; both
/// inside of VXLAN, GENEVE and other UDP tunnels that carry Ethernet, with the outer UDP checksum.
///
/// The checksum fields have to hold the sums of the pseudo headers, lengths included: `prepare`.
/// Anything else that is asked for is `unknown_flags`: SCTP checksums, QinQ, MACsec, what `prepare`
/// should have done. Whether the lengths fit the packet is for `check_tx_header` to say.
/// Reads the flags byte of a TCP header that lies in the first segment. Source: rte_mbuf_core.h.
[[nodiscard]] inline mbuf_header header_of(const ::rte_mbuf& m) noexcept {
  using namespace detail;
  mbuf_header made;
  virtio_net_hdr& header = made.header;
  const std::uint64_t asked = m.ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK & ~mbuf_hints;
  if (asked == 0) return made;
  const auto refuse = [&made](header_fault fault) {
    made.fault = fault;
    return made;
  };
  const bool tcp = wants_tcp(m);
  if ((asked & ~mbuf_requests) != 0 || tcp == wants_udp(m)) {
    return refuse(header_fault::unknown_flags);
  }
  const mbuf_headers at(m);
  header.flags = header_flag::needs_csum;
  header.csum_start = static_cast<std::uint16_t>(at.l4);
  header.csum_offset = tcp ? tcp_csum_offset : udp_csum_offset;
  if (!has(m, RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)) {
    // Two checksums of one packet.
    return has(m, RTE_MBUF_F_TX_OUTER_UDP_CKSUM) ? refuse(header_fault::unknown_flags) : made;
  }
  if (has(m, RTE_MBUF_F_TX_IPV4) == has(m, RTE_MBUF_F_TX_IPV6)) {
    return refuse(header_fault::unknown_gso_type);
  }
  header.gso_type = !tcp                          ? gso::udp_l4
                    : has(m, RTE_MBUF_F_TX_IPV6) ? gso::tcpv6
                                                  : gso::tcpv4;
  header.gso_size = m.tso_segsz;
  header.hdr_len = static_cast<std::uint16_t>(at.l4 + m.l4_len);
  constexpr std::size_t flags_at = 13;
  if (tcp && at.l4 + flags_at < m.data_len && (data_of(m)[at.l4 + flags_at] & tcp_cwr) == tcp_cwr) {
    header.gso_type |= gso::ecn;
  }
  if (at.tunnel) {
    const bool v4 = has(m, RTE_MBUF_F_TX_OUTER_IPV4);
    if (!is_udp_tunnel(m) || v4 == has(m, RTE_MBUF_F_TX_OUTER_IPV6)) {
      return refuse(header_fault::unknown_gso_type);
    }
    header.gso_type |= v4 ? gso::udp_tunnel_ipv4 : gso::udp_tunnel_ipv6;
    header.outer_th_offset = static_cast<std::uint16_t>(at.outer_l4);
    header.inner_nh_offset = static_cast<std::uint16_t>(at.l3);
    if (has(m, RTE_MBUF_F_TX_OUTER_UDP_CKSUM)) header.flags |= header_flag::udp_tunnel_csum;
  } else if (has(m, RTE_MBUF_F_TX_OUTER_UDP_CKSUM)) {
    return refuse(header_fault::unknown_flags);
  }
  return made;
}

namespace detail {

// Sets the lengths of a packet's headers from what its header says and its first segment holds.
// False: they are not where the header says, or too long for an mbuf to tell.
[[nodiscard]] inline bool describe_headers(::rte_mbuf& m, const virtio_net_hdr& header,
                                           link_layer link) noexcept {
  const std::span<const std::byte> head = data_of(m);
  const bool tunnel = (header.gso_type & (gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6)) != 0;
  const packet_layout found = parse_packet(head, m.pkt_len, link);
  const bool tcp = header.csum_offset == tcp_csum_offset;
  std::uint32_t l3 = found.ip;
  bool v6 = found.ipv6;
  if (tunnel) {
    l3 = header.inner_nh_offset;
    if (found.fault != packet_fault::none || found.protocol != ip_protocol::udp ||
        found.l4 != header.outer_th_offset || l3 < found.l4 || l3 >= head.size()) {
      return false;
    }
    v6 = std::to_integer<unsigned>(head[l3]) >> 4 == 6;
    m.outer_l2_len = found.ip & max_l2_len;
    m.outer_l3_len = static_cast<std::uint16_t>(found.l4 - found.ip) & max_l3_len;
    if (m.outer_l2_len != found.ip || m.outer_l3_len != found.l4 - found.ip) return false;
  } else if (found.fault != packet_fault::none || found.l4 != header.csum_start ||
             found.protocol != (tcp ? ip_protocol::tcp : ip_protocol::udp)) {
    return false;
  }
  const std::uint32_t l2_len = l3 - (tunnel ? found.l4 : 0u);
  const std::uint32_t l3_len = header.csum_start - l3;
  if (header.csum_start < l3 || l2_len > max_l2_len || l3_len > max_l3_len) return false;
  std::uint32_t l4_len = udp_header_size;
  if (tcp) {
    constexpr std::size_t length_at = 12;
    if (header.csum_start + length_at >= head.size()) return false;
    l4_len = std::to_integer<unsigned>(head[header.csum_start + length_at]) >> 4 << 2;
  }
  m.l2_len = l2_len & max_l2_len;
  m.l3_len = l3_len & max_l3_len;
  m.l4_len = static_cast<std::uint8_t>(l4_len);
  m.packet_type = tunnel ? (v6 ? RTE_PTYPE_INNER_L3_IPV6_EXT_UNKNOWN
                               : RTE_PTYPE_INNER_L3_IPV4_EXT_UNKNOWN) |
                               (tcp ? RTE_PTYPE_INNER_L4_TCP : RTE_PTYPE_INNER_L4_UDP) |
                               RTE_PTYPE_INNER_L2_ETHER | RTE_PTYPE_L4_UDP
                         : (tcp ? RTE_PTYPE_L4_TCP : RTE_PTYPE_L4_UDP);
  m.packet_type |= (found.ipv6 ? RTE_PTYPE_L3_IPV6_EXT_UNKNOWN : RTE_PTYPE_L3_IPV4_EXT_UNKNOWN) |
                   (link == link_layer::ethernet ? RTE_PTYPE_L2_ETHER : 0u);
  return true;
}

}  // namespace detail

/// Says in a received packet what its header says, `header` having been found to be good for its
/// size.
///
/// A partial checksum is L4_CKSUM_NONE: what the field holds is not right, but the data are.
/// Lengths (`l2_len` and so on) and `packet_type` tell where it belongs; where an mbuf has no words
/// for that, it is completed here. A verified one is L4_CKSUM_GOOD. A packet that is to be cut into
/// segments of `tso_segsz` bytes is LRO as well; one that is not what its header says is
/// `gso_header_beyond_end`.
[[nodiscard]] inline header_fault describe(::rte_mbuf& m, const virtio_net_hdr& header,
                                           link_layer link = link_layer::ethernet) noexcept {
  using namespace detail;
  m.tx_offload = 0;
  if ((header.flags & header_flag::needs_csum) == 0) {
    if ((header.flags & header_flag::data_valid) != 0) m.ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    return header_fault::none;
  }
  const bool told =
      (header.csum_offset == tcp_csum_offset || header.csum_offset == udp_csum_offset) &&
      describe_headers(m, header, link);
  if (told) {
    m.ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_NONE;
    if (header.gso_type == gso::none) return header_fault::none;
    m.ol_flags |= RTE_MBUF_F_RX_LRO;
    m.tso_segsz = header.gso_size;
    return header_fault::none;
  }
  if (header.gso_type != gso::none) return header_fault::gso_header_beyond_end;
  checksum_completer completer(header.csum_start, header.csum_offset);
  for (const ::rte_mbuf* each = &m; each != nullptr; each = each->next) {
    completer.add(data_of(*each));
  }
  completer.store();
  m.tx_offload = 0;
  return header_fault::none;
}

/// Makes a packet that `describe` described ready to be sent: what is left to do for it is asked
/// for. The sums of the pseudo headers are where they have to be. See queue/forward.hpp.
inline void forward(::rte_mbuf& m) noexcept {
  using namespace detail;
  const std::uint64_t told = m.ol_flags;
  m.ol_flags &= ~RTE_MBUF_F_TX_OFFLOAD_MASK;
  if ((told & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_NONE) return;
  const bool tunnel = m.outer_l3_len != 0;
  const std::uint32_t l3 = tunnel ? m.packet_type & RTE_PTYPE_INNER_L3_MASK : 0u;
  const std::uint32_t l4 = m.packet_type & (tunnel ? RTE_PTYPE_INNER_L4_MASK : RTE_PTYPE_L4_MASK);
  const bool outer_v6 = RTE_ETH_IS_IPV6_HDR(m.packet_type);
  const bool v6 = tunnel ? l3 == RTE_PTYPE_INNER_L3_IPV6_EXT_UNKNOWN : outer_v6;
  const bool tcp = l4 == (tunnel ? RTE_PTYPE_INNER_L4_TCP : RTE_PTYPE_L4_TCP);
  m.ol_flags |= (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) |
                (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
  if ((told & RTE_MBUF_F_RX_LRO) != 0) {
    m.ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
  }
  if (!tunnel) return;
  m.ol_flags |= RTE_MBUF_F_TX_TUNNEL_UDP |
                (outer_v6 ? RTE_MBUF_F_TX_OUTER_IPV6 : RTE_MBUF_F_TX_OUTER_IPV4);
  // Zero says that there is none.
  const std::byte* const outer = data_of(m).data() + mbuf_headers(m).outer_l4;
  if (load_big<std::uint16_t>(outer + udp_csum_offset) != 0) {
    m.ol_flags |= RTE_MBUF_F_TX_OUTER_UDP_CKSUM;
  }
}

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_OFFLOAD_FLAGS_HPP
