// SPDX-License-Identifier: BSD-3-Clause

// Mbufs from one CPU to another: through DPDK's virtio_user and net_vhost, and through vkring's rings.
//
//   peer_dpdk/virtio_user/<split|packed|packed_vectorized>[/csum]
//   peer_dpdk/vkring_mbufs/<split|packed>[/csum]
//   peer_dpdk/no_ring/<send|receive>    what the ends of both do besides, on one CPU
//
// The driver's thread allocates mbufs, writes all of a frame of 64 bytes into each, and sends them; the
// driver writes the header of 12 bytes and releases what the device has read. The device's thread copies
// each frame into an mbuf that it allocates, adds it up, and releases that mbuf. All of this but the driver and the
// device is the same code on the same pools. Without csum nobody looks at the header. With it, the frames are
// TCP segments: the driver's thread stores the sum of the pseudo header, and the device reads the header,
// looks for the TCP header, and says in its mbuf what the frame lacks.
//
// Counter: `frames_per_s`. Everything that is sent has to arrive as it was, or the program ends with
// status 1; with 77 where it may use one CPU only. bench/peer_dpdk.sh makes tables of it.

#include <benchmark/benchmark.h>
#include <rte_cpuflags.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <vkring/dpdk/mbuf.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "eal.hpp"
#include "ends.hpp"
#include "pair.hpp"
#include "pair_work.hpp"
#include "virtio_user.hpp"

namespace {

using namespace bench;

constexpr std::uint16_t ring_size = 256;
constexpr std::uint16_t burst = 32;
using mbufs = std::span<::rte_mbuf*>;

/// A pool for each end, so that each has its cache.
struct mbuf_pools {
  ::rte_mempool* driver = make("driver");
  ::rte_mempool* device = make("device");

  static ::rte_mempool* make(const char* name) {
    ::rte_mempool* const pool =
        ::rte_pktmbuf_pool_create(name, 2047, 250, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    if (pool == nullptr) give_up("no pool of mbufs");
    return pool;
  }
};

/// TCP segments of `frame_size` bytes that differ in their last word.
class segment {
 public:
  segment() noexcept {
    ::rte_ether_hdr ether{};
    ether.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
    ::rte_ipv4_hdr ip{};
    ip.version_ihl = RTE_IPV4_VHL_DEF;
    ip.total_length = RTE_BE16(frame_size - sizeof ether);
    ip.next_proto_id = IPPROTO_TCP;
    ip.src_addr = RTE_BE32(RTE_IPV4(10, 0, 0, 1));
    ip.dst_addr = RTE_BE32(RTE_IPV4(10, 0, 0, 2));
    ip.hdr_checksum = ::rte_ipv4_cksum(&ip);
    ::rte_tcp_hdr tcp{};
    tcp.data_off = sizeof tcp / 4 << 4;
    // The same is stored once more when it is sent.
    tcp.cksum = ::rte_ipv4_phdr_cksum(&ip, 0);
    std::memcpy(&bytes_[0], &ether, sizeof ether);
    std::memcpy(&bytes_[sizeof ether], &ip, sizeof ip);
    std::memcpy(&bytes_[sizeof ether + sizeof ip], &tcp, sizeof tcp);
    tally sum;
    sum.take_frame(bytes_.data());
    rest_ = sum.sum;
  }

  /// Writes all of one, and has `m` ask for its checksum.
  void write(::rte_mbuf& m, tally& sent) const noexcept {
    std::byte* const to = detail::data_of(m).data();
    std::memcpy(to, bytes_.data(), number_at);
    sent.put_number(to + number_at);
    sent.sum += rest_;
    m.ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
    m.l2_len = sizeof(::rte_ether_hdr);
    m.l3_len = sizeof(::rte_ipv4_hdr);
    m.l4_len = sizeof(::rte_tcp_hdr);
  }

 private:
  static constexpr std::size_t number_at = frame_size - sizeof(std::uint64_t);

  std::array<std::byte, frame_size> bytes_{};
  std::uint64_t rest_;  // the sum of the words but the number
};

/// Makes bursts of packets to send.
class packet_maker {
 public:
  packet_maker(::rte_mempool* pool, bool csum) : pool_(pool), csum_(csum) {}

  void make(mbufs packets, tally& sent) const noexcept {
    const auto count = static_cast<unsigned>(packets.size());
    if (::rte_pktmbuf_alloc_bulk(pool_, packets.data(), count) != 0) give_up("no mbuf to send");
    for (::rte_mbuf* const m : packets) {
      char* const payload = ::rte_pktmbuf_append(m, frame_size);
      csum_ ? segment_.write(*m, sent) : sent.put_frame(reinterpret_cast<std::byte*>(payload));
    }
  }

 private:
  ::rte_mempool* pool_;
  bool csum_;
  segment segment_;
};

/// Adds up packets that have arrived, and releases them.
void take(mbufs packets, bool csum, tally& received) noexcept {
  const std::uint64_t flags = csum ? RTE_MBUF_F_RX_L4_CKSUM_NONE : 0;
  for (const ::rte_mbuf* const m : packets) {
    if (m->data_len != frame_size || (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) != flags)
      [[unlikely]]
      give_up("a frame arrived as another one");
    received.take_frame(detail::data_of(*m).data());
  }
  ::rte_pktmbuf_free_bulk(packets.data(), static_cast<unsigned>(packets.size()));
}

/// DPDK's driver and device.
struct dpdk_link : virtio_user {
  dpdk_link(path kind, bool csum, const mbuf_pools& pools)
      : virtio_user({kind, ring_size, csum}, pools.driver, pools.device) {}
};

/// Where a frame lies in a buffer that a device is about to copy: it is on its way.
struct fetched_frame {
  std::span<std::byte> buffer;

