// SPDX-License-Identifier: BSD-3-Clause

// The device side against a driver that breaks the rules: a named fault, a queue that stops, and no
// byte touched that is not in the address space.

#include <catch2/catch.hpp>
#include <vector>

#include "device_victim.hpp"

namespace vkring::test {
namespace {

using victim = device_victim;

TEST_CASE("avail index: more than the ring has entries, or backwards", "[ring]") {
  for (const bool event_idx : {false, true}) {
    for (const std::uint32_t jump : {9u, 10u, 32768u, 65535u}) {
      victim it({.size = 8, .event_idx = event_idx, .start = ring_index(65530)});
      it.show(jump);
      CHECK(it.pop() == 0);
      it.check_broken(ring_fault::avail_index_jump, ring_index(65530 + jump).value());
    }
  }
  victim full(plain);
  for (std::uint16_t i = 0; i < 8; ++i) {
    full.describe(i, {low, 8});
    full.offer(i);
  }
  CHECK(full.pop() == 8);
  full.offer(0);  // one more than the ring holds, as nothing was used yet
  CHECK(full.pop() == 0);
  full.check_broken(ring_fault::avail_index_jump, ring_index(65530 + 9).value());

  victim back(plain);
  for (std::uint16_t i = 0; i < 2; ++i) {
    back.describe(i, {low, 8});
    back.offer(i);
  }
  CHECK(back.pop() == 2);
  back.show(65535);
  CHECK(back.pop() == 0);
  back.check_broken(ring_fault::avail_index_jump, ring_index(65530 + 1).value());
}

TEST_CASE("head: not below the queue size", "[ring]") {
  for (const std::uint16_t head : {std::uint16_t{8}, std::uint16_t{0x8000}, std::uint16_t{65535}}) {
    for (const bool burst : {false, true}) {
      victim it(plain);
      it.describe(1, {low, 8});
      it.offer(1);
      it.offer(head);
      watching::begin();
      if (burst) {
        REQUIRE(it.device.avail(8) == 2);
        CHECK(it.pop_burst(2) == 1);
        CHECK_FALSE(it.device.breach());
        CHECK(it.pop() == 0);
      } else {
        CHECK(it.pop() == 1);
      }
      CHECK(it.device.breach().position == 65531);
      it.check_broken(ring_fault::head_range, head);
    }
  }
}

TEST_CASE("next: out of range, a loop, longer than the ring", "[ring]") {
  victim it(plain);
  watch_book::get().revisits = true;
  SECTION("out of range") {
    for (const std::uint16_t next : {std::uint16_t{8}, std::uint16_t{65535}}) {
      victim one(plain);
      one.describe(0, {low, 8, next_flag, 1});
      one.describe(1, {low, 8, next_flag, next});
      one.check_refused(ring_fault::next_range, next);
    }
  }
  SECTION("to itself") {
    it.describe(0, {low, 8, next_flag, 0});
    it.check_refused(ring_fault::chain_too_long, 8);
  }
  SECTION("to itself, empty") {
    it.describe(0, {low, 0, next_flag, 0});
    it.check_refused(ring_fault::chain_too_long, 8);
  }
  SECTION("in a circle") {
    for (std::uint16_t i = 0; i < 4; ++i) {
      it.describe(i, {low, 8, next_flag, static_cast<std::uint16_t>((i + 1) % 4)});
    }
    it.check_refused(ring_fault::chain_too_long, 8);
  }
  SECTION("a ring of one") {
    victim one({.size = 1});
    watch_book::get().revisits = true;
    one.describe(0, {low, 8, next_flag, 0});
    one.offer(0);
    CHECK(one.pop() == 0);
    one.check_broken(ring_fault::chain_too_long, 1);
  }
  SECTION("as long as the ring is lawful") {
    for (std::uint16_t i = 0; i < 8; ++i) {
      it.describe(
          i, {low, 8, i < 7 ? next_flag : std::uint16_t{0}, static_cast<std::uint16_t>(i + 1)});
    }
    it.offer(0);
    CHECK(it.pop() == 1);
    CHECK(it.readable == 64);
  }
}

TEST_CASE("addresses: outside, across an end, around the top, not writable", "[ring]") {
  const std::vector<descriptor> outside = {
      {0, 1},
      {low - 1, 1},
      {low - 1, 16},
      {high + 4096, 1},
      {high + 4095, 2},
      {low, 3 * 4096},
      {low, 0xffff0000},
      {0xffff'ffff'ffff'ffff, 1},
      {0xffff'ffff'ffff'ffff, 0xffff0000},
      {0xffff'ffff'ffff'fff0, 0x20},
      {rom, 1, write_flag},
      {rom + 4095, 2},
  };
  for (const descriptor& each : outside) {
    CAPTURE(each.address, each.length, each.flags);
    for (const bool chained : {false, true}) {
      victim it(plain);
      if (chained) it.describe(0, {low, 8, next_flag, 1});
      it.describe(chained ? 1 : 0, each);
      const std::uint64_t at =
          it.map
              .translate(each.address, each.length,
                         each.flags != 0 ? memory_access::write : memory_access::read)
              .size();
      it.offer(0);
      CHECK(it.pop() == 0);
      CHECK(it.device.breach().value >= each.address + (at != 0 ? 1 : 0));
      it.check_broken(ring_fault::address_refused, it.device.breach().value);
    }
  }
  victim it(plain);
  it.describe(0, {low + 4000, 200, write_flag});  // from one region into the next is lawful
  it.describe(1, {low + 1, 8191});
  it.describe(2, {rom, 4096});
  it.describe(3, {0, 0});  // no byte, no address
  for (std::uint16_t i = 0; i < 4; ++i) it.offer(i);
  CHECK(it.pop() == 4);
  CHECK(it.writable == 200);
  CHECK(it.readable == 8191 + 4096);
  CHECK_FALSE(it.device.breach());
}

TEST_CASE("readable after writable", "[ring]") {
  victim it(plain);
  it.describe(0, {low, 8, next_flag | write_flag, 1});
  SECTION("directly") {
    it.describe(1, {low + 64, 8});
    it.check_refused(ring_fault::readable_after_writable, low + 64);
  }
  SECTION("empty") {
    it.describe(1, {low + 64, 0});
    it.check_refused(ring_fault::readable_after_writable, low + 64);
  }
  SECTION("from the ring into a table") {
    it.describe(1, {low + 1024, 16, indirect_flag});
    it.table(low + 1024, {{low + 64, 8}});
    it.check_refused(ring_fault::readable_after_writable, low + 64);
  }
  SECTION("in a table") {
    it.describe(0, {low + 1024, 32, indirect_flag});
    it.table(low + 1024, {{low, 8, next_flag | write_flag, 1}, {low + 64, 8}});
    it.check_refused(ring_fault::readable_after_writable, low + 64);
  }
}

TEST_CASE("more bytes than a length can say", "[ring]") {
  victim it({.size = 1024, .indirect = true});
  watch_book::get().revisits = true;
  const std::uint16_t count = static_cast<std::uint16_t>(0x1'0000'0000 / large_bytes);
  SECTION("one less is lawful") {
    for (std::uint16_t i = 0; i < count; ++i) {
      const bool end = i + 1 == count;
      it.describe(i, {large, end ? large_bytes - 1 : large_bytes,
                      end ? std::uint16_t{0} : next_flag, static_cast<std::uint16_t>(i + 1)});
    }
    it.offer(0);
    CHECK(it.pop() == 1);
    CHECK(it.readable == 0xffff'ffff);
  }
  SECTION("directly") {
    it.describe(0, {large, large_bytes, next_flag, 0});
    it.check_refused(ring_fault::chain_too_large, 0x1'0000'0000);
  }
  SECTION("in a table") {
    it.describe(0, {low, 8192, indirect_flag});
    it.table(low, {{large, large_bytes, next_flag, 0}});
    it.check_refused(ring_fault::chain_too_large, 0x1'0000'0000);
  }
}

TEST_CASE("more pieces than a chain may have", "[ring]") {
  victim it({.size = 2048, .indirect = true});
  SECTION("descriptors") {
    for (std::uint16_t i = 0; i < 1025; ++i) {
      it.describe(
          i, {low, 1, i < 1024 ? next_flag : std::uint16_t{0}, static_cast<std::uint16_t>(i + 1)});
    }
    it.check_refused(ring_fault::chain_too_long, max_chain_pieces);
  }
  SECTION("pieces of descriptors that cross regions") {
    for (std::uint16_t i = 0; i < 513; ++i) {
      it.describe(i, {high - 1, 2, i < 512 ? next_flag : std::uint16_t{0},
                      static_cast<std::uint16_t>(i + 1)});
    }
    it.check_refused(ring_fault::chain_too_long, max_chain_pieces);
  }
}

TEST_CASE("one queue breaks and the others go on", "[ring]") {
  victim other(plain);
  victim it(plain);
  watch_book::get().revisits = true;
  watch_book::get().may_load = watch_book::get().may_store = {};
  it.describe(0, {low, 8, next_flag, 0});
  it.offer(0);
  CHECK(it.pop() == 0);
  other.describe(0, {low, 8});
  for (int i = 0; i < 100; ++i) {
    other.offer(0);
    CHECK(other.pop() == 1);
    other.device.push_used(0, 0);
    other.device.publish();
  }
  CHECK_FALSE(other.device.breach());
  it.check_broken(ring_fault::chain_too_long, 8);
}

TEST_CASE("the driver's notification words cannot do more than cost a call", "[ring]") {
  victim it({.size = 8, .event_idx = true});
  it.describe(0, {low, 8});
  for (std::uint32_t event = 0; event < 65536; event += 251) {
    direct::store(it.ring.used_event(), static_cast<std::uint16_t>(event));
    direct::store(it.ring.avail_flags(), static_cast<std::uint16_t>(~event));
    it.offer(0);
    REQUIRE(it.pop() == 1);
    it.device.push_used(0, 0);
    it.device.publish();
    watching::begin();
    (void)it.device.call_needed();
  }
  CHECK(watch_book::get().strays == 0);
  CHECK(watch_book::get().second_loads == 0);
}

}  // namespace
}  // namespace vkring::test
