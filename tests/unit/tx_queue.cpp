// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/tx_queue.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <deque>
#include <random>
#include <vector>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

TEST_CASE("tx: every frame arrives once, in order, with its content and its header") {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{64}}) {
    for_each_mix(size, [&](bed_options options) {
      CAPTURE(size);
      const auto pool = make_pool(256);
      options.table_entries = size == 2 ? 4 : 0;
      tx_bed bed(*pool, options);
      std::minstd_rand random(size);
      const auto below = [&](std::size_t n) { return random() % n; };
      struct expected {
        bytes payload;
        virtio_net_hdr header;
      };
      std::deque<expected> in_ring;
      std::vector<sent_frame> held;
      std::uint64_t sent = 0, sent_bytes = 0;
      bool right = true;
      for (std::uint32_t lap = 0; lap < 150; ++lap) {
        std::vector<frame> burst(below(size + 6u));
        std::vector<expected> next(burst.size());
        burst.resize(bed.queue.allocate(burst));
        for (std::size_t i = 0; i < burst.size(); ++i) {
          next[i].payload = pattern(lap * 100 + static_cast<std::uint32_t>(i), 60 + below(190));
          fill(burst[i], next[i].payload);
          if (size != 1 && below(10) == 0) {
            frame tail = bed.make(next[i].payload);
            REQUIRE(burst[i].append(std::move(tail)));
            next[i].payload.insert(next[i].payload.end(), next[i].payload.begin(),
                                   next[i].payload.end());
          }
          if (below(4) == 0) next[i].header = below(2) == 0 ? tso4() : partial_checksum();
          burst[i].set_header(next[i].header);
        }
        const std::size_t done = bed.queue.send(burst);
        for (std::size_t i = 0; i < burst.size(); ++i) {
          right = right && (burst[i].size() == 0) == (i < done);
          if (i < done) {
            ++sent;
            sent_bytes += next[i].payload.size();
            in_ring.push_back(std::move(next[i]));
          }
        }
        // What was not sent is the caller's, untouched; here it goes back.
        if (done != burst.size()) {
          CHECK(content_of(burst[done]) == next[done].payload);
          CHECK(bed.queue.ring().room() <= 1);
        }
        for (sent_frame& each : bed.take(static_cast<std::uint16_t>(below(size + 1u)))) {
          REQUIRE(!in_ring.empty());
          right = right && each.payload == in_ring.front().payload;
          bytes header(options.rules.header_size);
          store_header(header.data(), header.size(), in_ring.front().header);
          right = right && each.raw_header == header;
          in_ring.pop_front();
          held.push_back(std::move(each));
        }
        // Some are done with, and without in-order not the oldest.
        if (!options.ring.in_order && below(8) == 0) std::shuffle(held.begin(), held.end(), random);
        const auto some = static_cast<std::ptrdiff_t>(below(held.size() + 1));
        bed.give_back(std::span(held).first(static_cast<std::size_t>(some)));
        held.erase(held.begin(), held.begin() + some);
        if (below(3) == 0) bed.queue.reclaim();
      }
      CHECK(right);
      CHECK(bed.queue.counters().frames.value() == sent);
      CHECK(bed.queue.counters().bytes.value() == sent_bytes);
      CHECK(bed.queue.counters().dropped() == 0);
      CHECK(sent > 40);
      CHECK_FALSE(bed.queue.ring().breach());
      bed.queue.stop();
      check_all_back(*pool);
    });
  }
}

