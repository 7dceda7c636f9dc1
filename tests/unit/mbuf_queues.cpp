// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/mbuf.hpp"

#include <rte_malloc.h>

#include <catch2/catch.hpp>

#include "support/dpdk.hpp"
#include "support/queue_bed.hpp"
#include "vkring/ring/packed.hpp"

// Queues of mbufs against a scripted device: every kind of mbuf, every way not to be sent or
// believed.

using namespace vkring;
using namespace vkring::test;

namespace {

template <class Layout>
struct basic_tx_bed : basic_ring_bed<Layout> {
  using base = basic_ring_bed<Layout>;
  using base::options;
  using ring_type = virtqueue<Layout, driver_side, mbuf_token>;

  basic_tx_bed(mempool_source& source, const bed_options& chosen = {})
      : base(source.regions(), chosen),
        queue(ring_type(this->ring, options.ring, this->driver_tables()), source, options.rules,
              kick_counter{&this->kicks}),
        device(this->make_device()) {}

  bool send(::rte_mbuf* m) { return queue.tx_burst({&m, 1}) == 1; }
  std::uint64_t drops(drop_reason reason) const {
    return queue.counters().drops[static_cast<std::size_t>(reason)].value();
  }
  std::uint64_t drops(header_fault fault) const {
    return queue.counters().drops[index_of(fault)].value();
  }

  struct sent {
    virtio_net_hdr header;
    bytes payload;
    std::size_t pieces;
  };
  /// The device takes what there is and is done with it.
  std::vector<sent> serve() {
    std::vector<sent> all;
    std::vector<std::uint16_t> heads;
    device.pop(32768, [&](const device_chain& chain) {
      bytes flat;
      for (const std::span<std::byte> piece : chain.readable) {
        flat.insert(flat.end(), piece.begin(), piece.end());
      }
      const std::uint32_t size = options.rules.header_size;
      REQUIRE(flat.size() >= size);
      all.push_back({load_header(flat.data(), size),
                     {flat.begin() + size, flat.end()},
                     chain.readable.size()});
      heads.push_back(chain.head);
    });
    REQUIRE_FALSE(device.breach());
    for (const std::uint16_t head : heads) device.push_used(head, 0);
    device.publish();
    return all;
  }

  mbuf_tx_queue<ring_type, kick_counter> queue;
  typename base::device_type device;
};
using mbuf_tx_bed = basic_tx_bed<split>;

template <class Layout>
struct basic_rx_bed : basic_ring_bed<Layout> {
  using base = basic_ring_bed<Layout>;
  using base::options;
  using ring_type = virtqueue<Layout, driver_side, ::rte_mbuf*>;
  using queue_type = mbuf_rx_queue<ring_type, kick_counter>;

  basic_rx_bed(mempool_source& source, const bed_options& chosen = {})
      : base(source.regions(), chosen),
        queue(ring_type(this->ring, options.ring, {},
                        queue_type::max_written(source, options.rules)),
              source, options.rules, kick_counter{&this->kicks}),
        device(this->make_device()) {
    queue.refill();
  }

  /// The device puts a frame into as many buffers as it needs, and says so or `claimed`.
  void deliver(const bytes& payload, virtio_net_hdr header = {}, int claimed = -1,
               std::uint32_t add_to_length = 0) {
    const std::uint32_t header_bytes = options.rules.header_size;
    std::byte* first = nullptr;
    std::size_t done = 0;
    header.num_buffers = 0;
    do {
      REQUIRE(device.pop(1, [&](const device_chain& chain) {
        REQUIRE(chain.writable.size() == 1);
        const std::span<std::byte> all = chain.writable.front();
        const std::size_t skip = first == nullptr ? header_bytes : 0;
        const std::size_t here = std::min(payload.size() - done, all.size() - skip);
        std::copy_n(payload.data() + done, here, all.data() + skip);
        if (first == nullptr) first = all.data();
        done += here;
        device.push_used(chain.head,
                         static_cast<std::uint32_t>(skip + here) + add_to_length);
        ++header.num_buffers;
      }) == 1);
    } while (done != payload.size());
    if (claimed >= 0) header.num_buffers = static_cast<std::uint16_t>(claimed);
    store_header(first, header_bytes, header);
    device.publish();
  }
  std::vector<::rte_mbuf*> receive(std::size_t max = 32) {
    std::vector<::rte_mbuf*> all(max);
    all.resize(queue.rx_burst(all));
    return all;
  }
  std::uint64_t drops(header_fault fault) const {
    return queue.counters().drops[index_of(fault)].value();
  }

