// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_WANTED_HPP
#define VKRING_NET_WANTED_HPP

// What an application asks of an interface, before anybody has answered.

#include <cstdint>
#include <string>
#include <string_view>

#include "vkring/core/error.hpp"

namespace vkring::inline v0 {

/// How much a feature is wanted. What is `required` and cannot be had is an error; what is
/// `preferred` and cannot be had is in the report.
enum class want : std::uint8_t { off, preferred, required };

/// The same for both directions, or one for each: `tx` is what the application sends.
struct directed_want {
  want tx = want::off;  ///< from the application to the interface
  want rx = want::off;  ///< from the interface to the application

  constexpr directed_want() noexcept = default;
  /// The same for both.
  constexpr directed_want(want both) noexcept : tx(both), rx(both) {}  // NOLINT: meant to convert
  /// One for each.
  constexpr directed_want(want to_send, want to_receive) noexcept : tx(to_send), rx(to_receive) {}
  friend constexpr bool operator==(const directed_want&, const directed_want&) noexcept = default;
};

/// Which offloads frames may ask for. As it is: everything that works.
struct wanted_offloads {
  directed_want csum = want::preferred;        ///< partial checksums, which the others need
  directed_want tso4 = want::preferred;        ///< TCP segments over IPv4
  directed_want tso6 = want::preferred;        ///< TCP segments over IPv6
  directed_want ecn = want::preferred;         ///< such segments with ECN
  directed_want uso = want::preferred;         ///< over IPv4 and IPv6, which come together only
  directed_want ufo = want::off;               ///< never to be had
  directed_want udp_tunnel = want::preferred;  ///< segments within a UDP tunnel
  directed_want udp_tunnel_csum = want::preferred;  ///< with a checksum in the outer UDP header

  /// Every offload, wanted that much.
  [[nodiscard]] static constexpr wanted_offloads all(want much) noexcept {
    return {much, much, much, much, much, much, much, much};
  }
  friend constexpr bool operator==(const wanted_offloads&,
                                   const wanted_offloads&) noexcept = default;
};

/// All that an application asks of an interface.
struct wanted_features {
  wanted_offloads offloads = {};     ///< for frames, in each direction
  want mergeable = want::preferred;  ///< a received frame may lie in several buffers
  want event_idx = want::preferred;  ///< an index, not a flag, says when to notify
  want indirect = want::preferred;   ///< chains in tables of their own
  want in_order = want::off;         ///< chains complete in the order in which they were added
  want packed = want::off;           ///< packed rings instead of split ones
  want mq = want::preferred;         ///< `queue_pairs` of them, where that is more than one
  want mtu = want::preferred;      ///< the interface's MTU is the application's to know and to set
  want status = want::preferred;   ///< to learn when the link goes up or down
  std::uint16_t queue_pairs = 1;   ///< receive queues, and as many transmit queues
  std::uint32_t queue_size = 256;  ///< descriptors of a receive ring
  std::uint32_t buffer_bytes = 2048;  ///< of each of its buffers, the frame header included
  std::uint16_t mtu_bytes = 0;        ///< the MTU to set, required then; 0: the TAP's own
};

namespace detail {

struct offload_word {
  std::string_view word;
  directed_want wanted_offloads::*wanted;
};

inline constexpr offload_word offload_words[] = {
    {"csum", &wanted_offloads::csum},
    {"tso4", &wanted_offloads::tso4},
    {"tso6", &wanted_offloads::tso6},
    {"ecn", &wanted_offloads::ecn},
    {"uso", &wanted_offloads::uso},
    {"ufo", &wanted_offloads::ufo},
    {"udp-tunnel", &wanted_offloads::udp_tunnel},
    {"udp-tunnel-csum", &wanted_offloads::udp_tunnel_csum},
};

[[nodiscard]] constexpr std::string_view word_of(directed_want wanted_offloads::*wanted) noexcept {
  for (const offload_word& entry : offload_words)
    if (entry.wanted == wanted) return entry.word;
  return {};
}

// Requires what one word of a list names. False: it names nothing, or what was named before.
[[nodiscard]] constexpr bool require_offload(wanted_offloads& offloads,
                                             std::string_view word) noexcept {
  const bool tx_only = word.ends_with("-tx");
  const bool rx_only = word.ends_with("-rx");
  if (tx_only || rx_only) word.remove_suffix(3);
  for (const offload_word& entry : offload_words) {
    if (entry.word != word) continue;
    directed_want& wanted = offloads.*entry.wanted;
    if ((!rx_only && wanted.tx != want::off) || (!tx_only && wanted.rx != want::off)) return false;
    if (!rx_only) wanted.tx = want::required;
    if (!tx_only) wanted.rx = want::required;
    return true;
  }
  return false;
}

}  // namespace detail

/// Reads `auto` (all that works), `none`, or a list such as `csum+tso4+tso6-rx`, in which each
/// offload is required, `-tx` and `-rx` for one direction only; what is not listed is off.
///
/// Errors: the word that is not known or comes twice, and what is allowed.
[[nodiscard]] inline result<wanted_offloads> parse_offloads(std::string_view text) {
  if (text == "auto") return wanted_offloads{};
  wanted_offloads offloads = wanted_offloads::all(want::off);
  if (text == "none") return offloads;
  for (bool more = true; more;) {
    const std::size_t end = text.find('+');
    const std::string_view word = text.substr(0, end);
    if (!detail::require_offload(offloads, word)) {
      std::string allowed = "auto, none, or a list with + between of";
      for (const detail::offload_word& entry : detail::offload_words) {
        allowed += ' ';
        allowed += entry.word;
      }
      allowed += ", each once, with -tx or -rx for one direction";
      return fail(std::errc::invalid_argument, "parse", "offloads=" + std::string(word), allowed);
    }
    more = end != std::string_view::npos;
    if (more) text.remove_prefix(end + 1);
  }
  return offloads;
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_WANTED_HPP
