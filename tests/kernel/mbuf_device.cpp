// SPDX-License-Identifier: BSD-3-Clause
#define ALLOW_EXPERIMENTAL_API  // for pools with external buffers
#include <rte_malloc.h>
#include <sys/mman.h>

#include <catch2/catch.hpp>

#include "support/dpdk.hpp"
#include "support/packets.hpp"
#include "support/skip.hpp"
#include "support/tap_wire.hpp"
#include "support/volume.hpp"
#include "vkring/device.hpp"
#include "vkring/dpdk/mbuf.hpp"

// Mbufs through a device to a real TAP and back, over vhost-net where there is one, on split rings:
// pools of every kind, large packets, offloads as the kernel does and leaves them. And a million
// packets each way through the worker.

using namespace vkring;
using namespace vkring::test;

namespace {

template <class Layout>
struct basic_mbuf_bed {
  using device_type = basic_device<Layout, mempool_source>;

  std::shared_ptr<mempool_source> source;
  device_type it;

  basic_mbuf_bed(const netns& ns, ::rte_mempool& pool, device_config config = {})
      : source(mempool_source::make(&pool).value()),
        it(device_type::open(in(ns, std::move(config)), source).value()) {}

  static device_config in(const netns& ns, device_config config) {
    config.name = "vkt%d";
    config.netns = path_of(ns);
    return config;
  }

  bool send(::rte_mbuf* m) {
    return eventually([&] { return it.tx(0).tx_burst({&m, 1}) == 1; });
  }
  /// The next packet, which the caller frees.
  ::rte_mbuf* receive() {
    ::rte_mbuf* got = nullptr;
    eventually([&] { return it.rx(0).rx_burst({&got, 1}) == 1; });
    return got;
  }
};
using mbuf_bed = basic_mbuf_bed<split>;

// Packets of assorted sizes each way, the larger ones in pieces. What went wrong; empty if nothing.
template <class Layout>
std::string both_ways(basic_mbuf_bed<Layout>& bed, const netns& ns, ::rte_mempool& pool,
                      std::size_t piece) {
  tap_wire wire(ns, bed.it.index());
  for (std::uint32_t i = 0; i < 200; ++i) {
    const auto frame = numbered_frame(i, 60 + i * 7);
    if (!bed.send(packet_of(pool, frame, piece))) return "not taken";
    std::int64_t number = -1;
    if (!eventually([&] { return (number = wire.next_number()) != -1; }) || number != i) {
      return "frame " + std::to_string(i) + " came out as " + std::to_string(number);
    }
    if (wire.send(frame) != 0) return "the kernel's end";
    ::rte_mbuf* const back = bed.receive();
    if (back == nullptr || content_of(*back) != frame) {
      return "frame " + std::to_string(i) + (back == nullptr ? " did not come" : " came damaged");
    }
    ::rte_pktmbuf_free(back);
  }
  return {};
}

// Memory that the EAL does not know of.
struct foreign_memory {
  std::size_t bytes = std::size_t{8} << 20;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  foreign_memory() { REQUIRE(at != MAP_FAILED); }
  foreign_memory(const foreign_memory&) = delete;
  foreign_memory& operator=(const foreign_memory&) = delete;
  ~foreign_memory() { ::munmap(at, bytes); }
};

}  // namespace

TEMPLATE_TEST_CASE("mbuf device: packets each way, chained where they are large", "", split,
                   packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047, 512, 32);
  basic_mbuf_bed<TestType> bed(*ns, *pool);
  CHECK(both_ways(bed, *ns, *pool, 300) == "");
  CHECK(bed.it.tx_statistics(0).drops.empty());
  CHECK(bed.it.rx_statistics(0).drops.empty());
  bed.it.close();
  CHECK(::rte_mempool_avail_count(pool.get()) == 2047);
}