  fetched_frame() noexcept = default;
  [[gnu::always_inline]] explicit fetched_frame(std::span<std::byte> all) noexcept : buffer(all) {
    __builtin_prefetch(all.data() + header_size);
  }
};

/// vkring's device side, which copies frames into mbufs.
template <class Layout>
class mbuf_device {
 public:
  mbuf_device(const loopback_base& with, ::rte_mempool* pool)
      : end_(with), pool_(pool), offloads_(with.rules().offloads) {
    end_.disable_kick();
  }

  std::uint16_t rx(mbufs packets) noexcept {
    const std::uint16_t count = end_.pop();
    if (count == 0) return 0;
    if (::rte_pktmbuf_alloc_bulk(pool_, packets.data(), count) != 0) give_up("no mbuf to receive");
    ::rte_mbuf** to = packets.data();
    for (const fetched_frame& each : end_.popped()) copy(each.buffer, **to++);
    end_.push(0);
    return count;
  }

 private:
  [[gnu::always_inline]] void copy(std::span<const std::byte> from, ::rte_mbuf& to) const noexcept {
    const std::size_t size = from.size() - header_size;
    if (from.size() < header_size || size > ::rte_pktmbuf_tailroom(&to)) [[unlikely]]
      give_up("a frame of an impossible size");
    std::memcpy(::rte_pktmbuf_append(&to, static_cast<std::uint16_t>(size)),
                from.data() + header_size, size);
    if (!offloads_.csum) return;
    const virtio_net_hdr header = load_header(from.data(), header_size);
    header_fault fault = check_tx_header(header, size, offloads_);
    if (fault == header_fault::none) fault = describe(to, header);
    if (fault != header_fault::none) give_up("a header that is not to be believed");
  }

  device_end<Layout, fetched_frame> end_;
  ::rte_mempool* pool_;
  frame_offloads offloads_;
};

/// vkring's driver for mbufs, and vkring's device side.
template <class Layout>
class vkring_link : loopback_base {
  using ring_type = virtqueue<Layout, driver_side, mbuf_token>;

 public:
  vkring_link(bool csum, const mbuf_pools& pools)
      : loopback_base({.size = ring_size, .burst = burst, .csum = csum}),
        source_(reached(pools.driver)),
        driver_(ring_type(ring<Layout>(), ring_terms(), tables), *source_, rules(), no_notify{}),
        device_(*this, pools.device) {
    driver_.disable_call();
  }
  ~vkring_link() { driver_.stop(); }

  [[nodiscard]] bool prepare(mbufs) const noexcept { return true; }  // `tx` does
  std::uint16_t tx(mbufs packets) noexcept { return driver_.tx_burst(packets); }
  std::uint16_t rx(mbufs packets) noexcept { return device_.rx(packets); }

 private:
  std::shared_ptr<mempool_source> reached(::rte_mempool* pool) {
    auto source = mempool_source::make(pool).value();
    reach(source->regions());
    return source;
  }

  std::shared_ptr<mempool_source> source_;
  alignas(line_pair) mbuf_tx_queue<ring_type, no_notify> driver_;
  alignas(line_pair) mbuf_device<Layout> device_;
};

/// Has the calling thread use the pools' caches until it ends.
void be_lcore() noexcept {
  struct registration {
    registration() {
      if (::rte_lcore_id() == LCORE_ID_ANY && ::rte_thread_register() != 0) {
        give_up("no lcore for a thread");
      }
    }
    ~registration() { ::rte_thread_unregister(); }
  };
  thread_local const registration mine;
}

/// Mbufs over a link, for `measure_pair`.
template <class Link>
struct mbuf_pair {
  mbuf_pair(std::function<std::unique_ptr<Link>()> make, bool with_csum, const mbuf_pools& from)
      : link(make()), csum(with_csum), pools(from) {}

  std::unique_ptr<Link> link;
  bool csum;
  const mbuf_pools& pools;
  alignas(line_pair) std::atomic<std::uint64_t> arrived = 0;

  class driver {
   public:
    explicit driver(mbuf_pair& with)
        : link_(*with.link), arrived_(with.arrived), maker_(with.pools.driver, with.csum) {}

    void turn() noexcept {
      std::array<::rte_mbuf*, burst> packets;
      maker_.make(packets, sent);
      if (!link_.prepare(packets)) give_up("a packet cannot be sent");
      mbufs left = packets;
      for (left = left.subspan(link_.tx(left)); !left.empty();
           left = left.subspan(link_.tx(left))) {
        idle_.wait();
      }
    }
    // virtio_user does not tell what is in flight.
    void drain() noexcept {
      using clock = std::chrono::steady_clock;
      const clock::time_point deadline = clock::now() + std::chrono::seconds(20);
      while (arrived_.load(std::memory_order_relaxed) != sent.frames && clock::now() < deadline) {
        idle_.wait();
      }
    }

    tally sent;

   private:
    Link& link_;
    const std::atomic<std::uint64_t>& arrived_;
    packet_maker maker_;
    patience idle_;
  };

  class device {
   public:
    explicit device(mbuf_pair& with)
        : link_(*with.link), arrived_(with.arrived), csum_(with.csum) {}

    bool serve() noexcept {
      be_lcore();
      std::array<::rte_mbuf*, burst> packets;
      const std::uint16_t count = link_.rx(packets);
      if (count == 0) return false;
      take(mbufs(packets).first(count), csum_, received);
      arrived_.store(received.frames, std::memory_order_relaxed);
      return true;
    }

    tally received;

   private:
    Link& link_;
    std::atomic<std::uint64_t>& arrived_;
    bool csum_;
  };
};
