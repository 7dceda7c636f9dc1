// SPDX-License-Identifier: BSD-3-Clause
#include <sys/mman.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "support/device_bed.hpp"
#include "support/raw_vhost_bed.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/worker/health.hpp"

// All that can be wrong with what vhost-net finds in the rings: what vkring's queues refuse before, and
// what becomes of it when somebody else writes it into a ring.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t header = 12;

// Stores the virtio header of the frame in the first page.
void put_header(raw_vhost_bed& bed, const virtio_net_hdr& what) {
  store_header(bed.page, header, what);
}
// A table of descriptors in the second page.
split_descriptor* table_of(raw_vhost_bed& bed) {
  return reinterpret_cast<split_descriptor*>(bed.page + bed.page_bytes);
}
bool is_used(const raw_vhost_bed& bed, std::uint16_t count) {
  return eventually([&] { return direct::load(bed.tx.used_index()) == count; });
}
// A frame of 60 bytes that nothing is wrong with, out of the last page.
void offer_good(raw_vhost_bed& bed, std::uint16_t head) {
  bed.describe(bed.tx, head, bed.at + (bed.pages - 1) * bed.page_bytes, header + 60);
  bed.offer(bed.tx, bed.tx_kick, head);
}

}  // namespace

TEST_CASE("vhost bad data: what stops a ring is named, and the ring goes on once it is mended") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  struct stall {
    const char* what;
    ring_fault fault;
    void (*write)(raw_vhost_bed&);
  };
  // Head 3 is offered.
  const stall stalls[] = {
      {"out after in", ring_fault::readable_after_writable,
       [](raw_vhost_bed& bed) {
         bed.describe(bed.tx, 3, bed.at, 100, descriptor_next | descriptor_write, 4);
         bed.describe(bed.tx, 4, bed.at, 100);
       }},
      {"a table within a table", ring_fault::indirect_refused,
       [](raw_vhost_bed& bed) {
         bed.describe(*table_of(bed), bed.at, 16, descriptor_indirect);
         bed.describe(bed.tx, 3, bed.at + bed.page_bytes, 16, descriptor_indirect);
       }},
      {"a table that nobody knows of", ring_fault::address_refused,
       [](raw_vhost_bed& bed) { bed.describe(bed.tx, 3, 0x1000, 16, descriptor_indirect); }},
      {"a next beyond its table", ring_fault::next_range,
       [](raw_vhost_bed& bed) {
         bed.describe(*table_of(bed), bed.at, 16, descriptor_next, 1);
         bed.describe(bed.tx, 3, bed.at + bed.page_bytes, 16, descriptor_indirect);
       }},
      {"a buffer that ends outside the table of memory", ring_fault::address_refused,
       [](raw_vhost_bed& bed) {
         bed.describe(bed.tx, 3, bed.at + (bed.pages - 1) * bed.page_bytes, 4097);
       }},
      {"more pieces than the kernel takes", ring_fault::chain_too_long,
       [](raw_vhost_bed& bed) {
         constexpr std::uint16_t pieces = 1025;
         for (std::uint16_t i = 0; i < pieces; ++i) {
           bed.describe(table_of(bed)[i], bed.at, 1, i + 1 < pieces ? descriptor_next : 0, i + 1);
         }
         bed.describe(bed.tx, 3, bed.at + bed.page_bytes, pieces * 16, descriptor_indirect);
       }},
  };
  for (const stall& each : stalls) {
    CAPTURE(each.what);
    raw_vhost_bed bed(*ns);
    each.write(bed);
    bed.offer(bed.tx, bed.tx_kick, 3);
    const ring_breach told = bed.told();
    CHECK(name(told.fault) == name(each.fault));
    CHECK(told.position == 3);
    CHECK(direct::load(bed.tx.used_index()) == 0);
    bed.describe(bed.tx, 3, bed.at, header + 60);
    bed.far.recover(0);
    CHECK(is_used(bed, 1));
    offer_good(bed, 5);
    CHECK(is_used(bed, 2));
    // Of some the kernel tells twice, and the second time perhaps only after the recovery.
    bed.far.examine(0);
    bed.far.recover(0);
    bed.far.examine(0);
    CHECK_FALSE(bed.far.tx_breach(0));
  }
}

TEST_CASE("vhost bad data: a head beyond the ring, and more chains than it has") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  {
    raw_vhost_bed bed(*ns);
    bed.offer(bed.tx, bed.tx_kick, bed.size);
    const ring_breach told = bed.told();
    CHECK(told.fault == ring_fault::head_range);
    CHECK(told.value == bed.size);
    bed.describe(bed.tx, 0, bed.at, header + 60);
    direct::store(bed.tx.avail_entries()[0], std::uint16_t{0});
    bed.far.recover(0);
    CHECK(is_used(bed, 1));
  }
  raw_vhost_bed bed(*ns);
  bed.describe(bed.tx, 0, bed.at, header + 60);
  direct::publish_avail(bed.tx.avail_index(), static_cast<std::uint16_t>(bed.size + 1));
  bed.tx_kick.signal();
  const ring_breach told = bed.told();
  CHECK(told.fault == ring_fault::avail_index_jump);
  direct::publish_avail(bed.tx.avail_index(), std::uint16_t{1});
  bed.far.recover(0);
  CHECK(is_used(bed, 1));
}

