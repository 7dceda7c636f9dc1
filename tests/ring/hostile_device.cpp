// SPDX-License-Identifier: BSD-3-Clause

// The driver side against a device that breaks the rules: a named fault, a queue that stops, tokens
// that come back exactly once, and nothing read that the device was not to write.

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>
#include <vkring/ring/split.hpp>

#include "arena.hpp"
#include "watching.hpp"

namespace vkring::test {
namespace {

constexpr std::uint32_t buffer_size = 512;

// A driver side, and the hand of a device that writes to the used ring whatever it likes.
class victim {
 public:
  using driver_type = virtqueue<split, driver_side, std::uint64_t, watching>;

  explicit victim(const ring_options& chosen)
      : options(chosen),
        memory(split_ring::bytes(chosen.size)),
        ring(split_ring::place(memory.bytes(), chosen.size)),
        driver((watch_book::get() = {}, ring), chosen, {}, buffer_size),
        hand(chosen.start) {
    const std::span<const std::byte> all = memory.bytes();
    const std::size_t used = split_ring::used_offset(chosen.size);
    watch_book::get().may_store = {all.first(used)};
    watch_book::get().may_load = {all.subspan(used)};
  }

  void add(int chains, std::uint32_t buffers = 1) {
    const std::vector<chain_buffer> chain(buffers, {0x1000, buffer_size, true});
    for (; chains != 0; --chains) {
      watching::begin();
      REQUIRE(driver.try_add(chain, next_token));
      in_flight.push_back(next_token++);
    }
    driver.publish();
  }
  // The device uses a chain and shows it.
  void use(std::uint32_t id, std::uint32_t length = 0) {
    write(hand.slot(static_cast<std::uint16_t>(options.size - 1)), id, length);
    show(1);
  }
  void write(std::uint16_t slot, std::uint32_t id, std::uint32_t length) {
    direct::store(ring.used_elements()[slot].id, id);
    direct::store(ring.used_elements()[slot].length, length);
  }
  void show(std::uint32_t count) {
    hand += count;
    direct::publish_used(ring.used_index(), hand.value());
  }

  std::uint16_t reclaim() {
    const auto keep = [this](std::uint64_t token, std::uint32_t written) {
      CHECK(written <= buffer_size);
      const auto at = std::find(in_flight.begin(), in_flight.end(), token);
      REQUIRE(at != in_flight.end());
      in_flight.erase(at);
    };
    watching::begin();
    const std::uint16_t pending = driver.used_pending(options.size);
    watching::begin();
    const std::uint16_t burst =
        driver.reclaim_burst(pending, [&](std::size_t, std::uint64_t token, std::uint32_t written) {
          if (written > buffer_size) return false;  // for reclaim to judge
          keep(token, written);
          return true;
        });
    watching::begin();
    return static_cast<std::uint16_t>(burst + driver.reclaim(options.size, keep));
  }

  // Brings the queue into general mode with a lawful device, nothing in flight.
  void make_general() {
    add(1, 2);
    use(static_cast<std::uint32_t>(ring_head()));
    REQUIRE(reclaim() == 1);
    REQUIRE(driver.mode() == ring_mode::general);
  }
  // The head of the chain that was published last.
  [[nodiscard]] std::uint16_t ring_head() const {
    const auto mask = static_cast<std::uint16_t>(options.size - 1);
    return direct::load(ring.avail_entries()[(driver.avail_position() + 0xffff).slot(mask)]);
  }

