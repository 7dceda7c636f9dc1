// SPDX-License-Identifier: BSD-3-Clause

// Mbufs from one CPU to another: by DPDK's virtio_user and net_vhost, and by vkring's rings.
//
//   peer_dpdk/virtio_user/<split|packed>[/csum]
//   peer_dpdk/virtio_user/packed_vectorized    in order, with AVX-512
//   peer_dpdk/vkring_mbufs/<split|packed>[/csum]
//   peer_dpdk/no_ring/<send|receive>           what either thread does besides
//
// One thread allocates mbufs, writes all of a frame of 64 bytes into each, and sends them; its
// driver writes the header of 12 bytes, and releases what the device has read. On the other thread
// a device copies each frame into an mbuf that it allocates; the frame is added up, and that mbuf
// released. All but the driver and the device is the same code with the same pools. Without csum
// nobody looks at the header. With it, the frames are TCP segments: the sum of the pseudo header is
// stored in each as it is sent, and the device reads the header, looks for that of TCP, and says in
// its mbuf what the frame lacks.
//
// Counter: `frames_per_s`. Everything that is sent has to arrive as it was, or the program ends
// with status 1. bench/peer_dpdk.sh makes tables of it.

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
template <virtio_user::path Path>
struct dpdk_link : virtio_user {
  dpdk_link(bool csum, const mbuf_pools& pools)
      : virtio_user({Path, ring_size, csum}, pools.driver, pools.device) {}
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
  mbuf_pair(Link& over, bool with_csum, const mbuf_pools& from)
      : link(over), csum(with_csum), pools(from) {}

  Link& link;
  bool csum;
  const mbuf_pools& pools;
  alignas(line_pair) std::atomic<std::uint64_t> arrived = 0;

  class driver {
   public:
    explicit driver(mbuf_pair& with)
        : link_(with.link), arrived_(with.arrived), maker_(with.pools.driver, with.csum) {}

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
        : link_(with.link), arrived_(with.arrived), csum_(with.csum) {}

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

/// The link of the row that runs, for all calls of it: virtio_user takes a second to connect.
class link_keeper {
 public:
  template <class Link>
  Link& get(const std::string& row, bool csum, const mbuf_pools& pools) {
    if (row_ != row) {
      link_.reset();
      link_ = std::make_shared<Link>(csum, pools);
      row_ = row;
    }
    return *static_cast<Link*>(link_.get());
  }

 private:
  std::string row_;
  std::shared_ptr<void> link_;
};

/// The driver's thread without a driver.
void only_send(benchmark::State& state, const mbuf_pools& pools) {
  const packet_maker maker(pools.driver, false);
  tally sent;
  std::array<::rte_mbuf*, burst> packets;
  for (auto _ : state) {
    maker.make(packets, sent);
    ::rte_pktmbuf_free_bulk(packets.data(), burst);
  }
  report(state, sent, sent);
}

/// The device's thread without a device: the frames that it copies lie in its cache.
void only_receive(benchmark::State& state, const mbuf_pools& pools) {
  std::array<std::byte, frame_size> frame;
  tally sent;
  tally received;
  std::array<::rte_mbuf*, burst> packets;
  for (auto _ : state) {
    if (::rte_pktmbuf_alloc_bulk(pools.device, packets.data(), burst) != 0) give_up("no mbuf");
    for (::rte_mbuf* const m : packets) {
      sent.put_frame(frame.data());
      std::memcpy(::rte_pktmbuf_append(m, frame_size), frame.data(), frame_size);
    }
    take(packets, false, received);
  }
  report(state, sent, received);
}

template <class Run>
void add(const std::string& row, Run&& run) {
  benchmark::RegisterBenchmark(("peer_dpdk/" + row).c_str(), std::forward<Run>(run))->UseRealTime();
}

/// What rows are run with.
struct bench_setup {
  cpu_pair cpus;
  mbuf_pools pools;
  link_keeper links;
};

template <class Link>
void add_link(bench_setup& with, const std::string& row, bool csum) {
  add(row, [&with, row, csum](benchmark::State& state) {
    Link& link = with.links.get<Link>(row, csum, with.pools);
    measure_pair<mbuf_pair<Link>>(state, with.cpus, std::ref(link), csum, with.pools);
  });
}
template <class Link>
void add_links(bench_setup& with, const std::string& name) {
  add_link<Link>(with, name, false);
  add_link<Link>(with, name + "/csum", true);
}

void add_all(bench_setup& with) {
  using path = virtio_user::path;
  add_links<dpdk_link<path::split>>(with, "virtio_user/split");
  add_links<dpdk_link<path::packed>>(with, "virtio_user/packed");
  if (::rte_cpu_get_flag_enabled(RTE_CPUFLAG_AVX512F) == 1) {
    // Without csum: it puts the header 12 bytes before the place that it tells the device.
    add_link<dpdk_link<path::packed_vectorized>>(with, "virtio_user/packed_vectorized", false);
  } else {
    std::fputs("peer_dpdk: packed_vectorized is left out: this CPU has no AVX-512\n", stderr);
  }
  add_links<vkring_link<split>>(with, "vkring_mbufs/split");
  add_links<vkring_link<packed>>(with, "vkring_mbufs/packed");
  add("no_ring/send", [&with](benchmark::State& state) { only_send(state, with.pools); });
  add("no_ring/receive", [&with](benchmark::State& state) { only_receive(state, with.pools); });
}

}  // namespace

int main(int argc, char** argv) {
  const bench::cpu_pair cpus = bench::cpu_pair::usual();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  bench::start_eal(argv[0], {"--lcores", "0@" + std::to_string(cpus.driver),
                             "--force-max-simd-bitwidth", "512"});
  bench_setup setup{cpus, {}, {}};
  add_all(setup);
  benchmark::AddCustomContext("cpus",
                              std::to_string(cpus.driver) + "," + std::to_string(cpus.device));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