TEST_CASE("vhost bad data: 1024 pieces are not too many") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  raw_vhost_bed bed(*ns);
  for (std::uint16_t i = 0; i < 1024; ++i) {
    bed.describe(table_of(bed)[i], bed.at, 1, i < 1023 ? descriptor_next : 0, i + 1);
  }
  bed.describe(bed.tx, 3, bed.at + bed.page_bytes, 1024 * 16, descriptor_indirect);
  bed.offer(bed.tx, bed.tx_kick, 3);
  CHECK(is_used(bed, 1));
}

TEST_CASE("vhost bad data: a chain that the kernel takes and never returns") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const bool writable : {true, false}) {
    CAPTURE(writable);
    raw_vhost_bed bed(*ns);
    if (writable) {
      bed.describe(bed.tx, 3, bed.at, 100, descriptor_write);
    } else {
      bed.describe(bed.tx, 3, bed.at, 0);
    }
    bed.offer(bed.tx, bed.tx_kick, 3);
    const ring_breach told = bed.told();
    CHECK(told.fault == (writable ? ring_fault::chain_direction : ring_fault::buffer_too_small));
    CHECK(told.position == 3);
    // What comes after it goes through, and the slot stays lost: no recovery brings it back.
    offer_good(bed, 5);
    CHECK(is_used(bed, 1));
    CHECK(tx_progress::of(bed.tx).waiting == 1);
  }
}

TEST_CASE("vhost bad data: what vhost-net tries for ever is seen as a stall, and named if it can be") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  enum { shorter_than_header, checksum_beyond_end, page_out_of_reach };
  for (const auto kind : {shorter_than_header, checksum_beyond_end, page_out_of_reach}) {
    CAPTURE(int{kind});
    raw_vhost_bed bed(*ns);
    bed.describe(bed.tx, 3, bed.at, kind == shorter_than_header ? header - 1 : header + 60);
    if (kind == checksum_beyond_end) {
      put_header(bed, {.flags = header_flag::needs_csum, .csum_start = 59, .csum_offset = 16});
    }
    if (kind == page_out_of_reach) {
      REQUIRE(::mprotect(bed.page, bed.page_bytes, PROT_NONE) == 0);
    }
    const auto motion = std::make_unique<ring_motion>();  // on the stack, g++ 12 -O3 raises false alarm
    const auto stalled = [&] {
      return motion->stalled(tx_progress::of(bed.tx), ring_motion::clock::now(), 100ms);
    };
    bed.offer(bed.tx, bed.tx_kick, 3);
    CHECK(eventually(stalled));
    CHECK_FALSE(bed.errors.wait(0ns));
    bed.far.examine(0);
    CHECK_FALSE(bed.far.tx_breach(0));
    bed.far.examine_stalled(0);
    const ring_breach told = bed.far.tx_breach(0);
    CHECK(told.fault == (kind == shorter_than_header  ? ring_fault::buffer_too_small
                         : kind == checksum_beyond_end ? ring_fault::checksum_beyond_end
                                                       : ring_fault::none));
    if (told) CHECK(told.position == 3);

    // It looks again by itself.
    if (kind == shorter_than_header) bed.describe(bed.tx, 3, bed.at, header + 60);
    if (kind == checksum_beyond_end) put_header(bed, {});
    if (kind == page_out_of_reach) {
      REQUIRE(::mprotect(bed.page, bed.page_bytes, PROT_READ | PROT_WRITE) == 0);
    }
    CHECK(is_used(bed, 1));
    CHECK_FALSE(stalled());
    offer_good(bed, 5);
    CHECK(is_used(bed, 2));
  }
}

TEST_CASE("vhost bad data: what the kernel drops without a word") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  raw_vhost_bed bed(*ns);
  tap_wire wire(*ns, static_cast<int>(bed.port.index().value()));
  auto link = net_link::open(bed.port.name(), *ns).value();
  std::uint16_t offered = 0;
  const auto taken = [&](std::uint32_t number, std::uint32_t bytes, const virtio_net_hdr& what) {
    const frame_bytes frame = numbered_frame(number, 60);
    put_header(bed, what);
    std::memcpy(bed.page + header, frame.data(), frame.size());
    bed.describe(bed.tx, 3, bed.at, header + bytes);
    bed.offer(bed.tx, bed.tx_kick, 3);
    return is_used(bed, ++offered);
  };
  CHECK(taken(1, 13, {}));
  CHECK(taken(2, 60, {.gso_type = 0x17}));
  CHECK(taken(3, 60, {.gso_type = gso::tcpv4, .gso_size = 0}));
  REQUIRE(link.set_up(false));
  CHECK(taken(4, 60, {}));
  REQUIRE(link.set_up(true));
  CHECK(taken(5, 60, {}));
  // Nothing was wrong with the last one.
  std::int64_t number = -1;
  CHECK(eventually([&] { return (number = wire.next_number()) != -1; }));
  CHECK(number == 5);
  CHECK_FALSE(bed.errors.wait(0ns));
}

