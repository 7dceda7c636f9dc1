// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_CHECKSUM_HPP
#define VKRING_NET_CHECKSUM_HPP

// The Internet checksum, what is known about that of a frame, and the finisher in software.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "vkring/core/endian.hpp"
#include "vkring/net/header.hpp"

namespace vkring::inline v0 {

/// What is known about the L4 checksum of a frame.
class checksum_state {
 public:
  /// What is left to be done about it.
  enum class kind : std::uint8_t {
    none,      ///< nothing: it is complete in the frame and nobody has verified it
    partial,   ///< its field holds the sum of the pseudo header, the rest is to be added
    verified,  ///< it was right, or the frame has never left the machine
  };

  constexpr checksum_state() noexcept = default;
  /// Left to be completed: from `start` on, `offset` bytes further.
  [[nodiscard]] static constexpr checksum_state partial(std::uint16_t start,
                                                        std::uint16_t offset) noexcept {
    return {kind::partial, start, offset};
  }
  /// To be trusted as it is.
  [[nodiscard]] static constexpr checksum_state verified() noexcept {
    return {kind::verified, 0, 0};
  }
  /// What a frame header says.
  [[nodiscard]] static constexpr checksum_state of(const virtio_net_hdr& header) noexcept {
    if ((header.flags & header_flag::needs_csum) != 0)
      return partial(header.csum_start, header.csum_offset);
    return (header.flags & header_flag::data_valid) != 0 ? verified() : checksum_state();
  }

  [[nodiscard]] constexpr kind what() const noexcept { return kind_; }  ///< what is known
  /// Where the part to sum starts in the frame; 0 unless partial.
  [[nodiscard]] constexpr std::uint16_t start() const noexcept { return start_; }
  /// Where the checksum goes in that part; 0 unless partial.
  [[nodiscard]] constexpr std::uint16_t offset() const noexcept { return offset_; }

  friend constexpr bool operator==(const checksum_state&, const checksum_state&) noexcept = default;

 private:
  constexpr checksum_state(kind what, std::uint16_t start, std::uint16_t offset) noexcept
      : kind_(what), start_(start), offset_(offset) {}

  kind kind_ = kind::none;
  std::uint16_t start_ = 0;
  std::uint16_t offset_ = 0;
};

namespace detail {

[[nodiscard]] constexpr std::uint16_t fold_sum(std::uint64_t sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
  // 0x1fffe at most by now, so that one more carry is the last.
  return static_cast<std::uint16_t>((sum & 0xffff) + (sum >> 16));
}

// The sum of the bytes as words in the order of the host, an odd last byte padded with zero. One's
// complement sums do not care for the byte order until they are stored. Four independent sums of
// 32-bit halves: faster than adding carries on both compilers, and the same code vectorised.
[[nodiscard]] inline std::uint64_t sum_words(const std::byte* at, std::size_t size) noexcept {
  constexpr std::uint64_t low = 0xffffffff;
  std::uint64_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (; size >= 32; at += 32, size -= 32) {
    std::uint64_t w[4];
    std::memcpy(w, at, sizeof w);
    s0 += (w[0] & low) + (w[0] >> 32);
    s1 += (w[1] & low) + (w[1] >> 32);
    s2 += (w[2] & low) + (w[2] >> 32);
    s3 += (w[3] & low) + (w[3] >> 32);
  }
  std::uint64_t sum = s0 + s1 + s2 + s3;
  for (; size >= 4; at += 4, size -= 4) {
    std::uint32_t word;
    std::memcpy(&word, at, sizeof word);
    sum += word;
  }
  if (size >= 2) {
    std::uint16_t word;
    std::memcpy(&word, at, sizeof word);
    sum += word;
    at += 2;
    size -= 2;
  }
  if (size != 0) {
    std::uint16_t word = 0;
    std::memcpy(&word, at, 1);
    sum += word;
  }
  return sum;
}

}  // namespace detail

/// A running Internet checksum (RFC 1071) over pieces of any length at any alignment.
class internet_sum {
 public:
  /// Adds the next bytes; they go on where the last ones ended, also in the middle of a word.
  void add(std::span<const std::byte> bytes) noexcept {
    const std::uint16_t sum = detail::fold_sum(detail::sum_words(bytes.data(), bytes.size()));
    sum_ += odd_ ? byte_swap(sum) : sum;
    odd_ ^= (bytes.size() & 1) != 0;
  }
  /// Adds a word in host order, as if its two bytes had come after an even number of others.
  void add(std::uint16_t word) noexcept { sum_ += big(word); }

