// SPDX-License-Identifier: BSD-3-Clause
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "support/skip.hpp"
#include "support/worker_victim.hpp"

// A driver that breaks the rules, against the worker: the ring at fault stops and is named, its
// sibling and the other pair go on, and nothing outside the memory table is touched.

using namespace vkring;
using namespace vkring::test;

namespace {

constexpr std::uint64_t here = arena::guest + 2 * page;  // lawful memory for chains
constexpr std::size_t table_at = 8 * page;               // and for tables
constexpr std::uint64_t table_guest = arena::guest + table_at;
constexpr std::uint64_t beyond = arena::guest + arena::inside;

template <class Layout>
struct attack {
  const char* name;
  ring_fault fault;
  void (*run)(victim<Layout>& on, raw_ring<Layout>& ring, unsigned direction);
  bool indirect = true;
};

// A table of so many buffers that lead to one another, `length` bytes each.
template <class Layout>
void long_table(victim<Layout>& on, std::uint16_t many, std::uint64_t address, std::uint64_t length,
                unsigned direction) {
  for (std::uint16_t i = 0; i < many; ++i) {
    on.table_entry(table_at, i, {address, length, direction | (i + 1 < many ? next_flag : 0u)},
                   static_cast<std::uint16_t>(i + 1));
  }
}

// What is a breach on either ring, of either layout; `direction` is the flag that the ring's buffers
// have to have.
template <class Layout>
std::vector<attack<Layout>> common_attacks() {
  using on_victim = victim<Layout>;
  using on_ring = raw_ring<Layout>;
  return {
      {"an address behind the table", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{beyond, 100, d}}); }},
      {"a buffer across the end of the table", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{beyond - 60, 100, d}}); }},
      {"a buffer across the start of the table", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{arena::guest - 60, 100, d}}); }},
      {"an address of 0", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{0, 100, d}}); }},
      {"an address that wraps around", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{~std::uint64_t{0} - 60, 100, d}}); }},
      {"a host address", ring_fault::address_refused,
       [](on_victim& on, on_ring& ring, unsigned d) {
         ring.offer({{reinterpret_cast<std::uintptr_t>(on.memory.at(0)), 100, d}});
       }},
      {"indirect where it was not negotiated", ring_fault::indirect_refused,
       [](on_victim& on, on_ring& ring, unsigned d) {
         on.table_entry(table_at, 0, {here, 100, d});
         ring.offer({{table_guest, 16, indirect_flag}});
       },
       false},
      {"an empty table", ring_fault::indirect_length,
       [](on_victim&, on_ring& ring, unsigned) { ring.offer({{table_guest, 0, indirect_flag}}); }},
      {"a table with half an entry", ring_fault::indirect_length,
       [](on_victim&, on_ring& ring, unsigned) { ring.offer({{table_guest, 24, indirect_flag}}); }},
      {"indirect and next", ring_fault::indirect_with_next,
       [](on_victim& on, on_ring& ring, unsigned d) {
         on.table_entry(table_at, 0, {here, 100, d});
         ring.offer({{table_guest, 16, indirect_flag | next_flag}});
       }},
      {"a table behind the memory table", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned) { ring.offer({{beyond, 16, indirect_flag}}); }},
      {"a table that ends behind it", ring_fault::address_refused,
       [](on_victim& on, on_ring& ring, unsigned d) {
         on.table_entry(arena::inside - 16, 0, {here, 100, d | next_flag}, 1);
         ring.offer({{beyond - 16, 32, indirect_flag}});
       }},
      {"a table at an odd address", ring_fault::address_refused,
       [](on_victim&, on_ring& ring, unsigned) {
         ring.offer({{table_guest + 1, 16, indirect_flag}});
       }},
      {"more pieces than a chain may have", ring_fault::chain_too_long,
       [](on_victim& on, on_ring& ring, unsigned d) {
         constexpr std::uint16_t many = max_chain_pieces + 1;
         long_table(on, many, here, 1, d);
         ring.offer({{table_guest, many * 16, indirect_flag}});
       }},
      {"more bytes than a length can say", ring_fault::chain_too_large,
       [](on_victim& on, on_ring& ring, unsigned d) {
         constexpr std::uint16_t many = max_chain_pieces;
         long_table(on, many, arena::guest, arena::inside, d);
         ring.offer({{table_guest, many * 16, indirect_flag}});
       }},
      {"readable behind writable", ring_fault::readable_after_writable,
       [](on_victim&, on_ring& ring, unsigned) {
         ring.offer({{here, 100, write_flag}, {here, 100}});
       }},
      {"the wrong direction", ring_fault::chain_direction,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{here, 100, d ^ write_flag}}); }},
      {"both directions", ring_fault::chain_direction,
       [](on_victim&, on_ring& ring, unsigned) {
         ring.offer({{here, 100}, {here, 100, write_flag}});
       }},
  };
}

// What is a breach of one layout alone.
template <class Layout>
std::vector<attack<Layout>> own_attacks();