TEST_CASE("tx: fewer than all means that the ring is full, and the rest is still the caller's") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    tx_bed bed(*pool, options);
    std::array<frame, 11> burst;
    REQUIRE(bed.queue.allocate(burst) == 11);
    for (std::uint32_t i = 0; i < 11; ++i) fill(burst[i], pattern(i, 60 + i));
    CHECK(bed.queue.send(burst) == 8);
    for (std::uint32_t i = 8; i < 11; ++i) CHECK(content_of(burst[i]) == pattern(i, 60 + i));
    CHECK(bed.queue.ring().room() == 0);
    const std::span rest = std::span(burst).subspan(8);
    CHECK(bed.queue.send(rest) == 0);
    // A frame that must not be sent needs no room.
    frame bad = std::move(burst[10]);
    CHECK(bad.resize(3));
    std::array<frame, 2> two{std::move(bad), std::move(burst[9])};
    CHECK(bed.queue.send(two) == 1);
    CHECK(bed.queue.counters().dropped() == 1);

    CHECK(bed.serve(2).size() == 2);
    // No reclaim is asked for: send does that where it is short of room.
    std::array<frame, 2> both{std::move(burst[8]), std::move(two[1])};
    CHECK(bed.queue.send(both) == 2);
    const auto all = bed.serve();
    REQUIRE(all.size() == 8);
    for (std::uint32_t i = 0; i < 8; ++i) CHECK(all[i].payload == pattern(2 + i, 62 + i));
    CHECK(bed.queue.counters().frames.value() == 10);
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("tx: no frames, no kick") {
  const auto pool = make_pool();
  tx_bed bed(*pool);
  CHECK(bed.queue.send(std::span<frame>()) == 0);
  frame empty;
  CHECK(bed.send(empty));
  CHECK(bed.kicks == 0);
  CHECK(bed.queue.counters().kicks_suppressed.value() == 0);
}

TEST_CASE("tx: completions out of order") {
  const auto pool = make_pool();
  tx_bed bed(*pool);
  for (std::uint32_t lap = 0; lap < 20; ++lap) {
    std::array<frame, 5> burst;
    REQUIRE(bed.queue.allocate(burst) == 5);
    for (std::uint32_t i = 0; i < 5; ++i) fill(burst[i], pattern(lap * 5 + i, 60));
    CHECK(bed.queue.send(burst) == 5);
    auto got = bed.take();
    REQUIRE(got.size() == 5);
    for (std::uint32_t i = 0; i < 5; ++i) CHECK(got[i].payload == pattern(lap * 5 + i, 60));
    if (lap % 4 == 0) std::swap(got[0], got[4]);
    bed.give_back(got);
    bed.queue.reclaim();
    CHECK(bed.queue.ring().in_flight() == 0);
  }
  CHECK(bed.queue.ring().general_entries() >= 2);
  CHECK_FALSE(bed.queue.ring().breach());
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("tx: buffers rest in the ring until they are needed or reclaimed") {
  const auto pool = make_pool(8);
  tx_bed bed(*pool);
  std::array<frame, 8> burst;
  REQUIRE(bed.queue.allocate(burst) == 8);
  frame more;
  CHECK(bed.queue.allocate({&more, 1}) == 0);
  for (frame& each : burst) fill(each, pattern(1, 60));
  CHECK(bed.queue.send(burst) == 8);
  CHECK(bed.queue.allocate({&more, 1}) == 0);  // the device has them
  bed.serve(3);
  std::array<frame, 5> again;
  CHECK(bed.queue.allocate(again) == 3);
  for (frame& each : again) each.reset();
  CHECK(pool->available() == 3);
  // A frame that is not empty gives its buffer back first, and that one is as good as any.
  bed.serve();
  CHECK(bed.queue.allocate(again) == 5);
  CHECK(pool->available() == 3);
  CHECK(bed.queue.allocate(again) == 5);
  CHECK(bed.queue.allocate(again) == 5);
  for (frame& each : again) each.reset();
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("tx: sending returns buffers that others may wait for, once half of the ring is busy") {
  const auto pool = make_pool();
  tx_bed bed(*pool);
  for (int i = 0; i < 4; ++i) REQUIRE(bed.send(bed.make(pattern(1, 60))));
  bed.serve();
  REQUIRE(bed.send(bed.make(pattern(1, 60))));
  CHECK(bed.queue.ring().in_flight() == 5);
  bed.serve();
  REQUIRE(bed.send(bed.make(pattern(1, 60))));
  CHECK(bed.queue.ring().in_flight() == 1);
}

TEST_CASE("tx: kicks are sent when the device asks for them") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    tx_bed bed(*pool, options);
    const auto send_two = [&] {
      std::array<frame, 2> two{bed.make(pattern(1, 60)), bed.make(pattern(2, 60))};
      CHECK(bed.queue.send(two) == 2);
    };
    send_two();
    CHECK(bed.kicks == 1);  // one a burst
    bed.serve();
    bed.device.disable_kick();
    send_two();
    send_two();
    CHECK(bed.kicks == 1);
    CHECK(bed.queue.counters().kicks_suppressed.value() == 2);
    bed.serve();
    CHECK(bed.device.enable_kick() == notification::safe_to_sleep);
    send_two();
    CHECK(bed.kicks == 2);
    CHECK(bed.queue.counters().kicks.value() == 2);
    // With event-idx, once is enough until the device asks again.
    send_two();
    CHECK(bed.kicks == (options.ring.event_idx ? 2 : 3));
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("tx: a call is asked for when half of what is in flight has come back") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    tx_bed bed(*pool, options);
    for (int i = 0; i < 8; ++i) REQUIRE(bed.send(bed.make(pattern(1, 60))));
    bed.serve(1);
    CHECK_FALSE(bed.device.call_needed());  // nobody asked
    bed.queue.reclaim();
    for (int i = 0; i < 1; ++i) REQUIRE(bed.send(bed.make(pattern(1, 60))));
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    bed.serve(4);
    CHECK(bed.device.call_needed() != options.ring.event_idx);
    bed.serve(1);
    CHECK(bed.device.call_needed());
    CHECK(bed.queue.enable_call() == notification::more_pending);
    bed.queue.disable_call();
    bed.serve(3);
    CHECK_FALSE(bed.device.call_needed());
    bed.queue.reclaim();
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);  // nothing in flight
    REQUIRE(bed.send(bed.make(pattern(1, 60))));
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    bed.serve();
    CHECK(bed.device.call_needed());
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("tx: stop gives back what is in flight, whatever it is") {
  for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
    for (std::uint32_t used = 0; used <= 4; ++used) {
      CAPTURE(entries, used);
      const auto pool = make_pool();
      bed_options options;
      options.table_entries = entries;
      tx_bed bed(*pool, options);
      CHECK(bed.send(bed.make(pattern(1, 60))));
      CHECK(bed.send(bed.make_chain(1, {60, 60})));
      const std::array<segment, 1> segments{{{bed.tables_address, 16}}};
      CHECK(bed.queue.send(segments, {}, 5));
      CHECK(bed.send(bed.make(pattern(1, 60))));
      bed.serve(static_cast<std::uint16_t>(used));
      frame mine = bed.make(pattern(1, 60));
      bed.queue.stop();
      CHECK(pool->available() == pool->size() - 1);
      mine.reset();
      check_all_back(*pool);
      std::array<std::uint64_t, 3> tokens;
      CHECK(bed.queue.finished(tokens) == 1);
      CHECK(tokens[0] == 5);
      CHECK(bed.queue.finished(tokens) == 0);
      CHECK_FALSE(bed.queue.ring().breach());
    }
  }
}

