// SPDX-License-Identifier: BSD-3-Clause

// The device side of a packed ring against a driver that breaks the rules: a named fault, a queue that
// stops, and no byte touched that is not in the address space.

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>
#include <vkring/ring/packed.hpp>

#include "guest_memory.hpp"
#include "watching.hpp"

namespace vkring::test {
namespace {

struct descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags = 0;
  std::uint16_t id = 0;
};

// A device side, and the hand of a driver that writes to rings and tables whatever it likes.
class victim : public guest_memory {
 public:
  using device_type = virtqueue<packed, device_side, mapped_space, watching>;

  explicit victim(const ring_options& chosen)
      : options(chosen),
        memory(packed_ring::bytes(chosen.size)),
        ring(packed_ring::place(memory.bytes(), chosen.size)),
        device(ring, chosen, mapped_space(map)),
        hand(chosen.start, chosen.size) {
    watch_book::get() = {};
    const std::size_t device_event = packed_ring::device_event_offset(chosen.size);
    const std::size_t driver_event = packed_ring::driver_event_offset(chosen.size);
    watch_book::get().may_load = {memory.bytes().first(device_event), low_memory.bytes(),
                                  high_memory.bytes()};
    watch_book::get().may_store = {memory.bytes().first(driver_event),
                                   memory.bytes().subspan(device_event)};
  }

  // Makes descriptors available, the first one last.
  void offer(const std::vector<descriptor>& all) {
    packed_position at = hand.plus(static_cast<std::uint32_t>(all.size()), options.size);
    const packed_position end = at;
    for (auto each = all.rbegin(); each != all.rend(); ++each) {
      at.go_back(1, options.size);
      write(ring.descriptors()[at.slot()], *each, at.available());
    }
    hand = end;
  }
  // A table at a guest address within the two regions.
  void table(std::uint64_t address, const std::vector<descriptor>& entries) {
    for (const descriptor& each : entries) {
      const auto at = map.translate(address, sizeof(packed_descriptor), memory_access::write);
      REQUIRE(at.size() == sizeof(packed_descriptor));
      write(*reinterpret_cast<packed_descriptor*>(at.data()), each, 0);
      address += sizeof(packed_descriptor);
    }
  }
  static void write(packed_descriptor& to, const descriptor& what, int mark) {
    direct::store(to.address, what.address);
    direct::store(to.rest, rest(what, mark));
  }
  static std::uint64_t rest(const descriptor& what, int mark) {
    return packed_descriptor::pack(what.length, what.id,
                                   static_cast<std::uint16_t>(what.flags | mark));
  }

  // Takes what is there, a burst first, as workers do; touches it, and returns how many chains there
  // were.
  std::uint16_t pop() {
    readable = writable = 0;
    watch_book::get().loads = 0;
    watching::begin();
    (void)device.avail(options.size);
    watching::begin();
    const std::uint16_t burst = device.pop_burst(
        device.avail_at_most(options.size),
        [this](std::size_t, std::uint16_t id, std::span<std::byte> buffer, bool writes) {
          out.push_back(id);
          touch(buffer, writes);
        });
    watching::begin();
    const std::uint16_t rest = device.pop(options.size, [this](const device_chain& chain) {
      out.push_back(chain.head);
      for (const std::span<std::byte> piece : chain.readable) touch(piece, false);
      for (const std::span<std::byte> piece : chain.writable) touch(piece, true);
    });
    CHECK(watch_book::get().strays == 0);
    CHECK(watch_book::get().second_loads == 0);
    CHECK(watch_book::get().loads < 10000);  // whatever a chain says, looking at it is bounded
    return static_cast<std::uint16_t>(burst + rest);
  }

  // The queue broke for this reason and stays broken; what is out can still be returned.
  void check_broken(ring_fault fault, std::uint64_t value) {
    CAPTURE(name(fault), name(device.breach().fault), device.breach().value);
    REQUIRE(device.breach());
    CHECK(device.breach().fault == fault);
    CHECK(device.breach().value == value);
    // A driver that repairs what it did is not believed any more.
    packed_position at = device.next_available();
    for (std::uint16_t i = 0; i < options.size; ++i, at.advance(1, options.size)) {
      write(ring.descriptors()[at.slot()], {low, 1, 0, i}, at.available());
    }
    CHECK(pop() == 0);
    watching::begin();
    CHECK(device.avail(1) == 0);
    CHECK(device.enable_kick() == notification::safe_to_sleep);
    device.disable_kick();
    for (const std::uint16_t id : out) device.push_used(id, 0);
    device.publish();
    watching::begin();
    (void)device.call_needed();
    CHECK(device.out() == 0);
    CHECK(device.breach().fault == fault);
    CHECK(watch_book::get().strays == 0);
  }

  // This chain, behind a lawful one, is refused for this reason.
  void check_refused(const std::vector<descriptor>& chain, ring_fault fault, std::uint64_t value) {
    offer({{low, 8, 0, 3}});
    const std::uint16_t slot = hand.slot();
    offer(chain);
    CHECK(pop() == 1);
    CHECK(device.breach().position == slot);
    check_broken(fault, value);
  }

