// SPDX-License-Identifier: BSD-3-Clause
#include "finisher.hpp"

#include <cstring>
#include <utility>

namespace fwd {

using vkring::segment_checksum;
using vkring::virtio_net_hdr;

namespace {

// No other protocol has its checksum there; and it is none of the Internet's.
constexpr std::uint16_t sctp_checksum_offset = 8;

}  // namespace

bool finisher::fix(vkring::frame& frame) {
  const virtio_net_hdr header = frame.header();
  switch (missing(header, allowed_)) {
    case finish::nothing:
      return true;
    case finish::segmentation:
      return false;
    case finish::checksum:
      if (header.csum_offset == sctp_checksum_offset) return false;
      break;
  }
  writable_.resize(frame.buffers());
  frame.segments(writable_);
  // Within the frame, as the header was checked when the frame was received.
  (void)vkring::complete_checksum(writable_, header.csum_start, header.csum_offset);
  frame.set_header({});
  counters_.checksums.add(1);
  return true;
}

void finisher::cut(vkring::frame&& frame) {
  if (frame.header().gso_type == vkring::gso::none) {
    losses_.add(loss::sctp_checksum);
    frame.reset();
    return;
  }
  whole_ = std::move(frame);
  pieces_.clear();
  whole_.for_each_segment([this](std::span<std::byte> piece) { pieces_.emplace_back(piece); });
  cut_.emplace(whole_.header(), std::span<const std::span<const std::byte>>(pieces_),
               allowed_.csum ? segment_checksum::partial : segment_checksum::complete);
  left_ = cut_->segments();
  if (left_ == 0) {
    losses_.add(cut_->fault());
    return end();
  }
  counters_.gso_frames.add(1);
}

// Fills the buffer of an empty frame; returns what did not fit.
std::span<const std::byte> finisher::write(vkring::frame& to, std::span<const std::byte> from) {
  const std::size_t size = std::min<std::size_t>(from.size(), to.capacity());
  to.resize(static_cast<std::uint32_t>(size));
  std::memcpy(to.contiguous().data(), from.data(), size);
  return from.subspan(size);
}

std::size_t finisher::abandon() noexcept {
  const std::size_t left = std::exchange(left_, 0);
  counters_.gso_segments.add(left);
  end();
  return left;
}

void finisher::end() noexcept {
  cut_.reset();
  whole_.reset();
}

}  // namespace fwd
