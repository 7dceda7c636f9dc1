// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PREPARE_HPP
#define VKRING_DPDK_PREPARE_HPP

// What has to be done in the bytes of a packet before a device can do the rest.

#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <vkring/core/endian.hpp>
#include <vkring/dpdk/offload_flags.hpp>
#include <vkring/net/checksum.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/packet.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vkring::inline v0 {

namespace detail {

// Whether the packet's first segment may be written to: nobody else has a share in its data.
[[nodiscard]] inline bool is_private(const ::rte_mbuf& m) noexcept {
  if (::rte_mbuf_refcnt_read(&m) != 1) return false;
  if (RTE_MBUF_HAS_EXTBUF(&m)) return ::rte_mbuf_ext_refcnt_read(m.shinfo) == 1;
  return !RTE_MBUF_CLONED(&m);
}

// Asks for more than a hint, all of which needs something from `prepare`.
[[nodiscard]] inline bool wants_preparing(const ::rte_mbuf& m) noexcept {
  return has(m, mbuf_requests | mbuf_chores);
}

// Headers within the first segment of a packet.
class header_writer {
 public:
  explicit header_writer(const ::rte_mbuf& m) noexcept : head_(data_of(m)), size_(m.pkt_len) {}

  [[nodiscard]] bool ipv4_checksum(std::uint32_t at, std::uint32_t length) const noexcept {
    if (length < ipv4_header_size || at + length > head_.size()) return false;
    store_big(&head_[at + 10], std::uint16_t{0});
    internet_sum sum;
    sum.add(head_.subspan(at, length));
    store_big(&head_[at + 10], sum.checksum());
    return true;
  }

  // Stores the sum of the pseudo header for the L4 header at `l4`, whose field is at `offset`.
  [[nodiscard]] bool pseudo_sum(bool v6, std::uint32_t l3, std::uint32_t l4,
                                std::uint32_t offset) const noexcept {
    const std::uint32_t least = v6 ? ipv6_header_size : ipv4_header_size;
    if (l4 < l3 + least || l4 + offset + 2 > head_.size()) return false;
    const std::uint32_t ip_size =
        v6 ? ipv6_header_size + load_big<std::uint16_t>(&head_[l3 + 4])
           : load_big<std::uint16_t>(&head_[l3 + 2]);
    // An IP length of 0 or of less than its headers: more than it can say, or not filled in.
    const std::uint32_t length = l3 + ip_size > l4 ? l3 + ip_size - l4 : size_ - l4;
    const std::uint8_t protocol = offset == tcp_csum_offset ? ip_protocol::tcp : ip_protocol::udp;
    const std::byte* const ip = head_.data() + l3;
    const internet_sum sum =
        v6 ? pseudo_header(std::span<const std::byte, 16>(ip + 8, 16),
                           std::span<const std::byte, 16>(ip + 24, 16), protocol, length)
           : pseudo_header(std::span<const std::byte, 4>(ip + 12, 4),
                           std::span<const std::byte, 4>(ip + 16, 4), protocol,
                           static_cast<std::uint16_t>(length));
    store_big(&head_[l4 + offset], sum.sum());
    return true;
  }

 private:
  std::span<std::byte> head_;
  std::uint32_t size_;
};

}  // namespace detail

/// Does what a device is not asked for: inserts the VLAN tag, completes the IP checksums, and puts
/// the sums of the pseudo headers, lengths included, in the L4 checksum fields. What is done is not
/// asked for any more (TX_VLAN, TX_IP_CKSUM, TX_OUTER_IP_CKSUM); doing it twice does no harm.
///
/// `m` may be replaced by the mbuf that begins with the tag. Its headers lie in its first segment.
/// Returns why the packet cannot be sent: `csum_start_beyond_end` (its headers are not where its
/// lengths say, or not in the first segment), `unknown_flags` (no room for the tag).
[[nodiscard]] inline header_fault prepare(::rte_mbuf*& m) noexcept {
  using namespace detail;
  if (!wants_preparing(*m)) return header_fault::none;
  if (has(*m, RTE_MBUF_F_TX_VLAN) && ::rte_vlan_insert(&m) != 0) return header_fault::unknown_flags;
  const mbuf_headers at(*m);
  const header_writer bytes(*m);
  bool good = true;
  if (has(*m, RTE_MBUF_F_TX_OUTER_IP_CKSUM)) {
    good = at.tunnel && has(*m, RTE_MBUF_F_TX_OUTER_IPV4) &&
           bytes.ipv4_checksum(at.outer_l3, m->outer_l3_len);
  }
  if (has(*m, RTE_MBUF_F_TX_OUTER_UDP_CKSUM)) {
    good = good && at.tunnel &&
           bytes.pseudo_sum(has(*m, RTE_MBUF_F_TX_OUTER_IPV6), at.outer_l3, at.outer_l4,
                            udp_csum_offset);
  }
  if (has(*m, RTE_MBUF_F_TX_IP_CKSUM)) {
    good = good && has(*m, RTE_MBUF_F_TX_IPV4) && bytes.ipv4_checksum(at.l3, m->l3_len);
  }
  if (wants_tcp(*m) || wants_udp(*m)) {
    good = good && bytes.pseudo_sum(has(*m, RTE_MBUF_F_TX_IPV6), at.l3, at.l4,
                                    wants_tcp(*m) ? tcp_csum_offset : udp_csum_offset);
  }
  if (!good) return header_fault::csum_start_beyond_end;
  m->ol_flags &= ~(RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_OUTER_IP_CKSUM);
  return header_fault::none;
}

namespace detail {

// Whether another device might send such a packet.
[[nodiscard]] constexpr bool is_unsupported(header_fault fault) noexcept {
  switch (fault) {
    case header_fault::unknown_flags:
    case header_fault::unknown_gso_type:
    case header_fault::csum_not_negotiated:
    case header_fault::gso_not_negotiated:
    case header_fault::ecn_not_negotiated:
    case header_fault::tunnel_not_negotiated:
      return true;
    default:
      return false;
  }
}

}  // namespace detail

/// Prepares packets in order and returns how many: fewer than there are means that the next one
/// cannot be sent, and rte_errno is ENOTSUP or EINVAL. `allowed` is what was agreed on
/// (`rules().offloads` of the queue). What `rte_eth_tx_prepare` is for.
inline std::uint16_t prepare(std::span<::rte_mbuf*> packets,
                             const frame_offloads& allowed = {true, true, true, true, true, true,
                                                              true}) noexcept {
  for (std::size_t i = 0; i < packets.size(); ++i) {
    header_fault fault = prepare(packets[i]);
    const mbuf_header asked = header_of(*packets[i]);
    if (fault == header_fault::none) fault = asked.fault;
    if (fault == header_fault::none) {
      fault = check_tx_header(asked.header, packets[i]->pkt_len, allowed);
    }
    if (fault == header_fault::none) continue;
    rte_errno = detail::is_unsupported(fault) ? ENOTSUP : EINVAL;
    return static_cast<std::uint16_t>(i);
  }
  return static_cast<std::uint16_t>(packets.size());
}

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_PREPARE_HPP
