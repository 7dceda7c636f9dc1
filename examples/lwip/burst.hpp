// SPDX-License-Identifier: BSD-3-Clause
#ifndef LWIP_BURST_HPP
#define LWIP_BURST_HPP

// What lwIP sends that goes to the kernel as one frame.

#include <lwip/pbuf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/net/header.hpp>
#include <vkring/net/packet.hpp>

namespace lwip_example {

/// One packet, or packets of TCP that continue each other: then the first one's headers stand for all of
/// them, and the kernel makes such packets of it again where it has to.
///
/// Holds a reference to each packet until `release`.
class burst {
 public:
  /// Of memory; with a descriptor for vkring's header, within the indirect tables of a device with
  /// buffers of 2 KB.
  static constexpr std::size_t most_pieces = 32;

  /// Takes over the caller's reference to a packet of at most that many pieces. `offload`: the
  /// checksum of TCP or UDP is to be completed by the kernel.
  void begin(pbuf* packet, bool offload) noexcept;
  /// Takes over the reference to a packet that continues the last one; false if it does not.
  bool append(pbuf* packet) noexcept;
  /// Writes into the headers what is true of the whole, and returns what the kernel is to do.
  [[nodiscard]] vkring::virtio_net_hdr finish() noexcept;
  /// Where it lies, in order.
  [[nodiscard]] std::span<const std::span<std::byte>> pieces() const noexcept {
    return {pieces_.data(), piece_count_};
  }
  /// Lets go of the packets.
  void release() noexcept;

 private:
  static constexpr std::size_t longest = 65535;  // what an IP header can say

  [[nodiscard]] std::byte* head() const noexcept { return pieces_[0].data(); }

  std::array<pbuf*, most_pieces> packets_{};
  std::array<std::span<std::byte>, most_pieces> pieces_{};
  std::size_t packet_count_ = 0;
  std::size_t piece_count_ = 0;
  vkring::packet_layout layout_;
  std::size_t segment_ = 0;  // bytes of payload of the first packet
  std::size_t payload_ = 0;  // and of all
  bool offload_ = false;
  bool closed_ = true;  // nothing can continue it
};

}  // namespace lwip_example

#endif  // LWIP_BURST_HPP
