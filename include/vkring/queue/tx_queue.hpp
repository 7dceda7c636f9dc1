// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_TX_QUEUE_HPP
#define VKRING_QUEUE_TX_QUEUE_HPP

// Sending: frames into a virtqueue, their buffers back when the device has read them.

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/handle_cache.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

/// A piece of memory that no source owns, to be sent from where it lies.
struct segment {
  std::uint64_t address;  ///< as the device knows it: `memory_table::guest_of`
  std::uint32_t length;
};

/// What travels through a tx ring with each chain: the handle of its one buffer; or, with bit 1 set,
/// the number of an entry in the queue's list of the chains that are more than that.
struct tx_token {
  std::uint64_t bits;
};

/// One transmit queue: the driver side of a virtqueue, a source of buffers and a way to kick.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: in the constructor only.
template <driver_queue Ring, buffer_source Source, std::invocable Notify>
class tx_queue {
 public:
  using frame = basic_frame<Source>;
  using handle = typename Source::handle;
  static_assert(std::same_as<typename Ring::token_type, tx_token> && sizeof(handle) == 8);

  /// `notify` kicks the device. `source` outlives the queue.
  tx_queue(Ring ring, Source& source, const frame_rules& rules, Notify notify)
      : ring_(std::move(ring)),
        rules_(rules),
        notify_(std::move(notify)),
        cache_(source, cache_burst),
        compounds_(ring_.size()),
        chain_(ring_.max_chain()) {
    returned_.reserve(compounds_.size());
    finished_.reserve(compounds_.size());
    idle_.reserve(compounds_.size());
    for (std::uint32_t i = ring_.size(); i-- != 0;) idle_.push_back(i);
  }
  tx_queue(tx_queue&&) noexcept = default;
  tx_queue& operator=(tx_queue&&) = delete;

  /// Fills empty frames with empty buffers, those that this queue sent before first: they are warm
  /// and cost no lock. Returns how many: fewer when the source has no more.
  std::size_t allocate(std::span<frame> frames) noexcept {
    std::size_t done = 0;
    while (done < frames.size()) {
      const std::size_t wanted = std::min(frames.size() - done, cache_burst);
      if (cache_.size() < wanted) reclaim();
      const std::span<const handle> stock = cache_.stock(wanted);
      if (stock.empty()) break;
      for (const handle each : stock) frames[done++] = frame(cache_.source(), each);
      cache_.drop(stock.size());
    }
    return done;
  }

  /// Sends frames in order and returns how many it consumed; those are empty now. Fewer than
  /// `frames.size()` means that the ring is full, and the rest is still the caller's. A frame that
  /// must not be sent is consumed as well: its buffers go back and `counters().drops` says why.
  /// Kicks the device once at most, if it asked for that.
  std::size_t send(std::span<frame> frames) noexcept {
    if (ring_.room() < std::max<std::size_t>(frames.size(), ring_.size() / 2u)) reclaim();
    const ring_index before = ring_.avail_position();
    std::size_t done = 0;
    for (;; ++done) {
      done += send_plain(frames.subspan(done));
      if (done == frames.size() || !send_other(frames[done])) break;
    }
    if (ring_.avail_position() != before) publish();
    return done;
  }

  /// Sends memory that no source owns but that is in the device's memory table: `header`, which the
  /// queue keeps in a buffer of its own, then `segments`, which stay untouched until `token` has come
  /// out of `finished`. False: the ring is full, and nothing was touched. What must not be sent is
  /// dropped and counted, and its token is finished at once.
  bool send(std::span<const segment> segments, const virtio_net_hdr& header,
            std::uint64_t token) noexcept {
    if (idle_.size() <= finished_.size()) return false;  // collect the finished ones first
    std::uint64_t size = 0;
    for (const segment& each : segments) size += each.length;
    drop_reason reason{};
    header_fault fault{};
    if (segments.size() + 1 > chain_.size()) {
      reason = drop_reason::too_many_segments;
    } else if (size < rules_.min_size || size > UINT32_MAX) {
      reason = drop_reason::too_short;
    } else if (fault = check_tx_header(header, size, rules_.offloads);
               fault == header_fault::none) {
      return send_segments(segments, header, token, size);
    }
    fault == header_fault::none ? counters_.drop(reason) : counters_.drop(fault);
    finished_.push_back(token);
    return true;
  }

