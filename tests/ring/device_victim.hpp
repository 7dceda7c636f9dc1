// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_DEVICE_VICTIM_HPP
#define VKRING_TESTS_RING_DEVICE_VICTIM_HPP

// A device side under attack, and the hand of the driver that attacks it.

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>
#include <vkring/ring/split.hpp>

#include "guest_memory.hpp"
#include "watching.hpp"

namespace vkring::test {

struct descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};

// A device side, and the hand of a driver that writes to rings and tables whatever it likes.
class device_victim : public guest_memory {
 public:
  using device_type = virtqueue<split, device_side, mapped_space, watching>;

  explicit device_victim(const ring_options& chosen)
      : options(chosen),
        memory(split_ring::bytes(chosen.size)),
        ring(split_ring::place(memory.bytes(), chosen.size)),
        device(ring, chosen, mapped_space(map)),
        hand(chosen.start) {
    direct::publish_avail(ring.avail_index(), hand.value());
    direct::publish_used(ring.used_index(), hand.value());
    watch_book::get() = {};
    const std::size_t used = split_ring::used_offset(chosen.size);
    watch_book::get().may_load = {memory.bytes().first(used), low_memory.bytes(),
                                  high_memory.bytes()};
    watch_book::get().may_store = {memory.bytes().subspan(used)};
  }

  void describe(std::uint16_t index, const descriptor& what) {
    write(ring.descriptors()[index], what);
  }
  // A table at a guest address within the two regions.
  void table(std::uint64_t address, const std::vector<descriptor>& entries) {
    for (const descriptor& each : entries) {
      const auto at = map.translate(address, sizeof(split_descriptor), memory_access::write);
      REQUIRE(at.size() == sizeof(split_descriptor));
      write(*reinterpret_cast<split_descriptor*>(at.data()), each);
      address += sizeof(split_descriptor);
    }
  }
  // Makes the chain at `head` available.
  void offer(std::uint16_t head) {
    const auto mask = static_cast<std::uint16_t>(options.size - 1);
    direct::store(ring.avail_entries()[hand.slot(mask)], head);
    show(1);
  }
  void show(std::uint32_t count) {
    hand += count;
    direct::publish_avail(ring.avail_index(), hand.value());
  }

  // Takes what is there, a burst first, as workers do; touches it, and returns how many chains there
  // were.
  std::uint16_t pop() {
    readable = writable = 0;
    watch_book::get().loads = 0;
    watching::begin();
    const std::uint16_t pending = device.avail(options.size);
    watching::begin();
    const std::uint16_t burst = pop_burst(std::min(pending, options.size));
    watching::begin();
    const std::uint16_t rest = device.pop(options.size, [this](const device_chain& chain) {
      last = chain.head;
      ++out;
      for (const std::span<std::byte> piece : chain.readable) touch(piece, false);
      for (const std::span<std::byte> piece : chain.writable) touch(piece, true);
    });
    CHECK(watch_book::get().strays == 0);
    CHECK(watch_book::get().second_loads == 0);
    CHECK(watch_book::get().loads < 10000);  // whatever a chain says, looking at it is bounded
    return static_cast<std::uint16_t>(burst + rest);
  }
  std::uint16_t pop_burst(std::uint16_t count) {
    return device.pop_burst(
        count, [this](std::size_t, std::uint16_t head, std::span<std::byte> buffer, bool writes) {
          last = head;
          ++out;
          touch(buffer, writes);
        });
  }

  // The queue broke for this reason and stays broken; what is out can still be returned.
  void check_broken(ring_fault fault, std::uint64_t value) {
    CAPTURE(name(fault), name(device.breach().fault));
    REQUIRE(device.breach());
    CHECK(device.breach().fault == fault);
    CHECK(device.breach().value == value);
    // A driver that repairs what it did is not believed any more.
    for (std::uint16_t i = 0; i < options.size; ++i) describe(i, {low, 1});
    offer(0);
    CHECK(pop() == 0);
    watching::begin();
    CHECK(device.avail(1) == 0);
    (void)device.enable_kick();
    device.disable_kick();
    for (; out != 0; --out) device.push_used(last, 0);
    device.publish();
    watching::begin();
    (void)device.call_needed();
    CHECK(device.breach().fault == fault);
    CHECK(watch_book::get().strays == 0);
  }

  // The chain at descriptor 0, behind a lawful one, is refused for this reason.
  void check_refused(ring_fault fault, std::uint64_t value) {
    const std::uint16_t last_index = options.size - 1u & 0xffff;
    describe(last_index, {low, 8});
    offer(last_index);
    offer(0);
    CHECK(pop() == 1);
    CHECK(device.breach().position == 0);
    check_broken(fault, value);
  }

  ring_options options;
  guarded_memory memory;
  split_ring ring;
  device_type device;
  ring_index hand;  // the driver's position
  std::uint16_t last = 0;
  std::size_t out = 0;

 private:
  static void write(split_descriptor& to, const descriptor& what) {
    direct::store(to.address, what.address);
    direct::store(to.rest, split_descriptor::pack(what.length, what.flags, what.next));
  }
};

inline constexpr ring_options plain{.size = 8, .indirect = true, .start = ring_index(65530)};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_DEVICE_VICTIM_HPP
