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
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/header.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/split.hpp>
#include <vkring/worker/counters.hpp>

namespace vkring::inline v0 {

/// What the device side of a queue pair is made of. The descriptors stay the owner's, and open for
/// as long as the worker runs. The TAP queue and the eventfds are non-blocking.
template <class Layout>
struct worker_queue {
  typename Layout::ring_type tx;
  typename Layout::ring_type rx;
  ring_options options;
  int tap = -1;
  int tx_kick = -1;
  int rx_kick = -1;
  int tx_call = -1;
  int rx_call = -1;
  int error = -1;                          ///< signalled when the pair is in trouble
  std::size_t header_bytes = header_size;  ///< also the TAP's
  bool mergeable = false;
  std::size_t usual_frame = 1518;  ///< bytes, header not counted: what buffers are lined up for
};

namespace detail {

// Receive buffers that were taken from the ring and not used yet, lined up for readv.
class lined_up_buffers {
 public:
  explicit lined_up_buffers(std::size_t spill_bytes)
      : pieces_(max_chain_pieces), heads_(max_chain_pieces), spill_(spill_bytes) {}

  struct buffer {
    std::uint16_t head;
    std::uint16_t pieces;
    std::uint64_t bytes;
  };

  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::size_t count() const noexcept { return heads_end_ - heads_begin_; }
  [[nodiscard]] const buffer& front() const noexcept { return heads_[heads_begin_]; }
  [[nodiscard]] const buffer& at(std::size_t i) const noexcept { return heads_[heads_begin_ + i]; }

  // Appends a chain; false when there is no place for it.
  bool push(const device_chain& chain) noexcept {
    const std::size_t n = chain.writable.size();
    if (heads_begin_ == heads_end_) heads_begin_ = heads_end_ = pieces_begin_ = pieces_end_ = 0;
    // One entry stays free for the spill.
    if (pieces_end_ + n >= pieces_.size() || heads_end_ == heads_.size()) compact();
    if (pieces_end_ + n >= pieces_.size() || heads_end_ == heads_.size()) return false;
    buffer added{chain.head, static_cast<std::uint16_t>(n), 0};
    for (const std::span<std::byte> piece : chain.writable) {
      pieces_[pieces_end_++] = {piece.data(), piece.size()};
      added.bytes += piece.size();
    }
    heads_[heads_end_++] = added;
    bytes_ += added.bytes;
    return true;
  }
  void pop() noexcept {
    bytes_ -= front().bytes;
    pieces_begin_ += front().pieces;
    ++heads_begin_;
  }

  // For readv: everything that is lined up, and the spill behind it.
  [[nodiscard]] std::span<const iovec> for_read() noexcept {
    pieces_[pieces_end_] = {spill_.data(), spill_.size()};
    return {pieces_.data() + pieces_begin_, pieces_end_ - pieces_begin_ + 1};
  }
  [[nodiscard]] std::span<const std::byte> spill() const noexcept { return spill_; }

  // Copies to the front of the lined-up buffers, `offset` bytes in.
  void write(std::uint64_t offset, std::span<const std::byte> data) noexcept {
    for (std::size_t i = pieces_begin_; i != pieces_end_ && !data.empty(); ++i) {
      if (offset >= pieces_[i].iov_len) {
        offset -= pieces_[i].iov_len;
        continue;
      }
      const std::size_t n = std::min<std::size_t>(data.size(), pieces_[i].iov_len - offset);
      std::memcpy(static_cast<std::byte*>(pieces_[i].iov_base) + offset, data.data(), n);
      data = data.subspan(n);
      offset = 0;
    }
  }