template <>
std::vector<attack<split>> own_attacks() {
  using on_victim = victim<split>;
  using on_ring = raw_ring<split>;
  return {
      {"head beyond the ring", ring_fault::head_range,
       [](on_victim&, on_ring& ring, unsigned) { ring.offer(on_ring::size); }},
      {"next beyond the ring", ring_fault::next_range,
       [](on_victim&, on_ring& ring, unsigned d) {
         ring.write(ring.it.descriptors()[0], {here, 100, d | next_flag}, on_ring::size);
         ring.offer(std::uint16_t{0});
       }},
      {"a loop", ring_fault::chain_too_long,
       [](on_victim&, on_ring& ring, unsigned d) {
         ring.write(ring.it.descriptors()[0], {here, 100, d | next_flag}, 1);
         ring.write(ring.it.descriptors()[1], {here, 100, d | next_flag}, 0);
         ring.offer(std::uint16_t{0});
       }},
      {"a loop of one", ring_fault::chain_too_long,
       [](on_victim&, on_ring& ring, unsigned d) {
         ring.write(ring.it.descriptors()[0], {here, 100, d | next_flag}, 0);
         ring.offer(std::uint16_t{0});
       }},
      {"a table in a table", ring_fault::indirect_refused,
       [](on_victim& on, on_ring& ring, unsigned) {
         on.table_entry(table_at, 0, {table_guest, 16, indirect_flag});
         ring.offer({{table_guest, 16, indirect_flag}});
       }},
      {"next beyond the table", ring_fault::next_range,
       [](on_victim& on, on_ring& ring, unsigned d) {
         on.table_entry(table_at, 0, {here, 100, d | next_flag}, 2);
         ring.offer({{table_guest, 32, indirect_flag}});
       }},
      {"a loop in a table", ring_fault::chain_too_long,
       [](on_victim& on, on_ring& ring, unsigned d) {
         on.table_entry(table_at, 0, {here, 100, d | next_flag}, 0);
         ring.offer({{table_guest, 32, indirect_flag}});
       }},
      {"an index beyond the ring", ring_fault::avail_index_jump,
       [](on_victim&, on_ring& ring, unsigned) {
         ring.show(static_cast<std::uint16_t>(ring.avail + on_ring::size + 1));
       }},
      {"an index that goes back", ring_fault::avail_index_jump,
       [](on_victim&, on_ring& ring, unsigned) {
         ring.show(static_cast<std::uint16_t>(ring.avail - 1));
       }},
  };
}

template <>
std::vector<attack<packed>> own_attacks() {
  using on_victim = victim<packed>;
  using on_ring = raw_ring<packed>;
  return {
      {"an id beyond the ring", ring_fault::head_range,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{here, 100, d}}, on_ring::size); }},
      {"an id beyond all rings", ring_fault::head_range,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{here, 100, d}}, 0xffff); }},
      {"a chain into what is not available", ring_fault::next_not_available,
       [](on_victim&, on_ring& ring, unsigned d) { ring.offer({{here, 100, d | next_flag}}); }},
      {"a chain around the ring", ring_fault::chain_too_long,
       [](on_victim&, on_ring& ring, unsigned d) {
         const raw_buffer one{here, 10, d | next_flag};
         ring.offer({one, one, one, one, one, one, one, one,  //
                     one, one, one, one, one, one, one, one});
       }},
      {"a table behind a descriptor", ring_fault::indirect_with_next,
       [](on_victim& on, on_ring& ring, unsigned d) {
         on.table_entry(table_at, 0, {here, 100, d});
         ring.offer({{here, 100, d}, {table_guest, 16, indirect_flag}});
       }},
  };
}

