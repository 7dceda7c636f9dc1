// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_TX_QUEUE_HPP
#define VKRING_QUEUE_TX_QUEUE_HPP

// Sending: frames into a virtqueue, their buffers back when the device has read them.

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/common.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/handle_cache.hpp>
#include <vkring/queue/queue_state.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/ring/concepts.hpp>

namespace vkring::inline v0 {

/// A piece of memory that no source owns, to be sent from where it lies.
struct segment {
  std::uint64_t address;  ///< as the device knows it: `memory_table::guest_of`
  std::uint32_t length;   ///< bytes
};

/// What travels through a tx ring with each chain: the handle of its one buffer; or, with bit 1 set,
/// the number of an entry in the queue's list of the chains that are more than that.
struct tx_token {
  std::uint64_t bits;  ///< a handle, or the number from bit 2 on
};

/// One transmit queue: the driver side of a virtqueue, a source of buffers and a way to kick.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: in the constructor only.
template <driver_queue Ring, buffer_source Source, std::invocable Notify>
class tx_queue {
 public:
  using frame = basic_frame<Source>;       ///< what is sent
  using handle = typename Source::handle;  ///< of a buffer
  static_assert(std::same_as<typename Ring::token_type, tx_token> && sizeof(handle) == 8);

  /// `notify` kicks the device. `source` outlives the queue.
  tx_queue(Ring ring, Source& source, const frame_rules& rules, Notify notify)
      : ring_(std::move(ring)),
        rules_(rules),
        notify_(std::move(notify)),
        cache_(source, std::min<std::size_t>(64, ring_.size()), ring_.size()),
        compounds_(ring_.size()),
        chain_(ring_.max_chain()) {
    finished_.reserve(compounds_.size());
    idle_.reserve(compounds_.size());
    for (std::uint32_t i = ring_.size(); i-- != 0;) idle_.push_back(i);
  }
  /// Goes on with a queue that was at rest as `from` says; `ring` has the `tokens` of that.
  tx_queue(Ring ring, Source& source, const frame_rules& rules, Notify notify,
           const queue_state& from)
    requires shareable_source<Source>
      : tx_queue(std::move(ring), source, rules, std::move(notify)) {
    counters_ = from.counters;
    std::size_t at = 0;
    for (const std::uint16_t count : from.counts) {
      if (count > 1) {
        note_compound({from.buffers[at].in(source), count, 0});
        for (std::size_t i = at; i + 1 < at + count; ++i) {
          source.link(from.buffers[i].in(source)).next = from.buffers[i + 1].in(source);
        }
      }
      at += count;
    }
  }
  /// The tokens of the chains that are in flight in `from`, for the ring. Allocation: the list.
  [[nodiscard]] static std::vector<tx_token> tokens(const queue_state& from, const Source& source)
    requires shareable_source<Source>
  {
    std::vector<tx_token> made;
    std::uint32_t compounds = 0;  // a new queue numbers them so
    std::size_t at = 0;
    for (const std::uint16_t count : from.counts) {
      made.push_back(count > 1 ? compound_token(compounds++)
                               : tx_token{std::bit_cast<std::uint64_t>(from.buffers[at].in(source))});
      at += count;
    }
    return made;
  }
  tx_queue(tx_queue&&) noexcept = default;
  tx_queue& operator=(tx_queue&&) = delete;

  /// Fills empty frames with empty buffers, those that this queue sent before first: they are warm
  /// and cost no lock. Returns how many: fewer when the source has no more.
  std::size_t allocate(std::span<frame> frames) noexcept {
    std::size_t done = 0;
    while (done < frames.size()) {
      const std::size_t wanted = std::min(frames.size() - done, cache_.burst());
      if (cache_.size() < wanted) reclaim();
      const std::span<const handle> stock = cache_.stock(wanted);
      if (stock.empty()) break;
      for (const handle each : stock) frames[done++] = frame(cache_.source(), each);
      cache_.drop(stock.size());
    }
    return done;
  }

  /// Sends frames in order and returns how many it consumed; those are empty now. Fewer than
  /// `frames.size()` means that the ring is full (or broken: `ring().breach()`), and the rest is still
  /// the caller's. A frame that
  /// must not be sent is consumed as well: its buffers go back and `counters().drops` says why.
  /// Kicks the device once at most, if it asked for that.
  std::size_t send(std::span<frame> frames) noexcept {
    // Not only when the ring is full: other queues may be waiting for these buffers.
    if (ring_.in_flight() > ring_.size() / 2) reclaim();
    const std::size_t done = send_plain(frames);
    if (done != frames.size()) [[unlikely]]
      return send_rest(frames, done);
    if (done != 0) publish();
    return done;
  }

