// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_FEATURES_HPP
#define VKRING_NET_FEATURES_HPP

// The feature bits of virtio-net and of the rings, sets of them, and which of them need which.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "vkring/core/error.hpp"

namespace vkring::inline v0 {

/// A feature bit, by its number. The names are those of virtio without their prefixes: `host_` is
/// what the device takes from the application, `guest_` what the application takes from the device.
///
/// Source: virtio 1.3, sections 5.1.3 and 6; 65 to 68 from virtio 1.4 and Linux 6.17.
enum class feature : std::uint8_t {
  csum = 0,
  guest_csum = 1,
  ctrl_guest_offloads = 2,
  mtu = 3,
  mac = 5,
  guest_tso4 = 7,
  guest_tso6 = 8,
  guest_ecn = 9,
  guest_ufo = 10,
  host_tso4 = 11,
  host_tso6 = 12,
  host_ecn = 13,
  host_ufo = 14,
  mrg_rxbuf = 15,
  status = 16,
  ctrl_vq = 17,
  ctrl_rx = 18,
  ctrl_vlan = 19,
  ctrl_rx_extra = 20,
  guest_announce = 21,
  mq = 22,
  ctrl_mac_addr = 23,
  notify_on_empty = 24,
  vhost_log_all = 26,
  any_layout = 27,  ///< in a vhost feature word: vhost adds and strips the frame header itself
  indirect_desc = 28,
  event_idx = 29,
  version_1 = 32,
  access_platform = 33,
  ring_packed = 34,
  in_order = 35,
  order_platform = 36,
  sr_iov = 37,
  notification_data = 38,
  notif_config_data = 39,
  ring_reset = 40,
  admin_vq = 41,
  device_stats = 50,
  hash_tunnel = 51,
  vq_notf_coal = 52,
  notf_coal = 53,
  guest_uso4 = 54,
  guest_uso6 = 55,
  host_uso = 56,
  hash_report = 57,
  guest_hdrlen = 59,
  rss = 60,
  rsc_ext = 61,
  standby = 62,
  speed_duplex = 63,
  rss_context = 64,
  guest_udp_tunnel_gso = 65,
  guest_udp_tunnel_gso_csum = 66,
  host_udp_tunnel_gso = 67,
  host_udp_tunnel_gso_csum = 68,
};

namespace detail {

struct named_feature {
  feature bit;
  std::string_view text;
};

inline constexpr named_feature feature_names[] = {
    {feature::csum, "csum"},
    {feature::guest_csum, "guest_csum"},
    {feature::ctrl_guest_offloads, "ctrl_guest_offloads"},
    {feature::mtu, "mtu"},
    {feature::mac, "mac"},
    {feature::guest_tso4, "guest_tso4"},
    {feature::guest_tso6, "guest_tso6"},
    {feature::guest_ecn, "guest_ecn"},
    {feature::guest_ufo, "guest_ufo"},
    {feature::host_tso4, "host_tso4"},
    {feature::host_tso6, "host_tso6"},
    {feature::host_ecn, "host_ecn"},
    {feature::host_ufo, "host_ufo"},
    {feature::mrg_rxbuf, "mrg_rxbuf"},
    {feature::status, "status"},
    {feature::ctrl_vq, "ctrl_vq"},
    {feature::ctrl_rx, "ctrl_rx"},
    {feature::ctrl_vlan, "ctrl_vlan"},
    {feature::ctrl_rx_extra, "ctrl_rx_extra"},
    {feature::guest_announce, "guest_announce"},
    {feature::mq, "mq"},
    {feature::ctrl_mac_addr, "ctrl_mac_addr"},
    {feature::notify_on_empty, "notify_on_empty"},
    {feature::vhost_log_all, "vhost_log_all"},
    {feature::any_layout, "any_layout"},
    {feature::indirect_desc, "indirect_desc"},
    {feature::event_idx, "event_idx"},
    {feature::version_1, "version_1"},
    {feature::access_platform, "access_platform"},
    {feature::ring_packed, "ring_packed"},
    {feature::in_order, "in_order"},
    {feature::order_platform, "order_platform"},
    {feature::sr_iov, "sr_iov"},
    {feature::notification_data, "notification_data"},
    {feature::notif_config_data, "notif_config_data"},
    {feature::ring_reset, "ring_reset"},
    {feature::admin_vq, "admin_vq"},
    {feature::device_stats, "device_stats"},
    {feature::hash_tunnel, "hash_tunnel"},
    {feature::vq_notf_coal, "vq_notf_coal"},
    {feature::notf_coal, "notf_coal"},
    {feature::guest_uso4, "guest_uso4"},
    {feature::guest_uso6, "guest_uso6"},
    {feature::host_uso, "host_uso"},
    {feature::hash_report, "hash_report"},
    {feature::guest_hdrlen, "guest_hdrlen"},
    {feature::rss, "rss"},
    {feature::rsc_ext, "rsc_ext"},
    {feature::standby, "standby"},
    {feature::speed_duplex, "speed_duplex"},
    {feature::rss_context, "rss_context"},
    {feature::guest_udp_tunnel_gso, "guest_udp_tunnel_gso"},
    {feature::guest_udp_tunnel_gso_csum, "guest_udp_tunnel_gso_csum"},
    {feature::host_udp_tunnel_gso, "host_udp_tunnel_gso"},
    {feature::host_udp_tunnel_gso_csum, "host_udp_tunnel_gso_csum"},
};

}  // namespace detail

/// The name of a bit, empty for a number that has none.
[[nodiscard]] constexpr std::string_view name(feature bit) noexcept {
  for (const detail::named_feature& entry : detail::feature_names)
    if (entry.bit == bit) return entry.text;
  return {};
}

/// The bit with that name, or nothing.
[[nodiscard]] constexpr std::optional<feature> parse_feature(std::string_view text) noexcept {
  for (const detail::named_feature& entry : detail::feature_names)
    if (entry.text == text) return entry.bit;
  return std::nullopt;
}

/// A set of up to 128 feature bits, as two words in the order of VHOST_SET_FEATURES_ARRAY.
class feature_set {
 public:
  constexpr feature_set() noexcept = default;
  /// The set of these bits.
  constexpr feature_set(std::initializer_list<feature> bits) noexcept {
    for (const feature bit : bits) insert(bit);
  }
  /// As `words` gives them.
  [[nodiscard]] static constexpr feature_set from_words(std::uint64_t low,
                                                        std::uint64_t high = 0) noexcept {
    feature_set set;
    set.words_ = {low, high};
    return set;
  }

