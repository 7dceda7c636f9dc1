// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_HEALTH_HPP
#define VKRING_WORKER_HEALTH_HPP

// How the queue pairs of a device are doing.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vkring/ring/fault.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/shared.hpp>

namespace vkring::inline v0 {

/// What is wrong with one queue pair; all empty if nothing is.
struct queue_health {
  std::size_t pair = 0;         ///< the number of the pair
  ring_breach tx;               ///< what the device did wrong, as the application's side saw it
  ring_breach rx;               ///< the same of the rx ring
  ring_breach tx_device;        ///< what the application's side did wrong, as the device saw it
  ring_breach rx_device;        ///< the same of the rx ring
  bool interface_gone = false;  ///< it was deleted, or the queue detached
  bool stalled = false;         ///< frames were sent, and for a while none of them was taken

  /// Whether nothing is wrong.
  [[nodiscard]] bool good() const noexcept {
    return !tx && !rx && !tx_device && !rx_device && !interface_gone && !stalled;
  }
};

/// What is wrong, as in `queue pair 0, tx: descriptor 5: address_refused, value 0x1000, says the
/// device`; several things have "; " between them. `queue pair 0: good` if nothing is.
/// Allocation: the text.
[[nodiscard]] inline std::string to_text(const queue_health& health) {
  std::string text = "queue pair " + std::to_string(health.pair);
  if (health.good()) return text + ": good";
  std::string_view between = ", ";
  const auto add = [&](std::string_view what) {
    text += between;
    text += what;
    between = "; ";
  };
  const auto add_breach = [&](std::string_view ring, const ring_breach& breach,
                              std::string_view who) {
    if (breach) add(std::string(ring) + ": " + to_text(breach) + std::string(who));
  };
  add_breach("tx", health.tx, "");
  add_breach("tx", health.tx_device, ", says the device");
  add_breach("rx", health.rx, "");
  add_breach("rx", health.rx_device, ", says the device");
  if (health.stalled) add("tx: stalled, frames wait and none is taken");
  if (health.interface_gone) add("the interface was deleted");
  return text;
}

/// How far the device side of a tx ring has come.
struct tx_progress {
  std::uint16_t taken = 0;    ///< frames, modulo 65536
  std::uint16_t waiting = 0;  ///< frames that it has not taken

  /// By the indices that both sides of a split ring show.
  [[nodiscard]] static tx_progress of(const split_ring& ring) noexcept {
    const std::uint16_t used = direct::load(ring.used_index());
    return {used, static_cast<std::uint16_t>(direct::load(ring.avail_index()) - used)};
  }
};

/// Whether a tx ring moves.
/// Thread-safety: one thread.
class ring_motion {
 public:
  using clock = std::chrono::steady_clock;  ///< never set back

  /// Frames wait, and none was taken since a call at least `after` ago.
  [[nodiscard]] bool stalled(tx_progress progress, clock::time_point now,
                             std::chrono::nanoseconds after) noexcept {
    if (progress.taken != taken_ || progress.waiting == 0) since_.reset();
    taken_ = progress.taken;
    if (progress.waiting == 0) return false;
    if (!since_) since_ = now;
    return now - *since_ >= after;
  }

 private:
  std::uint16_t taken_ = 0;
  std::optional<clock::time_point> since_;  // frames were seen waiting, and none was taken
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_HEALTH_HPP
