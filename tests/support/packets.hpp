// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_PACKETS_HPP
#define VKRING_TESTS_SUPPORT_PACKETS_HPP

// TCP and UDP frames to order, and a second opinion on checksums and on segmentation that shares no
// code with the library's.

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "vkring/net/header.hpp"
#include "vkring/net/packet.hpp"
#include "vkring/net/segment.hpp"

namespace vkring::test {

using bytes = std::vector<std::byte>;

/// Numbers that are the same in every run, 32 bits each: std::mt19937 gives out a long.
class random_source {
 public:
  explicit random_source(std::uint32_t seed) : engine_(seed) {}
  std::uint32_t operator()() { return static_cast<std::uint32_t>(engine_()); }

 private:
  std::mt19937 engine_;
};

inline void append(bytes& to, std::initializer_list<unsigned> values) {
  for (const unsigned value : values) to.push_back(static_cast<std::byte>(value));
}
inline void append_word(bytes& to, std::size_t value) {
  append(to, {static_cast<unsigned>(value >> 8 & 255), static_cast<unsigned>(value & 255)});
}
inline bytes random_bytes(random_source& source, std::size_t size) {
  bytes made(size);
  for (std::byte& b : made) b = static_cast<std::byte>(source());
  return made;
}
inline std::uint32_t number_at(std::span<const std::byte> from, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (const std::byte b : from.subspan(at, size))
    value = value << 8 | std::to_integer<std::uint32_t>(b);
  return value;
}

/// The Internet checksum byte by byte; 0 over something that contains a right one.
inline std::uint16_t naive_checksum(std::span<const std::byte> data) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < data.size(); ++i)
    sum += std::to_integer<std::uint64_t>(data[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

/// What a frame is made of. The L4 checksum field holds the sum of the pseudo header.
struct packet_recipe {
  bool ethernet = true;
  unsigned tags = 0;  ///< VLAN tags
  bool v6 = false;
  bool tcp = true;
  std::size_t ip_options = 0;   ///< IPv4: bytes, a multiple of 4 up to 40
  std::size_t tcp_options = 0;  ///< bytes, a multiple of 4 up to 40
  bytes extensions = {};        ///< IPv6: header chain, whose first type is `first_extension`
  unsigned first_extension = 0;
  unsigned tcp_flags = 0x10;
  std::uint16_t ip_id = 0;
  std::uint32_t sequence = 0;
  std::size_t payload = 0;
  std::size_t padding = 0;  ///< bytes behind the IP packet
};

struct built_packet {
  bytes frame;
  std::size_t ip = 0;
  std::size_t l4 = 0;
  std::size_t payload = 0;  ///< where it starts
};

/// The words of the pseudo header, as bytes.
inline bytes pseudo_header_bytes(std::span<const std::byte> frame, std::size_t ip, bool v6,
                                 unsigned protocol, std::size_t length) {
  const auto addresses = v6 ? frame.subspan(ip + 8, 32) : frame.subspan(ip + 12, 8);
  bytes made(addresses.begin(), addresses.end());
  append_word(made, 0);
  append_word(made, length);
  append_word(made, 0);
  append_word(made, protocol);
  return made;
}

inline built_packet build(const packet_recipe& recipe, random_source& source) {
  built_packet made;
  bytes& f = made.frame;
  if (recipe.ethernet) {
    append(f, {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2});
    for (unsigned tag = 0; tag < recipe.tags; ++tag) {
      append_word(f, tag + 1 < recipe.tags ? 0x88a8 : 0x8100);
      append_word(f, 0x2000 + tag);
    }
    append_word(f, recipe.v6 ? 0x86dd : 0x0800);
  }
  made.ip = f.size();
  const unsigned protocol = recipe.tcp ? 6 : 17;
  const std::size_t l4_size = (recipe.tcp ? 20 + recipe.tcp_options : 8) + recipe.payload;
  if (recipe.v6) {
    append(f, {0x60, 0x01, 0x02, 0x03});
    append_word(f, recipe.extensions.size() + l4_size);
    append(f, {recipe.extensions.empty() ? protocol : recipe.first_extension, 64});
    for (unsigned i = 0; i < 32; ++i) append(f, {0x20 + 7 * i});
    f.insert(f.end(), recipe.extensions.begin(), recipe.extensions.end());
  } else {
    append(f, {0x45 + static_cast<unsigned>(recipe.ip_options / 4), 0});
    append_word(f, 20 + recipe.ip_options + l4_size);
    append_word(f, recipe.ip_id);
    append(f, {0x40, 0, 64, protocol, 0, 0, 192, 168, 1, 2, 10, 20, 30, 40});
    for (std::size_t i = 0; i < recipe.ip_options; ++i) append(f, {1});
    const std::uint16_t sum = naive_checksum(std::span(f).subspan(made.ip));
    f[made.ip + 10] = static_cast<std::byte>(sum >> 8);
    f[made.ip + 11] = static_cast<std::byte>(sum);
  }
  made.l4 = f.size();
  const bytes pseudo = pseudo_header_bytes(f, made.ip, recipe.v6, protocol, l4_size);
  const auto partial = static_cast<std::uint16_t>(~naive_checksum(pseudo));
  append(f, {0x12, 0x34, 0x00, 0x50});
  if (recipe.tcp) {
    append_word(f, recipe.sequence >> 16);
    append_word(f, recipe.sequence);
    append(f, {9, 9, 9, 9, static_cast<unsigned>((20 + recipe.tcp_options) / 4) << 4,
               recipe.tcp_flags, 0x10, 0});
    append_word(f, partial);
    append_word(f, 0);
    for (std::size_t i = 0; i < recipe.tcp_options; ++i) append(f, {1});
  } else {
    append_word(f, l4_size);
    append_word(f, partial);
  }
  made.payload = f.size();
  const bytes payload = random_bytes(source, recipe.payload + recipe.padding);
  f.insert(f.end(), payload.begin(), payload.end());
  return made;
}

/// The header that goes with it. `gso_size` 0: only its checksum is partial.
inline virtio_net_hdr header_for(const packet_recipe& recipe, const built_packet& packet,
                                 std::uint16_t gso_size = 0) {
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.csum_start = static_cast<std::uint16_t>(packet.l4);
  header.csum_offset = recipe.tcp ? 16 : 6;
  if (gso_size == 0) return header;
  header.gso_type = !recipe.tcp ? gso::udp_l4 : recipe.v6 ? gso::tcpv6 : gso::tcpv4;
  header.gso_size = gso_size;
  header.hdr_len = static_cast<std::uint16_t>(packet.payload);
  return header;
}

/// The same bytes as `pieces` spans that share nothing, cut at random places, some of them empty.
struct scattered {
  std::vector<bytes> parts;
  std::vector<std::span<const std::byte>> spans;

  scattered(std::span<const std::byte> whole, std::size_t pieces, random_source& source) {
    while (pieces-- > 1) {
      const std::size_t n = source() % 4 == 0 ? source() % 3 : source() % (whole.size() + 1);
      const auto part = whole.first(n < whole.size() ? n : whole.size());
      parts.emplace_back(part.begin(), part.end());
      whole = whole.subspan(part.size());
    }
    parts.emplace_back(whole.begin(), whole.end());
    spans.assign(parts.begin(), parts.end());
  }
};

namespace detail {

// What is wrong with segment `i` of `n`; empty if nothing.
inline std::string check_segment(std::span<const std::byte> original,
                                 std::span<const std::byte> segment, const packet_layout& at,
                                 std::size_t i, std::size_t n, std::size_t gso_size,
                                 bool complete) {
  const bool tcp = at.protocol == 6;
  const std::size_t payload = segment.size() - at.payload;
  if (i + 1 < n ? payload != gso_size : payload > gso_size) return "payload size";
  if (at.ipv6) {
    if (number_at(segment, at.ip + 4u, 2) != segment.size() - at.ip - 40) return "IPv6 length";
  } else {
    const auto ip_header = segment.subspan(at.ip, std::size_t{at.l4} - at.ip);
    if (number_at(segment, at.ip + 2u, 2) != segment.size() - at.ip) return "IPv4 length";
    if (naive_checksum(ip_header) != 0) return "IPv4 checksum";
    if (number_at(segment, at.ip + 4u, 2) != ((number_at(original, at.ip + 4u, 2) + i) & 0xffff))
      return "IPv4 id";
  }
  const std::size_t field = at.l4 + (tcp ? 16u : 6u);
  const std::size_t l4_size = segment.size() - at.l4;
  bytes sum = pseudo_header_bytes(segment, at.ip, at.ipv6, at.protocol, l4_size);
  if (complete) {
    sum.insert(sum.end(), segment.begin() + at.l4, segment.end());
    if (naive_checksum(sum) != 0) return "L4 checksum";
    if (!tcp && number_at(segment, field, 2) == 0) return "UDP checksum of zero";
  } else if ((number_at(segment, field, 2) ^ naive_checksum(sum)) != 0xffff) {
    return "partial checksum";
  }
  if (tcp) {
    const auto sequence =
        static_cast<std::uint32_t>(number_at(original, at.l4 + 4u, 4) + i * gso_size);
    if (number_at(segment, at.l4 + 4u, 4) != sequence) return "TCP sequence number";
    std::uint32_t flags = number_at(original, at.l4 + 13u, 1);
    if (i != 0) flags &= ~0x80u;
    if (i + 1 != n) flags &= ~0x09u;
    if (number_at(segment, at.l4 + 13u, 1) != flags) return "TCP flags";
  } else if (number_at(segment, at.l4 + 4u, 2) != l4_size) {
    return "UDP length";
  }
  return {};
}

}  // namespace detail

/// Segments `frame` (all of `original`) and computes again what has to come out. What is wrong;
/// empty if nothing is, or if the frame is refused.
inline std::string check_segmentation(const virtio_net_hdr& header,
                                      std::span<const std::byte> original,
                                      std::span<const std::span<const std::byte>> frame,
                                      segment_checksum checksums, link_layer link) {
  segmenter cut(header, frame, checksums, link);
  if (cut.fault() != packet_fault::none)
    return cut.segments() == 0 && cut.done() ? "" : "segments after a fault";
  if (cut.done()) return "no segments without a fault";
  const bool is_gso = header.gso_type != gso::none;
  const packet_layout at = is_gso ? parse_packet(original, original.size(), link) : packet_layout{};
  if (at.fault != packet_fault::none) return "no fault in headers at fault";
  const std::size_t end = is_gso ? at.end : original.size();
  const std::size_t n = cut.segments();

  bytes joined(original.begin(), original.begin() + at.payload);
  for (std::size_t i = 0; i < n; ++i) {
    if (cut.done()) return "too few segments";
    bytes out(cut.max_segment_size());
    out.resize(cut.next(out));
    if (out.size() < at.payload) return "a segment without its headers";
    if (!is_gso) {
      bytes expected(original.begin(), original.end());
      const std::size_t start = header.csum_start;
      const std::size_t field = start + header.csum_offset;
      if ((header.flags & header_flag::needs_csum) != 0 &&
          checksums == segment_checksum::complete) {
        std::uint16_t sum = naive_checksum(std::span(expected).subspan(start));
        if (sum == 0 && header.csum_offset == 6) sum = 0xffff;
        expected[field] = static_cast<std::byte>(sum >> 8);
        expected[field + 1] = static_cast<std::byte>(sum);
      }
      if (out != expected) return "a frame without GSO was changed";
    } else if (auto wrong = detail::check_segment(original, out, at, i, n, header.gso_size,
                                                  checksums == segment_checksum::complete);
               !wrong.empty()) {
      return wrong + " of segment " + std::to_string(i) + " of " + std::to_string(n);
    }
    joined.insert(joined.end(), out.begin() + at.payload, out.end());
  }
  if (!cut.done()) return "too many segments";
  const auto expected = original.first(end);
  if (is_gso && !(joined == bytes(expected.begin(), expected.end()))) return "payload";
  return {};
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_PACKETS_HPP
