// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

#include "support/bpf.hpp"
#include "support/device_bed.hpp"
#include "support/flow_frame.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"

// Queue pairs that come and go, and which of them the kernel chooses.

using namespace vkring;
using namespace vkring::test;

namespace {

constexpr std::size_t pairs = 4;

device_config config_of(backend_kind backend) {
  device_config config;
  config.backend = backend;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  config.worker.threads = 2;
  return config;
}

// Has the kernel's end send `count` frames over as many flows or over one, and counts what comes to each
// pair. With `steered`, it has to be the one that the number of the frame says.
std::array<std::size_t, pairs> spread(device_bed& bed, std::uint32_t count, bool one_flow = false,
                                      bool steered = false) {
  std::array<std::size_t, pairs> came{};
  std::vector<bool> seen(count);
  std::size_t all = 0;
  const auto look = [&] {
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      while (const auto got = bed.receive(pair)) {
        const std::uint32_t number = flow_number(got->frame);
        REQUIRE(number < count);
        REQUIRE_FALSE(seen[number]);
        seen[number] = true;
        if (steered) REQUIRE(pair == number % pairs);
        ++came[pair];
        ++all;
      }
    }
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto flow = static_cast<std::uint16_t>(one_flow ? 3 : i);
    REQUIRE(bed.wire.send(flow_frame(flow, i)) == 0);
    look();
  }
  CHECK(eventually([&] { return look(), all == count; }));
  return came;
}

}  // namespace

TEST_CASE("device queues: every subset of four pairs, and no frame dies in an idle one") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    device_bed bed(*ns, config_of(backend), {}, ipv4);
    CAPTURE(bed.it.backend());
    for (const unsigned subset : {15u, 1u, 14u, 6u, 9u, 2u, 13u, 4u, 11u, 8u, 7u, 3u, 12u, 5u, 10u, 15u}) {
      CAPTURE(subset);
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        const bool on = (subset >> pair & 1) != 0;
        REQUIRE(bed.it.set_enabled(pair, on));
        REQUIRE(bed.it.set_enabled(pair, on));
        CHECK(bed.it.enabled(pair) == on);
      }
      const auto came = spread(bed, 200);
      std::size_t used = 0;
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        const bool on = (subset >> pair & 1) != 0;
        CHECK((came[pair] == 0 || on));
        used += came[pair] != 0 ? 1 : 0;
        if (on) CHECK(bed.send(pair, flow_frame(0, 1)));
        if (on) CHECK(eventually([&] { return bed.it.tx_waiting(pair) == 0; }));
      }
      CHECK(used + 1 >= static_cast<std::size_t>(__builtin_popcount(subset)));
      for (const queue_health& each : bed.it.health(std::chrono::nanoseconds(0))) CHECK(each.good());
    }
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
  }
}

TEMPLATE_TEST_CASE("device queues: what was sent before arrives, what is sent meanwhile waits", "",
                   split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends<TestType>()) {
    layout_bed<TestType> bed(*ns, config_of(backend));
    CAPTURE(bed.it.backend());
    std::uint32_t number = 0;
    for (int round = 0; round < 20; ++round) {
      CAPTURE(round);
      for (std::uint32_t i = 0; i < 50; ++i) REQUIRE(bed.send(2, numbered_frame(number + i, 100)));
      REQUIRE(bed.it.set_enabled(2, false));
      CHECK(bed.it.tx_waiting(2) == 0);
      for (std::uint32_t i = 50; i < 60; ++i) REQUIRE(bed.send(2, numbered_frame(number + i, 100)));
      CHECK(bed.it.tx_waiting(2) == 10);
      CHECK(bed.it.health(std::chrono::nanoseconds(0))[2].good());
      REQUIRE(bed.it.set_enabled(2, true));
      for (int i = 0; i < 60; ++i, ++number) {
        std::int64_t got = -1;
        REQUIRE(eventually([&] { return (got = bed.wire.next_number()) != -1; }));
        REQUIRE(got == number);
      }
    }
  }
}

