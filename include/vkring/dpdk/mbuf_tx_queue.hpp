// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_MBUF_TX_QUEUE_HPP
#define VKRING_DPDK_MBUF_TX_QUEUE_HPP

// Sending mbufs: into a virtqueue, and back to their pools when the device has read them.

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <vkring/dpdk/mempool_source.hpp>
#include <vkring/dpdk/offload_flags.hpp>
#include <vkring/dpdk/prepare.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/header.hpp>
#include <vkring/queue/common.hpp>
#include <vkring/queue/counters.hpp>
#include <vkring/queue/rules.hpp>
#include <vkring/ring/concepts.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace vkring::inline v0 {

/// What travels through a tx ring with each chain: the mbuf, and in bit 0 whether there is more to
/// give back than one buffer that belongs to nobody else.
struct mbuf_token {
  std::uintptr_t bits;  ///< a pointer, and the mark
};

/// One transmit queue of mbufs: the driver side of a virtqueue and a way to kick.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: in the constructor only, but for the mbufs that headers need (see `tx_burst`).
template <driver_queue Ring, std::invocable Notify>
class mbuf_tx_queue {
 public:
  static_assert(std::same_as<typename Ring::token_type, mbuf_token>);

  /// `notify` kicks the device, whose memory table has the regions of `source`; `source` outlives
  /// the queue.
  mbuf_tx_queue(Ring ring, mempool_source& source, const frame_rules& rules, Notify notify)
      : ring_(std::move(ring)),
        rules_(rules),
        notify_(std::move(notify)),
        pool_(&source.pool()),
        cursor_(source.memory()),
        chain_(std::size_t{ring_.max_chain()} + 1) {}
  mbuf_tx_queue(mbuf_tx_queue&&) noexcept = default;
  mbuf_tx_queue& operator=(mbuf_tx_queue&&) = delete;

  /// Sends packets in order and returns how many it consumed; those belong to the queue now, and go
  /// back to their pools, whichever these are. Fewer than there are means that the ring is full (or
  /// broken: `ring().breach()`). A packet that must not be sent is consumed, too:
  /// `counters().drops` says why. Kicks the device once at most, if it asked for that.
  ///
  /// Packets may be chained, cloned, and in external buffers; the device has to know the memory, or
  /// they are `unreachable`. The virtio-net header goes into the headroom. Where that is too small,
  /// or not this packet's alone, an mbuf of the source holds the header, and its lack is
  /// `no_buffer`. What `prepare` does is done here if the headers are the packet's alone, otherwise
  /// it has to be done before.
  std::uint16_t tx_burst(std::span<::rte_mbuf* const> packets) noexcept {
    // Not only when the ring is full: other queues may be waiting for these buffers.
    if (ring_.in_flight() > ring_.size() / 2) reclaim();
    const std::size_t done = send_plain(packets);
    if (done != packets.size()) [[unlikely]]
      return send_rest(packets, done);
    if (done != 0) publish();
    return static_cast<std::uint16_t>(done);
  }

  /// Gives back what the device has read and returns how many packets that was. `tx_burst` does so
  /// when it is short; call it where mbufs must not rest in the ring (what
  /// `rte_eth_tx_done_cleanup` is for).
  std::uint16_t reclaim() noexcept {
    const std::uint16_t pending = ring_.used_at_most(ring_.size());
    returned back;
    const auto give = [&back](std::size_t, mbuf_token token) __attribute__((always_inline)) {
      back.add(token);
      return true;
    };
    const std::uint16_t done = ring_.reclaim_burst(pending, give);
    if (done == pending || ring_.used_pending(1) == 0) [[likely]]
      return done;
    const std::uint16_t others =
        ring_.reclaim(ring_.size(), [&back](mbuf_token token) { back.add(token); });
    return static_cast<std::uint16_t>(done + others);
  }

  /// How many packets the device has read that were not given back yet.
  [[nodiscard]] std::uint16_t reclaimable() noexcept { return ring_.used_pending(ring_.size()); }

