// SPDX-License-Identifier: BSD-3-Clause
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <fstream>
#include <string>
#include <utility>

#include "support/device_bed.hpp"
#include "support/entries.hpp"
#include "support/skip.hpp"
#include "vkring/device.hpp"

// Devices that are opened, used and closed again and again: nothing piles up.

using namespace vkring;
using namespace vkring::test;

namespace {

// What a process may leak.
struct belongings {
  std::size_t descriptors = 0;
  std::size_t mappings = 0;
  std::size_t threads = 0;
  std::size_t interfaces = 0;

  explicit belongings(const netns& ns) {
    const auto lines = [](const char* file) {
      std::ifstream from(file);
      std::size_t count = 0;
      for (std::string line; std::getline(from, line);) ++count;
      return count;
    };
    descriptors = open_descriptors();
    mappings = lines("/proc/self/maps");
    threads = tasks().size();
    interfaces = ns.run([&] { return lines("/proc/thread-self/net/dev"); }).value();
  }
  friend bool operator==(const belongings&, const belongings&) = default;
};

// Pages of this process that are in memory.
std::size_t resident() {
  std::size_t size = 0;
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> size >> pages;
  return pages;
}

// Over vhost-net where there is one, else over the worker.
device_config config_of_two() {
  device_config config;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = 2;
  config.wanted.queue_size = 64;
  return config;
}

}  // namespace

TEST_CASE("device restarts: 200 times opened, used and closed, nothing is left") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make({.buffers = 1024}).value();
  const auto cycle = [&](int round) {
    device_config config = device_bed::in(*ns, config_of_two());
    config.persist = round % 4 == 3;  // then whoever deletes it is not the device
    device_bed bed{*ns, pool, device::open(std::move(config), pool).value()};
    CHECK(bed.to_kernel(static_cast<std::size_t>(round % 2), 20, 500) == "");
    CHECK(bed.from_kernel(20, 500) == "");
    auto control = net_link::open(bed.it.name(), *ns).value();
    bed.it.close();
    REQUIRE(pool->available() == pool->size());
    if (round % 4 == 3) REQUIRE(control.remove());
  };
  for (int i = 0; i < 8; ++i) cycle(i);  // what is allocated once and kept
  const belongings before(*ns);
  const std::size_t pages = resident();
  for (int i = 0; i < 192; ++i) {
    CAPTURE(i);
    cycle(i);
    if (i % 32 == 31) REQUIRE(eventually([&] { return belongings(*ns) == before; }));
  }
  // The rings of one device are 24 pages, what it allocates is more.
  CHECK(resident() < pages + 192);
}

TEST_CASE("device restarts: 200 times a queue pair is stopped and started, nothing is left or lost") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_bed bed(*ns, config_of_two(), {.buffers = 1024});
  const auto cycle = [&](std::size_t pair) {
    REQUIRE(bed.it.set_enabled(pair, false));
    CHECK(bed.to_kernel(1 - pair, 5, 500) == "");
    CHECK(bed.from_kernel(5, 500) == "");
    REQUIRE(bed.it.set_enabled(pair, true));
    CHECK(bed.to_kernel(pair, 5, 500) == "");
  };
  for (std::size_t i = 0; i < 8; ++i) cycle(i % 2);
  const belongings before(*ns);
  const std::size_t pages = resident();
  for (std::size_t i = 0; i < 192; ++i) {
    CAPTURE(i);
    cycle(i % 2);
  }
  CHECK(belongings(*ns) == before);
  CHECK(resident() < pages + 192);
  for (const queue_health& each : bed.it.health(std::chrono::nanoseconds(0))) CHECK(each.good());
  bed.it.close();
  CHECK(bed.pool->available() == bed.pool->size());
}
