// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/mbuf_tx_queue.hpp"

#include <rte_malloc.h>

#include <catch2/catch.hpp>

#include "support/mbuf_queue_bed.hpp"
#include "vkring/ring/packed.hpp"

// Every kind of mbuf is sent, and every way not to be.

using namespace vkring;
using namespace vkring::test;

TEMPLATE_TEST_CASE("mbuf tx queue: packets are sent as they are, from any pool", "", split,
                   packed) {
  const pool_bed bed;
  const packet_pool foreign = make_packet_pool(63);
  for_each_mix(8, [&](const bed_options& options) {
    basic_mbuf_tx_bed<TestType> tx(*bed.source, options);
    for (std::uint32_t round = 0; round < 10; ++round) {
      std::vector<::rte_mbuf*> burst;
      for (std::uint32_t i = 0; i < 5; ++i) {
        burst.push_back(
            packet_of(i % 2 == 0 ? *bed.pool : *foreign, pattern(round * 5 + i, 60 + i)));
        // What was there before.
        std::memset(static_cast<char*>(burst.back()->buf_addr), 0xee, RTE_PKTMBUF_HEADROOM);
      }
      CHECK(tx.queue.tx_burst(burst) == 5);
      const auto sent = tx.serve();
      REQUIRE(sent.size() == 5);
      for (std::uint32_t i = 0; i < 5; ++i) {
        CHECK(sent[i].header == virtio_net_hdr{});
        CHECK(sent[i].payload == pattern(round * 5 + i, 60 + i));
        CHECK(sent[i].pieces == 1);
      }
    }
    CHECK(tx.queue.counters().frames.value() == 50);
    CHECK(tx.queue.counters().bytes.value() == 50 * 62);
    CHECK(tx.queue.counters().dropped() == 0);
    CHECK(tx.queue.reclaim() <= 8);
    CHECK(bed.all_back());
    CHECK(::rte_mempool_avail_count(foreign.get()) == 63);
  });
  check_pristine(*bed.pool);
  check_pristine(*foreign);
}

TEMPLATE_TEST_CASE("mbuf tx queue: a full ring leaves the rest to the caller", "", split,
                   packed) {
  const pool_bed bed;
  basic_mbuf_tx_bed<TestType> tx(*bed.source);
  std::vector<::rte_mbuf*> burst;
  for (std::uint32_t i = 0; i < 12; ++i) burst.push_back(packet_of(*bed.pool, pattern(i, 60)));
  CHECK(tx.queue.tx_burst(burst) == 8);
  CHECK(tx.queue.tx_burst(std::span(burst).subspan(8)) == 0);
  CHECK(tx.serve().size() == 8);
  CHECK(tx.queue.tx_burst(std::span(burst).subspan(8)) == 4);
  CHECK(::rte_mempool_avail_count(bed.pool.get()) == 255 - 4);
  tx.queue.stop();  // with four in flight
  CHECK(bed.all_back());
  CHECK(tx.kicks == 2);
}

TEMPLATE_TEST_CASE("mbuf tx queue: chained packets, with tables and without", "", split,
                   packed) {
  const pool_bed bed;
  for (const std::uint16_t entries : {std::uint16_t{8}, std::uint16_t{0}}) {
    bed_options options;
    options.ring.size = 16;
    options.table_entries = entries;
    basic_mbuf_tx_bed<TestType> tx(*bed.source, options);
    for (std::uint32_t round = 0; round < 20; ++round) {
      CHECK(tx.send(packet_of(*bed.pool, pattern(round, 400), 100)));
      CHECK(tx.send(packet_of(*bed.pool, pattern(round, 64))));
      const auto sent = tx.serve();
      REQUIRE(sent.size() == 2);
      CHECK(sent[0].payload == pattern(round, 400));
      CHECK(sent[0].pieces == 4);  // the header is part of the first
      CHECK(sent[1].payload == pattern(round, 64));
    }
    tx.queue.reclaim();
    CHECK(tx.queue.ring().in_flight() == 0);
    CHECK(bed.all_back());
  }
  check_pristine(*bed.pool);
}