  queue_type queue;
  typename base::device_type device;
};
using mbuf_rx_bed = basic_rx_bed<split>;

struct pool_bed {
  packet_pool pool;
  std::shared_ptr<mempool_source> source;

  explicit pool_bed(unsigned count = 255, std::uint16_t capacity = 256)
      : pool(make_packet_pool(count, capacity)), source(mempool_source::make(pool.get()).value()) {}
  [[nodiscard]] bool all_back() const {
    return ::rte_mempool_avail_count(pool.get()) == pool->populated_size;
  }
};

// Each mbuf of the pool is as `rte_mbuf_raw_alloc` wants it.
void check_pristine(::rte_mempool& pool) {
  ::rte_mempool_obj_iter(
      &pool,
      [](::rte_mempool*, void*, void* object, unsigned) {
        const auto* const m = static_cast<::rte_mbuf*>(object);
        if (::rte_mbuf_refcnt_read(m) != 1 || m->next != nullptr || m->nb_segs != 1) {
          FAIL_CHECK("an mbuf that is not as it should be in a pool");
        }
      },
      nullptr);
}

bed_options with_tables(std::uint16_t size = 8) {
  bed_options options;
  options.ring.size = size;
  options.table_entries = 8;
  options.rules.offloads = all_offloads;
  return options;
}

}  // namespace

TEST_CASE("mbuf queues: what no source can be made of") {
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

TEST_CASE("mbuf queues: a packet pool is a source of frames, too") {
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

TEMPLATE_TEST_CASE("mbuf queues: packets are sent as they are, from any pool", "", split,
                   packed) {
  const pool_bed bed;
  const packet_pool foreign = make_packet_pool(63);
  for_each_mix(8, [&](const bed_options& options) {
    basic_tx_bed<TestType> tx(*bed.source, options);
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

TEMPLATE_TEST_CASE("mbuf queues: a full ring leaves the rest to the caller", "", split,
                   packed) {
  const pool_bed bed;
  basic_tx_bed<TestType> tx(*bed.source);
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

TEMPLATE_TEST_CASE("mbuf queues: chained packets, with tables and without", "", split,
                   packed) {
  const pool_bed bed;
  for (const std::uint16_t entries : {std::uint16_t{8}, std::uint16_t{0}}) {
    bed_options options;
    options.ring.size = 16;
    options.table_entries = entries;
    basic_tx_bed<TestType> tx(*bed.source, options);
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

TEST_CASE("mbuf queues: empty segments are left out, whatever the first one is") {
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

TEST_CASE("mbuf queues: clones and shared packets keep their headroom to themselves") {
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

TEST_CASE("mbuf queues: a packet without headroom") {
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

TEST_CASE("mbuf queues: external buffers, in memory that the device knows and in other memory") {
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

TEST_CASE("mbuf queues: offloads are asked for, and what was not agreed on is dropped by name") {
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

TEST_CASE("mbuf queues: what must not be sent is dropped by name, and the burst goes on") {
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

TEST_CASE("mbuf queues: no mbuf for a header is counted") {
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

TEMPLATE_TEST_CASE("mbuf queues: packets come in, one mbuf each or several", "", split,
                   packed) {
  const pool_bed bed;
  for_each_mix(16, [&](bed_options options) {
    for (const bool mergeable : {false, true}) {
      options.rules.mergeable = mergeable;
      basic_rx_bed<TestType> rx(*bed.source, options);
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

TEST_CASE("mbuf queues: what a packet's header says is in its flags, or the packet is dropped") {
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

TEST_CASE("mbuf queues: a device that lies breaks the queue, and no mbuf is lost") {
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

TEMPLATE_TEST_CASE("mbuf queues: a pool that runs dry posts what it has, and recovers", "", split,
                   packed) {
  const pool_bed bed(7);
  bed_options options;
  options.ring.size = 16;
  basic_rx_bed<TestType> rx(*bed.source, options);
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

TEST_CASE("mbuf queues: nobody sleeps on a ring with room") {
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
