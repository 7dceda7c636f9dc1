// SPDX-License-Identifier: BSD-3-Clause

// The driver side of a packed ring against a device that breaks the rules: a named fault, a queue that
// stops, tokens that come back exactly once.

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>
#include <vkring/ring/packed.hpp>

#include "arena.hpp"
#include "watching.hpp"

namespace vkring::test {
namespace {

constexpr std::uint32_t buffer_size = 512;

// A driver side, and the hand of a device that writes whatever it likes.
class victim {
 public:
  using driver_type = virtqueue<packed, driver_side, std::uint64_t, watching>;

  explicit victim(const ring_options& chosen)
      : options(chosen),
        memory(packed_ring::bytes(chosen.size)),
        ring(packed_ring::place(memory.bytes(), chosen.size)),
        driver((watch_book::get() = {}, ring), chosen, {}, buffer_size),
        hand(chosen.start, chosen.size) {
    const std::span<const std::byte> all = memory.bytes();
    const std::size_t device = packed_ring::device_event_offset(chosen.size);
    watch_book::get().may_store = {all.first(device)};
    watch_book::get().may_load = {all.first(packed_ring::driver_event_offset(chosen.size)),
                                  all.subspan(device)};
  }

  // Offers chains; `ids` are those in flight, oldest first.
  void add(int chains, std::uint32_t buffers = 1) {
    const std::vector<chain_buffer> chain(buffers, {0x1000, buffer_size, true});
    for (; chains != 0; --chains) {
      const std::uint16_t slot = driver.next_available().slot();
      watching::begin();
      REQUIRE(driver.try_add(chain, next_token));
      driver.publish();
      ids.push_back(packed_descriptor::id(direct::load(ring.descriptors()[slot].rest)));
      in_flight.push_back(next_token++);
    }
  }
  // The device uses a chain of that many descriptors.
  void use(std::uint16_t id, std::uint32_t length = 0, std::uint32_t descriptors = 1) {
    write(id, length, length != 0 ? descriptor_write : 0);
    hand.advance(descriptors, options.size);
  }
  void write(std::uint16_t id, std::uint32_t length, int flags) {
    direct::store(
        ring.descriptors()[hand.slot()].rest,
        packed_descriptor::pack(length, id, static_cast<std::uint16_t>(hand.used() | flags)));
  }

  std::uint16_t reclaim() {
    const auto keep = [this](std::uint64_t token, std::uint32_t written) {
      CHECK(written <= buffer_size);
      const auto at = std::find(in_flight.begin(), in_flight.end(), token);
      REQUIRE(at != in_flight.end());
      ids.erase(ids.begin() + (at - in_flight.begin()));
      in_flight.erase(at);
    };
    watching::begin();
    (void)driver.used_pending(options.size);
    watching::begin();
    const std::uint16_t burst =
        driver.reclaim_burst(driver.used_at_most(options.size),
                             [&](std::size_t, std::uint64_t token, std::uint32_t written) {
                               keep(token, written);
                               return true;
                             });
    watching::begin();
    return static_cast<std::uint16_t>(burst + driver.reclaim(options.size, keep));
  }

  // Brings the queue into general mode with a lawful device, nothing in flight.
  void make_general() {
    add(1, 2);
    use(ids.front(), 0, 2);
    REQUIRE(reclaim() == 1);
    REQUIRE(driver.mode() == ring_mode::general);
  }

  // The queue broke for this reason, stays broken, and gives every token back once.
  void check_broken(ring_fault fault, std::uint64_t value) {
    CAPTURE(name(fault), name(driver.breach().fault));
    REQUIRE(driver.breach());
    CHECK(driver.breach().fault == fault);
    CHECK(driver.breach().value == value);
    CHECK(driver.room() == 0);
    // A device that repairs what it did is not believed any more.
    for (const std::uint16_t id : std::vector<std::uint16_t>(ids)) use(id);
    CHECK(reclaim() == 0);
    watching::begin();
    CHECK(driver.used_pending(1) == 0);
    CHECK(driver.used_at_most(1) == 0);
    const chain_buffer buffer{0x1000, buffer_size, true};
    CHECK_FALSE(driver.try_add({&buffer, 1}, 0));
    CHECK(driver.breach().fault == fault);
    (void)driver.kick_needed();
    CHECK(driver.enable_call() == notification::safe_to_sleep);
    driver.disable_call();
    std::vector<std::uint64_t> given;
    driver.abandon([&](std::uint64_t token) { given.push_back(token); });
    std::sort(given.begin(), given.end());
    CHECK(given == in_flight);
    CHECK(watch_book::get().strays == 0);
    CHECK(watch_book::get().second_loads == 0);
  }

