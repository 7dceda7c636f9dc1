// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/worker/vhost_backend.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "vkring/kernel/tap.hpp"
#include "vkring/memory/region.hpp"

// vhost-net on rings whose descriptors a test writes.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

using backend = basic_vhost_backend<>;

// A queue pair of 16 entries, one page of memory that the device knows of, and a TAP.
struct raw_bed {
  static constexpr std::uint16_t size = 16;
  tap port;
  region memory = region::make(2 * split_ring::bytes(size) + 8192).value();
  split_ring tx = split_ring::place(memory.bytes(), size);
  split_ring rx = split_ring::place(memory.bytes().subspan(split_ring::bytes(size)), size);
  std::byte* page = memory.bytes().data() + 2 * split_ring::bytes(size);
  event_fd tx_kick = event_fd::create().value(), tx_call = event_fd::create().value();
  event_fd rx_kick = event_fd::create().value(), rx_call = event_fd::create().value();
  event_set errors = event_set::create().value();
  backend far = backend::open(1, {}).value();
  std::uint64_t at = 0;
  std::uint16_t sent = 0;

  explicit raw_bed(const netns& ns)
      : port(tap::open({.name = "vkt%d", .netns_fd = ns.fd()}).value()) {
    REQUIRE(net_link::open(port.name(), ns).value().set_up(true));
    memory_table table;
    at = table.add({page, 4096}).value();
    std::memset(page, 0, 4096);
    worker_queue<split> queue;
    queue.tx = tx;
    queue.rx = rx;
    queue.options.size = size;
    queue.options.indirect = true;
    queue.tap = port.fd();
    queue.tx_kick = tx_kick.fd();
    queue.tx_call = tx_call.fd();
    queue.rx_kick = rx_kick.fd();
    queue.rx_call = rx_call.fd();
    REQUIRE(far.watch_errors(errors));
    REQUIRE(far.start({queue}, table, {feature::version_1, feature::indirect_desc}));
  }
  void describe(const split_ring& ring, std::uint16_t index, std::uint64_t address,
                std::uint32_t length, std::uint16_t flags = 0, std::uint16_t next = 0) {
    direct::store(ring.descriptors()[index].address, address);
    direct::store(ring.descriptors()[index].rest,
                  split_descriptor::pack(length, flags, next));
  }
  void offer(const split_ring& ring, const event_fd& kick, std::uint16_t head) {
    const std::uint16_t index = direct::load(ring.avail_index());
    direct::store(ring.avail_entries()[index % size], head);
    direct::publish_avail(ring.avail_index(), static_cast<std::uint16_t>(index + 1));
    kick.signal();
  }
  ring_breach told() {
    CHECK(errors.wait(10s));
    far.examine(0);
    return far.tx_breach(0);
  }
};

}  // namespace

TEST_CASE("vhost backend: what stops a ring is named, with its chain, and can be mended") {
  if (!vhost_net::open()) return skip("no /dev/vhost-net");
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  struct breach_case {
    const char* what;
    ring_fault fault;
    bool stays;  // the chain is still the device's next one
    void (*write)(raw_bed&);
  };
  const breach_case cases[] = {
      {"an address outside the table", ring_fault::address_refused, true,
       [](raw_bed& bed) { bed.describe(bed.tx, 3, bed.at + 8192, 100); }},
      {"a next beyond the ring", ring_fault::next_range, true,
       [](raw_bed& bed) { bed.describe(bed.tx, 3, bed.at, 100, descriptor_next, 16); }},
      {"a loop", ring_fault::chain_too_long, true,
       [](raw_bed& bed) { bed.describe(bed.tx, 3, bed.at, 100, descriptor_next, 3); }},
      {"a table of 17 bytes", ring_fault::indirect_length, true,
       [](raw_bed& bed) { bed.describe(bed.tx, 3, bed.at, 17, descriptor_indirect); }},
      {"a writable descriptor", ring_fault::chain_direction, false,
       [](raw_bed& bed) { bed.describe(bed.tx, 3, bed.at, 100, descriptor_write); }},
      {"nothing at all", ring_fault::buffer_too_small, false,
       [](raw_bed& bed) { bed.describe(bed.tx, 3, bed.at, 0); }},
  };
  for (const breach_case& each : cases) {
    CAPTURE(each.what);
    raw_bed bed(*ns);
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
  raw_bed bed(*ns);
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
  raw_bed bed(*ns);
  bed.describe(bed.tx, 0, bed.at, 12 + 60);
  for (std::uint16_t i = 1; i != 100; ++i) {
    bed.offer(bed.tx, bed.tx_kick, 0);
    bed.far.stop_tx(0);
    bed.far.stop_rx(0);
    REQUIRE(direct::load(bed.tx.used_index()) == i);  // drained
    REQUIRE(bed.far.restart(0));
  }
  bed.offer(bed.tx, bed.tx_kick, 0);
  CHECK(eventually([&] { return direct::load(bed.tx.used_index()) == 100; }));
  bed.far.examine(0);
  CHECK_FALSE(bed.far.tx_breach(0));
}