TEST_CASE("mbuf device: a pool for each queue pair") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool first = make_packet_pool(1023);
  const packet_pool second = make_packet_pool(511, 1024);
  ::rte_mempool* const pools[] = {first.get(), second.get()};
  device_config config;
  config.name = "vkt%d";
  config.netns = path_of(*ns);
  config.wanted.queue_pairs = 2;
  config.wanted.mq = want::required;
  auto source = mempool_source::make(pools).value();
  CHECK(source->size() == 1023 + 511);
  CHECK(source->capacity() == 1024);
  auto it = basic_device<split, mempool_source>::open(std::move(config), source).value();
  for (::rte_mempool* const pool : pools) {
    CHECK(::rte_mempool_in_use_count(pool) == it.rx(0).ring().size());
  }
  tap_wire wire(*ns, it.index());
  const auto frame = numbered_frame(7, 300);
  for (std::size_t pair = 0; pair != 2; ++pair) {
    // Whichever pool they are of, the device knows their memory.
    for (::rte_mempool* const pool : pools) {
      ::rte_mbuf* m = packet_of(*pool, frame);
      REQUIRE(it.tx(pair).tx_burst({&m, 1}) == 1);
      CHECK(eventually([&] { return wire.next_number() == 7; }));
    }
    CHECK(it.tx_statistics(pair).drops.empty());
    // With the other pair detached, all that the kernel sends comes to this one.
    REQUIRE(it.set_enabled(1 - pair, false));
    REQUIRE(wire.send(frame) == 0);
    ::rte_mbuf* got = nullptr;
    REQUIRE(eventually([&] { return it.rx(pair).rx_burst({&got, 1}) == 1; }));
    CHECK(got->pool == pools[pair]);
    CHECK(content_of(*got) == frame);
    ::rte_pktmbuf_free(got);
    REQUIRE(it.set_enabled(1 - pair, true));
  }
  it.close();
  CHECK(::rte_mempool_avail_count(first.get()) == 1023);
  CHECK(::rte_mempool_avail_count(second.get()) == 511);
}

TEST_CASE("mbuf device: a pool in anonymous memory") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_anonymous_pool();
  mbuf_bed bed(*ns, *pool);
  CHECK(both_ways(bed, *ns, *pool, 1000) == "");
}

TEST_CASE("mbuf device: a pool with pinned external buffers, which the EAL knows of or does not") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  start_eal();
  for (const bool registered : {false, true}) {
    const foreign_memory memory;
    if (registered) {
      REQUIRE(::rte_extmem_register(memory.at, memory.bytes, nullptr, 0, 4096) == 0);
    }
    {
      ::rte_pktmbuf_extmem where{};
      where.buf_ptr = memory.at;
      where.buf_iova = reinterpret_cast<std::uintptr_t>(memory.at);
      where.buf_len = memory.bytes;
      where.elt_size = RTE_PKTMBUF_HEADROOM + 2048;
      const packet_pool pool(::rte_pktmbuf_pool_create_extbuf(
          next_pool_name().c_str(), 1023, 0, 0, RTE_PKTMBUF_HEADROOM + 2048, SOCKET_ID_ANY, &where,
          1));
      REQUIRE(pool != nullptr);
      mbuf_bed bed(*ns, *pool);
      CHECK(both_ways(bed, *ns, *pool, 1000) == "");
      bed.it.close();
      CHECK(::rte_mempool_avail_count(pool.get()) == 1023);
    }
    if (registered) CHECK(::rte_extmem_unregister(memory.at, memory.bytes) == 0);
  }
}

TEST_CASE("mbuf device: an external buffer is sent from where it lies") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  mbuf_bed bed(*ns, *pool);
  tap_wire wire(*ns, bed.it.index());
  int freed = 0;
  for (std::uint32_t i = 0; i < 20; ++i) {
    void* const memory = ::rte_malloc(nullptr, 4096, 64);
    ::rte_mbuf* const m = ::rte_pktmbuf_alloc(pool.get());
    std::uint16_t size = 4096;
    auto* const shared = ::rte_pktmbuf_ext_shinfo_init_helper(
        memory, &size,
        [](void* what, void* count) {
          ++*static_cast<int*>(count);
          ::rte_free(what);
        },
        &freed);
    ::rte_pktmbuf_attach_extbuf(m, memory, reinterpret_cast<std::uintptr_t>(memory), size, shared);
    const auto frame = numbered_frame(i, 1000);
    std::memcpy(::rte_pktmbuf_append(m, 1000), frame.data(), 1000);
    REQUIRE(bed.send(m));
    std::int64_t number = -1;
    CHECK(eventually([&] { return (number = wire.next_number()) != -1; }));
    CHECK(number == i);
  }
  CHECK(eventually([&] { return bed.it.tx(0).reclaim(), freed == 20; }));
}

