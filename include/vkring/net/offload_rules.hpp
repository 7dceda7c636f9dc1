// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_OFFLOAD_RULES_HPP
#define VKRING_NET_OFFLOAD_RULES_HPP

// What each offload is to the virtio specification and to TUNSETOFFLOAD, and what it needs.

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "vkring/net/features.hpp"
#include "vkring/net/header.hpp"
#include "vkring/net/tun_offload.hpp"
#include "vkring/net/wanted.hpp"

namespace vkring::inline v0 {

namespace detail {

struct offload_row {
  directed_want wanted_offloads::*wanted;
  bool frame_offloads::*may;
  feature_set host;
  feature_set guest;
  std::uint32_t tun;
  std::string_view absent;  // why, where the TAP does not offer it
  bool large = false;       // by itself makes received frames longer than the MTU
  // The kernel takes frames from the application whatever TUNSETOFFLOAD said; but these only if it
  // is one that has the bits.
  bool probed = false;
  bool ethernet = false;  // the kernel finds its offsets wrong where there is no Ethernet header
};

// Each comes after those that it needs.
inline constexpr offload_row offload_rows[] = {
    {.wanted = &wanted_offloads::csum,
     .may = &frame_offloads::csum,
     .host = {feature::csum},
     .guest = {feature::guest_csum},
     .tun = tun_offload::csum,
     .absent = "the tap refuses TUN_F_CSUM"},
    {.wanted = &wanted_offloads::tso4,
     .may = &frame_offloads::tso4,
     .host = {feature::host_tso4},
     .guest = {feature::guest_tso4},
     .tun = tun_offload::tso4,
     .absent = "the tap refuses TUN_F_TSO4",
     .large = true},
    {.wanted = &wanted_offloads::tso6,
     .may = &frame_offloads::tso6,
     .host = {feature::host_tso6},
     .guest = {feature::guest_tso6},
     .tun = tun_offload::tso6,
     .absent = "the tap refuses TUN_F_TSO6",
     .large = true},
    {.wanted = &wanted_offloads::ecn,
     .may = &frame_offloads::ecn,
     .host = {feature::host_ecn},
     .guest = {feature::guest_ecn},
     .tun = tun_offload::tso_ecn,
     .absent = "the tap refuses TUN_F_TSO_ECN"},
    {.wanted = &wanted_offloads::uso,
     .may = &frame_offloads::uso,
     .host = {feature::host_uso},
     .guest = {feature::guest_uso4, feature::guest_uso6},
     .tun = tun_offload::uso4 | tun_offload::uso6,
     .absent = "the tap has none; Linux has since 6.2",
     .large = true,
     .probed = true},
    {.wanted = &wanted_offloads::ufo,
     .may = nullptr,
     .host = {feature::host_ufo},
     .guest = {feature::guest_ufo},
     .tun = tun_offload::ufo,
     .absent = "no effect since Linux 4.14"},
    {.wanted = &wanted_offloads::udp_tunnel,
     .may = &frame_offloads::udp_tunnel,
     .host = {feature::host_udp_tunnel_gso},
     .guest = {feature::guest_udp_tunnel_gso},
     .tun = tun_offload::udp_tunnel,
     .absent = "the tap has none; Linux has since 6.17",
     .probed = true,
     .ethernet = true},
    {.wanted = &wanted_offloads::udp_tunnel_csum,
     .may = &frame_offloads::udp_tunnel_csum,
     .host = {feature::host_udp_tunnel_gso_csum},
     .guest = {feature::guest_udp_tunnel_gso_csum},
     .tun = tun_offload::udp_tunnel_csum,
     .absent = "the tap has none; Linux has since 6.17",
     .probed = true,
     .ethernet = true},
};
static_assert(std::size(offload_rows) == std::size(offload_words));

// The offloads that a backend has to know of, as they make the header longer.
inline constexpr feature_set tunnel_features{feature::guest_udp_tunnel_gso,
                                             feature::host_udp_tunnel_gso};

// "tso4 or tso6", for the bits of offloads.
inline std::string offload_words_of(const feature_set& bits) {
  std::string text;
  for (const offload_row& row : offload_rows) {
    if (((row.host | row.guest) & bits).empty()) continue;
    if (!text.empty()) text += " or ";
    text += word_of(row.wanted);
  }
  return text;
}

// "needs tso4 and uso": the rules that `bits` break where `have` is all there is; empty if none.
inline std::string offload_needs(const feature_set& bits, const feature_set& have) {
  std::string text;
  std::string last;
  for (const feature_requirement& rule : feature_requirements) {
    if (!bits.contains(rule.bit) || !(rule.any_of & have).empty()) continue;
    std::string words = offload_words_of(rule.any_of);
    if (words == last) continue;  // uso is two bits with the same needs
    text += (text.empty() ? "needs " : " and ") + words;
    last = std::move(words);
  }
  return text;
}

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_NET_OFFLOAD_RULES_HPP
