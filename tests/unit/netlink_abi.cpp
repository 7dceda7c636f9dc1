// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/netlink_abi.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "vkring/kernel/netns.hpp"
#include "vkring/memory/region.hpp"

namespace abi = vkring::netlink_abi;

namespace {

struct named_value {
  const char* name;
  unsigned long value;
};

}  // namespace

// From netlink_abi.c, as the kernel's headers and those of C++ cannot be included together.
extern "C" const named_value uapi_netlink[];

TEST_CASE("netlink_abi: constants and layouts are those of the installed kernel headers") {
  const std::map<std::string, unsigned long> own = {
      {"NETLINK_ROUTE", abi::netlink_route},
      {"SOL_NETLINK", abi::sol_netlink},
      {"NETLINK_CAP_ACK", abi::netlink_cap_ack},
      {"NETLINK_EXT_ACK", abi::netlink_ext_ack},
      {"RTMGRP_LINK", abi::rtmgrp_link},
      {"NLMSG_ERROR", abi::nlmsg_error},
      {"RTM_NEWLINK", abi::rtm_newlink},
      {"RTM_DELLINK", abi::rtm_dellink},
      {"RTM_GETLINK", abi::rtm_getlink},
      {"RTM_NEWADDR", abi::rtm_newaddr},
      {"RTM_DELADDR", abi::rtm_deladdr},
      {"NLM_F_REQUEST", abi::nlm_f_request},
      {"NLM_F_ACK", abi::nlm_f_ack},
      {"NLM_F_REPLACE", abi::nlm_f_replace},
      {"NLM_F_CREATE", abi::nlm_f_create},
      {"NLM_F_CAPPED", abi::nlm_f_capped},
      {"NLM_F_ACK_TLVS", abi::nlm_f_ack_tlvs},
      {"NLMSGERR_ATTR_MSG", abi::nlmsgerr_attr_msg},
      {"NLA_TYPE_MASK", abi::nla_type_mask},
      {"IFLA_ADDRESS", abi::ifla_address},
      {"IFLA_IFNAME", abi::ifla_ifname},
      {"IFLA_MTU", abi::ifla_mtu},
      {"IFLA_TXQLEN", abi::ifla_txqlen},
      {"IFLA_OPERSTATE", abi::ifla_operstate},
      {"IFLA_STATS64", abi::ifla_stats64},
      {"IFLA_CARRIER", abi::ifla_carrier},
      {"IFA_ADDRESS", abi::ifa_address},
      {"IFA_LOCAL", abi::ifa_local},
      {"IFF_UP", abi::iff_up},
      {"IFNAMSIZ", abi::ifnamsiz},
      {"NS_GET_NSTYPE", vkring::detail::ns_get_nstype},
      {"MFD_HUGETLB", vkring::detail::mfd_hugetlb},
      {"MFD_HUGE_SHIFT", vkring::detail::huge_size_shift},
      {"sizeof sockaddr_nl", sizeof(abi::sockaddr_nl)},
      {"sockaddr_nl nl_family", offsetof(abi::sockaddr_nl, nl_family)},
      {"sockaddr_nl nl_pid", offsetof(abi::sockaddr_nl, nl_pid)},
      {"sockaddr_nl nl_groups", offsetof(abi::sockaddr_nl, nl_groups)},
      {"sizeof nlmsghdr", sizeof(abi::nlmsghdr)},
      {"nlmsghdr nlmsg_len", offsetof(abi::nlmsghdr, nlmsg_len)},
      {"nlmsghdr nlmsg_type", offsetof(abi::nlmsghdr, nlmsg_type)},
      {"nlmsghdr nlmsg_flags", offsetof(abi::nlmsghdr, nlmsg_flags)},
      {"nlmsghdr nlmsg_seq", offsetof(abi::nlmsghdr, nlmsg_seq)},
      {"nlmsghdr nlmsg_pid", offsetof(abi::nlmsghdr, nlmsg_pid)},
      {"sizeof nlmsgerr", sizeof(abi::nlmsgerr)},
      {"nlmsgerr error", offsetof(abi::nlmsgerr, error)},
      {"nlmsgerr msg", offsetof(abi::nlmsgerr, msg)},
      {"sizeof nlattr", sizeof(abi::nlattr)},
      {"nlattr nla_len", offsetof(abi::nlattr, nla_len)},
      {"nlattr nla_type", offsetof(abi::nlattr, nla_type)},
      {"sizeof ifinfomsg", sizeof(abi::ifinfomsg)},
      {"ifinfomsg ifi_family", offsetof(abi::ifinfomsg, ifi_family)},
      {"ifinfomsg ifi_type", offsetof(abi::ifinfomsg, ifi_type)},
      {"ifinfomsg ifi_index", offsetof(abi::ifinfomsg, ifi_index)},
      {"ifinfomsg ifi_flags", offsetof(abi::ifinfomsg, ifi_flags)},
      {"ifinfomsg ifi_change", offsetof(abi::ifinfomsg, ifi_change)},
      {"sizeof ifaddrmsg", sizeof(abi::ifaddrmsg)},
      {"ifaddrmsg ifa_family", offsetof(abi::ifaddrmsg, ifa_family)},
      {"ifaddrmsg ifa_prefixlen", offsetof(abi::ifaddrmsg, ifa_prefixlen)},
      {"ifaddrmsg ifa_flags", offsetof(abi::ifaddrmsg, ifa_flags)},
      {"ifaddrmsg ifa_scope", offsetof(abi::ifaddrmsg, ifa_scope)},
      {"ifaddrmsg ifa_index", offsetof(abi::ifaddrmsg, ifa_index)},
      {"rtnl_link_stats64 rx_packets", offsetof(abi::link_stats64, rx_packets)},
      {"rtnl_link_stats64 tx_packets", offsetof(abi::link_stats64, tx_packets)},
      {"rtnl_link_stats64 rx_bytes", offsetof(abi::link_stats64, rx_bytes)},
      {"rtnl_link_stats64 tx_bytes", offsetof(abi::link_stats64, tx_bytes)},
      {"rtnl_link_stats64 rx_errors", offsetof(abi::link_stats64, rx_errors)},
      {"rtnl_link_stats64 tx_errors", offsetof(abi::link_stats64, tx_errors)},
      {"rtnl_link_stats64 rx_dropped", offsetof(abi::link_stats64, rx_dropped)},
      {"rtnl_link_stats64 tx_dropped", offsetof(abi::link_stats64, tx_dropped)},
  };
  std::size_t compared = 0;
  for (const named_value* uapi = uapi_netlink; uapi->name != nullptr; ++uapi, ++compared) {
    INFO(uapi->name);
    REQUIRE(own.count(uapi->name) == 1);
    CHECK(own.at(uapi->name) == uapi->value);
  }
  CHECK(compared == own.size());
}