  /// The sum so far, in host order: what a partial checksum's field holds.
  [[nodiscard]] std::uint16_t sum() const noexcept { return big(detail::fold_sum(sum_)); }
  /// The checksum, in host order; 0 when the bytes contained a right one.
  [[nodiscard]] std::uint16_t checksum() const noexcept {
    return static_cast<std::uint16_t>(~sum());
  }

 private:
  std::uint64_t sum_ = 0;  // in the order of the host, unfolded
  bool odd_ = false;
};

/// The sum of the pseudo header of TCP or UDP over IPv4: `length` counts the L4 header and payload.
[[nodiscard]] inline internet_sum pseudo_header(std::span<const std::byte, 4> source,
                                                std::span<const std::byte, 4> destination,
                                                std::uint8_t protocol,
                                                std::uint16_t length) noexcept {
  internet_sum sum;
  sum.add(source);
  sum.add(destination);
  sum.add(protocol);
  sum.add(length);
  return sum;
}

/// The same over IPv6.
[[nodiscard]] inline internet_sum pseudo_header(std::span<const std::byte, 16> source,
                                                std::span<const std::byte, 16> destination,
                                                std::uint8_t protocol,
                                                std::uint32_t length) noexcept {
  internet_sum sum;
  sum.add(source);
  sum.add(destination);
  sum.add(protocol);
  sum.add(static_cast<std::uint16_t>(length >> 16));
  sum.add(static_cast<std::uint16_t>(length));
  return sum;
}

namespace detail {

// UDP, the one protocol with its checksum at 6, sends all ones for zero: zero says "no checksum".
[[nodiscard]] inline std::uint16_t finished_checksum(const internet_sum& sum,
                                                     std::size_t offset) noexcept {
  const std::uint16_t value = sum.checksum();
  return value == 0 && offset == udp_csum_offset ? std::uint16_t{0xffff} : value;
}

// Completes a partial checksum over the segments of a frame, in which the field lies somewhere.
class checksum_completer {
 public:
  checksum_completer(std::size_t start, std::size_t offset) noexcept
      : start_(start), offset_(offset) {}

  void add(std::span<std::byte> segment) noexcept {
    const std::size_t end = before_ + segment.size();
    if (end > start_) sum_.add(segment.subspan(start_ > before_ ? start_ - before_ : 0));
    for (std::size_t i = 0; i < 2; ++i)
      if (const std::size_t at = start_ + offset_ + i; at >= before_ && at < end)
        field_[i] = segment.data() + (at - before_);
    before_ = end;
  }
  void store() const noexcept {
    std::byte value[2];
    store_big(value, finished_checksum(sum_, offset_));
    *field_[0] = value[0];
    *field_[1] = value[1];
  }

 private:
  std::size_t start_;
  std::size_t offset_;
  internet_sum sum_;
  std::byte* field_[2] = {};  // it may lie across two segments
  std::size_t before_ = 0;    // bytes of the frame in front of the next segment
};

}  // namespace detail

/// Completes the partial checksum of a frame: sums from `start` to the end, where the field at
/// `start + offset` holds the sum of the pseudo header, and writes the result there.
///
/// False, and nothing is changed: the field does not lie within the frame.
[[nodiscard]] inline bool complete_checksum(std::span<std::byte> bytes, std::size_t start,
                                            std::size_t offset) noexcept {
  if (start > bytes.size() || bytes.size() - start < 2 || offset > bytes.size() - start - 2)
    return false;
  internet_sum sum;
  sum.add(bytes.subspan(start));
  store_big(bytes.data() + start + offset, detail::finished_checksum(sum, offset));
  return true;
}

/// The same for a frame in several segments; the field may lie across two of them.
[[nodiscard]] inline bool complete_checksum(std::span<const std::span<std::byte>> pieces,
                                            std::size_t start, std::size_t offset) noexcept {
  std::size_t size = 0;
  for (const std::span<std::byte> segment : pieces) size += segment.size();
  if (start > size || size - start < 2 || offset > size - start - 2) return false;

  detail::checksum_completer completer(start, offset);
  for (const std::span<std::byte> segment : pieces) completer.add(segment);
  completer.store();
  return true;
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_CHECKSUM_HPP
