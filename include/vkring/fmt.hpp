// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FMT_HPP
#define VKRING_FMT_HPP

// Formatters of {fmt} for what users of vkring print, for the target vkring::fmt: needs fmt 9.
//
// Each prints one line, and takes the width, the alignment and the precision of a string: `{:>20}`.
// There is none for a `mac_address`: it is a std::array, whose formatter is not a library's to choose.
// `mac_text(mac)` and `fmt::join` print it.

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vkring/core/error.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/ip_prefix.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/ring/fault.hpp>
#include <vkring/worker/health.hpp>

namespace vkring::inline v0 {

namespace detail {

inline std::string line_of(const error& it) { return it.message(); }
inline std::string line_of(const feature_decision& it) { return it.text(); }
inline std::string line_of(const ip_prefix& it) { return ip_text(it); }
inline std::string_view line_of(ring_fault it) { return name(it); }
inline std::string_view line_of(header_fault it) { return name(it); }
inline std::string_view line_of(drop_reason it) { return drop_name(static_cast<std::size_t>(it)); }
inline std::string line_of(const ring_breach& it) { return to_text(it); }
inline std::string line_of(const queue_health& it) { return to_text(it); }

// The names of the bits that are set, and the others as a number: `needs_csum+0x40`; `none` for none.
inline std::string bits_of(std::string text, unsigned bits,
                           std::initializer_list<std::pair<std::uint8_t, std::string_view>> names) {
  const auto add = [&](std::string_view word) {
    if (!text.empty()) text += '+';
    text += word;
  };
  for (const auto& [bit, word] : names) {
    if ((bits & bit) != 0) add(word);
    bits &= ~unsigned{bit};
  }
  if (bits != 0) add(::fmt::format("{:#x}", bits));
  return text.empty() ? "none" : text;
}

inline std::string gso_of(std::uint8_t type) {
  constexpr std::uint8_t bits = gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6 | gso::ecn;
  std::string_view word;
  switch (type & ~bits) {
    case gso::tcpv4:
      word = "tcpv4";
      break;
    case gso::udp:
      word = "udp";
      break;
    case gso::tcpv6:
      word = "tcpv6";
      break;
    case gso::udp_l4:
      word = "udp_l4";
      break;
  }
  return bits_of(std::string(word), word.empty() ? type : type & bits,
                 {{gso::udp_tunnel_ipv4, "udp_tunnel_ipv4"},
                  {gso::udp_tunnel_ipv6, "udp_tunnel_ipv6"},
                  {gso::ecn, "ecn"}});
}

// The fields that are not 0, flags and gso in any case.
inline std::string line_of(const virtio_net_hdr& it) {
  std::string text = "flags=" + bits_of({}, it.flags,
                                        {{header_flag::needs_csum, "needs_csum"},
                                         {header_flag::data_valid, "data_valid"},
                                         {header_flag::rsc_info, "rsc_info"},
                                         {header_flag::udp_tunnel_csum, "udp_tunnel_csum"}});
  text += " gso=" + gso_of(it.gso_type);
  const std::pair<std::string_view, std::uint16_t> numbers[] = {
      {"hdr_len", it.hdr_len},
      {"gso_size", it.gso_size},
      {"csum_start", it.csum_start},
      {"csum_offset", it.csum_offset},
      {"num_buffers", it.num_buffers},
      {"outer_th_offset", it.outer_th_offset},
      {"inner_nh_offset", it.inner_nh_offset}};
  for (const auto& [word, number] : numbers) {
    if (number != 0) text += ::fmt::format(" {}={}", word, number);
  }
  return text;
}

template <class T>
struct line_formatter : ::fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const T& it, Context& context) const {
    return ::fmt::formatter<std::string_view>::format(line_of(it), context);
  }
};

}  // namespace detail

}  // namespace vkring::inline v0

/// @namespace fmt
/// The {fmt} library's own; vkring adds formatters to it, all of which print one line.

/// `TUNSETIFF tap0: Operation not permitted (needs CAP_NET_ADMIN, or a persistent TAP that you own)`
template <>
struct fmt::formatter<vkring::error> : vkring::detail::line_formatter<vkring::error> {};
/// `used_id_range`
template <>
struct fmt::formatter<vkring::ring_fault> : vkring::detail::line_formatter<vkring::ring_fault> {};
/// `descriptor 5: address_refused, value 0x1000`, or `none`
template <>
struct fmt::formatter<vkring::ring_breach> : vkring::detail::line_formatter<vkring::ring_breach> {};
/// `queue pair 0, tx: descriptor 5: address_refused, value 0x1000, says the device`
template <>
struct fmt::formatter<vkring::queue_health> : vkring::detail::line_formatter<vkring::queue_health> {
};
/// `too_short`
template <>
struct fmt::formatter<vkring::drop_reason> : vkring::detail::line_formatter<vkring::drop_reason> {};
/// `csum_start_beyond_end`
template <>
struct fmt::formatter<vkring::header_fault> : vkring::detail::line_formatter<vkring::header_fault> {
};
/// `192.168.1.1/24`
template <>
struct fmt::formatter<vkring::ip_prefix> : vkring::detail::line_formatter<vkring::ip_prefix> {};
/// `tso6: refused, needs csum`
template <>
struct fmt::formatter<vkring::feature_decision>
    : vkring::detail::line_formatter<vkring::feature_decision> {};
/// `flags=needs_csum gso=tcpv4+ecn hdr_len=66 gso_size=1448 csum_start=34 csum_offset=16`
template <>
struct fmt::formatter<vkring::virtio_net_hdr>
    : vkring::detail::line_formatter<vkring::virtio_net_hdr> {};

#endif  // VKRING_FMT_HPP
