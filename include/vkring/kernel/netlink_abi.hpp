// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_NETLINK_ABI_HPP
#define VKRING_KERNEL_NETLINK_ABI_HPP

// The part of the kernel's rtnetlink interface that vkring uses, in constants of its own.
//
// The kernel's headers for it clash with the C library's. Names are the kernel's in lower case.

#include <cstddef>
#include <cstdint>

namespace vkring::inline v0::netlink_abi {

inline constexpr int netlink_route = 0;
inline constexpr int sol_netlink = 270;
inline constexpr int so_attach_filter = 26;
inline constexpr int netlink_cap_ack = 10;
inline constexpr int netlink_ext_ack = 11;
inline constexpr std::uint32_t rtmgrp_link = 1;

inline constexpr std::uint16_t nlmsg_error = 2;
inline constexpr std::uint16_t rtm_newlink = 16;
inline constexpr std::uint16_t rtm_dellink = 17;
inline constexpr std::uint16_t rtm_getlink = 18;
inline constexpr std::uint16_t rtm_newaddr = 20;
inline constexpr std::uint16_t rtm_deladdr = 21;

inline constexpr std::uint16_t nlm_f_request = 0x1;
inline constexpr std::uint16_t nlm_f_ack = 0x4;
inline constexpr std::uint16_t nlm_f_replace = 0x100;
inline constexpr std::uint16_t nlm_f_create = 0x400;
inline constexpr std::uint16_t nlm_f_capped = 0x100;    // in an acknowledgement
inline constexpr std::uint16_t nlm_f_ack_tlvs = 0x200;  // in an acknowledgement
inline constexpr std::uint16_t nlmsgerr_attr_msg = 1;
inline constexpr std::uint16_t nla_type_mask = 0x3fff;

inline constexpr std::uint16_t ifla_address = 1;
inline constexpr std::uint16_t ifla_ifname = 3;
inline constexpr std::uint16_t ifla_mtu = 4;
inline constexpr std::uint16_t ifla_txqlen = 13;
inline constexpr std::uint16_t ifla_operstate = 16;
inline constexpr std::uint16_t ifla_stats64 = 23;
inline constexpr std::uint16_t ifla_carrier = 33;
inline constexpr std::uint16_t ifa_address = 1;
inline constexpr std::uint16_t ifa_local = 2;

inline constexpr std::uint32_t iff_up = 0x1;
inline constexpr std::size_t ifnamsiz = 16;

struct sockaddr_nl {
  std::uint16_t nl_family;
  std::uint16_t nl_pad;
  std::uint32_t nl_pid;
  std::uint32_t nl_groups;
};
struct nlmsghdr {
  std::uint32_t nlmsg_len;
  std::uint16_t nlmsg_type;
  std::uint16_t nlmsg_flags;
  std::uint32_t nlmsg_seq;
  std::uint32_t nlmsg_pid;
};
struct nlmsgerr {
  std::int32_t error;
  nlmsghdr msg;
};
struct nlattr {
  std::uint16_t nla_len;
  std::uint16_t nla_type;
};
struct ifinfomsg {
  std::uint8_t ifi_family;
  std::uint8_t ifi_pad;
  std::uint16_t ifi_type;
  std::int32_t ifi_index;
  std::uint32_t ifi_flags;
  std::uint32_t ifi_change;
};
struct ifaddrmsg {
  std::uint8_t ifa_family;
  std::uint8_t ifa_prefixlen;
  std::uint8_t ifa_flags;
  std::uint8_t ifa_scope;
  std::uint32_t ifa_index;
};
/// The head of rtnl_link_stats64, which has grown at its end only.
struct link_stats64 {
  std::uint64_t rx_packets;
  std::uint64_t tx_packets;
  std::uint64_t rx_bytes;
  std::uint64_t tx_bytes;
  std::uint64_t rx_errors;
  std::uint64_t tx_errors;
  std::uint64_t rx_dropped;
  std::uint64_t tx_dropped;
};

}  // namespace vkring::inline v0::netlink_abi

#endif  // VKRING_KERNEL_NETLINK_ABI_HPP
