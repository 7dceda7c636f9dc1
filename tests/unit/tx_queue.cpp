// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/tx_queue.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <deque>
#include <random>
#include <set>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

std::uint64_t drops(const tx_bed<>& bed, drop_reason reason) {
  return bed.queue.counters().drops[static_cast<std::size_t>(reason)].value();
}

// One frame of a part of each size.
frame chain(tx_bed<>& bed, std::uint32_t seed, std::initializer_list<std::size_t> sizes) {
  frame whole;
  for (const std::size_t size : sizes) {
    frame part = bed.make(pattern(seed++, size));
    if (!whole) {
      whole = std::move(part);
    } else {
      REQUIRE(whole.append(std::move(part)));
    }
  }
  return whole;
}

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

TEST_CASE("tx: what must not be sent is dropped for its reason, and the burst goes on") {
  const auto pool = make_pool();
  const auto other_pool = make_pool(4);
  bed_options options;
  options.rules.offloads = all_offloads;
  tx_bed bed(*pool, options);
  std::uint32_t good = 0;
  // Sends a bad frame among good ones.
  const auto drop = [&](frame bad, drop_reason reason) {
    const std::uint64_t before = drops(bed, reason);
    std::array<frame, 3> burst{bed.make(pattern(good, 60)), std::move(bad),
                               bed.make(pattern(good + 1, 60))};
    CHECK(bed.queue.send(burst) == 3);
    for (const frame& each : burst) CHECK_FALSE(each);
    CHECK(drops(bed, reason) == before + 1);
    const auto got = bed.serve();
    REQUIRE(got.size() == 2);
    for (const sent_frame& each : got) CHECK(each.payload == pattern(good++, 60));
  };
  drop(frame(), drop_reason::empty_frame);
  buffer_handle foreign;
  REQUIRE(other_pool->take({&foreign, 1}) == 1);
  frame stranger(*other_pool, foreign);
  REQUIRE(stranger.resize(60));
  drop(std::move(stranger), drop_reason::foreign_source);
  CHECK(other_pool->available() == 4);
  drop(bed.make(pattern(1, 13)), drop_reason::too_short);
  drop(bed.make({}), drop_reason::too_short);
  drop(chain(bed, 1, {5, 5}), drop_reason::too_short);
  drop(chain(bed, 1, {20, 20, 20, 20, 20, 20, 20, 20, 20}), drop_reason::too_large);
  CHECK(bed.queue.counters().dropped() == 6);
  CHECK(bed.queue.counters().frames.value() == 12);
  CHECK(bed.queue.counters().bytes.value() == 12 * 60);
  CHECK(bed.queue.ring().mode() == ring_mode::fast);
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("tx: a header that must not be sent is dropped for its fault") {
  struct wrong {
    header_fault fault;
    virtio_net_hdr header;
    frame_offloads allowed = all_offloads;
    std::uint32_t size = 200;
  };
  const auto with = [](virtio_net_hdr header, auto change) {
    change(header);
    return header;
  };
  const auto change = [&](auto how) { return with(tso4(), how); };
  const auto without = [](auto how) {
    frame_offloads some = all_offloads;
    how(some);
    return some;
  };
  const virtio_net_hdr uso =
      change([](auto& h) { h.gso_type = gso::udp_l4, h.csum_offset = 6, h.gso_size = 1; });
  const virtio_net_hdr tunnel = change([](auto& h) {
    h.gso_type |= gso::udp_tunnel_ipv4;
    h.outer_th_offset = 34, h.inner_nh_offset = 64, h.csum_start = 84, h.hdr_len = 104;
  });
  const std::vector<wrong> all{
      {header_fault::frame_too_short, partial_checksum(), all_offloads, 13},
      {header_fault::unknown_flags, change([](auto& h) { h.flags |= header_flag::data_valid; })},
      {header_fault::csum_not_negotiated, partial_checksum(), {}},
      {header_fault::csum_start_too_low,
       with(partial_checksum(), [](auto& h) { h.csum_start = 19; })},
      {header_fault::csum_start_beyond_end, partial_checksum(), all_offloads, 51},
      {header_fault::csum_offset, change([](auto& h) { h.csum_offset = 6; })},
      {header_fault::unknown_gso_type, change([](auto& h) { h.gso_type = 2; })},
      {header_fault::gso_not_negotiated, tso4(), without([](auto& a) { a.tso4 = false; })},
      {header_fault::ecn_not_negotiated, change([](auto& h) { h.gso_type |= gso::ecn; }),
       without([](auto& a) { a.ecn = false; })},
      {header_fault::tunnel_not_negotiated, tunnel, without([](auto& a) { a.udp_tunnel = false; })},
      {header_fault::gso_without_csum, change([](auto& h) { h.flags = 0; })},
      {header_fault::gso_size_zero, change([](auto& h) { h.gso_size = 0; })},
      {header_fault::gso_size_reserved, change([](auto& h) { h.gso_size = 0xffff; })},
      {header_fault::gso_header_beyond_end, change([](auto& h) { h.hdr_len = 0; }), all_offloads,
       53},
      {header_fault::too_many_segments, uso},
      {header_fault::hdr_len_too_short, change([](auto& h) { h.hdr_len = 13; })},
      {header_fault::hdr_len_beyond_end, change([](auto& h) { h.hdr_len = 201; })},
      {header_fault::tunnel_offsets, with(tunnel, [](auto& h) { h.outer_th_offset = 20; })},
  };
  std::set<header_fault> seen;
  for (const wrong& each : all) {
    CAPTURE(name(each.fault));
    seen.insert(each.fault);
    const auto pool = make_pool();
    bed_options options;
    options.rules.header_size = tunnel_header_size;
    options.rules.offloads = each.allowed;
    options.rules.min_size = 1;
    tx_bed bed(*pool, options);
    std::array<frame, 2> burst{bed.make(pattern(1, each.size), each.header),
                               bed.make(pattern(2, 60))};
    CHECK(bed.queue.send(burst) == 2);
    const std::array<segment, 1> segments{{{bed.tables_address, each.size}}};
    CHECK(bed.queue.send(segments, each.header, 77));
    std::array<std::uint64_t, 2> tokens;
    CHECK(bed.queue.finished(tokens) == 1);
    CHECK(bed.queue.counters().drops[index_of(each.fault)].value() == 2);
    CHECK(bed.queue.counters().dropped() == 2);
    CHECK(bed.serve().size() == 1);
    bed.queue.stop();
    check_all_back(*pool);
  }
  CHECK(seen.size() == header_fault_count - 1);  // all but `none`
}

TEST_CASE("tx: a frame of several buffers is a chain, in a table or in descriptors of its own") {
  for_each_mix(8, [](bed_options options) {
    for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
      options.table_entries = entries;
      CAPTURE(entries);
      const auto pool = make_pool();
      tx_bed bed(*pool, options);
      CHECK(bed.send(bed.make(pattern(9, 60))));
      frame f = chain(bed, 1, {100, 1, 256});
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
        CHECK(bed.send(chain(bed, 1, {20, 20, 20})));
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
  frame f = chain(bed, 1, {100, 100, 100});
  CHECK_FALSE(bed.send(f));
  CHECK(f.size() == 300);
  bed.serve(1);
  CHECK(bed.send(f));
  CHECK_FALSE(f);
  bed.serve();
  frame longest = chain(bed, 1, {10, 20, 30, 40, 50, 60, 70, 80});
  CHECK(bed.send(longest));
  CHECK(bed.serve().front().payload.size() == 360);
  bed.queue.stop();
  check_all_back(*pool);
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

TEST_CASE("tx: headers in reused buffers are what the frame says, never what was there before") {
  for (const std::uint32_t header_size : {12u, 24u}) {
    const auto pool = make_pool(4);
    bed_options options;
    options.rules.header_size = header_size;
    options.rules.offloads = all_offloads;
    tx_bed bed(*pool, options);
    std::array<buffer_handle, 4> all;
    REQUIRE(pool->take(all) == 4);
    for (const buffer_handle each : all) {
      CHECK_FALSE(buffer_pool::plain_header(each));
      std::byte* const payload = pool->mapper()(each).payload;
      std::fill(payload - header_reserve, payload, std::byte{0xee});
    }
    pool->put(all);
    const bytes plain(header_size);
    const std::byte* reused = nullptr;
    for (int lap = 0; lap < 3; ++lap) {
      for (const virtio_net_hdr& header : {virtio_net_hdr{}, tso4(), virtio_net_hdr{}}) {
        frame f = bed.make(pattern(1, 200), header);
        if (reused == nullptr) reused = f.contiguous().data();
        REQUIRE(f.contiguous().data() == reused);
        CHECK(bed.send(std::move(f)));
        const auto got = bed.serve();
        REQUIRE(got.size() == 1);
        CHECK(got[0].header == header);
        CHECK((got[0].raw_header == plain) == header.is_plain());
        bed.queue.reclaim();
      }
    }
    // The knowledge outlives the queue.
    bed.queue.stop();
    REQUIRE(pool->take(all) == 4);
    CHECK(std::count_if(all.begin(), all.end(), buffer_pool::plain_header) == 1);
    pool->put(all);
    check_all_back(*pool);
  }
}

TEST_CASE("tx: what found no room has left nothing behind that nobody knows of") {
  const auto pool = make_pool(16);
  bed_options options;
  options.rules.offloads = all_offloads;
  tx_bed bed(*pool, options);
  // All headers are known to be plain once all buffers were sent.
  std::array<frame, 16> all;
  REQUIRE(bed.queue.allocate(all) == 16);
  for (frame& each : all) {
    fill(each, pattern(1, 60));
    CHECK(bed.send(each));
    bed.serve();
  }
  for (int i = 0; i < 6; ++i) REQUIRE(bed.send(bed.make(pattern(1, 60))));
  frame f = chain(bed, 1, {60, 60, 60});
  f.set_header(tso4());
  CHECK_FALSE(bed.send(f));
  const std::uint64_t somewhere = pool->regions()[0].guest;
  const std::array<segment, 2> segments{{{somewhere, 60}, {somewhere, 60}}};
  CHECK_FALSE(bed.queue.send(segments, tso4(), 1));
  frame last = bed.make(pattern(1, 60));
  f.set_header({});
  const bool gives_up = GENERATE(true, false);
  if (gives_up) f.reset();
  bed.serve();
  if (!gives_up) CHECK(bed.send(f));
  CHECK(bed.send(last));
  for (const sent_frame& each : bed.serve()) CHECK(each.raw_header == bytes(12));
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("tx: two devices on one pool, frames of one's stock sent by the other") {
  const auto pool = make_pool(256);
  bed_options options;
  options.rules.offloads = all_offloads;
  tx_bed twelve(*pool, options);
  options.rules.header_size = tunnel_header_size;
  tx_bed twenty_four(*pool, options);
  for (std::uint32_t i = 0; i < 200; ++i) {
    tx_bed<>& from = i % 3 == 0 ? twelve : twenty_four;
    tx_bed<>& to = i % 2 == 0 ? twelve : twenty_four;
    const virtio_net_hdr header = i % 5 == 0 ? tso4() : virtio_net_hdr{};
    CHECK(to.send(from.make(pattern(i, 100), header)));
    const auto got = to.serve();
    REQUIRE(got.size() == 1);
    CHECK(got[0].payload == pattern(i, 100));
    bytes expected(to.options.rules.header_size);
    store_header(expected.data(), expected.size(), header);
    CHECK(got[0].raw_header == expected);
    to.queue.reclaim();
  }
  twelve.queue.stop();
  twenty_four.queue.stop();
  check_all_back(*pool);
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
      CHECK(bed.send(chain(bed, 1, {60, 60})));
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
  for (const bool busy : {false, true}) {
    const auto pool = make_pool();
    tx_bed bed(*pool);
    frame f = bed.make(pattern(1, 60));
    if (busy) CHECK(bed.send(bed.make(pattern(1, 60))));
    bed.queue.stop();
    CHECK_FALSE(bed.send(f));
    CHECK(f.size() == 60);
    const segment one{bed.tables_address, 16};
    CHECK_FALSE(bed.queue.send({&one, 1}, {}, 1));
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

// ---- memory of the application's own ----

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

TEST_CASE("tx segments: what must not be sent is dropped, and its token is back at once") {
  const auto pool = make_pool(1);
  tx_bed bed(*pool);
  std::array<std::uint64_t, 8> tokens;
  const auto drop = [&](std::span<const segment> segments, drop_reason reason) {
    const std::uint64_t before = drops(bed, reason);
    CHECK(bed.queue.send(segments, {}, 9));
    CHECK(drops(bed, reason) == before + 1);
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
