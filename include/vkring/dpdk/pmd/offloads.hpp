// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_OFFLOADS_HPP
#define VKRING_DPDK_PMD_OFFLOADS_HPP

// The offloads of a port in DPDK's words: what it offers, and what an application has turned on.

#include <rte_ethdev.h>
#include <vkring/net/tun_offload.hpp>
#include <vkring/net/wanted.hpp>

#include <cstdint>

namespace vkring::inline v0::pmd {

/// @{
/// Those of ethdev that are taken together.
inline constexpr std::uint64_t rx_checksums =
    RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
inline constexpr std::uint64_t tx_l4_checksums =
    RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
inline constexpr std::uint64_t tx_tunnels = RTE_ETH_TX_OFFLOAD_VXLAN_TNL_TSO |
                                            RTE_ETH_TX_OFFLOAD_GENEVE_TNL_TSO |
                                            RTE_ETH_TX_OFFLOAD_UDP_TNL_TSO;
/// @}

/// What an application may turn on, of what `most` allows and the interface can do (`tap`: bits of
/// TUNSETOFFLOAD). `RTE_ETH_RX_OFFLOAD_` bits.
[[nodiscard]] inline std::uint64_t rx_capabilities(const wanted_offloads& most, want mergeable,
                                                   std::uint32_t tap) noexcept {
  std::uint64_t all = mergeable == want::off ? 0 : RTE_ETH_RX_OFFLOAD_SCATTER;
  if (most.csum.rx == want::off || (tap & tun_offload::csum) == 0) return all;
  all |= rx_checksums;
  if (most.tso4.rx != want::off && most.tso6.rx != want::off) all |= RTE_ETH_RX_OFFLOAD_TCP_LRO;
  return all;
}

/// The same of the other direction, in `RTE_ETH_TX_OFFLOAD_` bits. IP checksums and tags are made in
/// software, whatever the kernel can do.
[[nodiscard]] inline std::uint64_t tx_capabilities(const wanted_offloads& most,
                                                   std::uint32_t tap) noexcept {
  std::uint64_t all = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_VLAN_INSERT |
                      RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM;
  if (most.csum.tx == want::off) return all;
  all |= tx_l4_checksums;
  if (most.tso4.tx != want::off && most.tso6.tx != want::off) all |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
  if (most.uso.tx != want::off && (tap & tun_offload::uso4) != 0) all |= RTE_ETH_TX_OFFLOAD_UDP_TSO;
  if (most.udp_tunnel.tx == want::off || (tap & tun_offload::udp_tunnel) == 0) return all;
  all |= tx_tunnels;
  if (most.udp_tunnel_csum.tx != want::off && (tap & tun_offload::udp_tunnel_csum) != 0) {
    all |= RTE_ETH_TX_OFFLOAD_OUTER_UDP_CKSUM;
  }
  return all;
}

/// What to ask of a device for what was turned on. Nothing comes in that was not: no partial
/// checksum without one of the checksum offloads or LRO, no large packet without LRO.
[[nodiscard]] inline wanted_offloads wanted_for(const wanted_offloads& most, std::uint64_t rx,
                                                std::uint64_t tx) noexcept {
  wanted_offloads asked = most;
  const bool lro = (rx & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0;
  const bool csum = lro || (rx & rx_checksums) != 0;
  asked.csum.rx = csum ? want::required : want::off;
  asked.tso4.rx = asked.tso6.rx = lro ? want::required : want::off;
  if (!lro) asked.ecn.rx = want::off;
  asked.uso.rx = asked.udp_tunnel.rx = asked.udp_tunnel_csum.rx = want::off;
  if ((tx & tx_l4_checksums) != 0) asked.csum.tx = want::required;
  if ((tx & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0) asked.tso4.tx = asked.tso6.tx = want::required;
  if ((tx & RTE_ETH_TX_OFFLOAD_UDP_TSO) != 0) asked.uso.tx = want::required;
  if ((tx & tx_tunnels) != 0) asked.udp_tunnel.tx = want::required;
  return asked;
}

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_OFFLOADS_HPP
