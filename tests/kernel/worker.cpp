// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/worker/tap_worker.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "support/device_bed.hpp"
#include "support/packets.hpp"
#include "support/skip.hpp"

// Frames through the worker and a real TAP: each arrives once, in order and byte by byte, whatever
// was negotiated; and what becomes of those that cannot arrive.

using namespace vkring;
using namespace vkring::test;

namespace {

want wanted(bool on) { return on ? want::required : want::off; }

device_config plain_config() {
  device_config config;
  config.backend = backend_kind::worker;
  config.wanted.offloads = wanted_offloads::all(want::off);
  return config;
}

}  // namespace

TEMPLATE_TEST_CASE("worker: frames both ways, whatever was negotiated, in rings of any size", "",
                   split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const bool any = std::is_same_v<TestType, packed>;
  for (const std::uint32_t size : {1u, any ? 3u : 2u, any ? 255u : 256u, 32768u}) {
    // In the largest, each choice both ways is enough.
    for (unsigned bits = 0; bits < 16; bits += size == 32768 ? 5 : 1) {
      const bool mergeable = (bits & 1) != 0;
      CAPTURE(size, mergeable, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0);
      device_config config = plain_config();
      config.wanted.queue_size = size;
      config.wanted.mergeable = wanted(mergeable);
      config.wanted.event_idx = wanted((bits & 2) != 0);
      config.wanted.in_order = wanted((bits & 4) != 0);
      config.wanted.indirect = wanted((bits & 8) != 0);
      // 1514 bytes in mergeable buffers of 832.
      const bool small = mergeable && size != 1;
      layout_bed<TestType> bed(*ns, std::move(config),
                               {.buffers = size + 300, .buffer_size = small ? 800u : 1600u});
      CHECK(bed.it.plan().mergeable == mergeable);
      const std::uint32_t frames = size == 32768 ? 100 : 400;
      CHECK(bed.to_kernel(0, frames, 1514) == "");
      // Chains of several buffers, where the ring can have any.
      if (size != 1 || bed.it.plan().indirect) {
        CHECK(bed.to_kernel(0, frames / 4, 1514, 757) == "");
      }
      CHECK(bed.from_kernel(frames, 1514) == "");
      CHECK(bed.it.health()[0].good());
      CHECK(bed.it.worker_statistics(0)->rx_frames.value() == frames);
    }
  }
}

TEST_CASE("worker: several queue pairs in one or several threads") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (std::uint16_t pairs = 1; pairs <= 4; ++pairs) {
    for (std::size_t threads = 1; threads <= 4; ++threads) {
      CAPTURE(pairs, threads);
      REQUIRE(threads_become(1));
      device_config config = plain_config();
      config.wanted.queue_pairs = pairs;
      config.worker.threads = threads;
      device_bed bed(*ns, std::move(config));
      CHECK(threads_become(1 + std::min<std::size_t>(pairs, threads)));
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        CHECK(bed.to_kernel(pair, 50, 1514) == "");
        CHECK(eventually([&] { return bed.it.worker_statistics(pair)->tx_frames.value() == 50; }));
      }
      CHECK(bed.from_kernel(200, 1514) == "");
    }
  }
}