TEST_CASE("mbuf device: offloads reach the kernel, and come from it") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(4095);
  mbuf_bed bed(*ns, *pool);
  random_source random(3);
  for (const bool v6 : {false, true}) {
    tap_wire wire(*ns, bed.it.index(), v6 ? 0x86dd : 0x0800, true);
    for (const bool tcp : {true, false}) {
      for (const std::uint16_t gso_size : {std::uint16_t{0}, std::uint16_t{1400}}) {
        CAPTURE(v6, tcp, gso_size);
        if (!tcp && gso_size != 0 && !bed.it.plan().tx.uso) continue;  // a kernel before 6.2
        packet_recipe recipe;
        recipe.v6 = v6;
        recipe.tcp = tcp;
        recipe.payload = gso_size == 0 ? 500 : 20'000;
        const built_packet built = build(recipe, random);
        const virtio_net_hdr header = header_for(recipe, built, gso_size);

        ::rte_mbuf* const m = packet_of(*pool, built.frame);
        m->ol_flags |= (v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM) |
                       (tcp ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM);
        if (gso_size != 0) m->ol_flags |= tcp ? RTE_MBUF_F_TX_TCP_SEG : RTE_MBUF_F_TX_UDP_SEG;
        m->l2_len = 14;
        m->l3_len = (v6 ? 40 : 20);
        m->l4_len = (tcp ? 20 : 8);
        m->tso_segsz = gso_size;
        REQUIRE(bed.send(m));
        std::optional<tap_wire::received> out;
        REQUIRE(eventually([&] { return (out = wire.receive()).has_value(); }));
        CHECK(out->frame == built.frame);
        CHECK(out->header.flags == header_flag::needs_csum);
        CHECK(out->header.gso_type == header.gso_type);
        CHECK(out->header.gso_size == header.gso_size);
        CHECK(out->header.csum_start == header.csum_start);

        REQUIRE(wire.send(built.frame, header) == 0);
        ::rte_mbuf* const in = bed.receive();
        REQUIRE(in != nullptr);
        CHECK(content_of(*in) == built.frame);
        CHECK((in->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE);
        CHECK(((in->ol_flags & RTE_MBUF_F_RX_LRO) != 0) == (gso_size != 0));
        CHECK(in->tso_segsz == gso_size);
        // And back as it came.
        forward(*in);
        REQUIRE(bed.send(in));
        REQUIRE(eventually([&] { return (out = wire.receive()).has_value(); }));
        CHECK(out->frame == built.frame);
        CHECK(out->header.gso_type == header.gso_type);
      }
    }
  }
  CHECK(bed.it.tx_statistics(0).drops.empty());
  CHECK(bed.it.rx_statistics(0).drops.empty());
}

TEST_CASE("mbuf device: a million packets each way, not one lost, repeated or damaged") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(4095, 2048, 128);
  device_config config;
  config.backend = backend_kind::worker;
  config.wanted.queue_size = 256;
  mbuf_bed bed(*ns, *pool, std::move(config));
  const volume_frame frames(123, 123);
  constexpr std::uint32_t burst = volume_exchange::burst;
  std::array<::rte_mbuf*, burst> some;
  const auto send = [&](std::uint32_t first, std::uint32_t count) {
    const std::uint32_t wanted = std::min(burst, count - first);
    if (::rte_pktmbuf_alloc_bulk(pool.get(), some.data(), wanted) != 0) return 0u;
    for (std::uint32_t i = 0; i < wanted; ++i) {
      char* const at =
          ::rte_pktmbuf_append(some[i], static_cast<std::uint16_t>(frames.size_of(first + i)));
      frames.write(first + i, reinterpret_cast<std::byte*>(at));
    }
    const std::uint32_t sent = bed.it.tx(0).tx_burst(std::span(some).first(wanted));
    ::rte_pktmbuf_free_bulk(some.data() + sent, wanted - sent);
    return sent;
  };
  const auto receive = [&](const auto& sink) {
    const std::uint16_t got = bed.it.rx(0).rx_burst(some);
    for (::rte_mbuf* const each : std::span(some).first(got)) {
      sink(std::span<const std::byte>(vkring::detail::data_of(*each)), std::size_t{0});
    }
    ::rte_pktmbuf_free_bulk(some.data(), got);
  };
  volume_exchange exchange(*ns, bed.it.index(), frames);
  CHECK(exchange.run(1'000'000, 1, send, receive) == "");
  CHECK(bed.it.health()[0].good());
  CHECK(bed.it.tx_statistics(0).drops.empty());
  CHECK(bed.it.rx_statistics(0).drops.empty());
  bed.it.close();
  CHECK(::rte_mempool_avail_count(pool.get()) == 4095);
}
