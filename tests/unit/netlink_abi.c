// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of what kernel/netlink_abi.hpp defines anew, and of the
// constants of kernel/netns.hpp and memory/region.hpp.

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/memfd.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <sys/socket.h>

const struct {
  const char* name;
  unsigned long value;
} uapi_netlink[] = {
#define VALUE(x) \
  { #x, (unsigned long)(x) }
#define SIZE(type) \
  { "sizeof " #type, sizeof(struct type) }
#define PLACE(type, member) \
  { #type " " #member, offsetof(struct type, member) }
    VALUE(NETLINK_ROUTE),
    VALUE(SOL_NETLINK),
    VALUE(NETLINK_CAP_ACK),
    VALUE(NETLINK_EXT_ACK),
    VALUE(RTMGRP_LINK),
    VALUE(NLMSG_ERROR),
    VALUE(RTM_NEWLINK),
    VALUE(RTM_DELLINK),
    VALUE(RTM_GETLINK),
    VALUE(RTM_NEWADDR),
    VALUE(RTM_DELADDR),
    VALUE(NLM_F_REQUEST),
    VALUE(NLM_F_ACK),
    VALUE(NLM_F_REPLACE),
    VALUE(NLM_F_CREATE),
    VALUE(NLM_F_CAPPED),
    VALUE(NLM_F_ACK_TLVS),
    VALUE(NLMSGERR_ATTR_MSG),
    {"NLA_TYPE_MASK", NLA_TYPE_MASK & 0xffff},
    VALUE(IFLA_ADDRESS),
    VALUE(IFLA_IFNAME),
    VALUE(IFLA_MTU),
    VALUE(IFLA_TXQLEN),
    VALUE(IFLA_OPERSTATE),
    VALUE(IFLA_STATS64),
    VALUE(IFLA_CARRIER),
    VALUE(IFA_ADDRESS),
    VALUE(IFA_LOCAL),
    VALUE(IFF_UP),
    VALUE(IFNAMSIZ),
    VALUE(NS_GET_NSTYPE),
    VALUE(MFD_HUGETLB),
    VALUE(MFD_HUGE_SHIFT),
    SIZE(sockaddr_nl),
    PLACE(sockaddr_nl, nl_family),
    PLACE(sockaddr_nl, nl_pid),
    PLACE(sockaddr_nl, nl_groups),
    SIZE(nlmsghdr),
    PLACE(nlmsghdr, nlmsg_len),
    PLACE(nlmsghdr, nlmsg_type),
    PLACE(nlmsghdr, nlmsg_flags),
    PLACE(nlmsghdr, nlmsg_seq),
    PLACE(nlmsghdr, nlmsg_pid),
    SIZE(nlmsgerr),
    PLACE(nlmsgerr, error),
    PLACE(nlmsgerr, msg),
    SIZE(nlattr),
    PLACE(nlattr, nla_len),
    PLACE(nlattr, nla_type),
    SIZE(ifinfomsg),
    PLACE(ifinfomsg, ifi_family),
    PLACE(ifinfomsg, ifi_type),
    PLACE(ifinfomsg, ifi_index),
    PLACE(ifinfomsg, ifi_flags),
    PLACE(ifinfomsg, ifi_change),
    SIZE(ifaddrmsg),
    PLACE(ifaddrmsg, ifa_family),
    PLACE(ifaddrmsg, ifa_prefixlen),
    PLACE(ifaddrmsg, ifa_flags),
    PLACE(ifaddrmsg, ifa_scope),
    PLACE(ifaddrmsg, ifa_index),
    PLACE(rtnl_link_stats64, rx_packets),
    PLACE(rtnl_link_stats64, tx_packets),
    PLACE(rtnl_link_stats64, rx_bytes),
    PLACE(rtnl_link_stats64, tx_bytes),
    PLACE(rtnl_link_stats64, rx_errors),
    PLACE(rtnl_link_stats64, tx_errors),
    PLACE(rtnl_link_stats64, rx_dropped),
    PLACE(rtnl_link_stats64, tx_dropped),
    {0, 0}};
