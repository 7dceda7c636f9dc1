// SPDX-License-Identifier: BSD-3-Clause

// Slot queues around frames that are dropped, and around the place where a ring breaks.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <vector>

#include "support/slot_bed.hpp"

namespace vkring::test {
namespace {

TEST_CASE("slot tx: a frame that is dropped goes behind all that were reserved") {
  const auto pool = make_pool();
  slot_tx_bed bed(*pool);
  const auto four = bed.queue.reserve(4);
  REQUIRE(four.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) fill(*four[i], pattern(1, i == 0 ? 13 : 60 + i));
  CHECK(bed.queue.commit(2) == 1);
  const auto left = bed.queue.reserve(4);
  REQUIRE(left.size() == 4);
  CHECK(content_of(*left[0]) == pattern(1, 62));
  CHECK(content_of(*left[1]) == pattern(1, 63));
  CHECK(left[2]->size() == 0);
  CHECK(left[3]->size() == 0);
  CHECK(bed.queue.commit(2) == 2);
  const auto sent = bed.take();
  REQUIRE(sent.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK(sent[i].payload == pattern(1, 61 + i));
  CHECK(bed.queue.counters().dropped() == 1);
}

TEST_CASE("slot tx: how many buffers a frame lies in is not for the application to say") {
  const auto pool = make_pool();
  slot_tx_bed bed(*pool, {.rules = {.offloads = all_offloads}});
  virtio_net_hdr header = partial_checksum();
  header.num_buffers = 7;
  fill(*bed.queue.reserve(1)[0], pattern(1, 60), header);
  CHECK(bed.queue.commit(1) == 1);
  CHECK(bed.header(bed.take().at(0)) == partial_checksum());
}

TEST_CASE("slot rx: the frames before a breach arrive, once") {
  for (const bool one_is_bad : {false, true}) {
    CAPTURE(one_is_bad);
    const auto pool = make_pool();
    slot_rx_bed bed(*pool);
    for (std::uint32_t i = 0; i < 3; ++i) {
      // The one in the middle has an offload that was not negotiated.
      bed.deliver(pattern(i, 60), one_is_bad && i == 1 ? partial_checksum() : virtio_net_hdr{});
    }
    bed.device.push_used(bed.write({}), 0);
    bed.device.publish();
    const auto frames = bed.queue.peek(8);
    REQUIRE(frames.size() == (one_is_bad ? 2 : 3));
    CHECK(content_of(*frames.front()) == pattern(0, 60));
    CHECK(content_of(*frames.back()) == pattern(2, 60));
    CHECK(bed.queue.counters().frames.value() == frames.size());
    CHECK(bed.queue.counters().bytes.value() == 60 * frames.size());
    CHECK(bed.queue.counters().dropped() == (one_is_bad ? 1 : 0));
    CHECK(bed.queue.ring().breach().fault == ring_fault::used_length);
    CHECK(bed.queue.ring().breach().position == 3);
    bed.queue.release(3);
    CHECK(bed.queue.peek(8).empty());
    bed.queue.stop();
    check_all_back(*pool, false);
  }
}

TEST_CASE("slot rx: bad frames do not hide the good one behind them") {
  const auto pool = make_pool();
  slot_rx_bed bed(*pool);
  for (std::uint32_t i = 0; i < 3; ++i) bed.deliver(pattern(i, 60), partial_checksum());
  bed.deliver(pattern(3, 60));
  bed.device.publish();
  const auto frames = bed.queue.peek(1);
  REQUIRE(frames.size() == 1);
  CHECK(content_of(*frames[0]) == pattern(3, 60));
  CHECK(bed.queue.counters().dropped() == 3);
}

TEST_CASE("slot rx: many bad frames among many that are held") {
  bed_options options;
  options.ring.size = 1024;
  const auto pool = make_pool(1024);
  slot_rx_bed bed(*pool, options);
  const auto deliver = [&](std::uint32_t first, std::uint32_t count, std::uint32_t bad_each) {
    for (std::uint32_t i = first; i < first + count; ++i) {
      bed.deliver(pattern(i, 60), i % bad_each == 0 ? partial_checksum() : virtio_net_hdr{});
    }
    bed.device.publish();
  };
  deliver(1, 511, 512);  // all good
  CHECK(bed.queue.peek(1024).size() == 511);
  deliver(512, 500, 2);
  const auto frames = bed.queue.peek(1024);
  REQUIRE(frames.size() == 761);
  bool right = true;
  std::uint32_t expected = 1;
  for (const slot_frame* each : frames) {
    if (expected >= 512 && expected % 2 == 0) ++expected;
    right = right && content_of(*each) == pattern(expected++, 60);
  }
  CHECK(right);
  CHECK(bed.queue.counters().dropped() == 250);
  CHECK(bed.device.avail(1024) == 1024 - 761);
  bed.queue.release(761);
  CHECK(bed.device.avail(1024) == 1024);
}

TEST_CASE("slot rx: a header means nothing where its flags and its kind do not") {
  const auto pool = make_pool();
  slot_rx_bed bed(*pool, {.rules = {.offloads = all_offloads}});
  virtio_net_hdr idle;
  idle.hdr_len = 5;
  idle.num_buffers = 777;
  virtio_net_hdr busy = partial_checksum();
  busy.num_buffers = 777;
  const std::uint16_t first = bed.write(pattern(0, 60), idle);
  const std::uint16_t second = bed.write(pattern(1, 60), busy);
  bed.push(second, 60);
  bed.push(first, 60);
  bed.device.publish();
  const auto frames = bed.queue.peek(8);
  REQUIRE(frames.size() == 2);
  CHECK(frames[0]->header() == partial_checksum());
  CHECK(frames[1]->header().is_plain());
  CHECK(frames[1]->header() == virtio_net_hdr{});
}

}  // namespace
}  // namespace vkring::test
