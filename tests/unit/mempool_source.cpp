// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/mempool_source.hpp"

#include <catch2/catch.hpp>

#include "support/mbuf_queue_bed.hpp"

// A packet pool as a source of buffers, and what is none.

using namespace vkring;
using namespace vkring::test;

TEST_CASE("mempool source: what no source can be made of") {
  start_eal();
  CHECK(mempool_source::make(nullptr).error().code == std::errc::invalid_argument);
  const packet_pool other(::rte_mempool_create(next_pool_name().c_str(), 31, 512, 0, 0, nullptr,
                                               nullptr, nullptr, nullptr, SOCKET_ID_ANY, 0));
  const auto no_packets = mempool_source::make(other.get());
  REQUIRE_FALSE(no_packets);
  CHECK(no_packets.error().message().find("rte_pktmbuf_pool_create") != std::string::npos);
  const packet_pool small = make_packet_pool(31, 32);
  const auto too_small = mempool_source::make(small.get());
  REQUIRE_FALSE(too_small);
  CHECK(too_small.error().message().find("needs 192") != std::string::npos);
}

TEST_CASE("mempool source: a packet pool is a source of frames, too") {
  const pool_bed bed;
  bed_options options;
  options.table_entries = 8;
  {
    tx_bed<mempool_source> tx(*bed.source, options);
    CHECK(tx.send(tx.make(pattern(1, 100))));
    CHECK(tx.send(tx.make_chain(2, {50, 60, 70})));
    const auto sent = tx.serve();
    REQUIRE(sent.size() == 2);
    CHECK(sent[0].payload == pattern(1, 100));
    CHECK(sent[1].payload.size() == 180);
    options.rules.mergeable = true;
    rx_bed<mempool_source> rx(*bed.source, options);
    rx.deliver(pattern(3, 700));
    rx.publish();
    auto got = rx.receive();
    REQUIRE(got.size() == 1);
    CHECK(got[0].buffers() == 3);
    CHECK(content_of(got[0]) == pattern(3, 700));
    got.clear();
    tx.queue.stop();
    rx.queue.stop();
  }
  CHECK(bed.all_back());
  check_pristine(*bed.pool);
}