  /// Takes back what the device has read: buffers into the queue's stock, tokens into `finished`.
  /// `send` and `allocate` do so when they are short; call it where buffers must not rest in the ring.
  void reclaim() noexcept {
    const std::uint16_t pending = ring_.used_pending(ring_.size());
    for (std::uint32_t left = pending; left != 0;) {
      const auto n = static_cast<std::uint16_t>(std::min<std::size_t>(left, cache_burst));
      left -= n;
      handle* to = cache_.space(n).data();
      handle* const start = to;
      std::uint16_t got = 0;
      if (idle_.size() == compounds_.size()) [[likely]] {
        got = ring_.reclaim(n, [&to](tx_token token) { *to++ = std::bit_cast<handle>(token.bits); });
      } else {
        got = ring_.reclaim(n, [this, &to](tx_token token) {
          if ((token.bits & compound_mark) == 0) {
            *to++ = std::bit_cast<handle>(token.bits);
          } else {
            finish(token);
          }
        });
      }
      cache_.add(static_cast<std::size_t>(to - start));
      recycle_returned();
      if (got != n) break;  // a breach
    }
  }

  /// Hands out the tokens of segments that were sent, oldest first; returns how many.
  std::size_t finished(std::span<std::uint64_t> tokens) noexcept {
    reclaim();
    const std::size_t n = std::min(tokens.size(), finished_.size());
    std::copy_n(finished_.begin(), n, tokens.begin());
    finished_.erase(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

  /// Asks for a call once the ring has room for at least half its size, or for anything at all when
  /// less than that is in flight.
  [[nodiscard]] notification enable_call() noexcept {
    return ring_.enable_call(ring_.in_flight() / 2);
  }
  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: every buffer in flight goes to its source, every
  /// token in flight is finished. The queue is spent.
  void stop() noexcept {
    reclaim();
    ring_.abandon([this](tx_token token) {
      if ((token.bits & compound_mark) == 0) {
        cache_.put(std::bit_cast<handle>(token.bits));
      } else {
        finish(token);
      }
    });
    recycle_returned();
    cache_.flush();
  }

  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 private:
  using access = detail::frame_access<Source>;
  static constexpr std::uint64_t compound_mark = 2;
  static constexpr std::size_t cache_burst = 64;

  // A chain in flight that is more than one buffer of the source.
  struct compound {
    handle first;           // of the frame; of the header's buffer for segments
    std::uint32_t buffers;  // of the frame; 0 for segments
    std::uint64_t token;    // of the segments
  };

  void publish() noexcept {
    ring_.publish();
    if (ring_.kick_needed()) {
      counters_.kicks.add(1);
      notify_();
    } else {
      counters_.kicks_suppressed.add(1);
    }
  }

  // The hot case: frames in one buffer each, with nothing in their header. Stops at the first frame
  // that is not, or when the ring is full; returns how many it sent.
  std::size_t send_plain(std::span<frame> frames) noexcept {
    const auto count = static_cast<std::uint16_t>(std::min<std::size_t>(ring_.room(), frames.size()));
    const auto map = cache_.source().mapper();
    Source* const source = &cache_.source();
    const std::uint32_t header_bytes = rules_.header_size;
    const std::uint64_t shortest = access::one_buffer | rules_.min_size;
    const std::uint64_t span = map(handle{}).capacity - rules_.min_size;
    std::uint64_t bytes = 0;
    frame* next = frames.data();
    const std::uint16_t sent =
        ring_.template add_burst<false>(count, [&](burst_buffer<tx_token>& fresh) {
          frame& f = *next;
          const std::uint64_t extent = access::extent(f);
          // One comparison for "one buffer", "long enough" and "within the buffer".
          if (access::source(f) != source || extent - shortest > span ||
              !access::header(f).is_plain()) [[unlikely]] {
            return false;
          }
          handle h = access::first(f);
          if (!Source::plain_header(h)) {
            clear_header(map(h).payload);
            h = Source::with_plain_header(h, true);
          }
          fresh.address = map(h).address - header_bytes;
          fresh.length = static_cast<std::uint32_t>(extent) + header_bytes;
          fresh.token = {std::bit_cast<std::uint64_t>(h)};
          bytes += static_cast<std::uint32_t>(extent);
          access::source(f) = nullptr;
          ++next;
          return true;
        });
    counters_.frames.add(sent);
    counters_.bytes.add(bytes);
    return sent;
  }

  // Any other frame. False: the ring is full.
  bool send_other(frame& f) noexcept {
    if (!f) return consume(f, drop_reason::empty_frame);
    if (f.source() != &cache_.source()) return consume(f, drop_reason::foreign_source);
    if (f.size() < rules_.min_size) return consume(f, drop_reason::too_short);
    if (f.buffers() > chain_.size()) return consume(f, drop_reason::too_many_segments);
    const header_fault fault = check_tx_header(f.header(), f.size(), rules_.offloads);
    if (fault != header_fault::none) {
      counters_.drop(fault);
      f.reset();
      return true;
    }
    return add_frame(f);
  }

  bool consume(frame& f, drop_reason reason) noexcept {
    counters_.drop(reason);
    f.reset();
    return true;
  }

  bool add_frame(frame& f) noexcept {
    const auto map = cache_.source().mapper();
    const std::uint32_t buffers = f.buffers();
    const std::uint32_t size = f.size();
    handle h = access::first(f);
    if (ring_.room() == 0 || (buffers > 1 && idle_.empty())) return false;
    h = put_header(h, f.header());
    access::first(f) = h;
    if (buffers == 1) {
      chain_[0] = {map(h).address - rules_.header_size, size + rules_.header_size, false};
      if (!ring_.try_add({chain_.data(), 1}, {std::bit_cast<std::uint64_t>(h)})) return false;
    } else {
      handle at = h;
      for (std::uint32_t i = 0; i < buffers; ++i) {
        const buffer_link<handle>& link = cache_.source().link(at);
        chain_[i] = {map(at).address + static_cast<std::uint64_t>(std::int64_t{link.offset}), link.size, false};
        at = link.next;
      }
      // The first part starts at the payload, so the header before it is part of the same buffer.
      chain_[0].address -= rules_.header_size;
      chain_[0].length += rules_.header_size;
      if (!ring_.try_add({chain_.data(), buffers}, mark({h, buffers, 0}))) return false;
      idle_.pop_back();
    }
    counters_.frames.add(1);
    counters_.bytes.add(size);
    access::source(f) = nullptr;
    return true;
  }

  bool send_segments(std::span<const segment> segments, const virtio_net_hdr& header,
                     std::uint64_t token, std::uint64_t size) noexcept {
    if (cache_.size() == 0) reclaim();
    const std::span<const handle> stock = cache_.stock(1);
    if (stock.empty()) {
      counters_.drop(drop_reason::no_buffer);
      finished_.push_back(token);
      return true;
    }
    const handle h = put_header(stock.back(), header);
    chain_[0] = {cache_.source().mapper()(h).address - rules_.header_size, rules_.header_size, false};
    for (std::size_t i = 0; i < segments.size(); ++i) {
      chain_[i + 1] = {segments[i].address, segments[i].length, false};
    }
    if (!ring_.try_add({chain_.data(), segments.size() + 1}, mark({h, 0, token}))) {
      reclaim();
      return false;
    }
    idle_.pop_back();
    cache_.drop(1);
    counters_.frames.add(1);
    counters_.bytes.add(size);
    publish();
    return true;
  }

  // Enters a chain into the list, at the entry that is next to be used.
  tx_token mark(const compound& chain) noexcept {
    compounds_[idle_.back()] = chain;
    return {std::uint64_t{idle_.back()} << 2 | compound_mark};
  }

  // A chain of the list came back. Its buffers are put aside: the caller may be filling the cache.
  void finish(tx_token token) noexcept {
    const auto entry = static_cast<std::uint32_t>(token.bits >> 2);
    if (compounds_[entry].buffers == 0) finished_.push_back(compounds_[entry].token);
    returned_.push_back(entry);
  }

  void recycle_returned() noexcept {
    for (const std::uint32_t entry : returned_) {
      handle at = compounds_[entry].first;
      for (std::uint32_t left = std::max(compounds_[entry].buffers, 1u); left != 0; --left) {
        const handle next = cache_.source().link(at).next;
        cache_.put(at);
        at = next;
      }
      idle_.push_back(entry);
    }
    returned_.clear();
  }

  handle put_header(handle h, const virtio_net_hdr& header) noexcept {
    std::byte* const payload = cache_.source().mapper()(h).payload;
    if (header.is_plain()) {
      clear_header(payload);
      return Source::with_plain_header(h, true);
    }
    store_header(payload - rules_.header_size, rules_.header_size, header);
    return Source::with_plain_header(h, false);
  }

  // All of the reserve, so that a header of any size is zero afterwards.
  static void clear_header(std::byte* payload) noexcept {
    std::memset(payload - header_reserve, 0, header_reserve);
  }

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  handle_cache<Source> cache_;
  queue_counters counters_;
  std::vector<compound> compounds_;
  std::vector<std::uint32_t> idle_;      // entries of compounds_ that are free
  std::vector<std::uint32_t> returned_;  // entries that came back and are still to be recycled
  std::vector<std::uint64_t> finished_;  // tokens that the application has yet to collect
  std::vector<chain_buffer> chain_;      // of the frame that is being added
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_TX_QUEUE_HPP
