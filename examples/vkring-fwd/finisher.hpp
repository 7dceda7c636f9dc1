// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_FINISHER_HPP
#define VKRING_FWD_FINISHER_HPP

// Finishes frames in software whose offloads the next port does not take.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>
#include <vkring/memory/frame.hpp>
#include <vkring/net/checksum.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/segment.hpp>

#include "counters.hpp"

namespace fwd {

/// What a frame needs before it can be sent.
enum class finish : std::uint8_t { nothing, checksum, segmentation };

/// What is missing where the next port takes frames with `allowed` offloads.
[[nodiscard]] constexpr finish missing(const vkring::virtio_net_hdr& header,
                                       const vkring::frame_offloads& allowed) noexcept {
  using namespace vkring;
  const bool partial = (header.flags & header_flag::needs_csum) != 0;
  if (header.gso_type == gso::none) {
    return partial && !allowed.csum ? finish::checksum : finish::nothing;
  }
  constexpr std::uint8_t tunnel = gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6;
  const auto kind = static_cast<std::uint8_t>(header.gso_type & ~(gso::ecn | tunnel));
  const bool outer_csum = (header.flags & header_flag::udp_tunnel_csum) != 0;
  const bool taken = allowed.csum &&
                     ((kind == gso::tcpv4 && allowed.tso4) ||
                      (kind == gso::tcpv6 && allowed.tso6) || (kind == gso::udp_l4 && allowed.uso));
  const bool ecn = (header.gso_type & gso::ecn) == 0 || allowed.ecn;
  const bool tunnelled = (header.gso_type & tunnel) == 0 ||
                         (allowed.udp_tunnel && (!outer_csum || allowed.udp_tunnel_csum));
  return taken && ecn && tunnelled ? finish::nothing : finish::segmentation;
}

/// Whether every frame with `sent` offloads can go where `taken` are allowed.
[[nodiscard]] constexpr bool covers(const vkring::frame_offloads& taken,
                                    const vkring::frame_offloads& sent) noexcept {
  const auto implies = [](bool a, bool b) { return !a || b; };
  return implies(sent.csum, taken.csum) && implies(sent.tso4, taken.tso4) &&
         implies(sent.tso6, taken.tso6) && implies(sent.ecn, taken.ecn) &&
         implies(sent.uso, taken.uso) && implies(sent.udp_tunnel, taken.udp_tunnel) &&
         implies(sent.udp_tunnel_csum, taken.udp_tunnel_csum);
}

/// Completes checksums in place, and cuts GSO frames into such as the next port takes, one burst
/// after the other, so that a frame of thousands of segments needs no more buffers than a burst.
class finisher {
 public:
  explicit finisher(const vkring::frame_offloads& allowed) : allowed_(allowed) {
    pieces_.reserve(64);
    writable_.reserve(64);
  }

  /// Makes `frame` one that can be sent. False: it has to be `cut`, or nothing helps.
  [[nodiscard]] bool fix(vkring::frame& frame);

  /// Starts to segment `frame`, which it takes; one that cannot be sent at all is dropped and counted.
  /// Not while `is_cutting`.
  void cut(vkring::frame&& frame);
  [[nodiscard]] bool is_cutting() const noexcept { return cut_.has_value(); }
  /// Fills empty frames with the next segments and returns how many. `allocate(frames)` fills empty
  /// frames with empty buffers and returns how many; fewer only delay the segments.
  template <class Allocate>
  std::size_t segments(std::span<vkring::frame> into, Allocate&& allocate) {
    std::size_t made = 0;
    for (; made != std::min(into.size(), left_); ++made) {
      vkring::frame& to = into[made];
      if (allocate(std::span(&to, 1)) == 0) break;
      if (!next(to, allocate)) {
        to.reset();
        break;
      }
    }
    counters_.gso_segments.add(made);
    left_ -= made;
    if (left_ == 0) end();
    return made;
  }

  /// Drops what is left of the frame that is being cut; returns how many segments that was. They
  /// count as made.
  std::size_t abandon() noexcept;

  [[nodiscard]] const finish_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const loss_counters& losses() const noexcept { return losses_; }

 private:
  // One segment into `to`, which holds an empty buffer. False: it takes more buffers than there are.
  template <class Allocate>
  bool next(vkring::frame& to, Allocate& allocate) {
    const bool fits = cut_->max_segment_size() <= to.capacity();
    if (fits) {
      to.resize(to.capacity());
      to.resize(static_cast<std::uint32_t>(cut_->next(to.contiguous())));
    } else if (!scatter(to, allocate)) {
      return false;
    }
    to.set_header(cut_->header());
    return true;
  }

  // A segment that is longer than a buffer goes through `scratch_`, where it waits for buffers.
  template <class Allocate>
  bool scatter(vkring::frame& to, Allocate& allocate) {
    if (scratch_.empty()) {
      scratch_.resize(cut_->max_segment_size());
      scratch_.resize(cut_->next(scratch_));
    }
    std::span<const std::byte> rest = write(to, scratch_);
    while (!rest.empty()) {
      vkring::frame more;
      if (allocate(std::span(&more, 1)) == 0) return false;
      rest = write(more, rest);
      to.append(std::move(more));
    }
    scratch_.clear();
    return true;
  }

  static std::span<const std::byte> write(vkring::frame& to, std::span<const std::byte> from);
  void end() noexcept;

  vkring::frame_offloads allowed_;
  std::vector<std::span<std::byte>> writable_;  // the frame whose checksum is completed
  vkring::frame whole_;                         // the frame that is being cut, in `pieces_`
  std::vector<std::span<const std::byte>> pieces_;
  std::optional<vkring::segmenter> cut_;
  std::size_t left_ = 0;            // segments to be made
  std::vector<std::byte> scratch_;  // a segment that has left `cut_`
  finish_counters counters_;
  loss_counters losses_;
};

}  // namespace fwd

#endif  // VKRING_FWD_FINISHER_HPP