  /// Sends memory that no source owns but that is in the device's memory table: `header`, which the
  /// queue keeps in a buffer of its own, then `segments`, which stay untouched until `token` has come
  /// out of `finished`. False, and nothing was touched: the ring is full, or tokens have to be
  /// collected from `finished` first. What must not be sent is dropped and counted, and its token is
  /// finished at once.
  bool send(std::span<const segment> segments, const virtio_net_hdr& header,
            std::uint64_t token) noexcept {
    if (ring_.room() <= segments.size() || idle_.size() <= finished_.size()) reclaim();
    if (idle_.size() <= finished_.size()) return false;  // else they would not fit in there
    std::uint64_t size = 0;
    for (const segment& each : segments) size += each.length;
    drop_reason reason{};
    header_fault fault{};
    if (size < rules_.min_size) {
      reason = drop_reason::too_short;
    } else if (!fits(segments.size() + 1, size)) {
      reason = drop_reason::too_large;
    } else if (!all_reachable(segments)) {
      reason = drop_reason::unreachable;
    } else if (fault = check_tx_header(header, size, rules_.offloads, rules_.link);
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
    const std::uint16_t pending = ring_.used_at_most(ring_.size());
    handle* const to = cache_.space();
    const auto keep = [to](std::size_t nth, tx_token token) __attribute__((always_inline)) {
      to[nth] = std::bit_cast<handle>(token.bits);
      return true;
    };
    const std::uint16_t done =
        compounds_in_flight_ == 0 ? ring_.reclaim_burst(pending, keep) : std::uint16_t{0};
    cache_.add(done);
    if (done != pending && ring_.used_pending(1) != 0) [[unlikely]]
      reclaim_any();
  }

  /// Hands out the tokens of segments that were sent, oldest first; returns how many.
  std::size_t finished(std::span<std::uint64_t> tokens) noexcept {
    if (ring_.in_flight() != 0) reclaim();
    const std::size_t n = std::min(tokens.size(), finished_.size());
    std::copy_n(finished_.begin(), n, tokens.begin());
    finished_.erase(finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

  /// Asks for a call once the device has read half of what is in flight now. `more_pending`: it has.
  [[nodiscard]] notification enable_call() noexcept {
    return ring_.enable_call(ring_.in_flight() / 2);
  }
  /// No calls from now on; one may still come.
  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: every buffer in flight goes to its source, every
  /// token in flight is finished. The queue is spent.
  void stop() noexcept {
    reclaim();
    ring_.abandon([this](tx_token token) { finish(token); });
    cache_.flush();
  }

  /// Takes back what the device has read, and gives the queue's own stock back to the source.
  void settle() noexcept {
    reclaim();
    cache_.flush();
  }
  /// How many sends of segments have tokens that were not collected from `finished`.
  [[nodiscard]] std::size_t unfinished() const {
    std::vector<bool> idle(compounds_.size());
    for (const std::uint32_t entry : idle_) idle[entry] = true;
    std::size_t count = finished_.size();
    for (std::size_t i = 0; i < idle.size(); ++i) {
      if (!idle[i] && compounds_[i].buffers == 0) ++count;
    }
    return count;
  }
  /// What has to be known to go on with the queue elsewhere, after `settle` and with nothing
  /// `unfinished`. Allocation: the lists.
  [[nodiscard]] queue_state state() const
    requires shareable_source<Source>
  {
    queue_state now;
    now.ring = ring_.state([&](tx_token token) {
      const bool one = (token.bits & compound_mark) == 0;
      const compound it = one ? compound{std::bit_cast<handle>(token.bits), 1, 0}
                              : compounds_[token.bits >> 2];
      now.counts.push_back(static_cast<std::uint16_t>(it.buffers));
      handle at = it.first;
      for (std::uint32_t left = it.buffers; left != 0; --left) {
        now.buffers.push_back(buffer_state::of(cache_.source(), at));
        if (left != 1) at = cache_.source().link(at).next;
      }
    });
    now.counters = counters_;
    return now;
  }

  /// Since the queue was made, or since that which it goes on with.
  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }  ///< the driver side below
  /// What frames have to be like.
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 private:
  using access = detail::frame_access<Source>;
  static constexpr std::uint64_t compound_mark = 2;

  // A chain in flight that is more than one buffer of the source.
  struct compound {
    handle first;           // of the frame; of the header's buffer for segments
    std::uint32_t buffers;  // of the frame; 0 for segments
    std::uint64_t token;    // of the segments
  };

  [[gnu::always_inline]] void publish() noexcept { detail::publish(ring_, counters_, notify_); }

  // The hot case: frames in one buffer each, with nothing in their header. Stops at the first frame
  // that is not, or when the ring is full; returns how many it sent.
  [[gnu::always_inline]] std::size_t send_plain(std::span<frame> frames) noexcept {
    const std::size_t count = std::min<std::size_t>(ring_.room(), frames.size());
    const auto map = cache_.source().mapper();
    Source* const source = &cache_.source();
    const std::uint64_t header_bytes = rules_.header_size;
    const std::uint64_t minus_shortest = minus_shortest_;
    const std::uint64_t span = span_;
    const std::uint64_t extent_to_length = extent_to_length_;
    frame* const in = frames.data();
    std::uint64_t lengths = 0;
    const auto take = [&](burst_buffer<tx_token> & fresh, std::size_t nth)
        __attribute__((always_inline)) {
      frame& f = in[nth];
      std::uint64_t extent = access::extent(f);
      const handle h = access::first(f);
      if (access::source(f) != source) [[unlikely]]
        return false;
      if (extent + minus_shortest > span) [[unlikely]] {
        extent |= access::plain_header;
        if (extent + minus_shortest > span) return false;
        detail::clear_header(map(h).payload);
      }
      fresh.address = map(h).address - header_bytes;
      fresh.length = extent + extent_to_length;
      fresh.token = {std::bit_cast<std::uint64_t>(Source::with_plain_header(h, true))};
      lengths += fresh.length;
      access::source(f) = nullptr;
      return true;
    };
    const std::uint16_t sent =
        ring_.template add_burst<false>(static_cast<std::uint32_t>(count), take);
    counters_.frames.add(sent);
    counters_.bytes.add(lengths - sent * std::uint64_t{rules_.header_size});
    return sent;
  }

  // What is left after the first `done` frames of a burst: because the ring is full, or because the
  // next frame is not plain.
  [[gnu::noinline]] std::size_t send_rest(std::span<frame> frames, std::size_t done) noexcept {
    reclaim();
    std::size_t at = done;
    while (at != frames.size() && send_other(frames[at])) {
      ++at;
      at += send_plain(frames.subspan(at));
    }
    if (ring_.avail_position() != ring_.published_position()) publish();
    return at;
  }

  // Any other frame. False: the ring is full.
  bool send_other(frame& f) noexcept {
    if (!f) return consume(f, drop_reason::empty_frame);
    if (f.source() != &cache_.source()) return consume(f, drop_reason::foreign_source);
    if (f.size() < rules_.min_size) return consume(f, drop_reason::too_short);
    if (!fits(f.buffers(), f.size())) return consume(f, drop_reason::too_large);
    const header_fault fault = 
        check_tx_header(f.header(), f.size(), rules_.offloads, rules_.link);
    if (fault != header_fault::none) {
      counters_.drop(fault);
      f.reset();
      return true;
    }
    return add_frame(f);
  }

  // Whether a chain can carry that many buffers with that many bytes and a header.
  [[nodiscard]] bool fits(std::size_t buffers, std::uint64_t size) const noexcept {
    return buffers <= chain_.size() && size <= UINT32_MAX - rules_.header_size;
  }

  [[nodiscard]] bool all_reachable(std::span<const segment> segments) const noexcept {
    return rules_.memory == nullptr || std::ranges::all_of(segments, [&](const segment& each) {
             return rules_.memory->translate(each.address, each.length, memory_access::read).size() ==
                    each.length;
           });
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
    const handle h = access::first(f);
    if (ring_.room() == 0 || (buffers > 1 && idle_.empty())) return false;
    access::extent(f) &= ~access::plain_header;  // it may stay the caller's, with this header
    put_header(map(h).payload, f.header());
    if (buffers == 1) {
      const handle back = Source::with_plain_header(h, f.header().is_plain());
      chain_[0] = {map(h).address - rules_.header_size, size + rules_.header_size, false};
      if (!ring_.try_add({chain_.data(), 1}, {std::bit_cast<std::uint64_t>(back)})) return false;
    } else {
      handle at = h;
      for (std::uint32_t i = 0; i < buffers; ++i) {
        const buffer_link<handle>& part = cache_.source().link(at);
        chain_[i] = {map(at).address + static_cast<std::uint64_t>(std::int64_t{part.offset}),
                     part.size, false};
        at = part.next;
      }
      // The first part starts at the payload, so the header before it is part of the same buffer.
      chain_[0].address -= rules_.header_size;
      chain_[0].length += rules_.header_size;
      if (!add_compound(buffers, {h, buffers, 0})) return false;
    }
    counters_.frames.add(1);
    counters_.bytes.add(size);
    access::source(f) = nullptr;
    return true;
  }

  bool send_segments(std::span<const segment> segments, const virtio_net_hdr& header,
                     std::uint64_t token, std::uint64_t size) noexcept {
    if (!ring_.has_room(segments.size() + 1)) return false;
    if (cache_.size() == 0) reclaim();
    const std::span<const handle> stock = cache_.stock(1);
    if (stock.empty()) {
      counters_.drop(drop_reason::no_buffer);
      finished_.push_back(token);
      return true;
    }
    const handle h = Source::with_plain_header(stock.back(), false);
    const mapped_buffer buffer = cache_.source().mapper()(h);
    put_header(buffer.payload, header);
    chain_[0] = {buffer.address - rules_.header_size, rules_.header_size, false};
    for (std::size_t i = 0; i < segments.size(); ++i) {
      chain_[i + 1] = {segments[i].address, segments[i].length, false};
    }
    add_compound(segments.size() + 1, {h, 0, token});
    cache_.drop(1);
    counters_.frames.add(1);
    counters_.bytes.add(size);
    publish();
    return true;
  }

  // Adds the first `length` buffers of chain_ and remembers what they are. False: the ring is full.
  bool add_compound(std::size_t length, const compound& what) noexcept {
    if (!ring_.try_add({chain_.data(), length}, compound_token(idle_.back()))) return false;
    note_compound(what);
    return true;
  }
  static tx_token compound_token(std::uint32_t entry) noexcept {
    return {std::uint64_t{entry} << 2 | compound_mark};
  }
  void note_compound(const compound& what) noexcept {
    compounds_[idle_.back()] = what;
    idle_.pop_back();
    ++compounds_in_flight_;
  }

  // Whatever comes next, in whatever mode the ring is.
  [[gnu::noinline]] void reclaim_any() noexcept {
    ring_.reclaim(ring_.size(), [this](tx_token token) { finish(token); });
  }

  // A chain is done with: its buffers go into the stock, the token of segments to the application.
  void finish(tx_token token) noexcept {
    if ((token.bits & compound_mark) == 0) {
      cache_.put(std::bit_cast<handle>(token.bits));
      return;
    }
    const auto entry = static_cast<std::uint32_t>(token.bits >> 2);
    const compound& done = compounds_[entry];
    if (done.buffers == 0) finished_.push_back(done.token);
    handle at = done.first;
    for (std::uint32_t left = std::max(done.buffers, 1u); left != 0; --left) {
      const handle next = cache_.source().link(at).next;
      cache_.put(at);
      at = next;
    }
    idle_.push_back(entry);
    --compounds_in_flight_;
  }

  void put_header(std::byte* payload, const virtio_net_hdr& header) noexcept {
    if (header.is_plain()) {
      detail::clear_header(payload);
    } else {
      detail::write_header(payload, rules_.header_size, header);
    }
  }

  // An extent minus that of the shortest frame tells whether it is one buffer with a plain header in
  // front of it, nothing else wanted, long enough and within the buffer. Kept as what to add.
  static constexpr std::uint64_t plain_extent = access::plain_header | access::one_buffer;

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  handle_cache<Source> cache_;
  std::uint64_t minus_shortest_ = 0 - (plain_extent | rules_.min_size);
  std::uint64_t span_ = cache_.source().capacity() - rules_.min_size;
  std::uint64_t extent_to_length_ = rules_.header_size - plain_extent;
  queue_counters counters_;
  std::uint32_t compounds_in_flight_ = 0;
  std::vector<compound> compounds_;
  std::vector<std::uint32_t> idle_;      // entries of compounds_ that are free
  std::vector<std::uint64_t> finished_;  // tokens that the application has yet to collect
  std::vector<chain_buffer> chain_;      // of the frame that is being added
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_TX_QUEUE_HPP
