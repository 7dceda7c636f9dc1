// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_MBUF_RX_QUEUE_HPP
#define VKRING_DPDK_MBUF_RX_QUEUE_HPP

// Receiving mbufs: empty ones into a virtqueue, packets out of it.

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <vkring/dpdk/mempool_source.hpp>
#include <vkring/dpdk/offload_flags.hpp>
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
#include <span>
#include <utility>

namespace vkring::inline v0 {

/// One receive queue of mbufs: the driver side of a virtqueue, a packet pool and a way to kick.
///
/// Thread-safety: one thread at a time; `counters()` may be read from any thread.
/// Allocation: none but the pool's mbufs.
template <driver_queue Ring, std::invocable Notify>
class mbuf_rx_queue {
 public:
  static_assert(std::same_as<typename Ring::token_type, ::rte_mbuf*>);

  /// The most bytes that a device may write to a buffer: what the ring is constructed with.
  [[nodiscard]] static std::uint32_t max_written(const mempool_source& source,
                                                 const frame_rules& rules) noexcept {
    return source.capacity() + rules.header_size;
  }

  /// `notify` kicks the device. `source` outlives the queue. The ring is empty until `refill`.
  mbuf_rx_queue(Ring ring, mempool_source& source, const frame_rules& rules, Notify notify)
      : ring_(std::move(ring)),
        rules_(rules),
        notify_(std::move(notify)),
        source_(&source),
        burst_(std::min<std::uint16_t>(most_at_once, ring_.size())) {}
  mbuf_rx_queue(mbuf_rx_queue&&) noexcept = default;
  mbuf_rx_queue& operator=(mbuf_rx_queue&&) = delete;

  /// What packets say in `rte_mbuf::port`; RTE_MBUF_PORT_INVALID at first.
  void set_port(std::uint16_t port) noexcept { port_ = port; }

  /// Receives up to `packets.size()` packets and returns how many; puts fresh mbufs into the ring.
  /// Large ones are chained. What their headers say is in their flags: see `describe`. A packet
  /// whose header cannot be believed is dropped and counted.
  std::uint16_t rx_burst(std::span<::rte_mbuf*> packets) noexcept {
    std::size_t received =
        rules_.mergeable ? receive_plain<true>(packets) : receive_plain<false>(packets);
    if (received != packets.size() && ring_.used_pending(1) != 0) [[unlikely]] {
      received += receive_any(packets.subspan(received));
    }
    // In whole bursts; but a device that has nothing to offer may be short of mbufs for a large
    // packet.
    if (ring_.room() >= burst_ / 2 || received == 0) refill();
    return static_cast<std::uint16_t>(received);
  }

  /// Puts mbufs into the ring until it is full or the pool is empty, which `counters().starved`
  /// counts. `rx_burst` does so; call it once before the device starts, and where the pool had run
  /// dry.
  void refill() noexcept {
    while (const std::uint16_t room = ring_.room()) {
      std::array<::rte_mbuf*, most_at_once> fresh;
      const std::size_t wanted = std::min(room, burst_);
      const std::size_t count = source_->take(std::span(fresh).first(wanted));
      if (count != wanted) counters_.starved.add(1);
      if (post(std::span(fresh).first(count)) != count) {
        for (std::size_t i = 0; i != count; ++i) post_one(fresh[i]);
      }
      if (count != wanted) break;
    }
    if (ring_.avail_position() != ring_.published_position()) {
      detail::publish(ring_, counters_, notify_);
    }
  }

  /// How many buffers the device has filled that were not received yet.
  [[nodiscard]] std::uint16_t pending() noexcept { return ring_.used_pending(ring_.size()); }

  /// Asks for a call when the next packet comes. `more_pending`: one is there already. Whoever goes
  /// to sleep leaves a full ring behind, as the device may need all of it for one packet.
  [[nodiscard]] notification enable_call() noexcept {
    if (ring_.room() != 0) refill();
    return ring_.enable_call();
  }
  /// No calls from now on; one may still come.
  void disable_call() noexcept { ring_.disable_call(); }

  /// After the device has stopped serving the ring: every mbuf in flight goes to its pool. Packets
  /// that were used and not received go with them. The queue is spent.
  void stop() noexcept {
    ring_.abandon([this](::rte_mbuf* m) { source_->put({&m, 1}); });
  }

  /// Since the queue was made.
  [[nodiscard]] const queue_counters& counters() const noexcept { return counters_; }
  /// The driver side below.
  [[nodiscard]] const Ring& ring() const noexcept { return ring_; }
  /// What packets have to be like.
  [[nodiscard]] const frame_rules& rules() const noexcept { return rules_; }

 private:
  static constexpr std::uint16_t most_at_once = 64;

  [[nodiscard]] std::byte* header_at(const ::rte_mbuf& m) const noexcept {
    return static_cast<std::byte*>(m.buf_addr) + RTE_PKTMBUF_HEADROOM - rules_.header_size;
  }

  // Adds mbufs as they come from the pool, unpublished: all of them, or none in general mode.
  [[gnu::always_inline]] std::uint16_t post(std::span<::rte_mbuf* const> fresh) noexcept {
    const std::uint64_t length = max_written(*source_, rules_);
    const std::uint64_t to_header = RTE_PKTMBUF_HEADROOM - rules_.header_size;
    const auto take = [&](burst_buffer<::rte_mbuf*> & next, std::size_t nth)
        __attribute__((always_inline)) {
      ::rte_mbuf* const m = fresh[nth];
      next.address = reinterpret_cast<std::uintptr_t>(m->buf_addr) + to_header;
      next.length = length;
      next.token = m;
      return true;
    };
    return ring_.template add_burst<true>(static_cast<std::uint32_t>(fresh.size()), take);
  }
  // Adds one in any mode; there is room.
  void post_one(::rte_mbuf* m) noexcept {
    const chain_buffer buffer{reinterpret_cast<std::uintptr_t>(header_at(*m)),
                              max_written(*source_, rules_), true};
    ring_.try_add({&buffer, 1}, m);
  }