 private:
  void compact() noexcept {
    std::copy(pieces_.begin() + static_cast<std::ptrdiff_t>(pieces_begin_),
              pieces_.begin() + static_cast<std::ptrdiff_t>(pieces_end_), pieces_.begin());
    std::copy(heads_.begin() + static_cast<std::ptrdiff_t>(heads_begin_),
              heads_.begin() + static_cast<std::ptrdiff_t>(heads_end_), heads_.begin());
    pieces_end_ -= pieces_begin_;
    heads_end_ -= heads_begin_;
    pieces_begin_ = heads_begin_ = 0;
  }

  std::vector<iovec> pieces_;
  std::vector<buffer> heads_;
  std::vector<std::byte> spill_;
  std::size_t pieces_begin_ = 0;
  std::size_t pieces_end_ = 0;
  std::size_t heads_begin_ = 0;
  std::size_t heads_end_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace detail

/// Moves frames between one queue pair and one TAP queue, straight between the descriptors' memory
/// and the kernel. The driver may be hostile: a breach stops that ring and leaves the other alone.
///
/// Thread-safety: one thread, that of a `tap_worker`. Allocation: in the constructor only.
template <class Layout, class Sys = posix>
class tap_queue {
 public:
  using ring_type = virtqueue<Layout, device_side, table_cursor>;

  /// `table` outlives the queue and does not change.
  tap_queue(const worker_queue<Layout>& queue, const memory_table& table)
      : queue_(queue),
        tx_(queue.tx, queue.options, table_cursor(table)),
        rx_(queue.rx, queue.options, table_cursor(table)),
        lined_up_(max_frame + queue.header_bytes),
        tx_pieces_(max_chain_pieces) {}

  /// Sends up to `budget` frames to the kernel; returns how many chains it returned.
  std::size_t serve_tx(std::uint16_t budget) noexcept {
    if (tx_blocked_) return 0;
    std::uint16_t done = 0;
    tx_.pop(budget, [&](const device_chain& chain) {
      if (!chain.writable.empty()) {
        tx_.break_queue(ring_fault::chain_direction, chain.head, chain.writable.size());
        return false;
      }
      if (!write_frame(chain.readable)) {
        tx_blocked_ = true;
        return false;
      }
      tx_.push_used(chain.head, 0);
      ++done;
      return true;
    });
    if (tx_blocked_) tx_.unpop(1);  // to be written once the TAP is writable
    if (done != 0) finish(tx_, queue_.tx_call);
    if (tx_.breach()) [[unlikely]]
      report_breach();
    return done;
  }

  /// Takes up to `budget` frames from the kernel; returns how many.
  std::size_t serve_rx(std::uint16_t budget) noexcept {
    std::size_t received = 0;
    std::size_t used = 0;
    while (received != budget && line_up()) {
      if (spilled_ == 0 && !read_frame()) break;
      if (frame_bytes_ > lined_up_.bytes()) {
        if (!queue_.mergeable) {
          counters_.rx_too_long.add(1);
          frame_bytes_ = spilled_ = 0;
          continue;
        }
        // The rest of the frame waits until the driver has put more buffers into the ring.
        if (!line_up_more()) break;
        continue;
      }
      used += deliver();
      ++received;
    }
    if (used != 0) finish(rx_, queue_.rx_call);
    if (rx_.breach()) [[unlikely]]
      report_breach();
    counters_.rx_frames.add(received);
    return received;
  }

  /// Asks for no kicks: this side is looking by itself.
  void disable_kicks() noexcept {
    tx_.disable_kick();
    rx_.disable_kick();
  }

