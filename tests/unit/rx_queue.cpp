// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/rx_queue.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <deque>
#include <random>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

// What a frame looks like once it has been received with that header.
virtio_net_hdr received(virtio_net_hdr header) {
  header.num_buffers = 0;
  return header.is_plain() ? virtio_net_hdr{} : header;
}

TEST_CASE("rx: every frame arrives once, in order, with its content and its header") {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{64}}) {
    for (const bool mergeable : {false, true}) {
      for_each_mix(size, [&](bed_options options) {
        CAPTURE(size, mergeable);
        options.rules.mergeable = mergeable;
        const auto pool = make_pool(256, 128);
        rx_bed bed(*pool, options);
        std::minstd_rand random(size);
        const auto below = [&](std::size_t n) { return random() % n; };
        struct expected {
          bytes payload;
          virtio_net_hdr header;
        };
        std::deque<expected> in_ring;
        std::uint64_t frames = 0, sum = 0;
        bool right = true;
        for (std::uint32_t lap = 0; lap < 150; ++lap) {
          for (std::size_t count = below(size + 2u); count != 0; --count) {
            expected next;
            const std::size_t most = mergeable && size > 1 ? 128 * 4 : 128;
            next.payload = pattern(lap, below(4) == 0 ? most - below(30) : 60);
            if (below(4) == 0) {
              next.header = next.payload.size() > 60 ? tso4() : partial_checksum();
            }
            if (bed.device.avail(5) < std::min<std::uint16_t>(size, 5)) break;
            if (bed.device.avail(1) * 128u < next.payload.size()) break;
            bed.deliver(next.payload, next.header);
            in_ring.push_back(std::move(next));
          }
          bed.publish();
          std::vector<frame> got(below(size + 2u));
          // Frames that were not empty give their buffers back.
          if (below(4) == 0 && !got.empty()) {
            buffer_handle h;
            REQUIRE(pool->take({&h, 1}) == 1);
            got[below(got.size())] = frame(*pool, h);
          }
          const std::size_t n = bed.queue.receive(got);
          REQUIRE(n == std::min(got.size(), in_ring.size()));
          for (const frame& each : std::span(got).first(n)) {
            const expected& next = in_ring.front();
            right = right && content_of(each) == next.payload &&
                    each.size() == next.payload.size() && each.header() == received(next.header) &&
                    each.source() == pool.get() &&
                    (each.buffers() == 1) == (next.payload.size() <= 128);
            ++frames;
            sum += next.payload.size();
            in_ring.pop_front();
          }
          if (below(2) == 0) bed.queue.recycle(got);
        }
        CHECK(right);
        CHECK(frames > 40);
        CHECK(bed.queue.counters().frames.value() == frames);
        CHECK(bed.queue.counters().bytes.value() == sum);
        CHECK(bed.queue.counters().dropped() == 0);
        CHECK(bed.queue.counters().starved.value() == 0);
        CHECK_FALSE(bed.queue.ring().breach());
        CHECK(bed.queue.ring().mode() == ring_mode::fast);
        bed.queue.stop();
        check_all_back(*pool);
      });
    }
  }
}

TEST_CASE("rx: buffers are posted whole, header and all, and refilled by receive") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    rx_bed bed(*pool, options);
    CHECK(bed.queue.ring().room() == 0);
    CHECK(bed.kicks == 1);
    const auto one = bed.take();
    CHECK(one.bytes.size() == pool->capacity() + options.rules.header_size);
    const auto payload =
        reinterpret_cast<std::uintptr_t>(one.bytes.data()) + options.rules.header_size;
    CHECK(payload % 64 == 0);
    bed.device.unpop(1);

    // Not after every frame, but before half of the ring is empty.
    std::uint16_t least = 8;
    for (int i = 0; i < 40; ++i) {
      bed.deliver(pattern(1, 60));
      bed.publish();
      CHECK(bed.receive().size() == 1);
      least = std::min(least, bed.device.avail(8));
    }
    CHECK(least == 5);
    CHECK(bed.queue.counters().kicks.value() == static_cast<std::uint64_t>(bed.kicks));
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("rx: who finds nothing, or goes to sleep, leaves a full ring behind") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    rx_bed bed(*pool, options);
    bed.deliver(pattern(1, 60));
    bed.publish();
    CHECK(bed.receive().size() == 1);
    CHECK(bed.device.avail(8) == 7);
    CHECK(bed.receive().empty());
    CHECK(bed.device.avail(8) == 8);
    bed.deliver(pattern(2, 60));
    bed.publish();
    CHECK(bed.receive().size() == 1);
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    CHECK(bed.device.avail(8) == 8);
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("rx: no more frames than there is room for, the rest stays") {
  const auto pool = make_pool();
  bed_options options;
  options.rules.mergeable = true;
  rx_bed bed(*pool, options);
  for (std::uint32_t i = 0; i < 4; ++i) bed.deliver(pattern(i, i == 1 ? 300 : 60));
  bed.publish();
  CHECK(bed.receive(0).empty());
  CHECK(content_of(bed.receive(1).at(0)) == pattern(0, 60));
  CHECK(content_of(bed.receive(1).at(0)) == pattern(1, 300));
  const auto rest = bed.receive(8);
  REQUIRE(rest.size() == 2);
  CHECK(content_of(rest[1]) == pattern(3, 60));
}

