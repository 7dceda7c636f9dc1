// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/worker/health.hpp"

#include <catch2/catch.hpp>

using namespace vkring;

TEST_CASE("health: what is wrong, in a line that can be printed") {
  queue_health it;
  it.pair = 2;
  CHECK(to_text(it) == "queue pair 2: good");
  it.tx_device = {ring_fault::address_refused, 5, 0x1000};
  CHECK(to_text(it) ==
        "queue pair 2, tx: descriptor 5: address_refused, value 0x1000, says the device");
  it.tx = {ring_fault::used_id_range, 17, 0x100};
  it.rx = {ring_fault::used_id_not_head, 17, 3};
  it.rx_device = {ring_fault::device_error, 9, 4};
  it.stalled = true;
  it.interface_gone = true;
  CHECK(to_text(it) ==
        "queue pair 2, tx: position 17: used_id_range, value 0x100; "
        "tx: descriptor 5: address_refused, value 0x1000, says the device; "
        "rx: descriptor 3: used_id_not_head, value 0x3; "
        "rx: descriptor 4: device_error, value 0x4, says the device; "
        "tx: stalled, frames wait and none is taken; the interface was deleted");
}
