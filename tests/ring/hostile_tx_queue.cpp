// SPDX-License-Identifier: BSD-3-Clause

// Tx queues against a device that breaks the rules: a named fault, a queue that stops, every buffer back
// in its source exactly once, and nothing touched outside the buffers.

#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "ring/hostile_bed.hpp"

namespace vkring::test {
namespace {

void check_broken(hostile_tx& bed, ring_fault fault) {
  CAPTURE(name(fault), name(bed.queue.ring().breach().fault));
  REQUIRE(bed.queue.ring().breach());
  CHECK(bed.queue.ring().breach().fault == fault);
  own_frame f = bed.make(pattern(1, 60));
  const int kicks = bed.kicks;
  CHECK_FALSE(bed.send(f));
  CHECK(f.size() == 60);
  const std::array<segment, 1> segments{{{bed.tables_address, 16}}};
  CHECK_FALSE(bed.queue.send(segments, {}, 99));
  bed.queue.reclaim();
  CHECK(bed.kicks == kicks);
  // What must not be sent is still consumed.
  CHECK(f.resize(3));
  CHECK(bed.send(f));
}

// `attack(bed, heads)` with a plain frame, a chain, segments, and a plain frame in flight, all of
// them popped. Then every buffer and every token comes back once.
template <class Attack>
void attack_tx(Attack&& attack) {
  for_each_mix(16, [&](bed_options options) {
    for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
      CAPTURE(entries);
      options.table_entries = entries;
      guarded_source memory;
      {
        hostile_tx bed(memory.source, options);
        CHECK(bed.send(bed.make(pattern(1, 60))));
        own_frame two = bed.make(pattern(2, 60));
        CHECK(two.append(bed.make(pattern(3, 60))));
        CHECK(bed.send(two));
        const std::array<segment, 1> segments{{{bed.tables_address, 16}}};
        CHECK(bed.queue.send(segments, {}, 7));
        CHECK(bed.send(bed.make(pattern(4, 60))));
        std::vector<std::uint16_t> heads;
        for (const sent_frame& each : bed.take()) heads.push_back(each.head);
        REQUIRE(heads.size() == 4);
        attack(bed, heads);
        bed.queue.stop();
        std::array<std::uint64_t, 16> tokens;
        REQUIRE(bed.queue.finished(tokens) == 1);
        CHECK(tokens[0] == 7);
      }
      memory.check();
    }
  });
}

TEST_CASE("tx: used ids that are no chain's, or not any more", "[ring]") {
  attack_tx([](hostile_tx& bed, const std::vector<std::uint16_t>&) {
    bed.device.push_used(16, 0);
    bed.device.publish();
    bed.queue.reclaim();
    check_broken(bed, ring_fault::used_id_range);
  });
  attack_tx([](hostile_tx& bed, const std::vector<std::uint16_t>& heads) {
    for (const std::size_t i : {0u, 1u, 2u, 2u}) bed.device.push_used(heads[i], 0);
    bed.device.publish();
    bed.queue.reclaim();
    check_broken(
        bed, bed.options.ring.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head);
  });
  attack_tx([](hostile_tx& bed, const std::vector<std::uint16_t>& heads) {
    for (const std::size_t i : {0u, 0u}) bed.device.push_used(heads[i], 0);
    bed.device.publish();
    std::array<std::uint64_t, 2> tokens;
    CHECK(bed.queue.finished(tokens) == 0);
    check_broken(
        bed, bed.options.ring.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head);
  });
}

TEST_CASE("tx: a used index that jumps", "[ring]") {
  for (const std::uint32_t jump : {5u, 17u, 32768u, 65535u}) {
    attack_tx([&](hostile_tx& bed, const std::vector<std::uint16_t>&) {
      const std::uint32_t to = bed.device.used_position().value() + jump;
      direct::publish_used(bed.ring.used_index(), static_cast<std::uint16_t>(to));
      bed.queue.reclaim();
      check_broken(bed, ring_fault::used_index_jump);
    });
  }
}

TEST_CASE("tx: what a device claims to have written to frames it only reads is nobody's business",
          "[ring]") {
  attack_tx([](hostile_tx& bed, const std::vector<std::uint16_t>& heads) {
    for (const std::uint16_t head : heads) bed.device.push_used(head, 0xffffffff);
    bed.device.publish();
    bed.queue.reclaim();
    CHECK_FALSE(bed.queue.ring().breach());
    CHECK(bed.queue.ring().in_flight() == 0);
  });
}

TEST_CASE("tx: a device that writes what it likes, when it likes", "[ring]") {
  std::uint64_t sent = 0, broken = 0;
  for (std::uint32_t seed = 1; seed <= 600; ++seed) {
    CAPTURE(seed);
    std::minstd_rand random(seed);
    const auto below = [&](std::size_t n) { return static_cast<std::uint32_t>(random() % n); };
    guarded_source memory;
    bed_options options;
    options.ring.size = static_cast<std::uint16_t>(1u << below(5));
    options.ring.event_idx = below(2) == 0;
    options.ring.in_order = below(3) == 0;
    options.ring.start = ring_index(65530);
    options.table_entries = below(2) == 0 ? 0 : 3;
    options.rules.offloads = all_offloads;
    const std::uint32_t rate = 4 + below(100);
    {
      hostile_tx bed(memory.source, options);
      auto meddle = [&](const void*) {
        if (below(rate) != 0) return;
        const std::size_t used = split_ring::used_offset(options.ring.size);
        const std::size_t at = below(2) == 0 ? below(8) : below(4 + 8u * options.ring.size);
        bed.memory.bytes().subspan(used)[at] ^= static_cast<std::byte>(1u << below(8));
        // It may write to what it is to read as well.
        memory.bytes()[below(buffers) * buffer_arena::bytes(1, buffer_bytes) + buffer_arena::line -
                       header_reserve + below(60)] ^= std::byte{0x55};
      };
      std::uint64_t next_token = 0;
      std::vector<bool> finished;
      const auto collect = [&] {
        std::array<std::uint64_t, 5> tokens;
        for (const std::uint64_t each : std::span(tokens).first(bed.queue.finished(tokens))) {
          REQUIRE(each < finished.size());
          REQUIRE_FALSE(finished[each]);
          finished[each] = true;
        }
      };
      std::vector<std::uint16_t> held;
      for (int step = 0; step < 80; ++step) {
        {
          const interference interfere(meddle);
          std::vector<own_frame> burst(below(5));
          burst.resize(bed.queue.allocate(burst));
          for (own_frame& each : burst) {
            REQUIRE(each.resize(60 + below(100)));
            if (below(4) == 0) each.set_header(tso4());
            own_frame tail;
            if (below(3) == 0 && bed.queue.allocate({&tail, 1}) == 1) each.append(std::move(tail));
          }
          sent += bed.queue.send(burst);
          const std::array<segment, 2> segments{{{bed.tables_address, 8}, {bed.tables_address, 8}}};
          if (below(3) == 0 && bed.queue.send(segments, {}, next_token)) {
            ++next_token;
            finished.push_back(false);
          }
          collect();
        }
        bed.device.pop(static_cast<std::uint16_t>(below(9)),
                       [&](const device_chain& chain) { held.push_back(chain.head); });
        while (!held.empty() && below(4) != 0) {
          bed.device.push_used(held.front(), below(100));
          held.erase(held.begin());
        }
        bed.device.publish();
      }
      broken += bed.queue.ring().breach() ? 1 : 0;
      bed.queue.stop();
      while (std::count(finished.begin(), finished.end(), false) != 0) {
        const auto before = std::count(finished.begin(), finished.end(), false);
        collect();
        REQUIRE(std::count(finished.begin(), finished.end(), false) < before);
      }
      collect();
    }
    memory.check();
  }
  CHECK(sent > 5000);
  CHECK(broken > 100);
}

}  // namespace
}  // namespace vkring::test