  ring_options options;
  guarded_memory memory;
  packed_ring ring;
  device_type device;
  packed_position hand;  // where the driver is
  std::vector<std::uint16_t> out;
};

// The second descriptor from here is beyond the end of the ring.
constexpr ring_options plain{.size = 7, .indirect = true, .start = ring_index(12)};

TEST_CASE("packed avail flags: of the other lap, or half of them, are not available", "[ring]") {
  victim it(plain);
  for (const int mark : {packed_descriptor::avail_flag | packed_descriptor::used_flag, 0,
                         int{packed_descriptor::avail_flag}, int{packed_descriptor::used_flag}}) {
    if (mark == it.hand.available()) continue;
    victim::write(it.ring.descriptors()[it.hand.slot()], {low, 8}, mark);
    CHECK(it.pop() == 0);
  }
  it.offer({{low, 8}});
  CHECK(it.pop() == 1);
  CHECK_FALSE(it.device.breach());
}

TEST_CASE("packed: a ring that is all out has nothing more, whatever its flags say", "[ring]") {
  victim it(plain);
  for (std::uint16_t i = 0; i < 7; ++i) it.offer({{low, 8, 0, i}});
  CHECK(it.pop() == 7);
  it.offer({{low, 8, 0, 0}});
  CHECK(it.pop() == 0);
  watching::begin();
  CHECK(it.device.enable_kick() == notification::safe_to_sleep);
  CHECK_FALSE(it.device.breach());
}

TEST_CASE("packed id: not below the queue size", "[ring]") {
  for (const std::uint16_t id : {std::uint16_t{7}, std::uint16_t{0x8000}, std::uint16_t{65535}}) {
    victim it(plain);
    it.check_refused({{low, 8, 0, id}}, ring_fault::head_range, id);
    victim chained(plain);
    chained.check_refused({{low, 8, next_flag, 0}, {low, 8, 0, id}}, ring_fault::head_range, id);
  }
}

TEST_CASE("packed id: twice", "[ring]") {
  SECTION("of a long chain") {
    victim it(plain);
    it.offer({{low, 8, next_flag, 2}, {low, 8, 0, 2}});
    CHECK(it.pop() == 1);
    const std::uint16_t length = GENERATE(as<std::uint16_t>{}, 1, 2);
    std::vector<descriptor> again(length, {low, 8, next_flag, 2});
    again.back().flags = 0;
    it.check_refused(again, ring_fault::id_in_use, 2);
  }
  SECTION("of chains of one descriptor is the driver's own trouble") {
    victim it(plain);
    for (int i = 0; i < 7; ++i) it.offer({{low, 8, 0, 2}});
    CHECK(it.pop() == 7);
    for (int i = 0; i < 7; ++i) it.device.push_used(2, 0);
    it.device.publish();
    CHECK(it.device.next_used() == it.hand);
    CHECK_FALSE(it.device.breach());
  }
}

TEST_CASE("packed chain: without end, and longer than what is left of the ring", "[ring]") {
  victim it(plain);
  it.check_refused(std::vector<descriptor>(6, {low, 8, next_flag}), ring_fault::chain_too_long, 6);
  victim empty(plain);
  empty.check_refused(std::vector<descriptor>(6, {0, 0, next_flag}), ring_fault::chain_too_long, 6);
  victim full(plain);
  for (std::uint16_t i = 0; i < 5; ++i) full.offer({{low, 8, 0, i}});
  CHECK(full.pop() == 5);
  full.offer({{low, 8, next_flag, 5}, {low, 8, next_flag, 5}, {low, 8, 0, 5}});
  CHECK(full.pop() == 0);
  full.check_broken(ring_fault::chain_too_long, 2);
  victim one({.size = 1});
  one.offer({{low, 8, next_flag}});
  CHECK(one.pop() == 0);
  one.check_broken(ring_fault::chain_too_long, 1);
  victim whole(plain);  // is lawful
  std::vector<descriptor> all(7, {low, 8, next_flag});
  all.back().flags = 0;
  whole.offer(all);
  CHECK(whole.pop() == 1);
  CHECK(whole.readable == 56);
}

TEST_CASE("packed chain: that goes on in a descriptor which is not available", "[ring]") {
  victim it(plain);
  const packed_position second = it.hand.plus(1, 7);
  const int mark = GENERATE(0, int{packed_descriptor::avail_flag} | packed_descriptor::used_flag);
  it.offer({{low, 8, next_flag}});
  victim::write(it.ring.descriptors()[second.slot()], {low, 8}, mark);
  CHECK(it.pop() == 0);
  it.check_broken(ring_fault::next_not_available, static_cast<std::uint64_t>(mark));
}

TEST_CASE("packed addresses: outside, across an end, around the top, not writable", "[ring]") {
  const std::vector<descriptor> outside = {
      {0, 1},
      {low - 1, 16},
      {high + 4095, 2},
      {low, 0xffff0000},
      {0xffff'ffff'ffff'ffff, 1},
      {0xffff'ffff'ffff'fff0, 0x20},
      {rom, 1, write_flag},
      {rom + 4095, 2},
  };
  for (const descriptor& each : outside) {
    CAPTURE(each.address, each.length, each.flags);
    for (const bool chained : {false, true}) {
      victim it(plain);
      it.offer(chained ? std::vector<descriptor>{{low, 8, next_flag}, each}
                       : std::vector<descriptor>{each});
      CHECK(it.pop() == 0);
      CHECK(it.device.breach().value >= each.address);
      it.check_broken(ring_fault::address_refused, it.device.breach().value);
    }
  }
  victim it(plain);
  it.offer({{low + 4000, 200, write_flag, 0}});  // from one region into the next is lawful
  it.offer({{low + 1, 8191, 0, 1}});
  it.offer({{rom, 4096, 0, 2}});
  it.offer({{0, 0, 0, 3}});  // no byte, no address
  CHECK(it.pop() == 4);
  CHECK(it.writable == 200);
  CHECK(it.readable == 8191 + 4096);
  CHECK_FALSE(it.device.breach());
}

TEST_CASE("packed: readable after writable", "[ring]") {
  victim chained(plain);
  chained.check_refused({{low, 8, next_flag | write_flag}, {low + 64, 8}},
                        ring_fault::readable_after_writable, low + 64);
  victim it(plain);
  it.table(low + 1024, {{low, 8, write_flag}, {low + 64, 0}});
  it.check_refused({{low + 1024, 32, indirect_flag}}, ring_fault::readable_after_writable,
                   low + 64);
}

TEST_CASE("packed: more bytes than a length can say", "[ring]") {
  victim it(plain);
  it.table(low, std::vector<descriptor>(256, {large, large_bytes}));
  it.table(low + 4096, std::vector<descriptor>(256, {large, large_bytes}));
  it.check_refused({{low, 8192, indirect_flag}}, ring_fault::chain_too_large, 0x1'0000'0000);
}

TEST_CASE("packed indirect tables that break the rules", "[ring]") {
  struct table_case {
    std::string what;
    std::vector<descriptor> chain;
    std::vector<descriptor> entries;
    ring_fault fault;
    std::uint64_t value;
  };
  const std::uint64_t at = low + 1024;
  const std::vector<table_case> cases = {
      {"empty", {{at, 0, indirect_flag}}, {}, ring_fault::indirect_length, 0},
      {"half an entry", {{at, 8, indirect_flag}}, {}, ring_fault::indirect_length, 8},
      {"one byte more", {{at, 17, indirect_flag}}, {{low, 1}}, ring_fault::indirect_length, 17},
      {"outside", {{rom - 16, 16, indirect_flag}}, {}, ring_fault::address_refused, rom - 16},
      {"beyond the end",
       {{high + 4080, 32, indirect_flag}},
       {},
       ring_fault::address_refused,
       high + 4096},
      {"an entry across two regions",
       {{high - 8, 16, indirect_flag}},
       {},
       ring_fault::address_refused,
       high - 8},
      {"not aligned", {{at + 4, 16, indirect_flag}}, {}, ring_fault::address_refused, at + 4},
      {"more entries than a chain may have",
       {{low, 1025 * 16, indirect_flag}},
       {},
       ring_fault::chain_too_long,
       1025},
  };
  for (const table_case& each : cases) {
    CAPTURE(each.what);
    victim it(plain);
    it.table(at, each.entries);
    it.check_refused(each.chain, each.fault, each.value);
  }
  victim unagreed({.size = 7});
  unagreed.check_refused({{at, 16, indirect_flag}}, ring_fault::indirect_refused, at);
}

TEST_CASE("packed indirect descriptors have no part in chains", "[ring]") {
  const descriptor with_next{low, 16, indirect_flag | next_flag}, last{low, 16, indirect_flag};
  victim first(plain);
  const int first_mark = first.hand.plus(1, 7).available();
  first.check_refused({with_next, {low, 8}}, ring_fault::indirect_with_next,
                      victim::rest(with_next, first_mark));
  victim later(plain);
  const int later_mark = later.hand.plus(2, 7).available();
  later.check_refused({{low, 8, next_flag}, last}, ring_fault::indirect_with_next,
                      victim::rest(last, later_mark));
}

TEST_CASE("packed indirect tables: flags but WRITE mean nothing in them, and WRITE not of them",
          "[ring]") {
  victim it(plain);
  it.table(low + 1024, {{low, 8, next_flag | indirect_flag, 77},
                        {low + 64, 8, write_flag | packed_descriptor::used_flag, 9}});
  it.offer({{low + 1024, 32, indirect_flag | write_flag, 4}});
  CHECK(it.pop() == 1);
  CHECK(it.readable == 8);
  CHECK(it.writable == 8);
  CHECK(it.out == std::vector<std::uint16_t>{4});
}

TEST_CASE("packed: the driver's event words cannot do more than cost a call", "[ring]") {
  victim it({.size = 7, .event_idx = true});
  for (std::uint64_t event = 0; event <= 0xffffffff; event += 0x7fff7) {
    direct::store(it.ring.driver_event(), static_cast<std::uint32_t>(event));
    it.offer({{low, 8}});
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
