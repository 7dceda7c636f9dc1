// SPDX-License-Identifier: BSD-3-Clause

// The packed ring between two threads. About two seconds; the hidden case `[.full]` runs for
// minutes.

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "stress.hpp"
#include "vkring/ring/packed.hpp"

namespace {

using namespace vkring;
using namespace vkring::test::model;

struct stress_packed {
  using layout = packed;
  static std::size_t bytes(std::uint16_t size) { return packed_ring::bytes(size); }
  static packed_ring place(std::span<std::byte> block, std::uint16_t size) {
    return packed_ring::place(block, size);
  }
};

void run_all(std::uint32_t messages) {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{256}}) {
    for (const bool event_idx : {false, true}) {
      stress_options what;
      what.ring = {.size = size, .event_idx = event_idx, .start = ring_index(65000)};
      what.messages = messages;
      const auto check = [](const stress_options& options) {
        CAPTURE(options.ring.size, options.ring.event_idx, options.ring.in_order,
                options.ring.indirect, options.pairs, options.shuffled, options.late_call);
        CHECK(stress_run<stress_packed>(options).run() == "");
      };
      check(what);
      what.late_call = true;
      check(what);
      what.shuffled = true;
      check(what);
      what.shuffled = false;
      what.ring.in_order = true;
      check(what);
      what.ring.indirect = what.pairs = true;
      check(what);
      what.ring.indirect = false;
      if (size > 1) check(what);
      what.ring.in_order = false;
      what.shuffled = true;
      if (size > 1) check(what);
    }
  }
}

}  // namespace

TEST_CASE("stress: a packed ring between two threads") { run_all(1500); }

TEST_CASE("stress: a packed ring between two threads, for minutes", "[.full]") { run_all(500000); }