TEMPLATE_TEST_CASE("worker: large TCP and UDP frames both ways, in one piece", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  random_source random(1);
  for (const unsigned kind : {0u, 1u, 2u, 3u}) {
    const bool v6 = (kind & 1) != 0;
    const bool tcp = (kind & 2) == 0;
    device_config config;
    config.backend = backend_kind::worker;
    config.wanted.offloads.csum = config.wanted.offloads.tso4 = config.wanted.offloads.tso6 =
        want::required;
    layout_bed<TestType> bed(*ns, std::move(config), {}, v6 ? 0x86dd : 0x0800, true);
    // Since Linux 6.2, and through a packet socket later still.
    if (!tcp && !(bed.it.plan().tx.uso && bed.it.plan().rx.uso)) continue;
    for (const std::size_t payload : {3000u, 20'000u, 65'400u}) {
      CAPTURE(v6, tcp, payload);
      packet_recipe recipe;
      recipe.v6 = v6;
      recipe.tcp = tcp;
      recipe.payload = payload;
      const built_packet packet = build(recipe, random);
      const virtio_net_hdr header = header_for(recipe, packet, 1448);

      REQUIRE(bed.send(0, packet.frame, header));
      std::optional<tap_wire::received> at_kernel;
      REQUIRE(eventually([&] { return (at_kernel = bed.wire.receive()).has_value(); }));
      CHECK(at_kernel->frame == packet.frame);
      CHECK(at_kernel->header.gso_type == header.gso_type);
      CHECK(at_kernel->header.gso_size == header.gso_size);
      CHECK(at_kernel->header.csum_start == header.csum_start);

      REQUIRE(bed.wire.send(packet.frame, header) == 0);
      std::optional<tap_wire::received> here;
      REQUIRE(eventually([&] { return (here = bed.receive(0)).has_value(); }));
      CHECK(here->frame == packet.frame);
      CHECK(here->header.gso_type == header.gso_type);
      CHECK(here->header.gso_size == header.gso_size);
      CHECK(here->header.csum_start == header.csum_start);
      CHECK(here->header.csum_offset == header.csum_offset);
      // And it is one that the library's own segmenter can cut.
      const std::span<const std::byte> whole = here->frame;
      CHECK(check_segmentation(here->header, packet.frame, {&whole, 1}, segment_checksum::complete,
                               link_layer::ethernet) == "");
    }
    CHECK(bed.it.worker_statistics(0)->tx_refused.value() == 0);
  }
}

TEMPLATE_TEST_CASE(
    "worker: a frame waits for buffers when the ring is short of them, and is not lost", "", split,
    packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config;
  config.backend = backend_kind::worker;
  config.wanted.offloads.tso4 = want::required;
  config.wanted.queue_size = 64;
  layout_bed<TestType> bed(*ns, std::move(config), {}, 0x0800, true);
  random_source random(2);
  packet_recipe recipe;
  std::vector<built_packet> sent;
  // One buffer, then 32 each, and 64 in the ring.
  for (int i = 0; i < 6; ++i) {
    recipe.payload = i == 0 ? 500 : 65'400;
    sent.push_back(build(recipe, random));
    REQUIRE(bed.wire.send(sent.back().frame, header_for(recipe, sent.back(), i == 0 ? 0 : 1448)) ==
            0);
  }
  const worker_counters& counters = *bed.it.worker_statistics(0);
  REQUIRE(eventually([&] { return counters.rx_spilled.value() != 0; }));
  CHECK(counters.rx_frames.value() == 2);
  for (const built_packet& each : sent) {
    std::optional<tap_wire::received> here;
    REQUIRE(eventually([&] { return (here = bed.receive(0)).has_value(); }));
    CHECK(here->frame == each.frame);
  }
  CHECK(counters.rx_too_long.value() == 0);
  CHECK(bed.it.health()[0].good());
}

TEST_CASE("worker: what does not fit into a buffer is dropped and counted") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = plain_config();
  config.wanted.mergeable = want::off;
  device_bed bed(*ns, std::move(config));
  REQUIRE(bed.it.set_mtu(9000));
  for (std::uint32_t i = 0; i < 200; ++i) {
    REQUIRE(bed.wire.send(numbered_frame(1000 + i, 4000)) == 0);
  }
  CHECK(bed.from_kernel(100, 1514) == "");
  CHECK(bed.it.worker_statistics(0)->rx_too_long.value() == 200);
  CHECK(bed.it.worker_statistics(0)->rx_frames.value() == 100);
}

TEST_CASE("worker: a larger MTU at run time, with mergeable buffers") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_bed bed(*ns, plain_config());
  REQUIRE(bed.it.set_mtu(9000));
  // The first one tells that buffers are to be lined up for such frames.
  for (std::uint32_t i = 0; i < 20; ++i) {
    REQUIRE(bed.wire.send(numbered_frame(i, 9000)) == 0);
    std::optional<tap_wire::received> here;
    REQUIRE(eventually([&] { return (here = bed.receive(0)).has_value(); }));
    CHECK(number_of(here->frame) == i);
  }
  CHECK(bed.it.worker_statistics(0)->rx_spilled.value() == 1);
  CHECK(bed.from_kernel(300, 9000) == "");
  CHECK(bed.to_kernel(0, 300, 9000) == "");

  SECTION("more than the whole ring holds is dropped, and the rest goes on") {
    device_config config = plain_config();
    config.wanted.queue_size = 4;
    device_bed small(*ns, std::move(config));
    REQUIRE(small.it.set_mtu(9000));
    REQUIRE(small.wire.send(numbered_frame(1, 9000)) == 0);
    REQUIRE(small.wire.send(numbered_frame(2, 9000)) == 0);
    CHECK(small.from_kernel(50, 8000) == "");
    CHECK(small.it.worker_statistics(0)->rx_too_long.value() == 2);
  }
}

