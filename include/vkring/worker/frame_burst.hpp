// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_FRAME_BURST_HPP
#define VKRING_WORKER_FRAME_BURST_HPP

// Frames on their way from a tx ring to writev.

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vkring/ring/chain.hpp>

namespace vkring::inline v0 {

/// A frame to be written to a TAP, header first, and what became of it.
struct outgoing_frame {
  const iovec* pieces;  ///< of the frame, the header at the beginning of the first
  std::uint16_t count;  ///< of the pieces
  std::uint16_t head;   ///< of its chain
  int result;           ///< bytes that the kernel took, or an errno value, negative
};

namespace detail {

// Chains that were taken from the ring and not returned yet, lined up for writev.
class frame_burst {
 public:
  static constexpr std::uint16_t max_frames = 64;

  void clear() noexcept { frames_end_ = pieces_end_ = 0; }

  // Appends a chain; false when there is no place for it. An empty burst has place for any.
  bool add(const device_chain& chain) noexcept {
    const std::size_t n = chain.readable.size();
    if (frames_end_ == max_frames || pieces_end_ + n > max_chain_pieces) return false;
    frames_[frames_end_++] = {&pieces_[pieces_end_], static_cast<std::uint16_t>(n), chain.head, 0};
    for (const std::span<std::byte> piece : chain.readable) {
      pieces_[pieces_end_++] = {piece.data(), piece.size()};
    }
    if (n != 0) prefetch(chain.readable.front().data());
    return true;
  }
  [[nodiscard]] std::span<outgoing_frame> frames() noexcept {
    return std::span(frames_).first(frames_end_);
  }

 private:
  // The header and the start of the payload, which another CPU has just written: they are on their
  // way here while the frames before are handed to the kernel.
  static void prefetch(const std::byte* start) noexcept {
    __builtin_prefetch(start);
    __builtin_prefetch(start + 64);
  }

  // Memory that is not written until it is needed: few chains have many pieces.
  std::unique_ptr<iovec[]> pieces_ = std::make_unique_for_overwrite<iovec[]>(max_chain_pieces);
  std::array<outgoing_frame, max_frames> frames_;
  std::size_t pieces_end_ = 0;
  std::size_t frames_end_ = 0;
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_FRAME_BURST_HPP