  /// Prepares to sleep: asks for kicks and says what to wait for. False: there is work already.
  bool arm(std::span<pollfd, 3> set) noexcept {
    short tap_events = 0;
    set[0] = {-1, 0, 0};
    set[1] = {-1, 0, 0};
    if (!tx_.breach()) {
      if (tx_blocked_) {
        tap_events |= POLLOUT;
      } else {
        if (tx_.enable_kick() == notification::more_pending && !tx_.breach()) return false;
        set[0] = {queue_.tx_kick, POLLIN, 0};
      }
    }
    if (!rx_.breach()) {
      if (lined_up_.count() != 0 && frame_bytes_ <= lined_up_.bytes()) {
        tap_events |= POLLIN;
      } else {
        if (rx_.enable_kick() == notification::more_pending && !rx_.breach()) return false;
        set[1] = {queue_.rx_kick, POLLIN, 0};
      }
    }
    if (tx_.breach() || rx_.breach()) [[unlikely]]
      report_breach();
    set[2] = {tap_events != 0 && !health_.tap_gone() ? queue_.tap : -1, tap_events, 0};
    return true;
  }

  /// Takes note of what the thread was woken for.
  void woken(std::span<const pollfd, 3> set) noexcept {
    for (const pollfd& kick : set.first<2>()) {
      std::uint64_t ignored;
      if (kick.revents != 0) (void)Sys::read(kick.fd, &ignored, sizeof ignored);
    }
    if ((set[2].revents & (POLLOUT | POLLERR)) != 0) tx_blocked_ = false;
    if ((set[2].revents & POLLERR) != 0) lose_tap();
  }

  [[nodiscard]] worker_counters& counters() noexcept { return counters_; }
  [[nodiscard]] const worker_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const worker_health& health() const noexcept { return health_; }

 private:
  static constexpr std::size_t max_frame = 65562;

  // Hands one frame to the kernel. False: it has no room now.
  bool write_frame(std::span<const std::span<std::byte>> readable) noexcept {
    std::size_t n = 0;
    for (const std::span<std::byte> piece : readable) {
      tx_pieces_[n++] = {piece.data(), piece.size()};
    }
    const auto written = retry_interrupted(
        [&] { return Sys::writev(queue_.tap, tx_pieces_.data(), static_cast<int>(n)); });
    switch (error_of(written)) {
      case 0:
        // No pieces at all are a write of nothing, which succeeds.
        (written == 0 ? counters_.tx_refused : counters_.tx_frames).add(1);
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
    return lined_up_.count() != 0 && !rx_.breach();
  }
  // More buffers than there were; false when the ring has none.
  bool line_up_more() noexcept {
    const std::uint64_t before = lined_up_.bytes();
    take_buffers(frame_bytes_);
    return lined_up_.bytes() != before;
  }

  void take_buffers(std::uint64_t wanted) noexcept {
    bool full = false;
    rx_.pop(rx_.size(), [&](const device_chain& chain) {
      if (!chain.readable.empty()) {
        rx_.break_queue(ring_fault::chain_direction, chain.head, chain.readable.size());
        return false;
      }
      full = !lined_up_.push(chain);
      return !full && lined_up_.bytes() < wanted;
    });
    if (full && lined_up_.count() == 0) {
      rx_.break_queue(ring_fault::chain_too_long, 0, max_chain_pieces);
    } else if (full) {
      rx_.unpop(1);
    }
    if (lined_up_.count() != 0 && lined_up_.front().bytes < queue_.header_bytes) {
      rx_.break_queue(ring_fault::buffer_too_small, lined_up_.front().head,
                      lined_up_.front().bytes);
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
    }
    return true;
  }

  // Pushes the buffers of a frame that is complete; returns how many.
  std::uint16_t deliver() noexcept {
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
    return buffers;
  }

  void finish(ring_type& ring, int call) noexcept {
    ring.publish();
    if (!ring.call_needed()) {
      counters_.calls_suppressed.add(1);
      return;
    }
    counters_.calls.add(1);
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
  std::vector<iovec> tx_pieces_;
  bool tx_blocked_ = false;
  std::uint64_t frame_bytes_ = 0;  // of a frame that was read and not delivered; header included
  std::uint64_t spilled_ = 0;      // how many of them lie in the spill
  std::uint64_t spilled_at_ = 0;   // behind how many others they belong
  worker_counters counters_;
  worker_health health_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_TAP_QUEUE_HPP
