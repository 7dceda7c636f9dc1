// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_RAW_VHOST_BED_HPP
#define VKRING_TESTS_SUPPORT_RAW_VHOST_BED_HPP

// vhost-net on rings whose descriptors a test writes.

#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "support/tap_wire.hpp"
#include "vkring/kernel/event_fd.hpp"
#include "vkring/kernel/link.hpp"
#include "vkring/kernel/tap.hpp"
#include "vkring/memory/region.hpp"
#include "vkring/memory/table.hpp"
#include "vkring/ring/split.hpp"
#include "vkring/worker/vhost_backend.hpp"

namespace vkring::test {

/// A queue pair of 16 entries, some pages of memory that the device knows of, and a TAP.
struct raw_vhost_bed {
  static constexpr std::uint16_t size = 16;
  static constexpr std::size_t page_bytes = 4096;
  static constexpr std::size_t pages = 16;
  tap port;
  region rings = region::make(2 * split_ring::bytes(size)).value();
  split_ring tx = split_ring::place(rings.bytes(), size);
  split_ring rx = split_ring::place(rings.bytes().subspan(split_ring::bytes(size)), size);
  region memory = region::make(pages * page_bytes).value();
  std::byte* page = memory.bytes().data();  ///< the first of them
  event_fd tx_kick = event_fd::create().value(), tx_call = event_fd::create().value();
  event_fd rx_kick = event_fd::create().value(), rx_call = event_fd::create().value();
  event_set errors = event_set::create().value();
  basic_vhost_backend<> far = basic_vhost_backend<>::open(1, {}).value();
  std::uint64_t at = 0;  ///< the guest address of the first page

  explicit raw_vhost_bed(const netns& ns)
      : port(tap::open({.name = "vkt%d", .netns_fd = ns.fd()}).value()) {
    REQUIRE(net_link::open(port.name(), ns).value().set_up(true));
    memory_table table;
    at = table.add({page, pages * page_bytes}).value();
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
  /// Writes a descriptor of a ring, or of a table.
  void describe(const split_ring& ring, std::uint16_t index, std::uint64_t address,
                std::uint32_t length, std::uint16_t flags = 0, std::uint16_t next = 0) {
    describe(ring.descriptors()[index], address, length, flags, next);
  }
  void describe(split_descriptor& it, std::uint64_t address, std::uint32_t length,
                std::uint16_t flags = 0, std::uint16_t next = 0) {
    direct::store(it.address, address);
    direct::store(it.rest, split_descriptor::pack(length, flags, next));
  }
  /// Makes a chain available, and kicks.
  void offer(const split_ring& ring, const event_fd& kick, std::uint16_t head) {
    const std::uint16_t index = direct::load(ring.avail_index());
    direct::store(ring.avail_entries()[index % size], head);
    direct::publish_avail(ring.avail_index(), static_cast<std::uint16_t>(index + 1));
    kick.signal();
  }
  /// What it stumbles over.
  ring_breach told() {
    CHECK(errors.wait(std::chrono::seconds(10)));
    far.examine(0);
    return far.tx_breach(0);
  }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_RAW_VHOST_BED_HPP
