// SPDX-License-Identifier: BSD-3-Clause

#include <vkring/ring/inspect_packed.hpp>
//
#include <catch2/catch.hpp>
#include <random>
#include <vkring/ring/packed.hpp>

#include "arena.hpp"
#include "json_reader.hpp"

namespace vkring::test {
namespace {

// Both sides of a ring of five, from its last descriptor but one on.
struct small_ring {
  ring_options options{.size = 5, .event_idx = true, .start = ring_index(3)};
  guarded_memory memory{packed_ring::bytes(5)};
  guarded_memory buffers{4096};
  address_map map = [this] {
    address_map made;
    made.add(0x20000, buffers.bytes());
    return made;
  }();
  packed_ring ring = packed_ring::place(memory.bytes(), 5);
  virtqueue<packed, driver_side, std::uint64_t> driver{ring, options};
  virtqueue<packed, device_side, mapped_space> device{ring, options, mapped_space(map)};

  void add(std::initializer_list<chain_buffer> chain) {
    REQUIRE(driver.try_add({chain.begin(), chain.size()}, 1));
    driver.publish();
  }
};

TEST_CASE("a snapshot of a packed ring's driver side", "[ring]") {
  small_ring it;
  it.add({{0x20000, 64, false}});
  it.add({{0x20040, 12, false}, {0x20080, 1500, true}});
  REQUIRE(it.device.pop(1, [](const device_chain&) {}) == 1);
  it.device.push_used(3, 0);
  it.device.publish();
  (void)it.device.enable_kick();
  const packed_snapshot all = inspect(it.ring, it.driver);
  CHECK(to_text(all) ==
        "packed ring of 5, driver side, general mode (general mode entered 1 times)\n"
        "  calls not wanted; kicks wanted from 4, wrap 1 on\n"
        "  next to add 1, wrap 0; to reclaim 3, wrap 1; 3 descriptors out\n"
        "  [3] used, id 3, 0x20000 +0 flags 0x8080\n"
        "  [4] available, id 4, 0x20040 +12 flags 0x81\n"
        "  [0] available, id 4, 0x20080 +1500 flags 0x8002\n");
  CHECK(to_json(inspect(it.ring, it.driver, 1)) ==
        R"({"layout":"packed","side":"driver","size":5,"mode":"general","general_entries":1,)"
        R"("driver_event":{"index":0,"wrap":0,"flags":1},)"
        R"("device_event":{"index":4,"wrap":1,"flags":2},)"
        R"("next_available":{"index":1,"wrap":0},"next_used":{"index":3,"wrap":1},"out":3,)"
        R"("breach":null,"descriptors":[)"
        R"({"index":3,"address":"0x20000","length":0,"id":3,"flags":32896,"state":"used"}],)"
        R"("descriptors_left_out":2})");
}

TEST_CASE("a snapshot of a packed ring's device side, and of one that broke", "[ring]") {
  small_ring it;
  it.add({{0x20000, 64, false}});
  it.add({{0x90000, 64, false}});  // nowhere
  REQUIRE(it.device.pop(5, [](const device_chain&) {}) == 1);
  const packed_snapshot all = inspect(it.ring, it.device);
  CHECK(to_text(all) ==
        "packed ring of 5, device side\n"
        "  calls not wanted; kicks wanted\n"
        "  next to pop 4, wrap 1; to push 3, wrap 1; 1 descriptors out\n"
        "  broken: address_refused at 4, value 0x90000\n"
        "  [4] available, id 4, 0x90000 +64 flags 0x80\n");
  CHECK(json_reader::reads(to_json(all)));
}

TEST_CASE("a snapshot of a packed ring is sound whatever lies in it", "[ring]") {
  std::mt19937 source(9);
  for (int round = 0; round < 500; ++round) {
    small_ring it;
    it.add({{0x20000, 64, false}});
    for (std::byte& each : it.memory.bytes()) each = static_cast<std::byte>(source());
    if (round % 2 == 0) {
      it.driver.reclaim(5, [](std::uint64_t, std::uint32_t) {});
      it.device.pop(5, [](const device_chain&) {});
    }
    for (const packed_snapshot& each : {inspect(it.ring, it.driver), inspect(it.ring, it.device)}) {
      REQUIRE(each.descriptors.size() <= 5);
      REQUIRE(to_text(each).size() < 2000);
      REQUIRE(json_reader::reads(to_json(each)));
    }
  }
}

}  // namespace
}  // namespace vkring::test