TEMPLATE_TEST_CASE("device queues: rings of sizes of their own", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends<TestType>()) {
    const auto config_with = [&](std::vector<ring_sizes> wanted) {
      device_config config = config_of(backend);
      config.sizes = std::move(wanted);
      return config;
    };
    std::vector<ring_sizes> sizes = {{512, 64}, {2, 1024}, {256, 256}, {32, 8}};
    layout_bed<TestType> bed(*ns, config_with(sizes),
                             {.buffers = 4096, .memory = {.shareable = true}});
    CAPTURE(bed.it.backend());
    for (std::size_t pair = 0; pair != pairs; ++pair) {
      CAPTURE(pair);
      CHECK(bed.it.tx(pair).ring().size() == sizes[pair].tx);
      CHECK(bed.it.rx(pair).ring().size() == sizes[pair].rx);
      CHECK(bed.to_kernel(pair, 1200, 1000) == "");
      for (std::size_t other = 0; other != pairs; ++other) {
        REQUIRE(bed.it.set_enabled(other, other == pair));
      }
      CHECK(bed.from_kernel(1200, 1000) == "");
      for (std::size_t other = 0; other != pairs; ++other) {
        REQUIRE(bed.it.set_enabled(other, true));
      }
    }
    for (const auto& each : bed.it.health()) CHECK(each.good());
    CHECK(bed.it.suspend().error().hint == "its rings are not all of one size");
    const auto refusal = [&] {
      auto refused = basic_device<TestType>::open(config_with(sizes), bed.pool);
      return refused ? "" : refused.error().message();
    };
    sizes[1].rx = 0;
    CHECK(refusal().find("queue-size=0 of pair 1") != std::string::npos);
    sizes.pop_back();
    CHECK(refusal().find("3 sizes") != std::string::npos);
  }
}

TEST_CASE("device queues: none at all, and the interface goes meanwhile") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    device_bed bed(*ns, config_of(backend));
    for (std::size_t pair = 0; pair < pairs; ++pair) REQUIRE(bed.it.set_enabled(pair, false));
    const auto before = bed.it.link().value().counters.tx_dropped;
    CHECK(bed.wire.send(numbered_frame(0, 100)) == ENOBUFS);
    CHECK(bed.it.link().value().counters.tx_dropped > before);
    REQUIRE(bed.it.set_enabled(1, true));
    CHECK(bed.from_kernel(100, 1000) == "");
    REQUIRE(bed.it.set_enabled(1, false));
    REQUIRE(net_link::open(bed.it.name(), *ns).value().remove());
    CHECK_FALSE(bed.it.set_enabled(0, true));
    CHECK_FALSE(bed.it.enabled(0));
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
  }
}

TEST_CASE("device queues: a program steers, and without it the flow does again") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const fd by_number = load_byte_at(static_cast<int>(flow_frame(0, 0).size()) - 1);
  const fd to_last = load_constant(pairs - 1);
  if (!by_number || !to_last) return skip(no_bpf);
  const auto used = [](const std::array<std::size_t, pairs>& came) {
    return std::count_if(came.begin(), came.end(), [](std::size_t n) { return n != 0; });
  };
  for (const backend_kind backend : backends()) {
    device_bed bed(*ns, config_of(backend), {}, ipv4);
    CAPTURE(bed.it.backend());
    CHECK(used(spread(bed, 64, true)) == 1);
    REQUIRE(bed.it.set_steering(by_number.get()));
    for (const bool one_flow : {true, false}) {
      CHECK(spread(bed, 64, one_flow, true) == std::array<std::size_t, pairs>{16, 16, 16, 16});
    }
    REQUIRE(bed.it.set_steering(to_last.get()));  // in the place of the other
    CHECK(spread(bed, 64) == std::array<std::size_t, pairs>{0, 0, 0, 64});
    // The program chooses among the pairs that are enabled.
    REQUIRE(bed.it.set_enabled(0, false));
    const auto without_first = spread(bed, 64);
    CHECK(without_first[0] == 0);
    CHECK(used(without_first) == 1);
    REQUIRE(bed.it.set_enabled(0, true));
    REQUIRE(bed.it.set_steering(-1));
    CHECK(used(spread(bed, 64, true)) == 1);
    CHECK(used(spread(bed, 64)) > 1);
  }
}

TEST_CASE("device queues: a single-queue interface keeps its one") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    device_config config = config_of(backend);
    config.wanted.queue_pairs = 1;
    device_bed bed(*ns, std::move(config));
    const auto refused = bed.it.set_enabled(0, false);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code.value() == EINVAL);
    CHECK(bed.it.enabled(0));
    CHECK(bed.to_kernel(0, 50, 1000) == "");
    CHECK(bed.from_kernel(50, 1000) == "");
    CHECK_FALSE(bed.it.set_steering(0));
  }
}
