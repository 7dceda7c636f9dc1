// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_TAP_QUEUE_HPP
#define VKRING_WORKER_TAP_QUEUE_HPP

// The device side of one queue pair over one TAP queue: what a vhost-net thread does.

#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>
#include <vkring/core/endian.hpp>
#include <vkring/core/probe.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/header.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/packed.hpp>
#include <vkring/ring/split.hpp>
#include <vkring/worker/counters.hpp>
#include <vkring/worker/frame_burst.hpp>
#include <vkring/worker/lined_up_buffers.hpp>
#include <vkring/worker/plain_io.hpp>
#include <vkring/worker/worker_queue.hpp>

namespace vkring::inline v0 {

/// Moves frames between one queue pair and one TAP queue, straight between the descriptors' memory
/// and the kernel. The driver may be hostile: a breach stops that ring and leaves the other alone.
///
/// Thread-safety: one thread, that of a `tap_worker`. Allocation: in the constructor only.
template <class Layout, class Sys = posix>
class tap_queue {
 public:
  /// The device side of either ring.
  using ring_type = virtqueue<Layout, device_side, table_cursor>;
  /// Bytes of the longest frame that the kernel makes, header not counted.
  static constexpr std::size_t max_frame = 65562;

  /// `table` outlives the queue and does not change. A frame that is held has at most `max_frame`
  /// bytes and its header.
  tap_queue(const worker_queue<Layout>& queue, const memory_table& table)
      : queue_(queue),
        tx_(queue.tx, starting_at(queue.options, queue.tx, queue.tx_start), table_cursor(table)),
        rx_(queue.rx, starting_at(queue.options, queue.rx, queue.rx_start), table_cursor(table)),
        lined_up_(max_frame + queue.header_bytes),
        paused_(!queue.served),
        counters_(queue.counters) {
    std::copy(queue.held.begin(), queue.held.end(), lined_up_.spill().begin());
    frame_bytes_ = spilled_ = queue.held.size();
  }

  /// Sends up to `budget` frames to the kernel; returns how many chains it returned.
  template <worker_io Io>
  std::size_t serve_tx(Io& io, std::uint16_t budget) noexcept {
    if (tx_blocked_ || paused_) return 0;
    bool full = false;
    burst_.clear();
    tx_.pop(budget, [&](const device_chain& chain) {
      if (!chain.writable.empty()) {
        tx_.break_queue(ring_fault::chain_direction, chain.head, chain.writable.size());
        return false;
      }
      full = !burst_.add(chain);
      return !full;
    });
    if (full) tx_.unpop(1);
    const std::size_t done = write_burst(io);
    if (done != 0) finish(tx_, queue_.tx_call);
    if (tx_.breach()) [[unlikely]]
      report_breach();
    return done;
  }

  /// Hands the kernel what is in the tx ring, one ring's worth at most: before the thread ends.
  template <worker_io Io>
  void drain_tx(Io& io) noexcept {
    tx_blocked_ = false;
    std::size_t left = tx_.size();
    for (std::size_t done = 1; left != 0 && done != 0; left -= done) {
      done = serve_tx(io, static_cast<std::uint16_t>(left));
    }
  }
  /// Sends what is in the ring, delivers the frame that waits for buffers if there are any, and serves the
  /// pair no more until `resume`.
  template <worker_io Io>
  void pause(Io& io) noexcept {
    drain_tx(io);
    if (holds_frame()) {
      look_for_rx_ = true;
      serve_rx(1);
    }
    paused_ = true;
  }
  /// Whether a frame was taken from the kernel that the ring has not enough buffers for.
  [[nodiscard]] bool holds_frame() const noexcept { return spilled_ != 0; }
  /// That frame with its header; empty if there is none. Only while the pair is not served.
  [[nodiscard]] std::vector<std::byte> held_frame() const {
    if (!holds_frame()) return {};
    std::vector<std::byte> whole(frame_bytes_);
    lined_up_.read(std::span(whole).first(spilled_at_));
    std::copy_n(lined_up_.spill().begin(), spilled_,
                whole.begin() + static_cast<std::ptrdiff_t>(spilled_at_));
    return whole;
  }
  /// Where this side of each packed ring goes on, like `ring_options::start`. Only while the pair
  /// is not served.
  [[nodiscard]] ring_index tx_position() const noexcept {
    return tx_.next_used().start(tx_.size());
  }
  /// See `tx_position`.
  [[nodiscard]] ring_index rx_position() const noexcept {
    return rx_.next_used().start(rx_.size());
  }
  /// Serves the pair again, after `pause`.
  void resume() noexcept {
    paused_ = false;
    look();
  }