  // The queue broke for this reason, stays broken, and gives every token back once.
  void check_broken(ring_fault fault, std::uint64_t value) {
    CAPTURE(name(fault), name(driver.breach().fault));
    REQUIRE(driver.breach());
    CHECK(driver.breach().fault == fault);
    CHECK(driver.breach().value == value);
    CHECK(driver.room() == 0);
    // A device that repairs what it did is not believed any more.
    for (std::uint16_t i = 0; i < options.size; ++i) write(i, i, 0);
    CHECK(reclaim() == 0);
    CHECK(driver.used_pending(1) == 0);
    const chain_buffer buffer{0x1000, buffer_size, true};
    CHECK_FALSE(driver.try_add({&buffer, 1}, 0));
    CHECK(driver.breach().fault == fault);
    (void)driver.kick_needed();
    (void)driver.enable_call();
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
  split_ring ring;
  driver_type driver;
  ring_index hand;  // the device's position
  std::vector<std::uint64_t> in_flight;
  std::uint64_t next_token = 100;
};

// `attack(victim, first)` is called with three chains in flight, in fast and in general mode, with
// and without event-idx and in-order; `first` is the descriptor of the oldest.
template <class Attack>
void in_every_mode(Attack&& attack) {
  for (int mix = 0; mix < 8; ++mix) {
    const bool general = (mix & 4) != 0;
    victim it({.size = 8,
               .event_idx = (mix & 1) != 0,
               .in_order = (mix & 2) != 0,
               .start = ring_index(65530)});
    CAPTURE(general, it.options.event_idx, it.options.in_order);
    if (general) it.make_general();
    it.add(1);
    const std::uint16_t first = it.ring_head();
    it.add(2);
    attack(it, first);
  }
}

TEST_CASE("used index: more than was made available", "[ring]") {
  for (const std::uint32_t jump : {4u, 5u, 8u, 9u, 32768u, 65535u}) {
    in_every_mode([&](victim& it, std::uint16_t) {
      it.show(jump);
      CHECK(it.reclaim() == 0);
      it.check_broken(ring_fault::used_index_jump, it.hand.value());
    });
  }
}

TEST_CASE("used index: back behind what was seen", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first);
    it.use(first + 1u & 7);
    watching::begin();
    REQUIRE(it.driver.used_pending(8) == 2);
    it.show(65535);
    CHECK(it.reclaim() == 0);
    it.check_broken(ring_fault::used_index_jump, it.hand.value());
  });
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first);
    REQUIRE(it.reclaim() == 1);
    it.show(65535);
    CHECK(it.reclaim() == 0);
    it.check_broken(ring_fault::used_index_jump, it.hand.value());
  });
}

TEST_CASE("used index: chains that were not published", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    const chain_buffer buffer{0x1000, buffer_size, true};
    REQUIRE(it.driver.try_add({&buffer, 1}, it.next_token));
    it.in_flight.push_back(it.next_token);
    for (std::uint32_t i = 0; i < 4; ++i) it.use(first + i & 7);
    CHECK(it.reclaim() == 0);
    it.check_broken(ring_fault::used_index_jump, it.hand.value());
  });
}

TEST_CASE("used id: not below the queue size, whatever its low bits", "[ring]") {
  for (const std::uint32_t high : {8u, 0x8000u, 0x10000u, 0x80000000u, 0xfffffff8u}) {
    in_every_mode([&](victim& it, std::uint16_t first) {
      it.use(first | high);
      CHECK(it.reclaim() == 0);
      it.check_broken(ring_fault::used_id_range, first | high);
    });
  }
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first);
    it.use(0xffffffff);
    CHECK(it.reclaim() == 1);
    it.check_broken(ring_fault::used_id_range, 0xffffffff);
  });
}

TEST_CASE("used id: nothing in flight there", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    const std::uint32_t idle = first + 4u & 7;
    it.use(idle);
    CHECK(it.reclaim() == 0);
    it.check_broken(it.options.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head,
                    idle);
  });
}

TEST_CASE("used id: twice", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first);
    it.use(first);
    CHECK(it.reclaim() == 1);
    it.check_broken(it.options.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head,
                    first);
  });
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first);
    REQUIRE(it.reclaim() == 1);
    it.use(first);
    CHECK(it.reclaim() == 0);
    it.check_broken(it.options.in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head,
                    first);
  });
}

TEST_CASE("used id: in the middle of a chain", "[ring]") {
  for (const bool in_order : {false, true}) {
    victim it({.size = 8, .in_order = in_order});
    it.add(1, 3);
    it.use(it.ring_head() + 1u);
    CHECK(it.reclaim() == 0);
    it.check_broken(in_order ? ring_fault::used_id_order : ring_fault::used_id_not_head, 1);
  }
}

