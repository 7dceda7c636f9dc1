// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/tun_abi.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "vkring/net/tun_offload.hpp"

namespace abi = vkring::tun_abi;

namespace {

struct named_value {
  const char* name;
  unsigned long value;
};

}  // namespace

// From tun_abi.c, as the kernel's headers and those of C++ cannot be included together.
extern "C" const named_value uapi_tun[];

TEST_CASE("tun_abi: constants and layouts are those of the installed kernel headers") {
  const std::map<std::string, unsigned long> own = {
      {"TUNSETIFF", abi::tunsetiff},
      {"TUNSETPERSIST", abi::tunsetpersist},
      {"TUNSETOWNER", abi::tunsetowner},
      {"TUNSETGROUP", abi::tunsetgroup},
      {"TUNGETFEATURES", abi::tungetfeatures},
      {"TUNSETOFFLOAD", abi::tunsetoffload},
      {"TUNSETTXFILTER", abi::tunsettxfilter},
      {"TUNGETIFF", abi::tungetiff},
      {"TUNGETSNDBUF", abi::tungetsndbuf},
      {"TUNSETSNDBUF", abi::tunsetsndbuf},
      {"TUNATTACHFILTER", abi::tunattachfilter},
      {"TUNDETACHFILTER", abi::tundetachfilter},
      {"TUNGETVNETHDRSZ", abi::tungetvnethdrsz},
      {"TUNSETVNETHDRSZ", abi::tunsetvnethdrsz},
      {"TUNSETQUEUE", abi::tunsetqueue},
      {"TUNSETVNETLE", abi::tunsetvnetle},
      {"TUNGETVNETLE", abi::tungetvnetle},
      {"TUNSETSTEERINGEBPF", abi::tunsetsteeringebpf},
      {"TUNSETFILTEREBPF", abi::tunsetfilterebpf},
      {"TUNSETCARRIER", abi::tunsetcarrier},
      {"TUNGETDEVNETNS", abi::tungetdevnetns},
      {"SIOCSIFHWADDR", abi::siocsifhwaddr},
      {"SIOCGIFHWADDR", abi::siocgifhwaddr},
      {"SIOCGIFINDEX", abi::siocgifindex},
      {"SIOCETHTOOL", abi::siocethtool},
      {"IFF_TUN", abi::iff_tun},
      {"IFF_TAP", abi::iff_tap},
      {"IFF_NAPI", abi::iff_napi},
      {"IFF_NAPI_FRAGS", abi::iff_napi_frags},
      {"IFF_MULTI_QUEUE", abi::iff_multi_queue},
      {"IFF_ATTACH_QUEUE", abi::iff_attach_queue},
      {"IFF_DETACH_QUEUE", abi::iff_detach_queue},
      {"IFF_PERSIST", abi::iff_persist},
      {"IFF_NO_PI", abi::iff_no_pi},
      {"IFF_ONE_QUEUE", abi::iff_one_queue},
      {"IFF_VNET_HDR", abi::iff_vnet_hdr},
      {"IFF_TUN_EXCL", abi::iff_tun_excl},
      {"TUN_F_CSUM", vkring::tun_offload::csum},
      {"TUN_F_TSO4", vkring::tun_offload::tso4},
      {"TUN_F_TSO6", vkring::tun_offload::tso6},
      {"TUN_F_TSO_ECN", vkring::tun_offload::tso_ecn},
      {"TUN_F_UFO", vkring::tun_offload::ufo},
      {"IFNAMSIZ", abi::ifnamsiz},
      {"ARPHRD_ETHER", abi::arphrd_ether},
      {"TUN_FLT_ALLMULTI", abi::tx_filter_all_multicast},
      {"ETHTOOL_GDRVINFO", abi::ethtool_gdrvinfo},
      {"sizeof ifreq", sizeof(abi::ifreq)},
      {"ifr_flags", offsetof(abi::ifreq, flags)},
      {"ifr_ifindex", offsetof(abi::ifreq, index)},
      {"ifr_hwaddr", offsetof(abi::ifreq, hardware)},
      {"ifr_data", offsetof(abi::ifreq, data)},
      {"tun_filter addr", offsetof(abi::tx_filter, addresses)},
      {"sizeof drvinfo", sizeof(abi::driver_info)},
      {"drvinfo driver", offsetof(abi::driver_info, driver)},
      {"drvinfo bus_info", offsetof(abi::driver_info, bus_info)},
  };
  std::size_t compared = 0;
  for (const named_value* each = uapi_tun; each->name != nullptr; ++each, ++compared) {
    CAPTURE(each->name);
    REQUIRE(own.count(each->name) == 1);
    CHECK(own.at(each->name) == each->value);
  }
  CHECK(compared == own.size());
}

// Newer than the headers of Debian 12.
static_assert(abi::iff_no_carrier == 0x40);
static_assert((vkring::tun_offload::uso4 | vkring::tun_offload::uso6) == 0x60);
static_assert((vkring::tun_offload::udp_tunnel | vkring::tun_offload::udp_tunnel_csum) == 0x180);