template <class Layout>
void run_attacks(const netns& ns, const std::vector<attack<Layout>>& attacks) {
  for (const attack<Layout>& each : attacks) {
    for (const auto& [tx, mergeable] : {std::pair(true, true), {false, true}, {false, false}}) {
      CAPTURE(each.name, tx, mergeable);
      victim<Layout> on(ns, each.indirect, mergeable);
      // Not the first chain: what came before it is served.
      CHECK(on.sends(0));
      CHECK(on.receives(0));
      raw_ring<Layout>& ring = tx ? on.pairs[0]->tx : on.pairs[0]->rx;
      const std::uint16_t used = ring.used();
      each.run(on, ring, tx ? 0u : write_flag);
      on.check_only(tx, each.fault);
      CHECK(ring.used() == used);
      CHECK_FALSE(on.pairs[0]->wire.receive());
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("worker: a hostile driver stops its own ring only", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  run_attacks<TestType>(*ns, common_attacks<TestType>());
  run_attacks<TestType>(*ns, own_attacks<TestType>());
}

TEMPLATE_TEST_CASE("worker: receive buffers that cannot hold a header", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const std::uint32_t length : {0u, 1u, 11u}) {
    for (const bool mergeable : {true, false}) {
      CAPTURE(length, mergeable);
      victim<TestType> on(*ns, true, mergeable);
      CHECK(on.receives(0));
      on.pairs[0]->rx.offer({{here, length, write_flag}});
      on.check_only(false, ring_fault::buffer_too_small);
    }
  }
  SECTION("even if there is a large one before it and one behind it") {
    victim<TestType> on(*ns);
    raw_ring<TestType>& rx = on.pairs[0]->rx;
    rx.offer({{here, 1000, write_flag}});
    rx.offer({{here + page, 11, write_flag}});
    rx.offer({{here + 2 * page, 4000, write_flag}});
    REQUIRE(on.pairs[0]->wire.send(numbered_frame(1, 500)) == 0);
    on.check_only(false, ring_fault::buffer_too_small);
    CHECK(rx.used() == 1);
  }
}

TEMPLATE_TEST_CASE("worker: a chain that cannot be lined up costs the frame before it, and no time", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  victim<TestType> on(*ns);
  raw_pair<TestType>& p = *on.pairs[0];
  const worker_counters& counters = on.worker->counters(0);
  constexpr std::uint16_t many = max_chain_pieces;
  long_table(on, many, here + page, 4, write_flag);
  p.rx.offer({{here, 200, write_flag}});
  p.rx.offer({{table_guest, many * 16, indirect_flag}});
  REQUIRE(p.wire.send(numbered_frame(1, 1000)) == 0);
  CHECK(eventually([&] { return counters.rx_too_long.value() == 1; }));
  CHECK(others_fall_asleep(p.error.fd()));
  REQUIRE(p.wire.send(numbered_frame(2, 100)) == 0);
  CHECK(eventually([&] { return p.rx.used() == 1; }));
  CHECK(number_of({on.memory.at(2 * page) + header_size, 100}) == 2);
  on.check_only(false, ring_fault::chain_too_long);
}

TEMPLATE_TEST_CASE("worker: memory that is in the table and not in the process", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  victim<TestType> on(*ns);
  REQUIRE(::mprotect(on.memory.at(2 * page), page, PROT_NONE) == 0);
  raw_pair<TestType>& p = *on.pairs[0];
  SECTION("to send from") {
    p.tx.offer({{here, 100}});
    CHECK(eventually([&] { return on.worker->counters(0).tx_failed.value() == 1; }));
    CHECK(on.sends(0));
    CHECK(on.receives(0));
  }
  SECTION("to receive to") {
    p.rx.offer({{here, 1000, write_flag}});
    REQUIRE(p.wire.send(numbered_frame(1, 100)) == 0);
    on.check_only(false, ring_fault::address_refused);
  }
}

TEMPLATE_TEST_CASE("worker: what is no frame is returned and counted", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  victim<TestType> on(*ns);
  raw_ring<TestType>& tx = on.pairs[0]->tx;
  std::memset(on.memory.at(2 * page), 0, page);
  for (const std::uint32_t length : {0u, 1u, 11u, 12u, 20u}) {
    tx.offer({{here, length}});
  }
  CHECK(eventually([&] { return tx.used() == 5; }));
  const worker_counters& counters = on.worker->counters(0);
  CHECK(counters.tx_refused.value() + counters.tx_failed.value() == 5);
  // A header that asks for what is not there.
  const virtio_net_hdr bad{.flags = header_flag::needs_csum, .csum_start = 200, .csum_offset = 16};
  store_header(on.memory.at(2 * page), header_size, bad);
  tx.offer({{here, 100}});
  CHECK(eventually([&] { return tx.used() == 6; }));
  CHECK(counters.tx_refused.value() + counters.tx_failed.value() == 6);
  CHECK(counters.tx_frames.value() == 0);
  CHECK(on.sends(0));
}

TEMPLATE_TEST_CASE("worker: rings and tables that change all the time", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    victim<TestType> on(*ns, true, seed % 2 == 0);
    std::atomic<bool> ended = false;
    std::thread vandal([&] {
      std::mt19937 random(seed);
      const std::array<std::uint64_t, 6> addresses = {here,   here + 100,  beyond - 50,
                                                      beyond, table_guest, 0};
      const std::array<raw_ring<TestType>*, 2> rings = {&on.pairs[0]->tx, &on.pairs[0]->rx};
      while (!ended.load()) {
        raw_ring<TestType>& ring = *rings[random() % 2];
        const std::uint64_t address = addresses[random() % addresses.size()];
        // Mostly lawful, so that it goes on for a while.
        const unsigned flags =
            (random() % 8 == 0 ? random() % 8 : 0) | (&ring == rings[1] ? write_flag : 0u);
        const std::uint64_t length = random() % 4 == 0 ? random() % 70'000 : 16 * (random() % 100);
        const raw_buffer what{address, length, flags};
        on.table_entry(table_at, random() % 64, what, static_cast<std::uint16_t>(random() % 65));
        ring.scribble(random, what);
      }
    });
    for (std::uint32_t i = 0; i < 20; ++i) {
      static_cast<void>(on.pairs[0]->wire.send(numbered_frame(i, 100 + 50 * i)));
      CHECK(on.sends(1));
      CHECK(on.receives(1));
    }
    ended = true;
    vandal.join();
    CHECK_FALSE(on.worker->health(1).tx_breach());
    CHECK_FALSE(on.worker->health(1).rx_breach());
    on.worker->stop();
    CHECK(on.memory.outside_untouched());
  }
}
