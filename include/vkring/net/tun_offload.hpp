// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_TUN_OFFLOAD_HPP
#define VKRING_NET_TUN_OFFLOAD_HPP

// The offload bits of TUN and TAP interfaces.

#include <cstdint>

/// Bits of TUNSETOFFLOAD: what the kernel may hand to the application.
namespace vkring::inline v0::tun_offload {

inline constexpr std::uint32_t csum = 0x01;     ///< partial checksums, which the others need
inline constexpr std::uint32_t tso4 = 0x02;     ///< TCP segments over IPv4
inline constexpr std::uint32_t tso6 = 0x04;     ///< TCP segments over IPv6
inline constexpr std::uint32_t tso_ecn = 0x08;  ///< such segments with ECN
inline constexpr std::uint32_t ufo = 0x10;      ///< UDP fragments; without effect since Linux 4.14
inline constexpr std::uint32_t uso4 = 0x20;     ///< since Linux 6.2, only with uso6
inline constexpr std::uint32_t uso6 = 0x40;     ///< since Linux 6.2, only with uso4
inline constexpr std::uint32_t udp_tunnel = 0x80;        ///< since Linux 6.17
inline constexpr std::uint32_t udp_tunnel_csum = 0x100;  ///< since Linux 6.17
inline constexpr std::uint32_t all = 0x1ff;              ///< every bit that is here

}  // namespace vkring::inline v0::tun_offload

#endif  // VKRING_NET_TUN_OFFLOAD_HPP
