// SPDX-License-Identifier: BSD-3-Clause
#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>

#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "support/volume.hpp"

// vhost-net in many settings. Not all of them with all others, but each with each other one.

using namespace vkring;
using namespace vkring::test;

namespace {

struct settings {
  std::uint32_t size;
  std::uint16_t pairs;
  bool mergeable;
  bool indirect;
  bool event_idx;
  bool in_order;

  [[nodiscard]] constexpr std::array<std::uint32_t, 6> all() const {
    return {size, pairs, mergeable, indirect, event_idx, in_order};
  }
};
constexpr std::array rows = {
    settings{1, 1, true, false, false, false},
    settings{1, 2, true, true, true, false},
    settings{1, 4, false, true, false, true},
    settings{2, 1, false, true, true, false},
    settings{2, 2, false, true, false, false},
    settings{2, 4, true, false, true, true},
    settings{256, 1, false, true, false, true},
    settings{256, 2, true, true, false, true},
    settings{256, 4, true, false, true, false},
    settings{1024, 1, true, true, true, false},
    settings{1024, 2, false, false, false, true},
    settings{1024, 4, false, false, true, true},
    settings{32768, 1, false, false, true, false},
    settings{32768, 2, true, true, false, true},
    settings{32768, 4, true, true, true, true},
};

// Whether there is a row for each two values of two different settings.
consteval bool each_with_each() {
  for (std::size_t a = 0; a < 6; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      for (const settings& one : rows) {
        for (const settings& other : rows) {
          bool found = false;
          for (const settings& row : rows) {
            found = found || (row.all()[a] == one.all()[a] && row.all()[b] == other.all()[b]);
          }
          if (!found) return false;
        }
      }
    }
  }
  return true;
}
static_assert(each_with_each());

}  // namespace

TEST_CASE("vhost-net settings: 20000 frames each way in each, pairwise") {
  auto opened = vhost_net::open();
  if (!opened) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const bool has_in_order = opened->features().value().contains(feature::in_order);
  for (const settings& row : rows) {
    CAPTURE(row.size, row.pairs, row.mergeable, row.indirect, row.event_idx, row.in_order);
    const auto when = [](bool on) { return on ? want::required : want::off; };
    device_config config = vhost_config(row.pairs);
    config.wanted.queue_size = row.size;
    config.wanted.mergeable = when(row.mergeable);
    config.wanted.indirect = when(row.indirect);
    config.wanted.event_idx = when(row.event_idx);
    config.wanted.in_order = when(row.in_order && has_in_order);
    // Frames of several buffers where the rings can carry them.
    const bool several_in = row.mergeable && row.size >= 2;
    const bool several_out = row.indirect || row.size >= 4;
    config.wanted.mtu_bytes = several_in ? 3000 : 1500;
    // What the queues may hold, and a burst each way.
    const std::uint32_t buffers = row.pairs * (row.size * 5 / 2 + 160) + 1024;
    volume_bed bed(*ns, device_bed::in(*ns, std::move(config)), {.buffers = buffers},
                   {.large = several_in ? 3000u : 1400u, .piece = several_out ? 500u : 2048u});
    CHECK(bed.run(20'000) == "");
    for (const queue_health& each : bed.it.health()) CHECK(each.good());
    for (std::size_t pair = 0; pair < row.pairs; ++pair) {
      CHECK(bed.it.tx_statistics(pair).drops.empty());
      CHECK(bed.it.rx_statistics(pair).drops.empty());
    }
  }
}
