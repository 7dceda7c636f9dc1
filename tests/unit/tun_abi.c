// SPDX-License-Identifier: BSD-3-Clause

// The installed kernel headers' view of what kernel/tun_abi.hpp defines anew.

#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/ioctl.h>
#include <linux/sockios.h>
#include <stddef.h>

const struct {
  const char* name;
  unsigned long value;
} uapi_tun[] = {
#define VALUE(x) \
  { #x, (unsigned long)(x) }
    VALUE(TUNSETIFF),
    VALUE(TUNSETPERSIST),
    VALUE(TUNSETOWNER),
    VALUE(TUNSETGROUP),
    VALUE(TUNGETFEATURES),
    VALUE(TUNSETOFFLOAD),
    VALUE(TUNSETTXFILTER),
    VALUE(TUNGETIFF),
    VALUE(TUNGETSNDBUF),
    VALUE(TUNSETSNDBUF),
    VALUE(TUNATTACHFILTER),
    VALUE(TUNDETACHFILTER),
    VALUE(TUNGETVNETHDRSZ),
    VALUE(TUNSETVNETHDRSZ),
    VALUE(TUNSETQUEUE),
    VALUE(TUNSETVNETLE),
    VALUE(TUNGETVNETLE),
    VALUE(TUNSETSTEERINGEBPF),
    VALUE(TUNSETFILTEREBPF),
    VALUE(TUNSETCARRIER),
    VALUE(TUNGETDEVNETNS),
    VALUE(SIOCSIFHWADDR),
    VALUE(SIOCGIFHWADDR),
    VALUE(SIOCGIFINDEX),
    VALUE(SIOCETHTOOL),
    VALUE(IFF_TUN),
    VALUE(IFF_TAP),
    VALUE(IFF_NAPI),
    VALUE(IFF_NAPI_FRAGS),
    VALUE(IFF_MULTI_QUEUE),
    VALUE(IFF_ATTACH_QUEUE),
    VALUE(IFF_DETACH_QUEUE),
    VALUE(IFF_PERSIST),
    VALUE(IFF_NO_PI),
    VALUE(IFF_ONE_QUEUE),
    VALUE(IFF_VNET_HDR),
    VALUE(IFF_TUN_EXCL),
    VALUE(TUN_F_CSUM),
    VALUE(TUN_F_TSO4),
    VALUE(TUN_F_TSO6),
    VALUE(TUN_F_TSO_ECN),
    VALUE(TUN_F_UFO),
    VALUE(IFNAMSIZ),
    VALUE(ARPHRD_ETHER),
    VALUE(TUN_FLT_ALLMULTI),
    VALUE(ETHTOOL_GDRVINFO),
    {"sizeof ifreq", sizeof(struct ifreq)},
    {"ifr_flags", offsetof(struct ifreq, ifr_flags)},
    {"ifr_ifindex", offsetof(struct ifreq, ifr_ifindex)},
    {"ifr_hwaddr", offsetof(struct ifreq, ifr_hwaddr)},
    {"ifr_data", offsetof(struct ifreq, ifr_data)},
    {"tun_filter addr", offsetof(struct tun_filter, addr)},
    {"sizeof drvinfo", sizeof(struct ethtool_drvinfo)},
    {"drvinfo driver", offsetof(struct ethtool_drvinfo, driver)},
    {"drvinfo bus_info", offsetof(struct ethtool_drvinfo, bus_info)},
    {0, 0}};