  /// Has the next `serve_tx` and `serve_rx` ask the kernel, which costs a system call: it may have
  /// frames, and room.
  void look() noexcept {
    look_for_rx_ = true;
    tx_blocked_ = false;
  }

  /// Takes up to `budget` frames from the kernel, until it has no more; returns how many.
  std::size_t serve_rx(std::uint16_t budget) noexcept {
    if (!look_for_rx_ || paused_) return 0;
    std::size_t taken = 0;
    std::size_t delivered = 0;
    bool used = false;
    for (; taken != budget && line_up(); ++taken) {
      if (!holds_frame() && !read_frame()) break;
      while (frame_bytes_ > lined_up_.bytes() && line_up_more()) {
      }
      if (frame_bytes_ <= lined_up_.bytes()) {
        deliver();
        ++delivered;
        used = true;
      } else if (queue_.mergeable && more_can_come()) {
        break;  // the frame waits until the driver has put more buffers into the ring
      } else {
        counters_.rx_too_long.add(1);
        frame_bytes_ = spilled_ = 0;
      }
    }
    look_for_rx_ = taken == budget;
    if (used) finish(rx_, queue_.rx_call);
    if (rx_.breach()) [[unlikely]]
      report_breach();
    counters_.rx_frames.add(delivered);
    return taken;
  }

  /// Asks for no kicks: this side is looking by itself.
  void disable_kicks() noexcept {
    if (paused_) return;
    tx_.disable_kick();
    rx_.disable_kick();
  }

  /// Prepares to sleep: asks for kicks and says what to wait for. False: there is work already.
  bool arm(std::span<pollfd, 3> set) noexcept {
    // POLLRDBAND never comes. The wake-up for an interface that was deleted is filtered by it, though,
    // and a thread that waits for nothing else of the TAP has to see POLLERR.
    for (pollfd& each : set) each = {-1, 0, 0};
    if (paused_) return true;
    short tap_events = POLLRDBAND;
    if (!tx_.breach()) {
      if (tx_blocked_) {
        tap_events |= POLLOUT;
      } else {
        if (tx_.enable_kick() == notification::more_pending) return false;
        set[0] = {queue_.tx_kick, POLLIN, 0};
      }
    }
    if (!rx_.breach()) {
      if (lined_up_.count() != 0 && spilled_ == 0) {
        tap_events |= POLLIN;
      } else {
        if (rx_.enable_kick() == notification::more_pending) {
          look_for_rx_ = true;
          return false;
        }
        set[1] = {queue_.rx_kick, POLLIN, 0};
      }
    }
    if (tx_.breach() || rx_.breach()) [[unlikely]]
      report_breach();
    set[2] = {health_.tap_gone() ? -1 : queue_.tap, tap_events, 0};
    return true;
  }

  /// Takes note of what the thread was woken for.
  template <worker_io Io>
  void woken(Io& io, std::span<const pollfd, 3> set) noexcept {
    for (const pollfd& kick : set.first<2>()) {
      if (kick.revents != 0) io.drain(kick.fd);
    }
    if ((set[1].revents | set[2].revents) != 0) look();
    if ((set[2].revents & (POLLERR | POLLNVAL)) != 0) lose_tap();
  }

  /// @{
  /// What it has counted. Written by its thread, read by any.
  [[nodiscard]] worker_counters& counters() noexcept { return counters_; }
  [[nodiscard]] const worker_counters& counters() const noexcept { return counters_; }
  /// @}
  /// What is wrong, for any thread.
  [[nodiscard]] const worker_health& health() const noexcept { return health_; }

