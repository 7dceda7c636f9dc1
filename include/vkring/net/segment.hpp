// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_SEGMENT_HPP
#define VKRING_NET_SEGMENT_HPP

// Segmentation in software, for consumers that cannot take GSO frames or partial checksums.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "vkring/core/endian.hpp"
#include "vkring/net/checksum.hpp"
#include "vkring/net/header.hpp"
#include "vkring/net/packet.hpp"

namespace vkring::inline v0 {

/// What becomes of the L4 checksum of each segment.
enum class segment_checksum : std::uint8_t {
  complete,
  partial,  ///< left to the next one: the sum of the pseudo header, and a header that says so
};

/// Cuts one frame into frames that need no GSO: TCP over IPv4 and IPv6 and UDP datagrams (USO) over
/// both, with up to two VLAN tags and IPv6 option headers. A frame without a GSO type comes out as
/// the one it is, its checksum completed, so everything that is not plain can go through here.
///
/// Nothing in the header or the frame is trusted; what cannot be segmented is refused by name. The
/// frame is read once: its headers when the segmenter is made, its payload by `next`.
/// Allocation: none. Thread-safety: none; the frame's memory has to outlive the segmenter.
///
///     segmenter cut(frame.header(), frame.contiguous());
///     if (cut.max_segment_size() <= buffer.size())
///       while (!cut.done()) emit(buffer.first(cut.next(buffer)));
class segmenter {
 public:
  /// Bytes that all headers of a GSO frame may take together.
  static constexpr std::size_t max_headers = 256;

  /// A frame that lies in these pieces, which may end anywhere.
  segmenter(const virtio_net_hdr& header, std::span<const std::span<const std::byte>> pieces,
            segment_checksum checksums = segment_checksum::complete,
            link_layer layer = link_layer::ethernet) noexcept
      : frame_(pieces), checksums_(checksums) {
    open(header, layer);
  }
  /// A frame in one piece.
  segmenter(const virtio_net_hdr& header, std::span<const std::byte> bytes,
            segment_checksum checksums = segment_checksum::complete,
            link_layer layer = link_layer::ethernet) noexcept
      : whole_(bytes), frame_(&whole_, 1), checksums_(checksums) {
    open(header, layer);
  }
  segmenter(const segmenter&) = delete;  // refers to itself
  segmenter& operator=(const segmenter&) = delete;

  /// Why there is nothing to be had; `none` if there is.
  [[nodiscard]] packet_fault fault() const noexcept { return fault_; }
  /// How many frames come out in all; 0 after a fault.
  [[nodiscard]] std::size_t segments() const noexcept { return segments_; }
  /// The size of the longest of them.
  [[nodiscard]] std::size_t max_segment_size() const noexcept {
    return layout_.payload + (payload_ < gso_size_ ? payload_ : gso_size_);
  }
  /// True when all have been handed out, and after a fault.
  [[nodiscard]] bool done() const noexcept { return made_ == segments_; }
  /// The header that goes with each of them.
  [[nodiscard]] const virtio_net_hdr& header() const noexcept { return header_; }

  /// Writes the next frame into `out` and returns its size; 0, with nothing written and nothing
  /// lost: `done()`, or `out` is too small for it.
  [[nodiscard]] std::size_t next(std::span<std::byte> out) noexcept {
    if (done()) return 0;
    const std::size_t left = payload_ - made_ * gso_size_;
    const std::size_t chunk = left < gso_size_ ? left : gso_size_;
    const std::size_t size = layout_.payload + chunk;
    if (out.size() < size) return 0;
    out = out.first(size);
    if (layout_.payload != 0) std::memcpy(out.data(), headers_.data(), layout_.payload);
    copy(out.subspan(layout_.payload));
    if (layout_.payload != 0)
      finish_segment(out);
    else if (partial_in_ && checksums_ == segment_checksum::complete)
      (void)complete_checksum(out, csum_start_, csum_offset_);  // within the frame: see open()
    ++made_;
    return size;
  }

 private:
  static constexpr std::uint8_t tcp_fin = 0x01;
  static constexpr std::uint8_t tcp_psh = 0x08;
  static constexpr std::uint8_t tcp_cwr = 0x80;

  void open(const virtio_net_hdr& header, link_layer layer) noexcept {
    std::size_t frame_size = 0;
    for (const std::span<const std::byte> piece : frame_) frame_size += piece.size();
    partial_in_ = (header.flags & header_flag::needs_csum) != 0;
    csum_start_ = header.csum_start;
    csum_offset_ = header.csum_offset;
    fault_ = header.gso_type == gso::none ? open_single(header, frame_size)
                                          : open_gso(header, frame_size, layer);
    if (fault_ != packet_fault::none) return;
    const std::size_t whole = payload_ / gso_size_;
    segments_ = whole + (payload_ % gso_size_ != 0 || payload_ == 0 ? 1 : 0);
    if (checksums_ == segment_checksum::partial && partial_in_) {
      header_.flags = header_flag::needs_csum;
      header_.csum_start = csum_start_;
      header_.csum_offset = csum_offset_;
    }
  }

  packet_fault open_single(const virtio_net_hdr& header, std::size_t frame_size) noexcept {
    if (partial_in_ && std::size_t{header.csum_start} + header.csum_offset + 2 > frame_size)
      return packet_fault::csum_beyond_end;
    payload_ = frame_size;
    gso_size_ = frame_size == 0 ? 1 : frame_size;
    return packet_fault::none;
  }

