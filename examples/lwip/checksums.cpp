// SPDX-License-Identifier: BSD-3-Clause

// lwIP has a switch for each interface that leaves its checksums to the interface
// (LWIP_CHECKSUM_CTRL_PER_NETIF). Debian's liblwip was compiled without: it always computes and always
// verifies. But the functions that it does so with are dynamic symbols, and so the program's own, with the
// same results, take their place. Those of IP headers and ICMP stay lwIP's.

#include "checksums.hpp"

#include <lwip/inet_chksum.h>
#include <lwip/ip_addr.h>
#include <lwip/pbuf.h>

#include <cstring>

namespace {

lwip_example::is_verified verified = nullptr;

// A larger datagram is sent in fragments, which no interface can complete: MTU less an IP header.
constexpr u16_t largest_whole_v4 = 1500 - 20;
constexpr u16_t largest_whole_v6 = 1500 - 40;

// lwIP received what is in pbufs of the interface's own kind, and sends the rest.
bool has_checksum_to_do(const pbuf* packet, u16_t length, const ip_addr_t* destination) {
  if (verified == nullptr) return true;
  if ((packet->flags & PBUF_FLAG_IS_CUSTOM) != 0) return !verified(packet);
  return length > (IP_IS_V6(destination) ? largest_whole_v6 : largest_whole_v4);
}

}  // namespace

void lwip_example::offload_checksums(is_verified known) noexcept { verified = known; }

extern "C" {

u16_t lwip_chksum_copy(void* to, const void* from, u16_t length) {
  std::memcpy(to, from, length);
  return verified != nullptr ? u16_t{0} : static_cast<u16_t>(~inet_chksum(to, length));
}

u16_t ip_chksum_pseudo(pbuf* packet, u8_t protocol, u16_t length, const ip_addr_t* source,
                       const ip_addr_t* destination) {
  if (!has_checksum_to_do(packet, length, destination)) return 0;
  return IP_IS_V6(destination)
             ? ip6_chksum_pseudo(packet, protocol, length, ip_2_ip6(source), ip_2_ip6(destination))
             : inet_chksum_pseudo(packet, protocol, length, ip_2_ip4(source),
                                  ip_2_ip4(destination));
}

u16_t ip_chksum_pseudo_partial(pbuf* packet, u8_t protocol, u16_t length, u16_t summed,
                               const ip_addr_t* source, const ip_addr_t* destination) {
  if (!has_checksum_to_do(packet, length, destination)) return 0;
  return IP_IS_V6(destination)
             ? ip6_chksum_pseudo_partial(packet, protocol, length, summed, ip_2_ip6(source),
                                         ip_2_ip6(destination))
             : inet_chksum_pseudo_partial(packet, protocol, length, summed, ip_2_ip4(source),
                                          ip_2_ip4(destination));
}

}  // extern "C"