  ring_options options;
  guarded_memory memory;
  packed_ring ring;
  driver_type driver;
  packed_position hand;  // where the device is
  std::vector<std::uint16_t> ids;
  std::vector<std::uint64_t> in_flight;
  std::uint64_t next_token = 100;
};

// `attack(victim)` is called with three chains in flight, in fast and in general mode, with and
// without event-idx and in-order, before the end of the ring and across it.
template <class Attack>
void in_every_mode(Attack&& attack) {
  for (int mix = 0; mix < 16; ++mix) {
    const bool general = (mix & 4) != 0;
    victim it({.size = 7,
               .event_idx = (mix & 1) != 0,
               .in_order = (mix & 2) != 0,
               .start = ring_index((mix & 8) != 0 ? 12 : 1)});
    CAPTURE(general, it.options.event_idx, it.options.in_order, it.options.start.value());
    if (general) it.make_general();
    it.add(3);
    attack(it);
  }
}

ring_fault wrong_id(const victim& it) {
  return it.options.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head;
}
// An id below the size that no chain in flight has.
std::uint16_t idle_id(const victim& it) {
  std::uint16_t id = 0;
  while (std::find(it.ids.begin(), it.ids.end(), id) != it.ids.end()) ++id;
  return id;
}

TEST_CASE("packed used flags: of the other lap, or half of them, are not used", "[ring]") {
  in_every_mode([](victim& it) {
    for (const int flags :
         {packed_descriptor::avail_flag | packed_descriptor::used_flag, 0,
          int{packed_descriptor::avail_flag}, int{packed_descriptor::used_flag}}) {
      if (flags == it.hand.used()) continue;
      direct::store(it.ring.descriptors()[it.hand.slot()].rest,
                    packed_descriptor::pack(4, it.ids.front(),
                                            static_cast<std::uint16_t>(flags | descriptor_write)));
      CHECK(it.reclaim() == 0);
    }
    CHECK_FALSE(it.driver.breach());
    it.use(it.ids.front(), 4);
    CHECK(it.reclaim() == 1);
  });
}

TEST_CASE("packed used flags: on descriptors that were not published nobody looks", "[ring]") {
  in_every_mode([](victim& it) {
    const chain_buffer buffer{0x1000, buffer_size, true};
    REQUIRE(it.driver.try_add({&buffer, 1}, it.next_token));
    for (const std::uint16_t id : std::vector<std::uint16_t>(it.ids)) it.use(id, 4);
    for (int i = 0; i < 4; ++i) it.use(static_cast<std::uint16_t>(i), 4);
    CHECK(it.reclaim() == 3);
    CHECK_FALSE(it.driver.breach());
    CHECK(it.driver.in_flight() == 1);
  });
}

TEST_CASE("packed used id: not below the queue size", "[ring]") {
  for (const std::uint16_t id : {std::uint16_t{7}, std::uint16_t{0x8000}, std::uint16_t{65535}}) {
    in_every_mode([&](victim& it) {
      it.use(it.ids.front(), 4);
      it.use(id, 4);
      CHECK(it.reclaim() == 1);
      it.check_broken(ring_fault::used_id_range, id);
    });
  }
}

TEST_CASE("packed used id: nothing in flight has it", "[ring]") {
  in_every_mode([](victim& it) {
    const std::uint16_t idle = idle_id(it);
    it.use(idle, 4);
    CHECK(it.reclaim() == 0);
    it.check_broken(wrong_id(it), idle);
  });
}

TEST_CASE("packed used id: twice", "[ring]") {
  for (const bool at_once : {false, true}) {
    in_every_mode([&](victim& it) {
      const std::uint16_t first = it.ids.front();
      it.use(first, 4);
      if (!at_once) REQUIRE(it.reclaim() == 1);
      it.use(first, 4);
      CHECK(it.reclaim() == (at_once ? 1 : 0));
      it.check_broken(wrong_id(it), first);
    });
  }
}

TEST_CASE("packed used id: a descriptor in the middle of a chain", "[ring]") {
  for (const bool in_order : {false, true}) {
    victim it({.size = 7, .in_order = in_order});
    it.add(1, 3);
    const std::uint16_t inner = it.ids.front() + 1u & 0xffff;
    it.use(inner, 4);
    CHECK(it.reclaim() == 0);
    it.check_broken(wrong_id(it), inner);
  }
}

TEST_CASE("packed used id: a batch beyond what was published", "[ring]") {
  in_every_mode([](victim& it) {
    if (!it.options.in_order) return;
    const chain_buffer buffer{0x1000, buffer_size, true};
    const std::uint16_t hidden = it.driver.next_available().slot();
    REQUIRE(it.driver.try_add({&buffer, 1}, it.next_token));
    it.in_flight.push_back(it.next_token);
    it.use(hidden, 4);
    CHECK(it.reclaim() == 0);
    it.check_broken(ring_fault::used_id_order, hidden);
  });
}

TEST_CASE("packed used length: more than the buffers hold", "[ring]") {
  for (const std::uint32_t length : {buffer_size + 1, 0x80000000u, 0xffffffffu}) {
    in_every_mode([&](victim& it) {
      const std::vector<std::uint16_t> ids = it.ids;
      it.use(ids[0], buffer_size);
      it.use(ids[1], length);
      CHECK(it.reclaim() == 1);
      it.check_broken(ring_fault::used_length, length);
    });
  }
}

TEST_CASE("packed used length: the last of a batch", "[ring]") {
  in_every_mode([](victim& it) {
    if (!it.options.in_order) return;
    it.use(it.ids.back(), buffer_size + 1, 3);
    CHECK(it.reclaim() == 2);
    it.check_broken(ring_fault::used_length, buffer_size + 1);
  });
}

TEST_CASE("packed used length: means nothing without its flag, and nothing to readers", "[ring]") {
  in_every_mode([](victim& it) {
    it.write(it.ids.front(), 0xffffffff, 0);
    watching::begin();
    std::uint32_t told = 1;
    CHECK(it.driver.reclaim(1, [&](std::uint64_t, std::uint32_t written) { told = written; }) == 1);
    CHECK(told == 0);
    it.hand.advance(1, it.options.size);
    it.use(it.ids[1], 0xffffffff);
    watching::begin();
    CHECK(it.driver.reclaim(1, [](std::uint64_t) {}) == 1);
    CHECK_FALSE(it.driver.breach());
  });
}

TEST_CASE("packed: a breach that was found in a buffer stops the queue as well", "[ring]") {
  in_every_mode([](victim& it) {
    it.use(it.ids.front(), 100);
    REQUIRE(it.reclaim() == 1);
    it.driver.break_queue(ring_fault::num_buffers, it.driver.used_position(), 9);
    it.driver.break_queue(ring_fault::used_length, it.driver.used_position(), 1);  // not the first
    it.check_broken(ring_fault::num_buffers, 9);
  });
}

TEST_CASE("packed: the device's event words cannot do more than cost a kick", "[ring]") {
  victim it({.size = 7, .event_idx = true});
  for (std::uint64_t event = 0; event <= 0xffffffff; event += 0x7fff7) {
    direct::store(it.ring.device_event(), static_cast<std::uint32_t>(event));
    it.add(1);
    watching::begin();
    (void)it.driver.kick_needed();
    it.use(it.ids.front());
    REQUIRE(it.reclaim() == 1);
  }
  CHECK(watch_book::get().strays == 0);
  CHECK(watch_book::get().second_loads == 0);
}

}  // namespace
}  // namespace vkring::test
