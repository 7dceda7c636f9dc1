// SPDX-License-Identifier: BSD-3-Clause
#include "burst.hpp"

#include <algorithm>
#include <vkring/core/endian.hpp>
#include <vkring/net/checksum.hpp>

namespace lwip_example {

namespace {

using vkring::load_big;
using vkring::store_big;

constexpr std::byte push{8};
constexpr std::byte ack{16};

// Offsets within the headers.
namespace ipv4 {
constexpr std::size_t length = 2, checksum = 10, source = 12, destination = 16, size = 20;
}
namespace ipv6 {
constexpr std::size_t length = 4, source = 8, destination = 24, size = 40;
}
namespace tcp {
constexpr std::size_t sequence = 4, acknowledgement = 8, flags = 13, window = 14, checksum = 16,
                      size = 20;
}

std::span<std::byte> bytes_of(const pbuf* piece) noexcept {
  return {static_cast<std::byte*>(piece->payload), piece->len};
}

bool same(const std::byte* a, const std::byte* b, std::size_t from, std::size_t to) noexcept {
  return std::equal(a + from, a + to, b + from);
}

}  // namespace

void burst::begin(pbuf* packet, bool offload) noexcept {
  packets_[0] = packet;
  packet_count_ = 1;
  piece_count_ = 0;
  for (const pbuf* each = packet; each != nullptr; each = each->next) {
    pieces_[piece_count_++] = bytes_of(each);
  }
  layout_ = vkring::parse_packet(pieces_[0], packet->tot_len);
  offload_ = offload && layout_.fault == vkring::packet_fault::none;
  payload_ = segment_ = offload_ ? layout_.end - layout_.payload : 0;
  closed_ = true;
  if (!offload_ || layout_.protocol != vkring::ip_protocol::tcp || piece_count_ != 1) return;
  // Options may say something about one packet alone.
  const std::size_t ip_size = std::size_t{layout_.l4} - layout_.ip;
  const bool plain = std::size_t{layout_.payload} - layout_.l4 == tcp::size &&
                     ip_size == (layout_.ipv6 ? ipv6::size : ipv4::size);
  closed_ = !plain || head()[layout_.l4 + tcp::flags] != ack || segment_ == 0;
}

bool burst::append(pbuf* packet) noexcept {
  const std::size_t headers = layout_.payload;
  if (closed_ || packet->next != nullptr || packet->len <= headers) return false;
  if (packet_count_ == most_pieces || piece_count_ == most_pieces) return false;
  const std::span<std::byte> bytes = bytes_of(packet);
  const std::size_t size = bytes.size() - headers;
  const std::size_t after = payload_ + size + headers - layout_.ip;
  if (size > segment_ || after > longest) return false;
  const std::byte* const first = head();
  const std::byte* const next = bytes.data();
  const std::size_t ip = layout_.ip;
  const std::size_t l4 = layout_.l4;
  // All but the length, the identification and the checksum.
  const bool same_ip = layout_.ipv6 ? same(first, next, 0, ip + ipv6::length) &&
                                          same(first, next, ip + ipv6::length + 2, l4)
                                    : same(first, next, 0, ip + ipv4::length) &&
                                          same(first, next, ip + ipv4::length + 4,
                                               ip + ipv4::checksum) &&
                                          same(first, next, ip + ipv4::source, l4);
  if (!same_ip || !same(first, next, l4, l4 + tcp::sequence) ||
      !same(first, next, l4 + tcp::acknowledgement, l4 + tcp::flags) ||
      !same(first, next, l4 + tcp::window, l4 + tcp::checksum)) {
    return false;
  }
  const auto expected = load_big<std::uint32_t>(first + l4 + tcp::sequence) + payload_;
  if (load_big<std::uint32_t>(next + l4 + tcp::sequence) != static_cast<std::uint32_t>(expected)) {
    return false;
  }
  const std::byte flags = next[l4 + tcp::flags];
  if ((flags & ~push) != ack) return false;
  // A short packet, or one that wants to be handed on at once, is the last of its frame.
  closed_ = size < segment_ || flags != ack;
  head()[l4 + tcp::flags] |= flags;
  packets_[packet_count_++] = packet;
  pieces_[piece_count_++] = bytes.subspan(headers);
  payload_ += size;
  return true;
}

vkring::virtio_net_hdr burst::finish() noexcept {
  vkring::virtio_net_hdr header;
  if (!offload_) return header;
  const bool is_tcp = layout_.protocol == vkring::ip_protocol::tcp;
  const auto length = static_cast<std::uint16_t>(layout_.payload - layout_.l4 + payload_);
  std::byte* const ip = head() + layout_.ip;
  header.flags = vkring::header_flag::needs_csum;
  header.csum_start = layout_.l4;
  header.csum_offset = is_tcp ? tcp::checksum : vkring::detail::udp_csum_offset;
  const auto sum =
      layout_.ipv6
          ? vkring::pseudo_header(std::span<const std::byte, 16>(ip + ipv6::source, 16),
                                  std::span<const std::byte, 16>(ip + ipv6::destination, 16),
                                  layout_.protocol, std::uint32_t{length})
          : vkring::pseudo_header(std::span<const std::byte, 4>(ip + ipv4::source, 4),
                                  std::span<const std::byte, 4>(ip + ipv4::destination, 4),
                                  layout_.protocol, length);
  store_big(head() + header.csum_start + header.csum_offset, sum.sum());
  if (packet_count_ == 1) return header;

  header.gso_type = layout_.ipv6 ? vkring::gso::tcpv6 : vkring::gso::tcpv4;
  header.gso_size = static_cast<std::uint16_t>(segment_);
  header.hdr_len = layout_.payload;
  if (layout_.ipv6) {
    store_big(ip + ipv6::length, length);
  } else {
    const std::size_t ip_size = std::size_t{layout_.l4} - layout_.ip;
    store_big(ip + ipv4::length, static_cast<std::uint16_t>(ip_size + length));
    store_big(ip + ipv4::checksum, std::uint16_t{0});
    vkring::internet_sum over;
    over.add({ip, ip_size});
    store_big(ip + ipv4::checksum, over.checksum());
  }
  return header;
}

void burst::release() noexcept {
  for (std::size_t i = 0; i < packet_count_; ++i) pbuf_free(packets_[i]);
  packet_count_ = piece_count_ = 0;
  closed_ = true;
}

}  // namespace lwip_example
