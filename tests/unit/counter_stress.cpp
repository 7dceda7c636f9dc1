// SPDX-License-Identifier: BSD-3-Clause
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdint>
#include <thread>

#include "vkring/core/counter.hpp"

using vkring::counter;

TEST_CASE("another thread reads counts that only grow, and in the end all of them") {
  constexpr std::uint64_t additions = 100'000;
  // Both halves of the word change at every step, so that a torn read would show.
  constexpr std::uint64_t step = 0x1'0000'0001;
  counter events;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < additions; ++i) events.add(step);
    done.store(true, std::memory_order_release);
  });
  std::uint64_t last = 0;
  bool grows = true;
  bool whole = true;
  while (!done.load(std::memory_order_acquire)) {
    const std::uint64_t now = events.value();
    grows = grows && now >= last;
    whole = whole && now % step == 0;
    last = now;
  }
  writer.join();
  CHECK(grows);
  CHECK(whole);
  CHECK(events.value() == additions * step);
}