TEST_CASE("tx: a queue that was stopped takes nothing") {
  for (const int in_flight : {0, 1, 2}) {
    const auto pool = make_pool();
    tx_bed bed(*pool);
    frame f = bed.make(pattern(1, 60));
    if (in_flight == 1) CHECK(bed.send(bed.make(pattern(1, 60))));
    if (in_flight == 2) CHECK(bed.send(bed.make_chain(1, {60, 60})));
    bed.queue.stop();
    CHECK(bed.queue.ring().room() == 0);
    CHECK_FALSE(bed.send(f));
    CHECK(f.size() == 60);
    const segment one{bed.tables_address, 16};
    CHECK_FALSE(bed.queue.send({&one, 1}, {}, 1));
    // A device that goes on all the same is not looked at any more.
    bed.serve();
    bed.queue.reclaim();
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    CHECK_FALSE(bed.queue.ring().breach());
    f.reset();
    bed.queue.stop();
    check_all_back(*pool);
  }
}

TEST_CASE("tx: a queue can move while nothing runs") {
  const auto pool = make_pool();
  tx_bed bed(*pool);
  CHECK(bed.send(bed.make(pattern(1, 60))));
  auto moved = std::move(bed.queue);
  frame f;
  REQUIRE(moved.allocate({&f, 1}) == 1);
  fill(f, pattern(2, 60));
  CHECK(moved.send({&f, 1}) == 1);
  CHECK(bed.serve().size() == 2);
  CHECK(moved.counters().frames.value() == 2);
  moved.stop();
  check_all_back(*pool);
}

}  // namespace
}  // namespace vkring::test