  // Makes a segment of an mbuf that is as it came from the pool: `size` bytes from `offset` on.
  [[gnu::always_inline]] void fill_in(::rte_mbuf& m, std::uint32_t offset,
                                      std::uint32_t size) const noexcept {
    m.data_off = static_cast<std::uint16_t>(offset);
    m.port = port_;
    m.ol_flags &= RTE_MBUF_F_EXTERNAL;
    m.packet_type = 0;
    m.pkt_len = size;
    m.data_len = static_cast<std::uint16_t>(size);
    m.vlan_tci = 0;
  }

  // The hot case: packets in one mbuf each, in ring order, with nothing in their header. Stops at
  // the first that is not.
  template <bool Mergeable>
  [[gnu::always_inline]] std::size_t receive_plain(std::span<::rte_mbuf*> packets) noexcept {
    const std::size_t pending =
        std::min<std::size_t>(ring_.used_at_most(packets.size()), packets.size());
    const std::uint32_t min_size = rules_.min_size;
    ::rte_mbuf** const out = packets.data();
    std::uint64_t bytes = 0;
    const auto keep = [&](std::size_t nth, ::rte_mbuf* m, std::uint32_t beyond)
        __attribute__((always_inline)) {
      const std::byte* const header = header_at(*m);
      if ((Mergeable && detail::num_buffers(header) != 1) || detail::flags_and_gso(header) != 0)
        [[unlikely]]
        return false;
      const std::uint32_t size = beyond + min_size;
      fill_in(*m, RTE_PKTMBUF_HEADROOM, size);
      bytes += size;
      out[nth] = m;
      return true;
    };
    const std::uint16_t received = ring_.reclaim_burst(static_cast<std::uint32_t>(pending), keep,
                                                       rules_.header_size + min_size);
    counters_.frames.add(received);
    counters_.bytes.add(bytes);
    return received;
  }

  // Packets of any kind, in any mode of the ring. With mergeable buffers, a packet lies in as many
  // as its header says, used one after the other.
  [[gnu::noinline]] std::size_t receive_any(std::span<::rte_mbuf*> packets) noexcept {
    const std::uint32_t header_bytes = rules_.header_size;
    std::size_t received = 0;
    ::rte_mbuf* first = nullptr;  // of the packet that is coming in
    ::rte_mbuf* last = nullptr;
    std::uint32_t left = 0;  // how many mbufs of it are still to come
    ring_.reclaim(ring_.size(), [&](::rte_mbuf* m, std::uint32_t written) {
      if (left == 0) {
        first = m;
        const std::uint32_t size = written - header_bytes;
        if (size > source_->capacity()) return reject(ring_fault::used_length, written);
        fill_in(*m, RTE_PKTMBUF_HEADROOM, size);
        const std::uint16_t buffers = rules_.mergeable ? detail::num_buffers(header_at(*m)) : 1;
        if (buffers == 0 || buffers > ring_.size()) {
          return reject(ring_fault::num_buffers, buffers);
        }
        left = buffers;
      } else {
        // A continuation has no header: its bytes start where that would.
        fill_in(*m, RTE_PKTMBUF_HEADROOM - header_bytes, written);
        last->next = m;
        first->pkt_len += written;
        ++first->nb_segs;
      }
      last = m;
      if (--left != 0) return true;
      ::rte_mbuf* const whole = std::exchange(first, nullptr);
      if (!is_good(*whole)) {
        ::rte_pktmbuf_free(whole);
        return true;
      }
      counters_.bytes.add(whole->pkt_len);
      packets[received++] = whole;
      return received != packets.size();
    });
    // The device publishes all buffers of a packet at once, so they are not on their way either.
    if (left != 0) reject(ring_fault::num_buffers, left);
    // Of a packet that did not come to its end.
    if (first != nullptr) ::rte_pktmbuf_free(first);
    counters_.frames.add(received);
    return received;
  }

  // Believes a packet's header, or counts why not.
  [[nodiscard]] bool is_good(::rte_mbuf& m) noexcept {
    if (m.pkt_len < rules_.min_size) {
      counters_.drop(drop_reason::too_short);
      return false;
    }
    virtio_net_hdr header;
    header_fault fault =
        detail::read_header(header, detail::data_of(m).data(), m.pkt_len, rules_);
    if (fault == header_fault::none) fault = describe(m, header, rules_.link);
    if (fault != header_fault::none) counters_.drop(fault);
    return fault == header_fault::none;
  }

  // The ring is not to be trusted any more.
  bool reject(ring_fault fault, std::uint32_t value) noexcept {
    ring_.break_queue(fault, ring_.used_position(), value);
    return false;
  }

  Ring ring_;
  frame_rules rules_;
  [[no_unique_address]] Notify notify_;
  mempool_source* source_;
  queue_counters counters_;
  std::uint16_t burst_;  // of mbufs, between the pool and the ring
  std::uint16_t port_ = RTE_MBUF_PORT_INVALID;
};

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_MBUF_RX_QUEUE_HPP