  /// Asks for a call once the device has read half of what is in flight now. `more_pending`: it
  /// has.
  [[nodiscard]] notification enable_call() noexcept {
    return ring_.enable_call(ring_.in_flight() / 2);
  }
  /// No calls from now on; one may still come.
  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: every mbuf in flight goes to its pool. The
  /// queue is spent.
  void stop() noexcept {
    reclaim();
    returned back;
    ring_.abandon([&back](mbuf_token token) { back.add(token); });
  }

  /// Since the queue was made.
  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  /// The driver side below.
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  /// What packets have to be like.
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 private:
  static constexpr std::uintptr_t compound = 1;

  // Mbufs on their way back, a burst at a time for each pool.
  class returned {
   public:
    returned() noexcept {}  // the array stays as it is
    returned(const returned&) = delete;
    returned& operator=(const returned&) = delete;
    ~returned() { flush(); }

    [[gnu::always_inline]] void add(mbuf_token token) noexcept {
      if ((token.bits & compound) != 0) [[unlikely]] {
        ::rte_pktmbuf_free(reinterpret_cast<::rte_mbuf*>(token.bits & ~compound));
        return;
      }
      auto* const m = reinterpret_cast<::rte_mbuf*>(token.bits);
      if (m->pool != pool_ || count_ == mbufs_.size()) [[unlikely]] {
        flush();
        pool_ = m->pool;
      }
      mbufs_[count_++] = m;
    }

   private:
    [[gnu::noinline]] void flush() noexcept {
      if (count_ != 0) {
        ::rte_mempool_put_bulk(pool_, mbufs_.data(), static_cast<unsigned>(count_));
      }
      count_ = 0;
    }

    ::rte_mempool* pool_ = nullptr;
    std::size_t count_ = 0;
    std::array<void*, 64> mbufs_;
  };

  [[gnu::always_inline]] void publish() noexcept { detail::publish(ring_, counters_, notify_); }

  // Whether the header fits into the headroom, which is this packet's alone.
  [[nodiscard]] bool takes_header(const ::rte_mbuf& m) const noexcept {
    return m.data_off >= rules_.header_size && RTE_MBUF_DIRECT(&m) &&
           ::rte_mbuf_refcnt_read(&m) == 1;
  }

  // The hot case: packets in one direct segment that ask for nothing, in the same memory as the
  // last one. Stops at the first that is not, or when the ring is full; returns how many it sent.
  [[gnu::always_inline]] std::size_t send_plain(std::span<::rte_mbuf* const> packets) noexcept {
    constexpr std::uint64_t not_plain =
        RTE_MBUF_F_TX_OFFLOAD_MASK | RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;
    const std::size_t count = std::min<std::size_t>(ring_.room(), packets.size());
    const std::uint32_t header_bytes = rules_.header_size;
    const std::uint32_t min_size = rules_.min_size;
    const guest_region known = cursor_.last();
    ::rte_mbuf* const* const in = packets.data();
    std::uint64_t lengths = 0;
    const auto take = [&](burst_buffer<mbuf_token> & fresh, std::size_t nth)
        __attribute__((always_inline)) {
      ::rte_mbuf* const m = in[nth];
      const std::uint32_t size = m->data_len;
      if ((m->ol_flags & not_plain) != 0 || m->nb_segs != 1 || m->data_off < header_bytes ||
          ::rte_mbuf_refcnt_read(m) != 1 || size < min_size) [[unlikely]] {
        return false;
      }
      std::byte* const header = static_cast<std::byte*>(m->buf_addr) + m->data_off - header_bytes;
      const std::uint32_t length = size + header_bytes;
      if (!known.address_of({header, length})) [[unlikely]]
        return false;
      std::memset(header, 0, vkring::header_size);
      if (header_bytes != vkring::header_size) [[unlikely]]
        std::memset(header, 0, header_bytes);
      fresh.address = reinterpret_cast<std::uintptr_t>(header);
      fresh.length = length;
      fresh.token = {reinterpret_cast<std::uintptr_t>(m)};
      lengths += length;
      return true;
    };
    const std::uint16_t sent =
        ring_.template add_burst<false>(static_cast<std::uint32_t>(count), take);
    counters_.frames.add(sent);
    counters_.bytes.add(lengths - sent * std::uint64_t{header_bytes});
    return sent;
  }

