// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/rx_queue.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <deque>
#include <random>
#include <set>

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

TEST_CASE("rx: frames over any number of buffers, filled as the device likes") {
  for (const std::uint32_t header_bytes : {12u, 24u}) {
    for (const std::size_t fill_up : {std::size_t{14}, std::size_t{57}, SIZE_MAX}) {
      for (std::size_t size = 1; size <= 8; ++size) {
        CAPTURE(header_bytes, fill_up, size);
        const auto pool = make_pool();
        bed_options options;
        options.rules.mergeable = true;
        options.rules.offloads = all_offloads;
        options.rules.header_size = header_bytes;
        options.ring.start = ring_index(65530);
        rx_bed bed(*pool, options);
        // A continuation holds a header more than the first buffer.
        const std::size_t whole = pool->capacity() + (size - 1) * (pool->capacity() + header_bytes);
        const bytes content = pattern(1, fill_up == SIZE_MAX ? whole : size * fill_up);
        bed.deliver(content, {}, -1, fill_up);
        bed.publish();
        auto got = bed.receive();
        REQUIRE(got.size() == 1);
        CHECK(got[0].buffers() == size);
        CHECK(got[0].size() == content.size());
        CHECK(content_of(got[0]) == content);
        CHECK(got[0].contiguous().empty() == (size != 1));
        std::vector<std::span<std::byte>> segments(8);
        CHECK(got[0].segments(segments) == size);
        CHECK(bed.queue.counters().bytes.value() == content.size());
        bed.queue.recycle(got);
        CHECK_FALSE(got[0]);
        bed.queue.stop();
        check_all_back(*pool);
      }
    }
  }
}

TEST_CASE("rx: a frame that is too short is dropped, whatever buffers it lies in") {
  for (const bool mergeable : {false, true}) {
    for (const std::uint32_t min_size : {0u, 1u, 14u}) {
      CAPTURE(mergeable, min_size);
      const auto pool = make_pool();
      bed_options options;
      options.rules.mergeable = mergeable;
      options.rules.min_size = min_size;
      rx_bed bed(*pool, options);
      bed.deliver(pattern(1, min_size));
      std::uint64_t short_ones = 0;
      if (min_size != 0) {
        ++short_ones;
        bed.deliver(pattern(2, min_size - 1));
      }
      if (mergeable && min_size > 2) {
        ++short_ones;
        bed.deliver(pattern(3, min_size - 1), {}, -1, 5);
      }
      bed.deliver(pattern(4, 60));
      bed.publish();
      const auto got = bed.receive();
      REQUIRE(got.size() == 2);
      CHECK(got[0]);
      CHECK(content_of(got[0]) == pattern(1, min_size));
      CHECK(content_of(got[1]) == pattern(4, 60));
      CHECK(bed.queue.counters().dropped() == short_ones);
      CHECK(bed.queue.counters().drops[static_cast<std::size_t>(drop_reason::too_short)].value() ==
            short_ones);
    }
  }
}

TEST_CASE("rx: a last buffer of no bytes") {
  const auto pool = make_pool();
  bed_options options;
  options.rules.mergeable = true;
  rx_bed bed(*pool, options);
  const auto first = bed.take();
  const auto second = bed.take();
  virtio_net_hdr header;
  header.num_buffers = 2;
  store_header(first.bytes.data(), 12, header);
  bed.device.push_used(first.head, 12 + 20);
  bed.device.push_used(second.head, 0);
  bed.publish();
  const auto got = bed.receive();
  REQUIRE(got.size() == 1);
  CHECK(got[0].buffers() == 2);
  CHECK(got[0].size() == 20);
}

TEST_CASE("rx: without mergeable buffers nobody looks at num_buffers") {
  const auto pool = make_pool();
  rx_bed bed(*pool);
  for (const int claimed : {0, 1, 2, 65535}) bed.deliver(pattern(1, 60), {}, claimed);
  bed.publish();
  CHECK(bed.receive().size() == 4);
  CHECK_FALSE(bed.queue.ring().breach());
}

TEST_CASE("rx: a header that cannot be believed costs its frame, not the queue") {
  const virtio_net_hdr data_valid{header_flag::data_valid, 0, 0, 0, 0, 0};
  const auto with = [](virtio_net_hdr header, auto change) {
    change(header);
    return header;
  };
  struct wrong {
    header_fault fault;
    virtio_net_hdr header;
  };
  const std::vector<wrong> all{
      {header_fault::csum_start_beyond_end,
       with(partial_checksum(), [](auto& h) { h.csum_start = 299; })},
      {header_fault::unknown_gso_type, with(tso4(), [](auto& h) { h.gso_type = 2; })},
      {header_fault::gso_not_negotiated, with(tso4(), [](auto& h) { h.gso_type = gso::tcpv6; })},
      {header_fault::gso_without_csum, with(tso4(), [](auto& h) { h.flags = 0; })},
      {header_fault::gso_size_zero, with(tso4(), [](auto& h) { h.gso_size = 0; })},
      {header_fault::hdr_len_beyond_end, with(tso4(), [](auto& h) { h.hdr_len = 65535; })},
      {header_fault::csum_offset, with(tso4(), [](auto& h) { h.csum_offset = 6; })},
  };
  for (const bool mergeable : {false, true}) {
    for (const std::size_t size : {std::size_t{200}, std::size_t{300}}) {
      if (size > 256 && !mergeable) continue;
      for (const wrong& each : all) {
        CAPTURE(mergeable, size, name(each.fault));
        const auto pool = make_pool();
        bed_options options;
        options.rules.mergeable = mergeable;
        options.rules.offloads.csum = options.rules.offloads.tso4 = true;
        rx_bed bed(*pool, options);
        bed.deliver(pattern(1, 60), data_valid);
        bed.deliver(pattern(2, size), each.header);
        bed.deliver(pattern(3, size), tso4());
        bed.publish();
        auto got = bed.receive();
        REQUIRE(got.size() == 2);
        CHECK(content_of(got[0]) == pattern(1, 60));
        CHECK(got[0].header() == data_valid);
        CHECK(content_of(got[1]) == pattern(3, size));
        CHECK(got[1].header() == tso4());
        CHECK(bed.queue.counters().drops[index_of(each.fault)].value() == 1);
        CHECK(bed.queue.counters().dropped() == 1);
        CHECK(bed.queue.counters().frames.value() == 2);
        CHECK(bed.queue.counters().bytes.value() == 60 + size);
        CHECK_FALSE(bed.queue.ring().breach());
        got.clear();
        bed.queue.stop();
        check_all_back(*pool);
      }
    }
  }
}

TEST_CASE("rx: a burst of nothing but frames to be dropped is no frame, and not the end") {
  const auto pool = make_pool();
  rx_bed bed(*pool);
  for (int lap = 0; lap < 5; ++lap) {
    for (int i = 0; i < 8; ++i) bed.deliver(pattern(1, 60), tso4());
    bed.publish();
    CHECK(bed.receive().empty());
  }
  CHECK(bed.queue.counters().dropped() == 40);
  bed.deliver(pattern(7, 60));
  bed.publish();
  CHECK(bed.receive().size() == 1);
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
