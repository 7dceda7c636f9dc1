// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_COUNTERS_HPP
#define VKRING_FWD_COUNTERS_HPP

// Where frames go that the program does not send on: by name, so that none is lost silently.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>
#include <vkring/core/counter.hpp>
#include <vkring/net/packet.hpp>
#include <vkring/queue/statistics.hpp>

namespace fwd {

/// Why a frame was dropped by the program or by a packet socket. The reasons from `unfinished` on
/// are those of the segmenter: `unfinished` plus the `packet_fault`.
enum class loss : std::uint8_t {
  unanswered,      ///< icmp-echo: nothing to answer
  stopped,         ///< received, and the other port did not take it before the end
  interface_down,  ///< the kernel's interface is down, or gone
  too_long,        ///< longer than the MTU, or than the buffers
  kernel_busy,     ///< the interface's own queue was full
  kernel_refused,  ///< any other refusal by the kernel
  unreadable_gso,  ///< of a kind that the header of a packet socket cannot tell
  sctp_checksum,   ///< a CRC that the other port does not complete, and nobody here either
  unfinished,
};
inline constexpr std::size_t loss_count =
    static_cast<std::size_t>(loss::unfinished) +
    static_cast<std::size_t>(vkring::packet_fault::csum_beyond_end) + 1;

/// The name of a reason by its index in `loss_counters`.
[[nodiscard]] constexpr std::string_view loss_name(std::size_t index) noexcept {
  switch (static_cast<loss>(index)) {
    case loss::unanswered:
      return "unanswered";
    case loss::stopped:
      return "stopped";
    case loss::interface_down:
      return "interface_down";
    case loss::too_long:
      return "too_long";
    case loss::kernel_busy:
      return "kernel_busy";
    case loss::kernel_refused:
      return "kernel_refused";
    case loss::unreadable_gso:
      return "unreadable_gso";
    case loss::sctp_checksum:
      return "sctp_checksum";
    case loss::unfinished:
      break;
  }
  return name(
      static_cast<vkring::packet_fault>(index - static_cast<std::size_t>(loss::unfinished)));
}

/// Losses by reason. One writer; readable from any thread.
class loss_counters {
 public:
  void add(loss reason, std::uint64_t frames = 1) noexcept {
    counts_[static_cast<std::size_t>(reason)].add(frames);
  }
  void add(vkring::packet_fault fault) noexcept {
    counts_[static_cast<std::size_t>(loss::unfinished) + static_cast<std::size_t>(fault)].add(1);
  }
  [[nodiscard]] std::uint64_t total() const noexcept {
    std::uint64_t sum = 0;
    for (const vkring::counter& each : counts_) sum += each.value();
    return sum;
  }
  /// Appends those that took frames.
  void list(std::vector<vkring::drop_count>& to) const {
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i].value() != 0) to.push_back({loss_name(i), counts_[i].value()});
    }
  }

 private:
  std::array<vkring::counter, loss_count> counts_;
};

/// What was finished in software because the sending port could not take it.
struct finish_counters {
  vkring::counter checksums;     ///< partial checksums completed
  vkring::counter gso_frames;    ///< frames that were segmented
  vkring::counter gso_segments;  ///< what came out of them
};

}  // namespace fwd

#endif  // VKRING_FWD_COUNTERS_HPP