TEST_CASE("vhost bad data: an rx buffer that is too small loses the frame, not itself") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  raw_vhost_bed bed(*ns);
  tap_wire wire(*ns, static_cast<int>(bed.port.index().value()));
  bed.describe(bed.rx, 5, bed.at, header + 100, descriptor_write);
  bed.offer(bed.rx, bed.rx_kick, 5);
  REQUIRE(wire.send(numbered_frame(1, 500)) == 0);
  REQUIRE(wire.send(numbered_frame(2, 90)) == 0);
  REQUIRE(eventually([&] { return direct::load(bed.rx.used_index()) == 1; }));
  CHECK(direct::load(bed.rx.used_elements()[0].id) == 5);
  CHECK(direct::load(bed.rx.used_elements()[0].length) == header + 90);
  CHECK(number_of({bed.page + header, 90}) == 2);
  bed.far.examine(0);
  CHECK_FALSE(bed.far.rx_breach(0));
}

TEST_CASE("vhost bad data: the queues of a device let none of it pass, and count it by name") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = vhost_config();
  config.wanted.offloads = {};
  device_bed bed(*ns, std::move(config));
  const auto other = buffer_pool::make({.buffers = 4}).value();
  const frame_bytes frame = numbered_frame(1, 60);
  std::uint64_t dropped = 0;
  const auto is_dropped_for = [&](std::string_view reason) {
    ++dropped;
    std::uint64_t all = 0;
    bool named = false;
    for (const drop_count& each : bed.it.tx_statistics(0).drops) {
      all += each.frames;
      named = named || each.reason == reason;
    }
    return named && all == dropped && bed.it.tx_waiting(0) == 0;
  };
  const auto refused = [&](std::size_t bytes, const virtio_net_hdr& what, std::string_view reason) {
    return bed.send(0, std::span(frame).first(bytes), what) && is_dropped_for(reason);
  };
  using namespace header_flag;
  CHECK(refused(13, {}, "too_short"));
  CHECK(refused(1, {}, "too_short"));
  CHECK(refused(60, {.flags = needs_csum, .csum_start = 59, .csum_offset = 16},
                "csum_start_beyond_end"));
  CHECK(refused(60, {.flags = needs_csum, .csum_start = 65535, .csum_offset = 65535},
                "csum_start_beyond_end"));
  CHECK(refused(60, {.flags = needs_csum, .gso_type = 0x17, .csum_start = 34, .csum_offset = 16},
                "unknown_gso_type"));
  CHECK(refused(60, {.flags = needs_csum, .gso_type = gso::tcpv4, .hdr_len = 54, .gso_size = 0,
                     .csum_start = 34, .csum_offset = 16},
                "gso_size_zero"));
  CHECK(refused(60, {.gso_type = gso::tcpv4, .hdr_len = 54, .gso_size = 6}, "gso_without_csum"));

  device::frame empty;
  CHECK(bed.it.tx(0).send({&empty, 1}) == 1);
  CHECK(is_dropped_for("empty_frame"));
  std::array<buffer_pool::handle, 1> handles;
  REQUIRE(other->take(handles) == 1);
  device::frame foreign(*other, handles[0]);
  REQUIRE(foreign.resize(60));
  CHECK(bed.it.tx(0).send({&foreign, 1}) == 1);
  CHECK(is_dropped_for("foreign_source"));

  const guest_region mine = bed.pool->regions()[0];
  const std::uint64_t own = reinterpret_cast<std::uintptr_t>(frame.data());
  for (const std::uint64_t address :
       {own, std::uint64_t{0}, mine.guest - 1, mine.guest + mine.size - 59, ~std::uint64_t{0} - 1}) {
    CAPTURE(address);
    const segment part{address, 60};
    CHECK(bed.it.tx(0).send({&part, 1}, {}, 7));
    CHECK(is_dropped_for("unreachable"));
    std::array<std::uint64_t, 1> token;
    CHECK(bed.it.tx(0).finished(token) == 1);
  }
  CHECK_FALSE(bed.wire.receive());
  CHECK(bed.to_kernel(0, 100, 1000) == "");
  CHECK(bed.from_kernel(100, 1000) == "");
  CHECK(bed.it.health()[0].good());
}
