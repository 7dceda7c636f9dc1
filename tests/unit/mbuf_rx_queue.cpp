// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/mbuf_rx_queue.hpp"

#include <catch2/catch.hpp>

#include "support/mbuf_queue_bed.hpp"
#include "vkring/ring/packed.hpp"

// What a device delivers, and what it may claim.

using namespace vkring;
using namespace vkring::test;

TEMPLATE_TEST_CASE("mbuf rx queue: packets come in, one mbuf each or several", "", split,
                   packed) {
  const pool_bed bed;
  for_each_mix(16, [&](bed_options options) {
    for (const bool mergeable : {false, true}) {
      options.rules.mergeable = mergeable;
      basic_mbuf_rx_bed<TestType> rx(*bed.source, options);
      rx.queue.set_port(7);
      for (std::uint32_t round = 0; round < 20; ++round) {
        const std::size_t size = mergeable && round % 3 == 2 ? 900 : 60 + round;
        rx.deliver(pattern(round, 64));
        rx.deliver(pattern(round, size));
        const auto got = rx.receive();
        REQUIRE(got.size() == 2);
        CHECK(content_of(*got[0]) == pattern(round, 64));
        CHECK(content_of(*got[1]) == pattern(round, size));
        for (::rte_mbuf* const each : got) {
          CHECK(each->port == 7);
          CHECK(each->ol_flags == 0);
          CHECK(each->packet_type == 0);
          CHECK(::rte_mbuf_check(each, 1, nullptr) == 0);
          CHECK(each->data_off == RTE_PKTMBUF_HEADROOM);
          ::rte_pktmbuf_free(each);
        }
        CHECK(got[1]->nb_segs <= 1);
      }
      CHECK(rx.queue.counters().frames.value() == 40);
      CHECK(rx.queue.counters().dropped() == 0);
      rx.queue.stop();
      CHECK(bed.all_back());
    }
  });
  check_pristine(*bed.pool);
}

TEST_CASE("mbuf rx queue: what a packet's header says is in its flags, or the packet is dropped") {
  const pool_bed bed(255, 1024);
  bed_options options;
  options.rules.offloads = all_offloads;
  mbuf_rx_bed rx(*bed.source, options);
  rx.deliver(pattern(1, 60), {.flags = header_flag::data_valid});
  rx.deliver(pattern(2, 900), tso4());           // no TCP over IPv4 at all
  rx.deliver(pattern(3, 30), partial_checksum());  // ends before its checksum
  rx.deliver(pattern(4, 60));
  const auto got = rx.receive();
  REQUIRE(got.size() == 2);
  CHECK(got[0]->ol_flags == RTE_MBUF_F_RX_L4_CKSUM_GOOD);
  CHECK(got[1]->ol_flags == 0);
  CHECK(content_of(*got[1]) == pattern(4, 60));
  CHECK(rx.drops(header_fault::gso_header_beyond_end) == 1);
  CHECK(rx.drops(header_fault::csum_start_beyond_end) == 1);
  for (::rte_mbuf* const each : got) ::rte_pktmbuf_free(each);
  rx.queue.stop();
  CHECK(bed.all_back());
}

TEST_CASE("mbuf rx queue: a device that lies breaks the queue, and no mbuf is lost") {
  const pool_bed bed;
  const auto breach_of = [&](bool mergeable, const bytes& payload, int claimed,
                             std::uint32_t add_to_length = 0) {
    bed_options options;
    options.rules.mergeable = mergeable;
    ring_fault fault{};
    {
      mbuf_rx_bed rx(*bed.source, options);
      rx.deliver(pattern(9, 60), {}, 1);
      rx.deliver(payload, {}, claimed, add_to_length);
      const auto got = rx.receive();
      CHECK(got.size() == 1);
      for (::rte_mbuf* const each : got) ::rte_pktmbuf_free(each);
      CHECK(rx.receive().empty());
      fault = rx.queue.ring().breach().fault;
      rx.queue.stop();
    }
    CHECK(bed.all_back());
    return fault;
  };
  CHECK(breach_of(true, pattern(1, 60), 0) == ring_fault::num_buffers);
  CHECK(breach_of(true, pattern(1, 60), 9) == ring_fault::num_buffers);   // of 8
  CHECK(breach_of(true, pattern(1, 60), 3) == ring_fault::num_buffers);   // do not come
  CHECK(breach_of(true, pattern(1, 600), 7) == ring_fault::num_buffers);  // not all come
  CHECK(breach_of(false, pattern(1, 60), 1, 4096) == ring_fault::used_length);
  CHECK(breach_of(false, {}, 1, UINT32_MAX) == ring_fault::used_length);  // not even a header
  check_pristine(*bed.pool);
}

TEMPLATE_TEST_CASE("mbuf rx queue: a pool that runs dry posts what it has, and recovers", "", split,
                   packed) {
  const pool_bed bed(7);
  bed_options options;
  options.ring.size = 16;
  basic_mbuf_rx_bed<TestType> rx(*bed.source, options);
  CHECK(rx.queue.ring().in_flight() == 7);
  CHECK(rx.queue.counters().starved.value() == 1);
  rx.deliver(pattern(1, 60));
  rx.deliver(pattern(2, 60));
  auto got = rx.receive();
  REQUIRE(got.size() == 2);
  CHECK(rx.queue.ring().in_flight() == 5);
  CHECK(rx.queue.counters().starved.value() == 2);
  for (::rte_mbuf* const each : got) ::rte_pktmbuf_free(each);
  CHECK(rx.receive().empty());
  CHECK(rx.queue.ring().in_flight() == 7);
  rx.queue.stop();
  CHECK(bed.all_back());
}

TEST_CASE("mbuf rx queue: nobody sleeps on a ring with room") {
  const pool_bed bed;
  mbuf_rx_bed rx(*bed.source);
  CHECK(rx.queue.enable_call() == notification::safe_to_sleep);
  rx.deliver(pattern(1, 60));
  CHECK(rx.queue.enable_call() == notification::more_pending);
  rx.queue.disable_call();
  for (::rte_mbuf* const each : rx.receive()) ::rte_pktmbuf_free(each);
  static_cast<void>(rx.queue.enable_call());
  CHECK(rx.queue.ring().room() == 0);
  rx.queue.stop();

  mbuf_tx_bed tx(*bed.source);
  CHECK(tx.send(packet_of(*bed.pool, pattern(1, 60))));
  CHECK(tx.queue.enable_call() == notification::safe_to_sleep);
  tx.queue.disable_call();
  tx.queue.stop();
  CHECK(bed.all_back());
}
