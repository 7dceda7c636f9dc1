// SPDX-License-Identifier: BSD-3-Clause

#include <vkring/ring/inspect.hpp>
//
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <vkring/ring/split.hpp>

#include "arena.hpp"
#include "json_reader.hpp"

namespace vkring::test {
namespace {

// Both sides of a ring of eight with tables of four, from position 65534 on.
struct small_ring {
  ring_options options{.size = 8, .event_idx = true, .indirect = true, .start = ring_index(65534)};
  guarded_memory memory{split_ring::bytes(8)};
  guarded_memory table_memory{indirect_tables::bytes(8, 4)};
  guarded_memory buffers{4096};
  address_map map = [this] {
    address_map made;
    made.add(0x1000, table_memory.bytes());
    made.add(0x20000, buffers.bytes());
    return made;
  }();
  split_ring ring = split_ring::place(memory.bytes(), 8);
  indirect_tables tables{table_memory.data(), 0x1000, 4};
  virtqueue<split, driver_side, std::uint64_t> driver{ring, options, tables};
  virtqueue<split, device_side, mapped_space> device{ring, options, mapped_space(map)};

  void add(std::initializer_list<chain_buffer> chain) {
    REQUIRE(driver.try_add({chain.begin(), chain.size()}, 1));
    driver.publish();
  }
};

TEST_CASE("the test's JSON reader refuses what is not JSON", "[ring]") {
  for (const char* const good : {"{}", "[1,2]", "{\"a\":null}", "\"\"", "0"}) {
    CHECK(json_reader::reads(good));
  }
  for (const char* const bad : {"", "{", "[1,]", "{\"a\"}", "01", "\"\\\"", "1 2", "{}{}", "{,}"}) {
    CHECK_FALSE(json_reader::reads(bad));
  }
}

TEST_CASE("a snapshot of the driver side", "[ring]") {
  small_ring it;
  it.add({{0x20000, 64, false}});
  it.add({{0x20040, 12, false}, {0x20080, 1500, true}});
  REQUIRE(it.device.pop(1, [](const device_chain&) {}) == 1);
  it.device.push_used(6, 0);
  it.device.publish();
  const ring_snapshot all = inspect(it.ring, it.driver, table_lookup{it.tables, 8});
  CHECK(to_text(all) ==
        "split ring of 8, driver side, fast mode (general mode entered 0 times)\n"
        "  avail: index 0, flags 0, used_event 65533\n"
        "  used: index 65535, flags 0, avail_event 65534\n"
        "  next to add 0, to reclaim 65534; 2 in flight, 1 used and not reclaimed\n"
        "  chain at 6\n"
        "    [6] 0x20000 +64 readable\n"
        "  chain at 7\n"
        "    [7] 0x11c0 +32 table\n"
        "      [0] 0x20040 +12 readable -> 1\n"
        "      [1] 0x20080 +1500 writable\n");
  CHECK(to_json(all) ==
        R"({"layout":"split","side":"driver","size":8,"mode":"fast","general_entries":0,)"
        R"("avail":{"index":0,"flags":0,"used_event":65533},)"
        R"("used":{"index":65535,"flags":0,"avail_event":65534},)"
        R"("avail_position":0,"used_position":65534,"out":2,"pending":1,)"
        R"("breach":null,"offender":null,"chains":[)"
        R"({"head":6,"end":"complete","descriptors":[)"
        R"({"index":6,"address":"0x20000","length":64,"flags":0,"next":0}],"table":[]},)"
        R"({"head":7,"end":"complete","descriptors":[)"
        R"({"index":7,"address":"0x11c0","length":32,"flags":4,"next":0}],"table":[)"
        R"({"index":0,"address":"0x20040","length":12,"flags":1,"next":1},)"
        R"({"index":1,"address":"0x20080","length":1500,"flags":2,"next":0}]}],)"
        R"("chains_left_out":0})");
  CHECK(json_reader::reads(to_json(all)));
  CHECK(inspect(it.ring, it.driver).chains[1].end == chain_snapshot::stop::table_unreadable);
}

TEST_CASE("a snapshot of general mode lists what is in flight, however it was completed",
          "[ring]") {
  small_ring it;
  for (int i = 0; i < 3; ++i) it.add({{0x20000, 64, true}});
  REQUIRE(it.device.pop(3, [](const device_chain&) {}) == 3);
  it.device.push_used(7, 0);
  it.device.publish();
  REQUIRE(it.driver.reclaim(8, [](std::uint64_t, std::uint32_t) {}) == 1);
  const ring_snapshot all = inspect(it.ring, it.driver);
  CHECK(all.mode == ring_mode::general);
  CHECK(all.general_entries == 1);
  REQUIRE(all.chains.size() == 2);
  CHECK(std::min(all.chains[0].head, all.chains[1].head) == 0);
  CHECK(std::max(all.chains[0].head, all.chains[1].head) == 6);
}

TEST_CASE("a snapshot of the device side lists what is to be popped", "[ring]") {
  small_ring it;
  for (std::uint32_t i = 0; i < 5; ++i) it.add({{0x20000 + i * 64, 64, false}});
  REQUIRE(it.device.pop(2, [](const device_chain&) {}) == 2);
  const ring_snapshot all = inspect(it.ring, it.device, mapped_space(it.map), {.chains = 2});
  CHECK(to_text(all) ==
        "split ring of 8, device side\n"
        "  avail: index 3, flags 0, used_event 65533\n"
        "  used: index 65534, flags 0, avail_event 65534\n"
        "  next to pop 0, to push 65534; 2 out, 3 available and not popped\n"
        "  chain at 0\n"
        "    [0] 0x20080 +64 readable\n"
        "  chain at 1\n"
        "    [1] 0x200c0 +64 readable\n"
        "  1 more chains\n");
  CHECK(json_reader::reads(to_json(all)));
}

TEST_CASE("a snapshot names the fault and shows the chain at fault", "[ring]") {
  small_ring it;
  const auto describe = [&](std::uint16_t at, std::uint64_t address, std::uint32_t length,
                            std::uint16_t flags, std::uint16_t next) {
    direct::store(it.ring.descriptors()[at].address, address);
    direct::store(it.ring.descriptors()[at].rest, split_descriptor::pack(length, flags, next));
  };
  it.add({{0x20000, 64, false}});
  SECTION("on the device side") {
    describe(6, 0x20000, 64, descriptor_next, 3);
    describe(3, 0x20000, 64, descriptor_next | 0x80, 9);
    CHECK(it.device.pop(8, [](const device_chain&) {}) == 0);
    const std::string text = to_text(inspect(it.ring, it.device));
    CHECK(text.find("  broken: descriptor 6: next_range, value 0x9\n"
                    "  offending chain at 6, next_range\n"
                    "    [6] 0x20000 +64 readable -> 3\n"
                    "    [3] 0x20000 +64 readable -> 9 flags 0x81\n") != std::string::npos);
    CHECK(to_json(inspect(it.ring, it.device))
              .find(R"("breach":{"fault":"next_range","position":6,"value":"0x9"},)"
                    R"("offender":{"head":6,"end":"next_range",)") != std::string::npos);
  }
  SECTION("on the driver side, an id that was not in flight") {
    it.device.push_used(2, 0);
    it.device.publish();
    CHECK(it.driver.reclaim(8, [](std::uint64_t, std::uint32_t) {}) == 0);
    const ring_snapshot all = inspect(it.ring, it.driver);
    CHECK(all.breach.fault == ring_fault::used_id_not_head);
    REQUIRE(all.offender);
    CHECK(all.offender->head == 2);
  }
  SECTION("on the driver side, a length") {
    it.device.push_used(6, 0);
    it.device.publish();
    it.driver.break_queue(ring_fault::used_length, it.driver.used_position(), 9999);
    const ring_snapshot all = inspect(it.ring, it.driver);
    REQUIRE(all.offender);
    CHECK(all.offender->head == 6);
    CHECK(all.offender->descriptors.at(0).length == 64);
  }
  SECTION("an index belongs to no chain") {
    direct::publish_used(it.ring.used_index(), 77);
    CHECK(it.driver.reclaim(8, [](std::uint64_t, std::uint32_t) {}) == 0);
    const ring_snapshot all = inspect(it.ring, it.driver);
    CHECK(all.breach.fault == ring_fault::used_index_jump);
    CHECK_FALSE(all.offender);
  }
}

TEST_CASE("walks of a snapshot end where the chain goes wrong", "[ring]") {
  small_ring it;
  const auto walk = [&](std::uint32_t length, std::uint16_t flags, std::uint16_t next,
                        std::size_t limit = 32) {
    direct::store(it.ring.descriptors()[6].address, std::uint64_t{0x1000});
    direct::store(it.ring.descriptors()[6].rest, split_descriptor::pack(length, flags, next));
    return inspect(it.ring, it.driver, table_lookup{it.tables, 8}, {16, limit}).chains.at(0);
  };
  const auto table = [&](std::uint16_t flags, std::uint16_t next) {
    auto* const entry = reinterpret_cast<split_descriptor*>(it.table_memory.data());
    direct::store(entry->rest, split_descriptor::pack(1, flags, next));
  };
  using stop = chain_snapshot::stop;
  it.add({{0x20000, 64, false}});
  CHECK(walk(1, 0, 0).end == stop::complete);
  CHECK(walk(1, descriptor_next, 8).end == stop::next_range);
  CHECK(walk(1, descriptor_next, 6).end == stop::loop);
  CHECK(walk(1, descriptor_next, 6).descriptors.size() == 8);
  CHECK(walk(1, descriptor_next, 6, 3).end == stop::cut);
  CHECK(walk(1, descriptor_next, 6, 3).descriptors.size() == 3);
  CHECK(walk(0, descriptor_indirect, 0).end == stop::table_length);
  CHECK(walk(24, descriptor_indirect, 0).end == stop::table_length);
  CHECK(walk(16, descriptor_indirect, 0).end == stop::complete);
  table(descriptor_next, 1);
  CHECK(walk(16, descriptor_indirect, 0).end == stop::next_range);
  table(descriptor_next, 0);
  CHECK(walk(32, descriptor_indirect, 0).end == stop::loop);
  CHECK(walk(0xfffffff0, descriptor_indirect, 0).end == stop::cut);
  table(descriptor_next, 32);  // beyond the tables
  CHECK(walk(0xfffffff0, descriptor_indirect, 0).end == stop::table_unreadable);
}

TEST_CASE("a snapshot is sound and bounded whatever lies in the ring", "[ring]") {
  std::mt19937 source(9);
  for (int round = 0; round < 500; ++round) {
    small_ring it;
    it.add({{0x20000, 64, false}});
    for (guarded_memory* const memory : {&it.memory, &it.table_memory}) {
      for (std::byte& each : memory->bytes()) {
        // Small values now and then, so that chains and tables lead somewhere.
        const auto value = static_cast<unsigned>(source());
        each = static_cast<std::byte>((value >> 8) % 3 == 0 ? value : value % 8);
      }
    }
    if (round % 2 == 0) {
      it.driver.reclaim(8, [](std::uint64_t, std::uint32_t) {});
      it.device.pop(8, [](const device_chain&) {});
    }
    for (const ring_snapshot& each :
         {inspect(it.ring, it.driver, table_lookup{it.tables, 8}),
          inspect(it.ring, it.device, mapped_space(it.map), {.chains = 3, .descriptors = 5})}) {
      REQUIRE(each.chains.size() <= 8);
      REQUIRE(to_text(each).size() < 50000);
      REQUIRE(json_reader::reads(to_json(each)));
    }
  }
}

}  // namespace
}  // namespace vkring::test