TEMPLATE_TEST_CASE(
    "worker: what was sent before the end is not lost, and load does not delay the end", "", split,
    packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    std::atomic<bool> ended = false;
    std::optional<layout_bed<TestType>> bed;
    device_config config = plain_config();
    config.wanted.queue_pairs = 2;
    bed.emplace(*ns, std::move(config));
    tap_wire wire = std::move(bed->wire);
    tap_wire other(*ns, bed->it.index(), 0);
    other.use_queueing_discipline();
    std::thread load([&] {
      const frame_bytes frame = numbered_frame(7, 200);
      while (!ended.load()) static_cast<void>(other.send(frame));
    });
    std::uint32_t sent = 0;
    for (int i = 0; i < 200; ++i) {
      frame burst[32];
      const std::size_t n = bed->it.tx(0).allocate(burst);
      for (std::size_t k = 0; k < n; ++k) {
        const frame_bytes data = numbered_frame(sent + static_cast<std::uint32_t>(k), 100);
        burst[k].resize(100);
        std::copy(data.begin(), data.end(), burst[k].contiguous().begin());
      }
      sent += static_cast<std::uint32_t>(bed->it.tx(0).send({burst, n}));
    }
    bed->it.close();
    CHECK(threads_become(2));  // this one and the load
    ended = true;
    load.join();
    CHECK(bed->pool->available() == bed->pool->size());
    std::uint32_t seen = 0;
    for (std::int64_t n; (n = wire.next_number()) != -1; ++seen) REQUIRE(n == seen);
    CHECK(seen == sent);
  }
}

TEST_CASE("worker: an idle thread does nothing at all") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = plain_config();
  config.wanted.queue_pairs = 2;
  device_bed bed(*ns, std::move(config));
  CHECK(bed.to_kernel(0, 20, 100) == "");
  CHECK(bed.from_kernel(20, 100) == "");
  const auto sleeps = [&] {
    return bed.it.worker_statistics(0)->sleeps.value() + bed.it.worker_statistics(1)->sleeps.value();
  };
  REQUIRE(others_fall_asleep(bed.it.error_fd()));
  static_cast<void>(bed.it.wait(std::chrono::nanoseconds(0)));  // a call that came late
  const thread_activity before = other_threads();
  const std::uint64_t slept = sleeps();
  CHECK_FALSE(bed.it.wait(std::chrono::milliseconds(300)));
  CHECK(other_threads() == before);
  CHECK(sleeps() == slept);
}

TEST_CASE("worker: threads run on the CPUs that were asked for, and take no signals") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  REQUIRE(threads_become(1));
  const auto before = tasks();
  device_config config = plain_config();
  config.wanted.queue_pairs = 2;
  config.worker.cpus = {0};
  device_bed bed(*ns, std::move(config));
  // A thread that is still on its way has all signals blocked.
  for (const std::size_t pair : {0u, 1u}) {
    REQUIRE(eventually([&] { return bed.it.worker_statistics(pair)->sleeps.value() != 0; }));
  }
  std::size_t workers = 0;
  REQUIRE(threads_become(3));  // not those that entered the namespace
  for (const std::string& task : tasks()) {
    if (std::find(before.begin(), before.end(), task) != before.end()) continue;
    ++workers;
    std::ifstream status("/proc/self/task/" + task + "/status");
    std::string cpus;
    std::uint64_t blocked = 0;
    for (std::string line; std::getline(status, line);) {
      if (line.rfind("Cpus_allowed_list:", 0) == 0) cpus = line.substr(19);
      if (line.rfind("SigBlk:", 0) == 0) blocked = std::stoull(line.substr(8), nullptr, 16);
    }
    CHECK(cpus == "0");
    CHECK((blocked & 1u << (SIGINT - 1)) != 0);
    CHECK((blocked & 1u << (SIGTERM - 1)) != 0);
    CHECK((blocked & 1u << (SIGSEGV - 1)) == 0);
  }
  CHECK(workers == 2);
  sigset_t own;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &own);
  CHECK(::sigismember(&own, SIGINT) == 0);
}