  packet_fault open_gso(const virtio_net_hdr& header, std::size_t frame_size,
                        link_layer layer) noexcept {
    if ((header.gso_type & (gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6)) != 0)
      return packet_fault::gso_tunnel;
    const auto type = static_cast<std::uint8_t>(header.gso_type & ~gso::ecn);
    if (type == gso::udp) return packet_fault::gso_ufo;
    if (type != gso::tcpv4 && type != gso::tcpv6 && type != gso::udp_l4)
      return packet_fault::gso_type;
    if (header.gso_size == 0) return packet_fault::gso_size;

    const std::size_t head = frame_size < max_headers ? frame_size : max_headers;
    copy(std::span(headers_).first(head));
    packet_layout layout = parse_packet(std::span(headers_).first(head), frame_size, layer);
    if (layout.fault == packet_fault::truncated && frame_size > max_headers)
      return packet_fault::headers_too_long;
    if (layout.fault != packet_fault::none) return layout.fault;

    const bool tcp = layout.protocol == ip_protocol::tcp;
    if (tcp != (type != gso::udp_l4) || (tcp && layout.ipv6 != (type == gso::tcpv6)))
      return packet_fault::gso_mismatch;
    const std::uint16_t csum_offset = tcp ? detail::tcp_csum_offset : detail::udp_csum_offset;
    if (partial_in_ && (csum_start_ != layout.l4 || csum_offset_ != csum_offset))
      return packet_fault::csum_mismatch;
    // The checksum is computed anew, so it can be left partial even if it came complete.
    partial_in_ = true;
    csum_start_ = layout.l4;
    csum_offset_ = csum_offset;
    layout_ = layout;
    payload_ = layout.end - layout.payload;
    gso_size_ = header.gso_size;
    rewind(layout.payload);
    return packet_fault::none;
  }

  // The headers in `out` are those of the whole frame: makes them the ones of this segment.
  void finish_segment(std::span<std::byte> out) const noexcept {
    using namespace detail;
    std::byte* const ip = out.data() + layout_.ip;
    std::byte* const l4 = out.data() + layout_.l4;
    const auto l4_length = static_cast<std::uint16_t>(out.size() - layout_.l4);
    internet_sum sum;
    if (layout_.ipv6) {
      store_big(ip + 4, static_cast<std::uint16_t>(out.size() - layout_.ip - ipv6_header_size));
      sum = pseudo_header(std::span<const std::byte, 16>(ip + 8, 16),
                          std::span<const std::byte, 16>(ip + 24, 16), layout_.protocol,
                          std::uint32_t{l4_length});
    } else {
      store_big(ip + 2, static_cast<std::uint16_t>(out.size() - layout_.ip));
      store_big(ip + 4, static_cast<std::uint16_t>(load_big<std::uint16_t>(ip + 4) + made_));
      store_big(ip + 10, std::uint16_t{0});
      internet_sum ip_sum;
      ip_sum.add(std::span<const std::byte>(ip, l4));
      store_big(ip + 10, ip_sum.checksum());
      sum = pseudo_header(std::span<const std::byte, 4>(ip + 12, 4),
                          std::span<const std::byte, 4>(ip + 16, 4), layout_.protocol, l4_length);
    }
    if (layout_.protocol == ip_protocol::tcp) {
      store_big(l4 + 4,
                static_cast<std::uint32_t>(load_big<std::uint32_t>(l4 + 4) + made_ * gso_size_));
      std::uint8_t cleared = 0;
      if (made_ != 0) cleared |= tcp_cwr;
      if (made_ + 1 != segments_) cleared |= tcp_fin | tcp_psh;
      l4[13] &= static_cast<std::byte>(~cleared);
    } else {
      store_big(l4 + 4, l4_length);
    }
    store_big(l4 + csum_offset_, sum.sum());
    if (checksums_ == segment_checksum::complete)
      (void)complete_checksum(out, csum_start_, csum_offset_);
  }

  // Fills `out` from where the last copy ended. The caller knows that the frame is long enough.
  void copy(std::span<std::byte> out) noexcept {
    while (!out.empty()) {
      const std::span<const std::byte> rest = frame_[piece_].subspan(offset_);
      const std::size_t n = rest.size() < out.size() ? rest.size() : out.size();
      if (n != 0) std::memcpy(out.data(), rest.data(), n);
      out = out.subspan(n);
      offset_ += n;
      if (n == rest.size()) {
        ++piece_;
        offset_ = 0;
      }
    }
  }

  // Goes to the byte of the frame that the next copy starts with.
  void rewind(std::size_t to) noexcept {
    piece_ = 0;
    for (; piece_ < frame_.size() && to >= frame_[piece_].size(); ++piece_)
      to -= frame_[piece_].size();
    offset_ = to;
  }

  std::span<const std::byte> whole_;
  std::span<const std::span<const std::byte>> frame_;
  std::size_t piece_ = 0;    // of the frame, that the next byte lies in
  std::size_t offset_ = 0;   // of the next byte in it
  std::size_t payload_ = 0;  // bytes to share out among the segments
  std::size_t gso_size_ = 1;
  std::size_t segments_ = 0;
  std::size_t made_ = 0;
  packet_layout layout_;  // of a GSO frame; all 0 for another one, which is all payload
  virtio_net_hdr header_;
  std::uint16_t csum_start_ = 0;
  std::uint16_t csum_offset_ = 0;
  bool partial_in_ = false;
  segment_checksum checksums_;
  packet_fault fault_ = packet_fault::none;
  std::array<std::byte, max_headers> headers_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_NET_SEGMENT_HPP
