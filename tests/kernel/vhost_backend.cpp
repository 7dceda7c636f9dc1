// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/worker/vhost_backend.hpp"

#include <catch2/catch.hpp>

#include "support/raw_vhost_bed.hpp"
#include "support/skip.hpp"

// vhost-net on rings whose descriptors a test writes.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

TEST_CASE("vhost backend: what stops a ring is named, with its chain, and can be mended") {
  if (!vhost_net::open()) return skip("no /dev/vhost-net");
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  struct breach_case {
    const char* what;
    ring_fault fault;
    bool stays;  // the chain is still the device's next one
    void (*write)(raw_vhost_bed&);
  };
  const breach_case cases[] = {
      {"an address outside the table", ring_fault::address_refused, true,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, bed.at + 0x100000, 100); }},
      {"a next beyond the ring", ring_fault::next_range, true,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, bed.at, 100, descriptor_next, 16); }},
      {"a loop", ring_fault::chain_too_long, true,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, bed.at, 100, descriptor_next, 3); }},
      {"a table of 17 bytes", ring_fault::indirect_length, true,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, bed.at, 17, descriptor_indirect); }},
      {"a writable descriptor", ring_fault::chain_direction, false,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, bed.at, 100, descriptor_write); }},
      {"nothing at all", ring_fault::buffer_too_small, false,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, bed.at, 0); }},
  };
  for (const breach_case& each : cases) {
    CAPTURE(each.what);
    raw_vhost_bed bed(*ns);
    bed.far.examine(0);
    CHECK_FALSE(bed.far.tx_breach(0));
    each.write(bed);
    bed.offer(bed.tx, bed.tx_kick, 3);
    const ring_breach told = bed.told();
    CHECK(name(told.fault) == name(each.fault));
    CHECK(told.position == 3);
    CHECK_FALSE(bed.far.rx_breach(0));
    CHECK_FALSE(bed.far.tap_gone(0));
    if (!each.stays) continue;
    CHECK(direct::load(bed.tx.used_index()) == 0);
    bed.describe(bed.tx, 3, bed.at, 12 + 60);
    bed.far.recover(0);
    CHECK(eventually([&] { return direct::load(bed.tx.used_index()) == 1; }));
    bed.far.examine(0);
    CHECK_FALSE(bed.far.tx_breach(0));
  }
}

TEST_CASE("vhost backend: the rx ring, too") {
  if (!vhost_net::open()) return skip("no /dev/vhost-net");
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  raw_vhost_bed bed(*ns);
  tap_wire wire(*ns, static_cast<int>(bed.port.index().value()));
  bed.describe(bed.rx, 5, bed.at, 2048);  // readable
  bed.offer(bed.rx, bed.rx_kick, 5);
  REQUIRE(wire.send(numbered_frame(1, 100)) == 0);
  CHECK(bed.errors.wait(10s));
  bed.far.examine(0);
  CHECK(bed.far.rx_breach(0).fault == ring_fault::chain_direction);
  CHECK(bed.far.rx_breach(0).position == 5);
  CHECK_FALSE(bed.far.tx_breach(0));
}

TEST_CASE("vhost backend: a ring that was stopped goes on where it was") {
  if (!vhost_net::open()) return skip("no /dev/vhost-net");
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  raw_vhost_bed bed(*ns);
  bed.describe(bed.tx, 0, bed.at, 12 + 60);
  for (std::uint16_t i = 1; i != 100; ++i) {
    bed.offer(bed.tx, bed.tx_kick, 0);
    CHECK(bed.far.stop_tx(0));
    CHECK(bed.far.stop_rx(0));
    REQUIRE(direct::load(bed.tx.used_index()) == i);  // drained
    REQUIRE(bed.far.restart(0));
  }
  bed.offer(bed.tx, bed.tx_kick, 0);
  CHECK(eventually([&] { return direct::load(bed.tx.used_index()) == 100; }));
  bed.far.examine(0);
  CHECK_FALSE(bed.far.tx_breach(0));
}
