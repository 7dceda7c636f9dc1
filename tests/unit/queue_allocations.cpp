// SPDX-License-Identifier: BSD-3-Clause

// Once they are constructed, queues, frames and pools allocate nothing, whatever happens.

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <vector>

#include "support/count_allocations.hpp"
#include "support/queue_bed.hpp"
#include "vkring/queue/forward.hpp"

namespace vkring::test {
namespace {

// A device that takes everything there is and writes `written` bytes, the first of them a header.
void serve(ring_bed::device_type& device, std::uint32_t written, bool backwards = false) {
  std::array<std::uint16_t, 64> heads;
  std::size_t count = 0;
  device.pop(64, [&](const device_chain& chain) {
    heads[count++] = chain.head;
    if (chain.writable.empty()) return;
    store_header(chain.writable[0].data(), 12, {0, 0, 0, 0, 0, 0, 1, 0, 0});
  });
  if (backwards) std::reverse(heads.begin(), heads.begin() + static_cast<std::ptrdiff_t>(count));
  for (std::size_t i = 0; i < count; ++i) device.push_used(heads[i], written);
  device.publish();
}

bed_options options_with(std::uint16_t table_entries) {
  bed_options options;
  options.ring.size = 64;
  options.table_entries = table_entries;
  options.rules.mergeable = true;
  options.rules.offloads = all_offloads;
  return options;
}

TEST_CASE("allocations are counted at all") {
  const std::size_t before = allocations;
  std::vector<std::byte> some(100);
  CHECK(some.size() == 100);
  CHECK(allocations > before);
}

TEST_CASE("tx allocates nothing: plain frames, chains, segments, drops, and the end of the pool") {
  for (const std::uint16_t entries : {std::uint16_t{0}, std::uint16_t{4}}) {
    const auto pool = make_pool(300);
    tx_bed bed(*pool, options_with(entries));
    const std::array<segment, 2> segments{{{bed.tables_address, 8}, {bed.tables_address, 8}}};
    std::array<frame, 96> frames;
    std::array<std::uint64_t, 8> tokens;
    std::size_t sent = 0, finished = 0;
    const std::size_t before = allocations;
    for (std::uint64_t lap = 0; lap < 2000; ++lap) {
      const std::span burst = std::span(frames).first(lap % 96);
      const std::size_t got = bed.queue.allocate(burst);
      for (std::size_t i = 0; i < got; ++i) {
        frames[i].resize(static_cast<std::uint32_t>(i % 50 == 49 ? 5 : 60));
        if (i % 7 == 0) frames[i].set_header(tso4());
        if (i % 11 == 10) frames[i].append(std::move(frames[i - 1]));
      }
      sent += bed.queue.send(burst);
      if (lap % 5 == 0) bed.queue.send(segments, {}, lap);
      if (lap % 3 != 0) serve(bed.device, 0, lap % 16 == 5);
      if (lap % 4 == 0) (void)bed.queue.enable_call();
      if (lap % 2 == 0) bed.queue.reclaim();
      finished += bed.queue.finished(tokens);
      if (lap % 7 == 0) {
        for (frame& each : burst) each.reset();
      }
    }
    bed.queue.stop();
    for (frame& each : frames) each.reset();
    finished += bed.queue.finished(tokens);
    CHECK(allocations == before);
    CHECK(sent > 10000);
    CHECK(finished > 50);
    CHECK(bed.queue.counters().dropped() > 100);
    CHECK(bed.queue.ring().general_entries() > 0);
    check_all_back(*pool);
  }
}

TEST_CASE("rx and forward allocate nothing, nor does starvation, nor a broken ring") {
  const auto pool = make_pool(300);
  rx_bed in(*pool, options_with(0));
  tx_bed out(*pool, options_with(4));
  std::array<frame, 96> frames;
  std::size_t received = 0, sent = 0;
  const std::size_t before = allocations;
  for (std::uint32_t lap = 0; lap < 2000; ++lap) {
    serve(in.device, 12 + 60 + lap % 100, lap % 64 == 9);
    const std::size_t n = in.queue.receive(std::span(frames).first(lap % 40));
    received += n;
    const std::span burst = std::span(frames).first(n);
    forward(burst);
    if (lap % 3 == 0) {
      in.queue.recycle(burst);
    } else if (lap % 3 == 1) {
      sent += out.queue.send(burst);
    } else if (n > 2) {
      frames[0].append(std::move(frames[1]));
      frame moved = std::move(frames[0]);
    }
    if (lap % 2 == 0) serve(out.device, 0);
    if (lap % 5 == 0) out.queue.reclaim();
    if (in.queue.enable_call() == notification::safe_to_sleep) in.queue.disable_call();
    in.queue.refill();
  }
  in.device.push_used(64, 0);
  in.device.publish();
  received += in.queue.receive(frames);
  const bool broken{in.queue.ring().breach()};
  in.queue.stop();
  out.queue.stop();
  for (frame& each : frames) each.reset();
  CHECK(allocations == before);
  CHECK(broken);
  CHECK(received > 10000);
  CHECK(sent > 1000);
  check_all_back(*pool);
}

}  // namespace
}  // namespace vkring::test
