// SPDX-License-Identifier: BSD-3-Clause

// The device side against a driver that breaks the rules of indirect tables.

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "device_victim.hpp"

namespace vkring::test {
namespace {

using victim = device_victim;

struct table_case {
  std::string what;
  descriptor head;
  std::vector<descriptor> entries;
  ring_fault fault;
  std::uint64_t value;
};

TEST_CASE("indirect tables that break the rules", "[ring]") {
  const std::uint64_t at = low + 1024;
  const auto rest = [](const descriptor& of) {
    return split_descriptor::pack(of.length, of.flags, of.next);
  };
  const descriptor nested{at, 16, indirect_flag}, linked{at, 16, indirect_flag | next_flag, 1};
  const std::vector<table_case> cases = {
      {"empty", {at, 0, indirect_flag}, {}, ring_fault::indirect_length, 0},
      {"half an entry", {at, 8, indirect_flag}, {}, ring_fault::indirect_length, 8},
      {"one byte more", {at, 17, indirect_flag}, {{low, 1}}, ring_fault::indirect_length, 17},
      {"the largest", {at, 0xffffffff, indirect_flag}, {}, ring_fault::indirect_length, 0xffffffff},
      {"with a next", linked, {{low, 1}}, ring_fault::indirect_with_next, rest(linked)},
      {"nested", {at, 16, indirect_flag}, {nested}, ring_fault::indirect_refused, rest(nested)},
      {"nested later",
       {at, 32, indirect_flag},
       {{low, 1, next_flag, 1}, nested},
       ring_fault::indirect_refused,
       rest(nested)},
      {"outside", {rom - 16, 16, indirect_flag}, {}, ring_fault::address_refused, rom - 16},
      {"at the top",
       {0xffff'ffff'ffff'fff0, 32, indirect_flag},
       {},
       ring_fault::address_refused,
       0xffff'ffff'ffff'fff0},
      {"beyond the end",
       {high + 4080, 32, indirect_flag},
       {},
       ring_fault::address_refused,
       high + 4096},
      {"an entry across two regions",
       {high - 8, 16, indirect_flag},
       {},
       ring_fault::address_refused,
       high - 8},
      {"not aligned", {at + 4, 16, indirect_flag}, {}, ring_fault::address_refused, at + 4},
      {"next beyond the table",
       {at, 32, indirect_flag},
       {{low, 1, next_flag, 2}, {low, 1}},
       ring_fault::next_range,
       2},
      {"next far beyond",
       {at, 16, indirect_flag},
       {{low, 1, next_flag, 65535}},
       ring_fault::next_range,
       65535},
      {"a loop", {at, 16, indirect_flag}, {{low, 1, next_flag, 0}}, ring_fault::chain_too_long, 1},
      {"a loop of two",
       {at, 48, indirect_flag},
       {{low, 1, next_flag, 1}, {low, 1, next_flag, 0}},
       ring_fault::chain_too_long,
       3},
      {"a long loop of nothing",
       {low, 0x7fff'fff0, indirect_flag},
       {},
       ring_fault::chain_too_long,
       0x7ff'ffff},
      {"an entry outside",
       {at, 16, indirect_flag},
       {{rom - 1, 1}},
       ring_fault::address_refused,
       rom - 1},
      {"writing where one may not",
       {at, 16, indirect_flag},
       {{rom, 1, write_flag}},
       ring_fault::address_refused,
       rom},
  };
  for (const table_case& each : cases) {
    CAPTURE(each.what);
    for (const bool behind : {false, true}) {  // a table may also end a chain of descriptors
      victim it(plain);
      watch_book::get().revisits = each.fault == ring_fault::chain_too_long;
      if (behind) it.describe(0, {low, 8, next_flag, 1});
      it.describe(behind ? 1 : 0, each.head);
      it.table(each.head.address, each.entries);
      if (each.what == "a long loop of nothing") it.table(low, {{low, 0, next_flag, 0}});
      if (each.what == "beyond the end") it.table(high + 4080, {{low, 8, next_flag, 1}});
      it.check_refused(each.fault, each.value);
    }
  }
}

TEST_CASE("tables within the rules", "[ring]") {
  victim it(plain);
  const std::uint64_t across = high - 32;  // two entries in one region, two in the next
  it.table(across, {{low, 8, next_flag, 2}, {}, {low + 8, 8, next_flag, 3}, {low + 16, 8}});
  it.describe(0, {across, 64, indirect_flag});
  it.table(low + 1024, {{low, 16, write_flag}});
  it.describe(1, {low, 8, next_flag, 2});  // a descriptor, then a table
  it.describe(2, {low + 1024, 16, indirect_flag});
  it.table(low + 2048, {{low, 4}});
  it.describe(3, {low + 2048, 16, indirect_flag | write_flag});  // WRITE means nothing there
  for (const std::uint16_t head : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{3}}) {
    it.offer(head);
  }
  CHECK(it.pop() == 3);
  CHECK(it.readable == 24 + 8 + 4);
  CHECK(it.writable == 16);
  CHECK_FALSE(it.device.breach());
}

TEST_CASE("tables that were not agreed on", "[ring]") {
  victim it({.size = 8});
  it.table(low + 1024, {{low, 8}});
  it.describe(0, {low + 1024, 16, indirect_flag});
  it.check_refused(ring_fault::indirect_refused, low + 1024);
}

}  // namespace
}  // namespace vkring::test
