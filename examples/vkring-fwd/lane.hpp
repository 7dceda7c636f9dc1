// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_FWD_LANE_HPP
#define VKRING_FWD_LANE_HPP

// One direction of traffic: from one queue, through what the mode does to it, to one queue.

#include <poll.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>

#include "counters.hpp"
#include "echo.hpp"
#include "finisher.hpp"
#include "frame_queue.hpp"
#include "options.hpp"
#include "traffic.hpp"

namespace fwd {

/// What a lane does.
struct lane_plan {
  traffic_mode mode;
  any_queue from;
  any_queue to;
  vkring::frame_offloads received;  ///< what frames of `from` may ask for
  vkring::frame_offloads allowed;   ///< what `to` takes
  echo_host host;                   ///< icmp-echo: who answers
  std::vector<std::byte> made_up;   ///< txonly: the frame to send
  std::uint64_t rate;               ///< txonly: frames per second; 0: no limit
};

/// Moves frames, and holds those that `to` had no room for: nothing is received before they are gone,
/// so that a slow receiver slows the sender down instead of losing frames.
///
/// Thread-safety: one thread at a time; counters from any. Stays where it is.
class lane {
 public:
  using clock = std::chrono::steady_clock;

  explicit lane(const lane_plan& plan);
  lane(const lane&) = delete;
  lane& operator=(const lane&) = delete;

  /// Moves up to one burst. False: there was nothing to do, or no room.
  bool work();
  /// The same without making up frames, for the end. False: nothing moved, and nothing is held.
  bool work_off();
  /// Drops what is still held.
  void stop();

  /// Makes `entry` one to poll for before there is something to do again.
  readiness prepare_sleep(pollfd& entry);
  void woken(const pollfd& entry);
  /// When there is something to do without any event: the next frame of a paced txonly.
  [[nodiscard]] std::optional<clock::time_point> wake_at() const noexcept { return wake_at_; }

  [[nodiscard]] const loss_counters& losses() const noexcept { return losses_; }
  [[nodiscard]] const finisher& finishing() const noexcept { return finisher_; }

 private:
  static constexpr std::size_t burst = 64;

  // A burst of frames of which the first ones are gone.
  struct batch {
    std::array<vkring::frame, burst> frames;
    std::size_t begin = 0;
    std::size_t end = 0;

    [[nodiscard]] bool empty() const noexcept { return begin == end; }
    [[nodiscard]] std::span<vkring::frame> left() noexcept {
      return std::span(frames).subspan(begin, end - begin);
    }
    [[nodiscard]] std::span<vkring::frame> all() noexcept { return frames; }
    void assign(std::size_t count) noexcept {
      begin = 0;
      end = count;
    }
  };

  template <class From, class To>
  bool work(From& from, To& to);
  template <class From, class To>
  std::size_t fill(From& from, To& to);
  template <class To>
  std::size_t make_up(To& to);
  template <class From>
  std::size_t answer_all(From& from, std::size_t received);
  template <class To>
  bool flush(To& to);
  template <class To>
  bool send(To& to, batch& some, std::size_t count);
  template <class To>
  bool send_segments(To& to);
  [[nodiscard]] bool is_blocked() const noexcept {
    return !held_.empty() || !segments_.empty() || finisher_.is_cutting();
  }

  // There are no buffers for the segments of the frame that is being cut.
  [[nodiscard]] bool is_starved() const noexcept {
    return finisher_.is_cutting() && segments_.empty();
  }

  lane_plan plan_;
  bool finishes_;  // whether frames may come that `to` does not take as they are
  bool ending_ = false;
  batch held_;
  batch segments_;  // of the first frame that is not in held_ any more
  finisher finisher_;
  pacer pacer_;
  std::optional<clock::time_point> wake_at_;
  loss_counters losses_;
};

}  // namespace fwd

#endif  // VKRING_FWD_LANE_HPP
