// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/forward.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <vector>

#include "support/queue_bed.hpp"

namespace vkring::test {
namespace {

bed_options options_for(std::uint32_t header_bytes) {
  bed_options options;
  options.rules.header_size = header_bytes;
  options.rules.mergeable = true;
  options.rules.offloads = all_offloads;
  options.ring.start = ring_index(65530);
  return options;
}

TEST_CASE("forward: a frame is sent as it was received, by any device on the pool") {
  for (const std::uint32_t rx_header : {12u, 24u}) {
    for (const std::uint32_t tx_header : {12u, 24u}) {
      for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{8}}) {
        CAPTURE(rx_header, tx_header, entries);
        const auto pool = make_pool(256);
        rx_bed in(*pool, options_for(rx_header));
        bed_options tx_options = options_for(tx_header);
        tx_options.table_entries = entries;
        tx_bed out(*pool, tx_options);
        for (std::uint32_t i = 0; i < 60; ++i) {
          const std::size_t size = i % 3 == 0 ? 60 : i % 3 == 1 ? 256 : 700;
          virtio_net_hdr header = i % 2 == 0 ? virtio_net_hdr{} : tso4();
          if (i % 4 == 1) header.flags |= header_flag::data_valid;
          if (size == 60 || i % 5 == 0) header = {header_flag::data_valid, 0, 0, 0, 0, 0};
          in.deliver(pattern(i, size), header);
          in.publish();
          auto got = in.receive();
          REQUIRE(got.size() == 1);
          const std::uint32_t buffers = got[0].buffers();
          const std::byte* const at = [&] {
            std::array<std::span<std::byte>, 4> parts;
            got[0].segments(parts);
            return parts[0].data();
          }();
          CHECK(got[0].header().is_plain() == header.is_plain());

          forward(got[0]);
          std::array<std::span<std::byte>, 4> parts;
          CHECK(got[0].segments(parts) == buffers);
          CHECK(parts[0].data() == at);  // no copy
          const virtio_net_hdr expected = to_tx_header(header);
          CHECK(out.send(got[0]));
          CHECK(out.queue.counters().dropped() == 0);
          const auto sent = out.serve();
          REQUIRE(sent.size() == 1);
          CHECK(sent[0].payload == pattern(i, size));
          CHECK(sent[0].pieces == buffers);
          bytes raw(tx_header);
          store_header(raw.data(), raw.size(), expected);
          CHECK(sent[0].raw_header == raw);  // with num_buffers 0
          out.queue.reclaim();
        }
        // Both kinds of knowledge about headers end up in one pool: it stays right.
        for (std::uint32_t i = 0; i < 100; ++i) {
          CHECK(out.send(out.make(pattern(i, 60))));
          const auto sent = out.serve();
          CHECK(sent.at(0).raw_header == bytes(tx_header));
          out.queue.reclaim();
        }
        in.queue.stop();
        out.queue.stop();
        check_all_back(*pool);
      }
    }
  }
}

TEST_CASE("forward: a burst, and back to where it came from") {
  const auto pool = make_pool(256);
  rx_bed in(*pool, options_for(12));
  tx_bed out(*pool, options_for(12));
  for (std::uint32_t i = 0; i < 5; ++i) {
    in.deliver(pattern(i, 200), i % 2 == 0 ? tso4() : virtio_net_hdr{});
  }
  in.publish();
  std::vector<frame> burst(8);
  REQUIRE(in.queue.receive(burst) == 5);
  forward(std::span(burst));  // empty frames are none of its business
  for (std::uint32_t i = 0; i < 5; ++i) CHECK(burst[i].header().num_buffers == 0);
  CHECK(out.queue.send(std::span(burst).first(5)) == 5);
  const auto sent = out.serve();
  REQUIRE(sent.size() == 5);
  for (std::uint32_t i = 0; i < 5; ++i) {
    CHECK(sent[i].payload == pattern(i, 200));
    CHECK(sent[i].header == (i % 2 == 0 ? tso4() : virtio_net_hdr{}));
  }
  in.queue.stop();
  out.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("forward: only what a sender may say is left of a header") {
  const auto pool = make_pool();
  rx_bed in(*pool, options_for(24));
  const auto forwarded = [&](const virtio_net_hdr& header) {
    in.deliver(pattern(1, 200), header);
    in.publish();
    auto got = in.receive();
    REQUIRE(got.size() == 1);
    forward(got[0]);
    return got[0].header();
  };
  virtio_net_hdr verified{header_flag::data_valid, 0, 54, 0, 0, 0};
  CHECK(forwarded(verified) == virtio_net_hdr{});
  // With RSC_INFO, csum_start and csum_offset count segments and acknowledgements.
  virtio_net_hdr merged = verified;
  merged.flags |= header_flag::rsc_info;
  merged.csum_start = 7, merged.csum_offset = 3;
  CHECK(forwarded(merged) == virtio_net_hdr{});
  virtio_net_hdr partial = partial_checksum();
  partial.flags |= header_flag::data_valid;
  CHECK(forwarded(partial) == partial_checksum());
  CHECK(forwarded(tso4()) == tso4());
}

TEST_CASE("forward: a queue without the offload drops the frame and says so") {
  const auto pool = make_pool(128);
  rx_bed in(*pool, options_for(12));
  tx_bed out(*pool);
  in.deliver(pattern(1, 200), partial_checksum());
  in.publish();
  auto got = in.receive();
  REQUIRE(got.size() == 1);
  forward(got[0]);
  CHECK(out.send(got[0]));
  CHECK(out.queue.counters().drops[index_of(header_fault::csum_not_negotiated)].value() == 1);
  in.queue.stop();
  out.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("forward: the stock of a small tx queue leaves the rx queue its buffers") {
  const auto pool = make_pool(64);
  rx_bed in(*pool);
  tx_bed out(*pool);
  in.queue.refill();
  for (std::uint32_t lap = 0; lap < 1000; ++lap) {
    REQUIRE(in.queue.ring().in_flight() != 0);
    in.deliver(pattern(lap, 60));
    in.publish();
    std::array<frame, 4> frames;
    REQUIRE(in.queue.receive(frames) == 1);
    forward(frames[0]);
    REQUIRE(out.queue.send({frames.data(), 1}) == 1);
    CHECK(out.serve().size() == 1);
  }
  CHECK(in.queue.counters().starved.value() == 0);
}

}  // namespace
}  // namespace vkring::test