 private:
  static ring_options starting_at(const ring_options& both, const split_ring& ring,
                                  ring_index) noexcept {
    ring_options options = both.of_size(ring.size());
    options.start = ring_index(direct::load(ring.used_index()));
    return options;
  }
  static ring_options starting_at(const ring_options& both, const packed_ring& ring,
                                  ring_index start) noexcept {
    ring_options options = both.of_size(ring.size());
    options.start = start;
    return options;
  }

  // Hands the burst to the kernel and returns its chains; returns how many. What the kernel has no
  // room for goes back to the ring, until the TAP is writable.
  template <worker_io Io>
  std::size_t write_burst(Io& io) noexcept {
    const std::span<outgoing_frame> frames = burst_.frames();
    std::size_t done = 0;
    for (std::size_t tried = 0; done != frames.size() && !tx_blocked_;) {
      tried += io.write(queue_.tap, frames.subspan(done));
      for (; done != tried; ++done) {
        tx_blocked_ = !written(frames[done].result);
        if (tx_blocked_) break;
        tx_.push_used(frames[done].head, 0);
      }
    }
    if (tx_blocked_) tx_.unpop(static_cast<std::uint16_t>(frames.size() - done));
    return done;
  }

  // Counts what became of a frame. False: the kernel has no room for it now.
  bool written(int result) noexcept {
    switch (-std::min(result, 0)) {
      case 0:
        // No pieces at all are a write of nothing, which succeeds.
        if (result == 0) {
          counters_.tx_refused.add(1);
        } else {
          counters_.tx_frames.add(1);
          counters_.tx_bytes.add(static_cast<std::size_t>(result) - queue_.header_bytes);
        }
        return true;
      case EAGAIN:
        return false;
      case EINVAL:
        counters_.tx_refused.add(1);
        return true;
      case EIO:
        counters_.tx_link_down.add(1);
        return true;
      case EBADFD:
        lose_tap();
        [[fallthrough]];
      default:
        counters_.tx_failed.add(1);
        return true;
    }
  }

  // Lines up buffers for a frame of the usual size; false when there is none at all.
  bool line_up() noexcept {
    const std::uint64_t wanted =
        queue_.mergeable
            ? std::max<std::uint64_t>(queue_.usual_frame + queue_.header_bytes, frame_bytes_)
            : 1;
    if (lined_up_.bytes() < wanted) take_buffers(wanted);
    if (lined_up_.count() == 0) return false;
    if (lined_up_.front().bytes < queue_.header_bytes) [[unlikely]] {
      rx_.break_queue(ring_fault::buffer_too_small, lined_up_.front().head,
                      lined_up_.front().bytes);
    }
    return !rx_.breach();
  }
  // More buffers than there were; false when there are none to be had.
  bool line_up_more() noexcept {
    if (!queue_.mergeable) return false;
    const std::uint64_t before = lined_up_.bytes();
    take_buffers(frame_bytes_);
    return lined_up_.bytes() != before;
  }
  // Whether the driver can still add to what is lined up.
  [[nodiscard]] bool more_can_come() const noexcept {
    return lined_up_.count() != rx_.size() && !no_place_;
  }

  void take_buffers(std::uint64_t wanted) noexcept {
    no_place_ = false;
    rx_.pop(rx_.size(), [&](const device_chain& chain) {
      if (!chain.readable.empty()) {
        rx_.break_queue(ring_fault::chain_direction, chain.head, chain.readable.size());
        return false;
      }
      no_place_ = !lined_up_.push(chain);
      return !no_place_ && lined_up_.bytes() < wanted;
    });
    if (no_place_ && lined_up_.count() == 0) {
      rx_.break_queue(ring_fault::chain_too_long, 0, max_chain_pieces);
    } else if (no_place_) {
      rx_.unpop(1);
    }
  }