TEST_CASE("used id: out of order although in-order was agreed on", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    if (!it.options.in_order) return;
    SECTION("a batch that names more chains than the index moved by") {
      it.use(first + 2u & 7);
      CHECK(it.reclaim() == 0);
      it.check_broken(ring_fault::used_id_order, first + 2u & 7);
    }
    SECTION("a second batch that goes back") {
      it.write(it.hand.slot(7), first + 1u & 7, 0);
      it.write((it.hand + 2).slot(7), first + 1u & 7, 0);
      it.show(3);
      CHECK(it.reclaim() == 2);
      it.check_broken(ring_fault::used_id_order, first + 1u & 7);
    }
  });
}

TEST_CASE("used length: more than the buffers hold", "[ring]") {
  for (const std::uint32_t length : {buffer_size + 1, 0x80000000u, 0xffffffffu}) {
    in_every_mode([&](victim& it, std::uint16_t first) {
      it.use(first, buffer_size);
      it.use(first + 1u & 7, length);
      CHECK(it.reclaim() == 1);
      it.check_broken(ring_fault::used_length, length);
    });
  }
}

TEST_CASE("used length: the last of a batch", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    if (!it.options.in_order) return;
    it.write(it.hand.slot(7), first + 2u & 7, buffer_size + 1);
    it.show(3);
    CHECK(it.reclaim() == 2);
    it.check_broken(ring_fault::used_length, buffer_size + 1);
  });
}

TEST_CASE("used length: of chains that the device only reads, nobody asks", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first, 0xffffffff);
    it.use(first + 1u & 7, 0xffffffff);
    watching::begin();
    REQUIRE(it.driver.used_pending(2) == 2);
    const bool fast = it.driver.mode() == ring_mode::fast;
    CHECK(it.driver.reclaim_burst(1, [](std::size_t, std::uint64_t) { return true; }) ==
          (fast ? 1 : 0));
    watching::begin();
    CHECK(it.driver.reclaim(2, [](std::uint64_t) {}) == (fast ? 1 : 2));
    CHECK_FALSE(it.driver.breach());
  });
}

TEST_CASE("a breach that was found in a buffer stops the queue as well", "[ring]") {
  in_every_mode([](victim& it, std::uint16_t first) {
    it.use(first, 100);
    it.use(first + 1u & 7, 100);
    REQUIRE(it.reclaim() == 2);
    it.use(first + 2u & 7, 100);
    it.driver.break_queue(ring_fault::num_buffers, it.driver.used_position(), 9);
    it.driver.break_queue(ring_fault::used_length, it.driver.used_position(), 1);  // not the first
    it.check_broken(ring_fault::num_buffers, 9);
  });
}

TEST_CASE("one queue breaks and the others go on", "[ring]") {
  victim other({.size = 8});
  victim it({.size = 8});
  watch_book::get().may_load = watch_book::get().may_store = {};
  it.add(3);
  other.add(3);
  it.use(77);
  CHECK(it.reclaim() == 0);
  for (std::uint32_t i = 0; i < 100; ++i) {
    other.use(i % 8, 5);
    CHECK(other.reclaim() == 1);
    other.add(1);
  }
  CHECK_FALSE(other.driver.breach());
  it.check_broken(ring_fault::used_id_range, 77);
}

TEST_CASE("the device's notification words cannot do more than cost a kick", "[ring]") {
  victim it({.size = 8, .event_idx = true});
  for (std::uint32_t event = 0; event < 65536; event += 251) {
    direct::store(it.ring.avail_event(), static_cast<std::uint16_t>(event));
    direct::store(it.ring.used_flags(), static_cast<std::uint16_t>(~event));
    it.add(1);
    watching::begin();
    (void)it.driver.kick_needed();
    it.use(it.ring_head());
    REQUIRE(it.reclaim() == 1);
  }
  CHECK(watch_book::get().strays == 0);
  CHECK(watch_book::get().second_loads == 0);
}

}  // namespace
}  // namespace vkring::test
