// SPDX-License-Identifier: BSD-3-Clause

// What a tx queue refuses, and what it knows of the headers that lie in memory.

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

TEST_CASE("tx: what must not be sent is dropped for its reason, and the burst goes on") {
  const auto pool = make_pool();
  const auto other_pool = make_pool(4);
  bed_options options;
  options.rules.offloads = all_offloads;
  tx_bed bed(*pool, options);
  std::uint32_t good = 0;
  // Sends a bad frame among good ones.
  const auto drop = [&](frame bad, drop_reason reason) {
    const std::uint64_t before = bed.drops(reason);
    std::array<frame, 3> burst{bed.make(pattern(good, 60)), std::move(bad),
                               bed.make(pattern(good + 1, 60))};
    CHECK(bed.queue.send(burst) == 3);
    for (const frame& each : burst) CHECK_FALSE(each);
    CHECK(bed.drops(reason) == before + 1);
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
  drop(bed.make_chain(1, {5, 5}), drop_reason::too_short);
  drop(bed.make_chain(1, {20, 20, 20, 20, 20, 20, 20, 20, 20}), drop_reason::too_large);
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
    const std::array<segment, 1> segments{{{pool->regions()[0].guest, each.size}}};
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
  frame f = bed.make_chain(1, {60, 60, 60});
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

}  // namespace
}  // namespace vkring::test