  // What is left after the first `done` packets of a burst: because the ring is full, or because
  // the next one is not plain.
  [[gnu::noinline]] std::uint16_t send_rest(std::span<::rte_mbuf* const> packets,
                                            std::size_t done) noexcept {
    reclaim();
    std::size_t at = done;
    while (at != packets.size() && send_other(packets[at])) {
      ++at;
      at += send_plain(packets.subspan(at));
    }
    if (ring_.avail_position() != ring_.published_position()) publish();
    return static_cast<std::uint16_t>(at);
  }

  // Any other packet. False: the ring is full.
  bool send_other(::rte_mbuf* m) noexcept {
    const bool is_private = detail::is_private(*m);
    if (is_private) {
      if (const header_fault fault = prepare(m); fault != header_fault::none) return drop(m, fault);
    }
    auto [header, fault] = header_of(*m);
    if (fault != header_fault::none) return drop(m, fault);
    if (!rules_.offloads.ecn) header.gso_type &= static_cast<std::uint8_t>(~gso::ecn);

    std::size_t pieces = 1;  // the first is the header
    std::uint64_t size = 0;
    const ::rte_mbuf* each = m;
    for (std::uint32_t left = m->nb_segs; left != 0 && each != nullptr; --left, each = each->next) {
      const std::span<const std::byte> data = detail::data_of(*each);
      if (data.empty()) continue;
      if (pieces == chain_.size()) return drop(m, drop_reason::too_large);
      const auto address = cursor_.guest_of(data);
      if (!address) return drop(m, drop_reason::unreachable);
      chain_[pieces++] = {*address, static_cast<std::uint32_t>(data.size()), false};
      size += data.size();
    }
    if (size < rules_.min_size) return drop(m, drop_reason::too_short);
    fault = check_tx_header(header, size, rules_.offloads, rules_.link);
    if (fault != header_fault::none) return drop(m, fault);

    const bool in_headroom = takes_header(*m) && m->data_len != 0;
    const auto chain = std::span(chain_).first(pieces).subspan(in_headroom ? 1 : 0);
    if (chain.size() > ring_.max_chain()) return drop(m, drop_reason::too_large);
    if (!ring_.has_room(chain.size())) return false;
    if (in_headroom) {
      chain.front().address -= rules_.header_size;
      chain.front().length += rules_.header_size;
      store_header(detail::data_of(*m).data() - rules_.header_size, rules_.header_size, header);
    } else {
      m = with_header(m, header);
      if (m == nullptr) return true;
    }
    ring_.try_add(chain, {reinterpret_cast<std::uintptr_t>(m) | compound});
    counters_.frames.add(1);
    counters_.bytes.add(size);
    return true;
  }

  // The header in an mbuf of its own, in front of the packet; null, and the packet is dropped:
  // none.
  ::rte_mbuf* with_header(::rte_mbuf* m, const virtio_net_hdr& header) noexcept {
    ::rte_mbuf* const head = ::rte_pktmbuf_alloc(pool_);
    if (head == nullptr) {
      drop(m, drop_reason::no_buffer);
      return nullptr;
    }
    auto* const at = static_cast<std::byte*>(head->buf_addr) + head->data_off;
    store_header(at, rules_.header_size, header);
    chain_[0] = {reinterpret_cast<std::uintptr_t>(at), rules_.header_size, false};
    head->next = m;
    head->nb_segs = static_cast<std::uint16_t>(m->nb_segs + 1);
    return head;
  }

  template <class Reason>
  bool drop(::rte_mbuf* m, Reason why) noexcept {
    counters_.drop(why);
    ::rte_pktmbuf_free(m);
    return true;
  }

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  ::rte_mempool* pool_;
  table_cursor cursor_;
  queue_counters counters_;
  std::vector<chain_buffer> chain_;  // of the packet that is being added
};

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_MBUF_TX_QUEUE_HPP
