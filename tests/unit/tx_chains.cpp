// SPDX-License-Identifier: BSD-3-Clause

// Tx queues with frames of several buffers, and with memory that no source owns.

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <set>
#include <vector>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

TEST_CASE("tx: a frame of several buffers is a chain, in a table or in descriptors of its own") {
  for_each_mix(8, [](bed_options options) {
    for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
      options.table_entries = entries;
      CAPTURE(entries);
      const auto pool = make_pool();
      tx_bed bed(*pool, options);
      CHECK(bed.send(bed.make(pattern(9, 60))));
      frame f = bed.make_chain(1, {100, 1, 256});
      f.set_header(tso4());
      const bytes content = content_of(f);
      CHECK(bed.send(std::move(f)));
      CHECK(bed.send(bed.make(pattern(8, 60))));
      CHECK(bed.queue.ring().mode() == (entries == 0 ? ring_mode::general : ring_mode::fast));
      CHECK(bed.queue.ring().room() == (entries == 0 ? 3 : 5));
      const auto got = bed.serve();
      REQUIRE(got.size() == 3);
      CHECK(got[0].payload == pattern(9, 60));
      CHECK(got[1].payload == content);
      CHECK(got[1].pieces == 3);
      CHECK(got[1].header == tso4());
      CHECK(got[2].payload == pattern(8, 60));
      CHECK(got[2].header == virtio_net_hdr{});
      CHECK(bed.queue.counters().bytes.value() == 357 + 120);
      bed.queue.reclaim();
      CHECK(bed.queue.ring().room() == 8);
      // Back to fast mode, once it has paid for the switch; with in-order, not before descriptor and
      // position are one again: four chains of three take one lap more than four of one.
      for (int i = 0; i < 3; ++i) {
        CHECK(bed.send(bed.make_chain(1, {20, 20, 20})));
        bed.serve();
        bed.queue.reclaim();
      }
      for (int i = 0; i < 16; ++i) {
        CHECK(bed.send(bed.make(pattern(9, 60))));
        bed.serve();
        bed.queue.reclaim();
      }
      CHECK(bed.queue.ring().mode() == ring_mode::fast);
      CHECK(bed.queue.ring().general_entries() == (entries == 0 ? 1 : 0));
      bed.queue.stop();
      check_all_back(*pool);
    }
  });
}

TEST_CASE("tx: a chain that does not fit now waits, a chain that never fits is dropped") {
  const auto pool = make_pool();
  tx_bed bed(*pool);
  for (int i = 0; i < 6; ++i) REQUIRE(bed.send(bed.make(pattern(1, 60))));
  frame f = bed.make_chain(1, {100, 100, 100});
  CHECK_FALSE(bed.send(f));
  CHECK(f.size() == 300);
  bed.serve(1);
  CHECK(bed.send(f));
  CHECK_FALSE(f);
  bed.serve();
  frame longest = bed.make_chain(1, {10, 20, 30, 40, 50, 60, 70, 80});
  CHECK(bed.send(longest));
  CHECK(bed.serve().front().payload.size() == 360);
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("tx segments: a header from the queue, then the memory from where it lies") {
  for_each_mix(8, [](bed_options options) {
    for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
      options.table_entries = entries;
      CAPTURE(entries);
      const auto pool = make_pool();
      tx_bed bed(*pool, options);
      guarded_memory mine(4096);
      const bytes content = pattern(5, 4096);
      std::copy(content.begin(), content.end(), mine.data());
      const std::uint64_t at = bed.table.add(mine.bytes()).value();
      bed.device = bed.make_device();
      const std::array<segment, 3> parts{{{at + 96, 4000}, {at, 1}, {at + 1, 0}}};
      CHECK(bed.queue.send(parts, tso4(), 42));
      CHECK(bed.queue.counters().frames.value() == 1);
      CHECK(bed.queue.counters().bytes.value() == 4001);
      CHECK(bed.kicks == 1);
      std::array<std::uint64_t, 4> tokens;
      CHECK(bed.queue.finished(tokens) == 0);
      const auto got = bed.serve();
      REQUIRE(got.size() == 1);
      bytes expected(content.begin() + 96, content.end());
      expected.push_back(content[0]);
      CHECK(got[0].payload == expected);
      CHECK(got[0].header == tso4());
      CHECK(bed.queue.finished(tokens) == 1);
      CHECK(tokens[0] == 42);
      CHECK(bed.queue.finished(tokens) == 0);
      bed.queue.stop();
      CHECK(bed.queue.finished(tokens) == 0);
      check_all_back(*pool);
    }
  });
}

