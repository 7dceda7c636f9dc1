// SPDX-License-Identifier: BSD-3-Clause

// Rx queues with frames over several buffers, and with frames that are not to be believed.

#include <catch2/catch.hpp>
#include <vector>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

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

}  // namespace
}  // namespace vkring::test
