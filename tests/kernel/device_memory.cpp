// SPDX-License-Identifier: BSD-3-Clause

// What a device costs in resident memory, beside the buffers.

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/skip.hpp"

using namespace vkring;
using namespace vkring::test;

namespace {

std::size_t page_bytes() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

// Bytes of this process, what it shares with others through files (its program) not counted.
std::size_t resident() {
  unsigned long all = 0;
  unsigned long pages = 0;
  unsigned long shared = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr || std::fscanf(file, "%lu %lu %lu", &all, &pages, &shared) != 3) return 0;
  std::fclose(file);
  return (pages - shared) * page_bytes();
}
// Bytes of that memory.
std::size_t resident(std::span<const std::byte> memory) {
  std::vector<unsigned char> pages((memory.size() + page_bytes() - 1) / page_bytes());
  ::mincore(const_cast<std::byte*>(memory.data()), memory.size(), pages.data());
  std::size_t found = 0;
  for (const unsigned char each : pages) found += each & 1u;
  return found * page_bytes();
}

// What opening a device with that many queue pairs adds, in a process that has done nothing else.
std::size_t cost(const netns& ns, std::uint16_t pairs) {
  child fresh([&](auto say) {
    const auto pool = buffer_pool::make({.buffers = 1024u * pairs}).value();
    device_config config;
    config.backend = backend_kind::worker;
    config.wanted.queue_pairs = pairs;
    config.netns = "/proc/" + std::to_string(::getppid()) + "/fd/" + std::to_string(ns.fd());
    const std::size_t buffers_before = resident(pool->memory().bytes());
    const std::size_t before = resident();
    const auto it = device::open(std::move(config), pool).value();
    const std::size_t after = resident();
    const std::size_t buffers = resident(pool->memory().bytes()) - buffers_before;
    say(std::to_string(after - before - buffers));
  });
  const std::string said = fresh.hear_all();
  return said.empty() ? SIZE_MAX : std::stoul(said);
}

}  // namespace

TEST_CASE("device: little memory is resident beside the buffers, the rings included") {
  auto ns = quiet_netns();
  if (!ns) return skip("may not make network namespaces");
  for (const std::uint16_t pairs : {std::uint16_t{1}, std::uint16_t{4}}) {
    CAPTURE(pairs);
    CHECK(cost(*ns, pairs) <= pairs * std::size_t{512 * 1024});
  }
}