TEST_CASE("tx segments: each token comes back exactly once, in any order of completion") {
  for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{2}}) {
    const auto pool = make_pool();
    bed_options options;
    options.ring.size = 16;
    options.table_entries = entries;
    options.ring.start = ring_index(65530);
    tx_bed bed(*pool, options);
    std::minstd_rand random(3);
    std::multiset<std::uint64_t> out;
    std::uint64_t next = 0, refused = 0;
    std::vector<sent_frame> held;
    const std::array<segment, 1> segments{{{bed.tables_address, 16}}};
    for (int step = 0; step < 3000; ++step) {
      switch (random() % 5) {
        case 0:
          (void)bed.send(bed.make(pattern(1, 60)));
          break;
        case 1:
        case 2:
          if (bed.queue.send(segments, random() % 7 == 0 ? tso4() : virtio_net_hdr{}, next)) {
            out.insert(next++);
          } else {
            ++refused;
          }
          break;
        case 3: {
          for (sent_frame& each : bed.take()) held.push_back(std::move(each));
          if (random() % 2 == 0) std::shuffle(held.begin(), held.end(), random);
          const std::size_t some = random() % (held.size() + 1);
          bed.give_back(std::span(held).first(some));
          held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(some));
          break;
        }
        default:
          std::array<std::uint64_t, 3> tokens;
          for (const std::uint64_t each : std::span(tokens).first(bed.queue.finished(tokens))) {
            REQUIRE(out.erase(each) == 1);
          }
      }
    }
    CHECK(refused > 0);
    CHECK(next > 500);
    bed.queue.stop();
    std::array<std::uint64_t, 64> tokens;
    for (const std::uint64_t each : std::span(tokens).first(bed.queue.finished(tokens))) {
      REQUIRE(out.erase(each) == 1);
    }
    CHECK(out.empty());
    check_all_back(*pool);
  }
}

TEST_CASE("tx segments: full is full, and no longer once the device is done") {
  for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
    CAPTURE(entries);
    const auto pool = make_pool();
    bed_options options;
    options.table_entries = entries;
    tx_bed bed(*pool, options);
    const std::array<segment, 3> segments{
        {{bed.tables_address, 8}, {bed.tables_address, 4}, {bed.tables_address, 4}}};
    std::uint64_t sent = 0;
    while (bed.queue.send(segments, {}, sent)) ++sent;
    CHECK(sent == (entries == 0 ? 2 : 8));
    const std::uint64_t dropped = bed.queue.counters().dropped();
    CHECK_FALSE(bed.queue.send(segments, {}, sent));
    CHECK(bed.queue.counters().dropped() == dropped);
    bed.serve(1);
    CHECK(bed.queue.send(segments, {}, sent) == (entries == 0));
    // With a token for each entry of the ring to be collected there is no room for one more.
    bed.serve();
    std::array<std::uint64_t, 1> one;
    CHECK(bed.queue.finished(one) == 1);
    CHECK(one[0] == 0);
    CHECK(bed.queue.send(segments, {}, 100));
    bed.queue.stop();
    check_all_back(*pool);
  }
}

TEST_CASE("tx segments: a full ring takes nothing, also where there is no buffer for the header") {
  for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{8}}) {
    CAPTURE(entries);
    const auto pool = make_pool(8);
    tx_bed bed(*pool, {.table_entries = entries});
    std::array<frame, 8> all;
    REQUIRE(bed.queue.allocate(all) == 8);
    for (frame& each : all) fill(each, pattern(1, 60));
    CHECK(bed.queue.send(all) == 8);
    CHECK(pool->available() == 0);
    const segment one{bed.tables_address, 16};
    std::array<std::uint64_t, 1> token;
    CHECK_FALSE(bed.queue.send({&one, 1}, {}, 1));
    CHECK(bed.queue.finished(token) == 0);
    bed.queue.stop();
    CHECK_FALSE(bed.queue.send({&one, 1}, {}, 1));
    CHECK(bed.queue.finished(token) == 0);
    CHECK(bed.queue.counters().dropped() == 0);
    check_all_back(*pool);
  }
}

TEST_CASE("tx segments: what must not be sent is dropped, and its token is back at once") {
  const auto pool = make_pool(1);
  tx_bed bed(*pool);
  std::array<std::uint64_t, 8> tokens;
  const auto drop = [&](std::span<const segment> segments, drop_reason reason) {
    const std::uint64_t before = bed.drops(reason);
    CHECK(bed.queue.send(segments, {}, 9));
    CHECK(bed.drops(reason) == before + 1);
    REQUIRE(bed.queue.finished(tokens) == 1);
    CHECK(tokens[0] == 9);
    CHECK(bed.queue.ring().in_flight() == 0);
  };
  const segment good{bed.tables_address, 16};
  drop({}, drop_reason::too_short);
  drop(std::array<segment, 1>{{{bed.tables_address, 13}}}, drop_reason::too_short);
  drop(std::vector<segment>(8, good), drop_reason::too_large);
  drop(std::vector<segment>(2, {bed.tables_address, 0x80000000}), drop_reason::too_large);
  drop(std::array<segment, 1>{{{bed.tables_address, 0xfffffff4}}}, drop_reason::too_large);
  const std::uint64_t end = bed.tables_address + bed.tables.bytes().size();
  for (const segment bad : {segment{end, 16}, segment{end - 8, 16}, segment{0, 16},
                            segment{~std::uint64_t{0} - 8, 16}, segment{bed.tables_address - 1, 16}}) {
    CAPTURE(bad.address);
    drop(std::array{good, bad}, drop_reason::unreachable);
  }
  frame last = bed.make(pattern(1, 60));
  drop({&good, 1}, drop_reason::no_buffer);
  CHECK(bed.kicks == 0);
  last.reset();
  CHECK(bed.queue.send({&good, 1}, {}, 1));
  bed.queue.stop();
  check_all_back(*pool);
}

}  // namespace
}  // namespace vkring::test
