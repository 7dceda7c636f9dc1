// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_PACKET_HPP
#define VKRING_NET_PACKET_HPP

// Where the IP and the TCP or UDP header of a frame are, found without trusting a byte of it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "vkring/core/endian.hpp"
#include "vkring/net/header.hpp"

namespace vkring::inline v0 {

/// Why a frame's headers could not be followed, or the frame not be segmented.
enum class packet_fault : std::uint8_t {
  none,
  truncated,              ///< ends within a header
  too_many_tags,          ///< more than two VLAN tags
  not_ip,                 ///< neither IPv4 nor IPv6
  ip_header,              ///< a wrong version, or a header length below the smallest
  ip_length,              ///< the IP length is beyond the frame's end, or below its headers'
  jumbogram,              ///< an IP length of 0 with a payload
  fragment,               ///< of a datagram: the L4 header is elsewhere, or does not cover all
  routing_header,         ///< IPv6, with segments left: the destination is not the final one
  unsupported_extension,  ///< an IPv6 extension header other than options, routing and fragment
  too_many_extensions,    ///< more than eight IPv6 extension headers
  not_tcp_or_udp,
  tcp_header,  ///< a data offset below the smallest header
  // of a header together with its frame, found by the segmenter
  headers_too_long,  ///< all headers together exceed `segmenter::max_headers`
  gso_type,          ///< unknown
  gso_ufo,           ///< IP fragmentation is not done here
  gso_tunnel,        ///< segmenting within tunnels is not done here
  gso_size,          ///< 0
  gso_mismatch,      ///< the frame's protocols are not those of the GSO type
  csum_mismatch,     ///< csum_start and csum_offset are not those of the L4 checksum
  csum_beyond_end,   ///< the checksum field does not lie within the frame
};

/// The name of a fault, as counters and JSON print it.
[[nodiscard]] constexpr std::string_view name(packet_fault fault) noexcept {
  switch (fault) {
    case packet_fault::none:
      return "none";
    case packet_fault::truncated:
      return "truncated";
    case packet_fault::too_many_tags:
      return "too_many_tags";
    case packet_fault::not_ip:
      return "not_ip";
    case packet_fault::ip_header:
      return "ip_header";
    case packet_fault::ip_length:
      return "ip_length";
    case packet_fault::jumbogram:
      return "jumbogram";
    case packet_fault::fragment:
      return "fragment";
    case packet_fault::routing_header:
      return "routing_header";
    case packet_fault::unsupported_extension:
      return "unsupported_extension";
    case packet_fault::too_many_extensions:
      return "too_many_extensions";
    case packet_fault::not_tcp_or_udp:
      return "not_tcp_or_udp";
    case packet_fault::tcp_header:
      return "tcp_header";
    case packet_fault::headers_too_long:
      return "headers_too_long";
    case packet_fault::gso_type:
      return "gso_type";
    case packet_fault::gso_ufo:
      return "gso_ufo";
    case packet_fault::gso_tunnel:
      return "gso_tunnel";
    case packet_fault::gso_size:
      return "gso_size";
    case packet_fault::gso_mismatch:
      return "gso_mismatch";
    case packet_fault::csum_mismatch:
      return "csum_mismatch";
    case packet_fault::csum_beyond_end:
      return "csum_beyond_end";
  }
  return "unknown";
}

/// Protocol numbers of IPv4, and next headers of IPv6 (IANA).
namespace ip_protocol {
/// @{
/// By its name in the registry.
inline constexpr std::uint8_t hop_by_hop = 0;
inline constexpr std::uint8_t tcp = 6;
inline constexpr std::uint8_t udp = 17;
inline constexpr std::uint8_t routing = 43;
inline constexpr std::uint8_t fragment = 44;
inline constexpr std::uint8_t esp = 50;
inline constexpr std::uint8_t authentication = 51;
inline constexpr std::uint8_t destination_options = 60;
/// @}
}  // namespace ip_protocol

/// Where the headers of a frame are. Offsets count from the frame's first byte; after a fault,
/// those that had been found before it are set, the others are 0.
struct packet_layout {
  packet_fault fault = packet_fault::none;  ///< why the look at the headers ended
  bool ipv6 = false;                        ///< IPv6, else IPv4
  std::uint8_t protocol = 0;                ///< of the L4 header, behind all IPv6 extension headers
  std::uint16_t ip = 0;                     ///< the IP header
  std::uint16_t l4 = 0;                     ///< the TCP or UDP header
  std::uint16_t payload = 0;                ///< behind the TCP or UDP header
  std::uint32_t end = 0;  ///< of the IP packet; what follows in the frame is padding
};

namespace detail {

// One parse: each step reads only what it has checked to be there and moves on by a bounded amount.
class packet_parser {
 public:
  packet_parser(std::span<const std::byte> head, std::size_t frame_size) noexcept
      : head_(head.first(head.size() < frame_size ? head.size() : frame_size)),
        frame_size_(frame_size) {}

  [[nodiscard]] packet_layout parse(link_layer link) noexcept {
    found_.fault = link == link_layer::ethernet ? ethernet() : raw_ip();
    return found_;
  }

 private:
  static constexpr std::uint16_t type_ipv4 = 0x0800;
  static constexpr std::uint16_t type_ipv6 = 0x86dd;
  static constexpr std::uint16_t type_vlan = 0x8100;
  static constexpr std::uint16_t type_service_vlan = 0x88a8;
  static constexpr int max_tags = 2;
  static constexpr int max_extensions = 8;