TEST_CASE("mbuf tx queue: empty segments are left out, whatever the first one is") {
  const pool_bed bed;
  mbuf_tx_bed tx(*bed.source, with_tables());
  ::rte_mbuf* const whole = ::rte_pktmbuf_alloc(bed.pool.get());
  REQUIRE(::rte_pktmbuf_chain(whole, packet_of(*bed.pool, pattern(1, 90), 50)) == 0);
  REQUIRE(::rte_pktmbuf_chain(whole, ::rte_pktmbuf_alloc(bed.pool.get())) == 0);
  CHECK(tx.send(whole));
  const auto sent = tx.serve();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].payload == pattern(1, 90));
  CHECK(sent[0].pieces == 3);  // the header and two
  tx.queue.stop();
  CHECK(bed.all_back());
}

TEST_CASE("mbuf tx queue: clones and shared packets keep their headroom to themselves") {
  const pool_bed bed;
  mbuf_tx_bed tx(*bed.source, with_tables());
  ::rte_mbuf* const original = packet_of(*bed.pool, pattern(1, 300), 200);
  const bytes headroom(static_cast<std::byte*>(original->buf_addr),
                       static_cast<std::byte*>(original->buf_addr) + RTE_PKTMBUF_HEADROOM);
  CHECK(tx.send(::rte_pktmbuf_clone(original, bed.pool.get())));
  ::rte_pktmbuf_refcnt_update(original, 1);
  CHECK(tx.send(original));
  const auto sent = tx.serve();
  REQUIRE(sent.size() == 2);
  for (const auto& each : sent) {
    CHECK(each.payload == pattern(1, 300));
    CHECK(each.pieces == 3);
  }
  tx.queue.reclaim();
  CHECK(std::equal(headroom.begin(), headroom.end(), static_cast<std::byte*>(original->buf_addr)));
  CHECK(content_of(*original) == pattern(1, 300));
  ::rte_pktmbuf_free(original);
  CHECK(bed.all_back());
  check_pristine(*bed.pool);
}

TEST_CASE("mbuf tx queue: a packet without headroom") {
  const pool_bed bed;
  for (const std::uint32_t header_bytes : {12u, 24u}) {
    bed_options options = with_tables();
    options.rules.header_size = header_bytes;
    mbuf_tx_bed tx(*bed.source, options);
    ::rte_mbuf* const m = packet_of(*bed.pool, pattern(1, 60));
    const auto room = static_cast<std::uint16_t>(::rte_pktmbuf_headroom(m));
    ::rte_pktmbuf_prepend(m, static_cast<std::uint16_t>(room - header_bytes + 1));
    const bytes content = content_of(*m);
    CHECK(tx.send(m));
    ::rte_mbuf* const enough = packet_of(*bed.pool, pattern(1, 60));
    ::rte_pktmbuf_prepend(enough, static_cast<std::uint16_t>(room - header_bytes));
    CHECK(tx.send(enough));
    const auto sent = tx.serve();
    REQUIRE(sent.size() == 2);
    CHECK(sent[0].payload == content);
    CHECK(sent[0].pieces == 2);
    CHECK(sent[1].pieces == 1);
    tx.queue.reclaim();
    CHECK(bed.all_back());
  }
}

TEST_CASE("mbuf tx queue: external buffers, in memory that the device knows and in other memory") {
  const pool_bed bed;
  mbuf_tx_bed tx(*bed.source, with_tables());
  int freed = 0;
  const auto attached = [&](void* memory) {
    ::rte_mbuf* const m = ::rte_pktmbuf_alloc(bed.pool.get());
    std::uint16_t size = 512;
    auto* const shared = ::rte_pktmbuf_ext_shinfo_init_helper(
        memory, &size, [](void*, void* count) { ++*static_cast<int*>(count); }, &freed);
    ::rte_pktmbuf_attach_extbuf(m, memory, reinterpret_cast<std::uintptr_t>(memory), size, shared);
    ::rte_pktmbuf_reset_headroom(m);
    const bytes content = pattern(5, 100);
    std::memcpy(::rte_pktmbuf_append(m, 100), content.data(), 100);
    return m;
  };
  void* const known = ::rte_malloc(nullptr, 512, 64);
  CHECK(tx.send(attached(known)));
  CHECK(freed == 0);
  const auto sent = tx.serve();
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].payload == pattern(5, 100));
  CHECK(sent[0].pieces == 2);
  tx.queue.reclaim();
  CHECK(freed == 1);
  const guarded_memory unknown(512);
  CHECK(tx.send(attached(unknown.data())));
  CHECK(tx.drops(drop_reason::unreachable) == 1);
  CHECK(freed == 2);
  CHECK(tx.serve().empty());
  CHECK(bed.all_back());
  ::rte_free(known);
}