TEST_CASE("rx: a source that runs dry is counted, and the queue recovers") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool(6);
    rx_bed bed(*pool, options);
    CHECK(bed.device.avail(8) == 6);  // what there was
    CHECK(bed.queue.counters().starved.value() == 1);
    CHECK(bed.kicks == 1);
    for (std::uint32_t i = 0; i < 6; ++i) bed.deliver(pattern(i, 60));
    bed.publish();
    auto got = bed.receive();
    REQUIRE(got.size() == 6);
    CHECK(bed.queue.counters().starved.value() == 2);
    CHECK(bed.receive().empty());
    CHECK(bed.queue.counters().starved.value() == 3);
    CHECK(bed.kicks == 1);
    got.resize(4);  // two go back to the source, by themselves
    CHECK(bed.receive().empty());
    CHECK(bed.device.avail(8) == 2);
    bed.queue.recycle(got);
    bed.queue.refill();
    CHECK(bed.device.avail(8) == 6);
    bed.deliver(pattern(9, 60));
    bed.publish();
    CHECK(content_of(bed.receive().at(0)) == pattern(9, 60));
    CHECK_FALSE(bed.queue.ring().breach());
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("rx: two queues on one pool share what there is") {
  const auto pool = make_pool(16);
  rx_bed one(*pool);
  rx_bed other(*pool);
  CHECK(one.device.avail(8) + other.device.avail(8) == 16);
  for (std::uint32_t i = 0; i < 200; ++i) {
    rx_bed<>& from = i % 2 == 0 ? one : other;
    rx_bed<>& to = i % 3 == 0 ? one : other;
    from.deliver(pattern(i, 60));
    from.publish();
    auto got = from.receive();
    REQUIRE(got.size() == 1);
    CHECK(content_of(got[0]) == pattern(i, 60));
    if (i % 5 == 0) {
      got.clear();
    } else {
      to.queue.recycle(got);
    }
    one.queue.refill();
    other.queue.refill();
  }
  CHECK(pool->available() <= 16);
  one.queue.stop();
  other.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("rx: completions out of order") {
  const auto pool = make_pool();
  bed_options options;
  options.rules.mergeable = true;
  rx_bed bed(*pool, options);
  for (std::uint32_t lap = 0; lap < 20; ++lap) {
    const auto a = bed.take();
    const auto b = bed.take();
    virtio_net_hdr header;
    header.num_buffers = 2;
    store_header(b.bytes.data(), 12, header);
    std::fill_n(b.bytes.data() + 12, 20, std::byte{1});
    std::fill_n(a.bytes.data(), 30, std::byte{2});
    bed.device.push_used(b.head, 32);
    bed.device.push_used(a.head, 30);
    bed.deliver(pattern(lap, 60));
    bed.publish();
    auto got = bed.receive();
    REQUIRE(got.size() == 2);
    bytes expected(20, std::byte{1});
    expected.insert(expected.end(), 30, std::byte{2});
    CHECK(content_of(got[0]) == expected);
    CHECK(content_of(got[1]) == pattern(lap, 60));
  }
  CHECK(bed.queue.ring().general_entries() >= 1);
  CHECK_FALSE(bed.queue.ring().breach());
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("rx: in-order batches count as full but for the last") {
  const auto pool = make_pool();
  bed_options options;
  options.ring.in_order = true;
  rx_bed bed(*pool, options);
  std::uint16_t last = 0;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto next = bed.take();
    store_header(next.bytes.data(), 12, {});
    const bytes content = pattern(i, pool->capacity());
    std::copy(content.begin(), content.end(), next.bytes.data() + 12);
    last = next.head;
  }
  bed.device.push_used_batch(last, 12 + 60, 3);
  bed.publish();
  const auto got = bed.receive();
  REQUIRE(got.size() == 3);
  CHECK(content_of(got[0]) == pattern(0, pool->capacity()));
  CHECK(content_of(got[1]) == pattern(1, pool->capacity()));
  CHECK(got[2].size() == 60);
}

TEST_CASE("rx: recycle takes whatever frames it is given") {
  const auto pool = make_pool();
  const auto other_pool = make_pool(4);
  bed_options options;
  options.rules.mergeable = true;
  rx_bed bed(*pool, options);
  bed.deliver(pattern(1, 60));
  bed.deliver(pattern(1, 600));
  bed.publish();
  std::vector<frame> all(30);
  REQUIRE(bed.queue.receive(all) == 2);
  buffer_handle foreign;
  REQUIRE(other_pool->take({&foreign, 1}) == 1);
  all[20] = frame(*other_pool, foreign);
  for (std::size_t i = 21; i < 30; ++i) {
    buffer_handle h;
    REQUIRE(pool->take({&h, 1}) == 1);
    all[i] = frame(*pool, buffer_pool::with_plain_header(h, true));
  }
  bed.queue.recycle(all);
  for (const frame& each : all) CHECK_FALSE(each);
  CHECK(other_pool->available() == 4);
  bed.queue.recycle({});
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("rx: a received header in memory is not taken for a plain one") {
  // The device left a header behind that says nothing but the number of buffers.
  const auto pool = make_pool(8);
  bed_options options;
  options.rules.mergeable = true;
  rx_bed bed(*pool, options);
  bed.deliver(pattern(1, 60));
  bed.deliver(pattern(1, 300));
  bed.publish();
  auto got = bed.receive();
  got.resize(1);
  bed.queue.recycle(got);
  bed.queue.stop();
  std::array<buffer_handle, 8> all;
  REQUIRE(pool->take(all) == 8);
  for (const buffer_handle each : all) CHECK_FALSE(buffer_pool::plain_header(each));
}

TEST_CASE("rx: kicks are sent when the device asks for them, calls when the queue does") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    rx_bed bed(*pool, options);
    const auto turn = [&](int frames) {
      for (int i = 0; i < frames; ++i) bed.deliver(pattern(1, 60));
      bed.publish();
      return bed.receive().size();
    };
    CHECK(bed.kicks == 1);
    bed.device.disable_kick();
    CHECK(turn(4) == 4);
    CHECK(bed.kicks == 1);
    CHECK(bed.queue.counters().kicks_suppressed.value() == 1);
    CHECK(bed.device.avail(8) == 8);
    (void)bed.device.enable_kick();
    CHECK(turn(4) == 4);
    CHECK(bed.kicks == (options.ring.event_idx ? 1 : 2));  // it asked for one at older ones
    CHECK_FALSE(bed.device.call_needed());

    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    bed.deliver(pattern(1, 60));
    bed.publish();
    CHECK(bed.device.call_needed());
    CHECK(bed.queue.enable_call() == notification::more_pending);
    CHECK(bed.receive().size() == 1);
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    bed.queue.disable_call();
    bed.deliver(pattern(1, 60));
    bed.publish();
    CHECK_FALSE(bed.device.call_needed());
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("rx: stop gives back what is in flight, used or not") {
  for_each_mix(8, [](bed_options options) {
    for (const bool general : {false, true}) {
      if (general && options.ring.in_order) continue;
      for (int used = 0; used <= 5; ++used) {
        CAPTURE(general, used);
        options.rules.mergeable = true;
        const auto pool = make_pool();
        rx_bed bed(*pool, options);
        std::vector<frame> kept;
        if (general) {
          const auto a = bed.take();
          const auto b = bed.take();
          for (const auto& each : {b, a}) {
            store_header(each.bytes.data(), options.rules.header_size, {.num_buffers = 1});
            bed.device.push_used(each.head, options.rules.header_size + 20);
          }
          bed.publish();
          kept = bed.receive();
          REQUIRE(kept.size() == 2);
          REQUIRE(bed.queue.ring().mode() == ring_mode::general);
        }
        for (int i = 0; i < used; ++i) bed.deliver(pattern(1, 60));
        bed.publish();
        if (used > 3) {
          std::vector<frame> one(1);
          REQUIRE(bed.queue.receive(one) == 1);
          kept.push_back(std::move(one[0]));
        }
        bed.queue.stop();
        CHECK(pool->available() == pool->size() - kept.size());
        bed.queue.refill();  // a spent queue takes nothing
        CHECK(pool->available() == pool->size() - kept.size());
        kept.clear();  // a frame outlives its queue
        check_all_back(*pool);
        CHECK_FALSE(bed.queue.ring().breach());
      }
    }
  });
}

}  // namespace
}  // namespace vkring::test