  [[nodiscard]] bool has(std::size_t at, std::size_t bytes) const noexcept {
    return at <= head_.size() && head_.size() - at >= bytes;
  }
  [[nodiscard]] std::uint8_t byte(std::size_t at) const noexcept {
    return std::to_integer<std::uint8_t>(head_[at]);
  }
  [[nodiscard]] std::uint16_t word(std::size_t at) const noexcept {
    return load_big<std::uint16_t>(head_.data() + at);
  }

  packet_fault ethernet() noexcept {
    if (!has(0, ethernet_header_size)) return packet_fault::truncated;
    std::size_t type_at = ethernet_header_size - 2;
    for (int tags = 0; word(type_at) == type_vlan || word(type_at) == type_service_vlan; ++tags) {
      if (tags == max_tags) return packet_fault::too_many_tags;
      type_at += 4;
      if (!has(type_at, 2)) return packet_fault::truncated;
    }
    switch (word(type_at)) {
      case type_ipv4:
        return ipv4(type_at + 2);
      case type_ipv6:
        return ipv6(type_at + 2);
      default:
        return packet_fault::not_ip;
    }
  }

  packet_fault raw_ip() noexcept {
    if (!has(0, 1)) return packet_fault::truncated;
    switch (byte(0) >> 4) {
      case 4:
        return ipv4(0);
      case 6:
        return ipv6(0);
      default:
        return packet_fault::not_ip;
    }
  }

  packet_fault ipv4(std::size_t at) noexcept {
    if (!has(at, ipv4_header_size)) return packet_fault::truncated;
    found_.ip = static_cast<std::uint16_t>(at);
    const std::size_t header = std::size_t{4} * (byte(at) & 15u);
    if (byte(at) >> 4 != 4 || header < ipv4_header_size) return packet_fault::ip_header;
    const std::size_t length = word(at + 2);
    if (length == 0) return packet_fault::jumbogram;
    if (length > frame_size_ - at) return packet_fault::ip_length;
    found_.end = static_cast<std::uint32_t>(at + length);
    found_.protocol = byte(at + 9);
    if ((word(at + 6) & 0x3fff) != 0) return packet_fault::fragment;
    return l4(at + header);
  }

  packet_fault ipv6(std::size_t at) noexcept {
    if (!has(at, ipv6_header_size)) return packet_fault::truncated;
    found_.ip = static_cast<std::uint16_t>(at);
    found_.ipv6 = true;
    if (byte(at) >> 4 != 6) return packet_fault::ip_header;
    const std::size_t length = word(at + 4);
    if (length > frame_size_ - at - ipv6_header_size) return packet_fault::ip_length;
    found_.protocol = byte(at + 6);
    if (length == 0 && found_.protocol == ip_protocol::hop_by_hop) return packet_fault::jumbogram;
    at += ipv6_header_size;
    found_.end = static_cast<std::uint32_t>(at + length);
    for (int extensions = 0;; ++extensions) {
      switch (found_.protocol) {
        case ip_protocol::hop_by_hop:
        case ip_protocol::destination_options:
          break;
        case ip_protocol::routing:
          if (has(at, 8) && byte(at + 3) != 0) return packet_fault::routing_header;
          break;
        case ip_protocol::fragment:
          return packet_fault::fragment;
        case ip_protocol::esp:
        case ip_protocol::authentication:
          return packet_fault::unsupported_extension;
        default:
          return l4(at);
      }
      if (extensions == max_extensions) return packet_fault::too_many_extensions;
      if (!has(at, 8)) return packet_fault::truncated;
      found_.protocol = byte(at);
      at += std::size_t{8} * (byte(at + 1) + 1u);
    }
  }

  packet_fault l4(std::size_t at) noexcept {
    if (at > found_.end) return packet_fault::ip_length;
    found_.l4 = static_cast<std::uint16_t>(at);
    std::size_t header = 0;
    if (found_.protocol == ip_protocol::udp) {
      header = udp_header_size;
      if (!has(at, header)) return packet_fault::truncated;
    } else if (found_.protocol == ip_protocol::tcp) {
      if (!has(at, tcp_header_size)) return packet_fault::truncated;
      header = std::size_t{4} * (byte(at + 12) >> 4);
      if (header < tcp_header_size) return packet_fault::tcp_header;
      if (!has(at, header)) return packet_fault::truncated;
    } else {
      return packet_fault::not_tcp_or_udp;
    }
    if (at + header > found_.end) return packet_fault::ip_length;
    found_.payload = static_cast<std::uint16_t>(at + header);
    return packet_fault::none;
  }

  std::span<const std::byte> head_;
  std::size_t frame_size_;
  packet_layout found_;
};

}  // namespace detail

/// Finds the headers of a frame of `frame_size` bytes, of which `head` is the beginning: all
/// headers have to lie within it. Bounded: two VLAN tags, eight IPv6 extension headers.
[[nodiscard]] inline packet_layout parse_packet(std::span<const std::byte> head,
                                                std::size_t frame_size,
                                                link_layer link = link_layer::ethernet) noexcept {
  return detail::packet_parser(head, frame_size).parse(link);
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_PACKET_HPP