TEST_CASE("mbuf tx queue: offloads are asked for, and what was not agreed on is dropped by name") {
  const pool_bed bed(255, 1024);
  mbuf_tx_bed tx(*bed.source, with_tables());
  const auto tso = [&](std::size_t piece = 1024) {
    bytes content = pattern(1, 900);
    content[14] = std::byte{0x45};
    content[14 + 20 + 13] = std::byte{0x90};  // ACK and CWR
    ::rte_mbuf* const m = packet_of(*bed.pool, content, piece);
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM;
    m->l2_len = 14;
    m->l3_len = 20;
    m->l4_len = 20;
    m->tso_segsz = 100;
    return m;
  };
  CHECK(tx.send(tso()));
  CHECK(tx.send(tso(300)));
  ::rte_mbuf* const shared = tso();  // nobody prepares it
  ::rte_pktmbuf_refcnt_update(shared, 1);
  CHECK(tx.send(shared));
  CHECK(tx.drops(header_fault::unknown_flags) == 1);
  ::rte_pktmbuf_free(shared);
  const auto sent = tx.serve();
  REQUIRE(sent.size() == 2);
  for (const auto& each : sent) {
    CHECK(each.header.flags == header_flag::needs_csum);
    CHECK(each.header.gso_type == (gso::tcpv4 | gso::ecn));
    CHECK(each.header.gso_size == 100);
    CHECK(each.header.csum_start == 34);
    CHECK(each.header.csum_offset == 16);
    CHECK(each.header.hdr_len == 54);
  }
  tx.queue.reclaim();
  CHECK(bed.all_back());

  bed_options less = with_tables();
  less.rules.offloads = {.csum = true, .tso4 = true};
  mbuf_tx_bed no_ecn(*bed.source, less);
  CHECK(no_ecn.send(tso()));
  CHECK(no_ecn.serve().at(0).header.gso_type == gso::tcpv4);
  less.rules.offloads = {.csum = true};
  mbuf_tx_bed no_tso(*bed.source, less);
  CHECK(no_tso.send(tso()));
  CHECK(no_tso.drops(header_fault::gso_not_negotiated) == 1);
  no_ecn.queue.stop();
  CHECK(bed.all_back());
}

TEST_CASE("mbuf tx queue: what must not be sent is dropped by name, and the burst goes on") {
  const pool_bed bed;
  bed_options options = with_tables();
  mbuf_tx_bed tx(*bed.source, options);
  ::rte_mbuf* const beyond = packet_of(*bed.pool, pattern(3, 60));
  beyond->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
  beyond->l2_len = 14;
  beyond->l3_len = 200;
  ::rte_mbuf* burst[] = {packet_of(*bed.pool, pattern(1, 13)),
                         packet_of(*bed.pool, pattern(2, 60)),
                         packet_of(*bed.pool, pattern(2, 90), 10),  // nine: more than a chain has
                         beyond,
                         packet_of(*bed.pool, pattern(4, 61)),
                         ::rte_pktmbuf_alloc(bed.pool.get())};
  CHECK(tx.queue.tx_burst(burst) == 6);
  CHECK(tx.drops(drop_reason::too_short) == 2);
  CHECK(tx.drops(drop_reason::too_large) == 1);
  CHECK(tx.drops(header_fault::csum_start_beyond_end) == 1);
  const auto sent = tx.serve();
  REQUIRE(sent.size() == 2);
  CHECK(sent[0].payload == pattern(2, 60));
  CHECK(sent[1].payload == pattern(4, 61));
  tx.queue.stop();
  CHECK(bed.all_back());
}

TEST_CASE("mbuf tx queue: no mbuf for a header is counted") {
  const pool_bed bed(15);
  mbuf_tx_bed tx(*bed.source, with_tables());
  ::rte_mbuf* const shared = packet_of(*bed.pool, pattern(1, 60));
  ::rte_pktmbuf_refcnt_update(shared, 1);
  std::vector<::rte_mbuf*> rest(14);
  REQUIRE(::rte_pktmbuf_alloc_bulk(bed.pool.get(), rest.data(), 14) == 0);
  CHECK(tx.send(shared));
  CHECK(tx.drops(drop_reason::no_buffer) == 1);
  CHECK(::rte_mbuf_refcnt_read(shared) == 1);
  ::rte_pktmbuf_free(shared);
  ::rte_pktmbuf_free_bulk(rest.data(), 14);
  CHECK(bed.all_back());
}