  /// Bits 0 to 63 and 64 to 127.
  [[nodiscard]] constexpr const std::array<std::uint64_t, 2>& words() const noexcept {
    return words_;
  }
  /// Whether there is no bit at all.
  [[nodiscard]] constexpr bool empty() const noexcept { return (words_[0] | words_[1]) == 0; }
  /// How many bits there are.
  [[nodiscard]] constexpr int count() const noexcept {
    return std::popcount(words_[0]) + std::popcount(words_[1]);
  }
  /// Whether the bit is in it.
  [[nodiscard]] constexpr bool contains(feature bit) const noexcept {
    return (words_[word(bit)] & mask(bit)) != 0;
  }
  /// Whether all bits of `other` are in it.
  [[nodiscard]] constexpr bool contains(const feature_set& other) const noexcept {
    return (other - *this).empty();
  }

  /// Adds the bit; it may be there already.
  constexpr void insert(feature bit) noexcept { words_[word(bit)] |= mask(bit); }
  /// Takes the bit out, if it is there.
  constexpr void erase(feature bit) noexcept { words_[word(bit)] &= ~mask(bit); }

  /// The bits of either.
  friend constexpr feature_set operator|(const feature_set& a, const feature_set& b) noexcept {
    return from_words(a.words_[0] | b.words_[0], a.words_[1] | b.words_[1]);
  }
  /// The bits of both.
  friend constexpr feature_set operator&(const feature_set& a, const feature_set& b) noexcept {
    return from_words(a.words_[0] & b.words_[0], a.words_[1] & b.words_[1]);
  }
  /// The bits of `a` that are not in `b`.
  friend constexpr feature_set operator-(const feature_set& a, const feature_set& b) noexcept {
    return from_words(a.words_[0] & ~b.words_[0], a.words_[1] & ~b.words_[1]);
  }
  friend constexpr bool operator==(const feature_set&, const feature_set&) noexcept = default;

 private:
  [[nodiscard]] static constexpr std::size_t word(feature bit) noexcept {
    return (static_cast<std::size_t>(bit) / 64) % 2;
  }
  [[nodiscard]] static constexpr std::uint64_t mask(feature bit) noexcept {
    return std::uint64_t{1} << (static_cast<unsigned>(bit) % 64);
  }

