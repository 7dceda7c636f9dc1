// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_COUNTERS_HPP
#define VKRING_WORKER_COUNTERS_HPP

// What the worker counts for one queue pair, and what became of the pair.

#include <atomic>
#include <vkring/core/counter.hpp>
#include <vkring/core/set_once.hpp>
#include <vkring/ring/fault.hpp>

namespace vkring::inline v0 {

/// The statistics of one queue pair on the worker's side. One writer, the worker's thread; readable
/// from any thread. tx is the application's direction: frames from the ring into the kernel.
struct worker_counters {
  counter tx_frames;         ///< handed to the kernel
  counter tx_bytes;          ///< of those, headers not counted
  counter tx_refused;        ///< refused by it (EINVAL): a header that it does not accept
  counter tx_link_down;      ///< refused because the interface is down
  counter tx_failed;         ///< any other failure: no memory, the interface is gone
  counter rx_frames;         ///< taken from the kernel
  counter rx_too_long;       ///< dropped: longer than the buffer that the ring had for it
  counter rx_spilled;        ///< took a copy, because the ring was short of buffers at the moment
  counter calls;             ///< notifications sent to the application
  counter calls_suppressed;  ///< publications for which it wanted none
  counter sleeps;            ///< times that the thread had nothing to do and slept

  /// Frames taken from the tx ring, whatever became of them.
  [[nodiscard]] std::uint64_t tx_taken() const noexcept {
    return tx_frames.value() + tx_refused.value() + tx_link_down.value() + tx_failed.value();
  }
};

/// How one queue pair is doing, written by the worker's thread and read by any.
class worker_health {
 public:
  /// What the application's side of each ring did wrong, if it did.
  [[nodiscard]] ring_breach tx_breach() const noexcept { return tx_.get(); }
  /// See `tx_breach`.
  [[nodiscard]] ring_breach rx_breach() const noexcept { return rx_.get(); }
  /// Whether the interface has been deleted.
  [[nodiscard]] bool tap_gone() const noexcept { return tap_gone_.load(std::memory_order_relaxed); }

  /// @{
  /// For the worker's thread; the first breach stays.
  void set_tx_breach(const ring_breach& breach) noexcept { tx_.set(breach); }
  void set_rx_breach(const ring_breach& breach) noexcept { rx_.set(breach); }
  /// @}
  /// For the worker's thread.
  void set_tap_gone() noexcept { tap_gone_.store(true, std::memory_order_relaxed); }

 private:
  set_once<ring_breach> tx_;
  set_once<ring_breach> rx_;
  std::atomic<bool> tap_gone_{false};
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_COUNTERS_HPP
