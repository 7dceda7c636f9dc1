// SPDX-License-Identifier: BSD-3-Clause
#include <catch2/catch.hpp>

#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "support/volume.hpp"

// vhost-net over a long time: the rings go round some four thousand times.

using namespace vkring;
using namespace vkring::test;

TEST_CASE("vhost-net volume: a million frames each way, not one lost, repeated or damaged") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = vhost_config();
  config.wanted.queue_size = 256;
  volume_bed bed(*ns, device_bed::in(*ns, std::move(config)), {}, {});
  CHECK(bed.run(1'000'000) == "");
  CHECK(bed.it.health()[0].good());
  CHECK(bed.it.tx_statistics(0).drops.empty());
  CHECK(bed.it.rx_statistics(0).drops.empty());
  CHECK(bed.it.link().value().counters.rx_packets >= 1'000'000);
}