  std::array<std::uint64_t, 2> words_{};
};

/// `csum+guest_csum+version_1`, `bit42` for bits without a name, `none` for no bits.
/// Allocation: the text.
[[nodiscard]] inline std::string feature_text(const feature_set& set) {
  std::string text;
  for (unsigned number = 0; number < 128; ++number) {
    const auto bit = static_cast<feature>(number);
    if (!set.contains(bit)) continue;
    if (!text.empty()) text += '+';
    if (name(bit).empty())
      text += "bit" + std::to_string(number);
    else
      text += name(bit);
  }
  return text.empty() ? "none" : text;
}

/// The reverse of `feature_text` for bits that have a name. Errors: the word that names none.
[[nodiscard]] inline result<feature_set> parse_features(std::string_view text) {
  feature_set set;
  if (text == "none") return set;
  for (bool more = true; more;) {
    const std::size_t end = text.find('+');
    const std::string_view word = text.substr(0, end);
    const std::optional<feature> bit = parse_feature(word);
    if (!bit)
      return fail(std::errc::invalid_argument, "features", word,
                  "names of virtio features with + between them, such as csum+event_idx");
    set.insert(*bit);
    more = end != std::string_view::npos;
    if (more) text.remove_prefix(end + 1);
  }
  return set;
}

/// A rule of the specification: `bit` may be negotiated only together with one of `any_of`.
struct feature_requirement {
  feature bit;         ///< the one that needs another
  feature_set any_of;  ///< of which one is enough
};

/// All such rules; a bit that needs several others has several rows.
///
/// Source: virtio 1.3, section 5.1.3.1 and, for the tunnel bits, virtio 1.4.
inline constexpr feature_requirement feature_requirements[] = {
    {feature::guest_tso4, {feature::guest_csum}},
    {feature::guest_tso6, {feature::guest_csum}},
    {feature::guest_ecn, {feature::guest_tso4, feature::guest_tso6}},
    {feature::guest_ufo, {feature::guest_csum}},
    {feature::guest_uso4, {feature::guest_csum}},
    {feature::guest_uso6, {feature::guest_csum}},
    {feature::guest_udp_tunnel_gso, {feature::guest_tso4}},
    {feature::guest_udp_tunnel_gso, {feature::guest_tso6}},
    {feature::guest_udp_tunnel_gso, {feature::guest_uso4}},
    {feature::guest_udp_tunnel_gso, {feature::guest_uso6}},
    {feature::guest_udp_tunnel_gso_csum, {feature::guest_udp_tunnel_gso}},
    {feature::host_tso4, {feature::csum}},
    {feature::host_tso6, {feature::csum}},
    {feature::host_ecn, {feature::host_tso4, feature::host_tso6}},
    {feature::host_ufo, {feature::csum}},
    {feature::host_uso, {feature::csum}},
    {feature::host_udp_tunnel_gso, {feature::host_tso4}},
    {feature::host_udp_tunnel_gso, {feature::host_tso6}},
    {feature::host_udp_tunnel_gso, {feature::host_uso}},
    {feature::host_udp_tunnel_gso_csum, {feature::host_udp_tunnel_gso}},
    {feature::ctrl_rx, {feature::ctrl_vq}},
    {feature::ctrl_vlan, {feature::ctrl_vq}},
    {feature::ctrl_rx_extra, {feature::ctrl_vq}},
    {feature::guest_announce, {feature::ctrl_vq}},
    {feature::mq, {feature::ctrl_vq}},
    {feature::ctrl_mac_addr, {feature::ctrl_vq}},
    {feature::notf_coal, {feature::ctrl_vq}},
    {feature::vq_notf_coal, {feature::ctrl_vq}},
    {feature::device_stats, {feature::ctrl_vq}},
    {feature::rsc_ext, {feature::host_tso4, feature::host_tso6}},
    {feature::rss, {feature::ctrl_vq}},
    {feature::hash_report, {feature::ctrl_vq}},
    {feature::hash_tunnel, {feature::ctrl_vq}},
    {feature::hash_tunnel, {feature::hash_report, feature::rss}},
    {feature::rss_context, {feature::ctrl_vq}},
    {feature::rss_context, {feature::rss}},
};

}  // namespace vkring::inline v0

#endif  // VKRING_NET_FEATURES_HPP