  // Reads one frame into the lined-up buffers, what does not fit into the spill. False: none there.
  bool read_frame() noexcept {
    const std::span<const iovec> pieces = lined_up_.for_read();
    const auto got = retry_interrupted(
        [&] { return Sys::readv(queue_.tap, pieces.data(), static_cast<int>(pieces.size())); });
    const int reason = error_of(got);
    if (reason != 0) {
      if (reason == EBADFD) lose_tap();
      if (reason == EFAULT) rx_.break_queue(ring_fault::address_refused, lined_up_.front().head, 0);
      return false;
    }
    frame_bytes_ = static_cast<std::uint64_t>(got);
    if (frame_bytes_ > lined_up_.bytes()) {
      spilled_at_ = lined_up_.bytes();
      spilled_ = frame_bytes_ - spilled_at_;
      if (queue_.mergeable) counters_.rx_spilled.add(1);
      // Somebody may have raised the MTU: the next such frame is to find its place at once.
      queue_.usual_frame =
          std::max<std::size_t>(queue_.usual_frame, frame_bytes_ - queue_.header_bytes);
    }
    return true;
  }

  // Pushes the buffers of a frame that is complete.
  void deliver() noexcept {
    if (spilled_ != 0) {
      lined_up_.write(spilled_at_, lined_up_.spill().first(spilled_));
    }
    // The TAP leaves this field of the header as it was (up to Linux 6.12 at least).
    std::uint16_t buffers = 0;
    std::uint64_t counted = 0;
    for (std::size_t i = 0; counted < frame_bytes_ || i == 0; ++i) {
      counted += lined_up_.at(i).bytes;
      ++buffers;
    }
    const std::uint16_t field = little(buffers);
    lined_up_.write(num_buffers_offset, std::as_bytes(std::span(&field, 1)));
    std::uint64_t left = frame_bytes_;
    for (std::uint16_t i = 0; i < buffers; ++i) {
      const std::uint64_t here = std::min(left, lined_up_.front().bytes);
      rx_.push_used(lined_up_.front().head, static_cast<std::uint32_t>(here));
      left -= here;
      lined_up_.pop();
    }
    frame_bytes_ = spilled_ = 0;
  }

  void finish(ring_type& ring, int call) noexcept {
    ring.publish();
    if (!ring.call_needed()) {
      counters_.calls_suppressed.add(1);
      return;
    }
    counters_.calls.add(1);
    probe::call(call);
    signal(call);
  }

  [[gnu::noinline]] void report_breach() noexcept {
    const bool tx_is_news = tx_.breach() && !health_.tx_breach();
    const bool rx_is_news = rx_.breach() && !health_.rx_breach();
    if (tx_is_news) health_.set_tx_breach(tx_.breach());
    if (rx_is_news) health_.set_rx_breach(rx_.breach());
    if (tx_is_news || rx_is_news) signal(queue_.error);
  }
  [[gnu::noinline]] void lose_tap() noexcept {
    if (health_.tap_gone()) return;
    health_.set_tap_gone();
    tx_blocked_ = false;  // it will never be writable again: frames fail, and are counted
    signal(queue_.error);
  }
  static void signal(int event) noexcept {
    const std::uint64_t one = 1;
    (void)retry_interrupted([&] { return Sys::write(event, &one, sizeof one); });
  }

  static constexpr std::uint64_t num_buffers_offset = 10;

  worker_queue<Layout> queue_;
  ring_type tx_;
  ring_type rx_;
  detail::lined_up_buffers lined_up_;
  detail::frame_burst burst_;
  bool tx_blocked_ = false;
  bool look_for_rx_ = true;
  bool paused_ = false;
  bool no_place_ = false;          // the next rx chain has too many pieces to be lined up now
  std::uint64_t frame_bytes_ = 0;  // of a frame that was read and not delivered; header included
  std::uint64_t spilled_ = 0;      // how many of them lie in the spill
  std::uint64_t spilled_at_ = 0;   // behind how many others they belong
  worker_counters counters_;
  worker_health health_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_TAP_QUEUE_HPP
