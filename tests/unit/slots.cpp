// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <random>
#include <set>

#include "support/slot_bed.hpp"

namespace vkring::test {
namespace {

// Frames with all kinds of headers, and what becomes of them.
struct sample {
  bytes payload;
  virtio_net_hdr header;
  bool good;
};
class samples {
 public:
  explicit samples(std::uint32_t seed) : random_(seed) {}
  std::size_t below(std::size_t n) { return random_() % n; }

  sample next(std::size_t most_bytes, bool spoil) {
    sample made{pattern(++count_, 60 + below(most_bytes - 59)), {}, true};
    switch (below(8)) {
      case 0:
        made.header = partial_checksum();
        break;
      case 1:
        made.header = tso4();
        break;
      case 2:
        if (!spoil) break;
        made.header = partial_checksum();
        made.header.csum_start = 0x4000;
        made.good = false;
        break;
      case 3:
        if (!spoil) break;
        made.payload.resize(13);
        made.good = false;
        break;
      default:
        break;
    }
    return made;
  }

 private:
  std::minstd_rand random_;
  std::uint32_t count_ = 0;
};

// Runs `work(options, out_of_order, spoil)` with everything that a slot queue has to live with.
template <class Work>
void for_each_trouble(Work&& work) {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{16}}) {
    for_each_mix(size, [&](const bed_options& options) {
      for (const bool out_of_order : {false, true}) {
        if (out_of_order && options.ring.in_order) continue;
        for (const bool spoil : {false, true}) {
          CAPTURE(size, out_of_order, spoil);
          work(options, out_of_order, spoil);
        }
      }
    });
  }
}

TEST_CASE("slot tx: every frame that may be sent arrives once, in order, as it was") {
  for_each_trouble([](const bed_options& options, bool out_of_order, bool spoil) {
    const auto pool = make_pool(16, 128);
    slot_tx_bed bed(*pool, options);
    samples random(options.ring.size);
    std::deque<sample> in_ring;
    std::vector<slot_tx_bed::taken> held;
    std::uint64_t frames = 0, sum = 0, drops = 0;
    bool right = true;
    for (int lap = 0; lap < 400; ++lap) {
      const auto slots = bed.queue.reserve(random.below(options.ring.size + 2u));
      // Not all that was reserved need be committed.
      const std::size_t n = random.below(slots.size() + 1);
      std::size_t good = 0;
      for (slot_frame* const slot : slots.first(n)) {
        sample next = random.next(128, spoil);
        fill(*slot, next.payload, next.header);
        if (next.good) {
          ++good;
          sum += next.payload.size();
          in_ring.push_back(std::move(next));
        } else {
          ++drops;
        }
      }
      CHECK(bed.queue.commit(n) == good);
      frames += good;
      auto came = bed.take(static_cast<std::uint16_t>(random.below(options.ring.size + 1u)));
      for (const auto& each : came) {
        const sample& next = in_ring.front();
        right = right && each.payload == next.payload && bed.header(each) == next.header;
        in_ring.pop_front();
      }
      held.insert(held.end(), came.begin(), came.end());
      if (random.below(3) != 0) {
        if (out_of_order) std::reverse(held.begin(), held.end());
        bed.give_back(held);
        held.clear();
      }
      if (random.below(4) == 0) bed.queue.reclaim();
    }
    CHECK(right);
    CHECK(frames > 60);
    CHECK((drops != 0) == spoil);
    const queue_counters& counters = bed.queue.counters();
    CHECK(counters.frames.value() == frames);
    CHECK(counters.bytes.value() == sum);
    CHECK(counters.dropped() == drops);
    CHECK(counters.kicks.value() == static_cast<std::uint64_t>(bed.kicks));
    CHECK_FALSE(bed.queue.ring().breach());
    const bool left_fast = bed.queue.ring().general_entries() != 0;
    CHECK(left_fast == (out_of_order && options.ring.size > 1));
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("slot rx: every frame that can be believed arrives once, in order, as it was") {
  for_each_trouble([](const bed_options& options, bool out_of_order, bool spoil) {
    const auto pool = make_pool(16, 128);
    slot_rx_bed bed(*pool, options);
    samples random(options.ring.size);
    std::deque<sample> waiting;  // in the ring or peeked at
    std::uint64_t frames = 0, sum = 0, drops = 0;
    bool right = true;
    for (int lap = 0; lap < 400; ++lap) {
      struct written {
        std::uint16_t head;
        sample what;
      };
      std::vector<written> burst;
      for (std::size_t n = random.below(options.ring.size + 1u); n != 0; --n) {
        if (bed.device.avail(1) == 0) break;
        sample next = random.next(128, spoil);
        const std::uint16_t head = bed.write(next.payload, next.header);
        burst.push_back({head, std::move(next)});
      }
      if (out_of_order) std::reverse(burst.begin(), burst.end());
      for (written& each : burst) {
        bed.push(each.head, each.what.payload.size());
        if (each.what.good) {
          ++frames;
          sum += each.what.payload.size();
          waiting.push_back(std::move(each.what));
        } else {
          ++drops;
        }
      }
      bed.device.publish();

      const std::size_t wanted = random.below(options.ring.size + 2u);
      const auto slots = bed.queue.peek(wanted);
      REQUIRE(slots.size() <= std::min(wanted, waiting.size()));
      for (std::size_t i = 0; i < slots.size(); ++i) {
        virtio_net_hdr header = slots[i]->header();
        right = right && content_of(*slots[i]) == waiting[i].payload && header == waiting[i].header;
      }
      const std::size_t n = random.below(slots.size() + 1);
      bed.queue.release(n);
      waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(n));
    }
    // The rest, so that everything was seen.
    while (true) {
      const auto slots = bed.queue.peek(options.ring.size);
      if (slots.empty()) break;
      REQUIRE(slots.size() <= waiting.size());
      right = right && content_of(*slots[0]) == waiting.front().payload;
      bed.queue.release(1);
      waiting.pop_front();
    }
    CHECK(waiting.empty());
    CHECK(right);
    CHECK(frames > 60);
    CHECK((drops != 0) == spoil);
    const queue_counters& counters = bed.queue.counters();
    CHECK(counters.frames.value() == frames);
    CHECK(counters.bytes.value() == sum);
    CHECK(counters.dropped() == drops);
    CHECK(counters.kicks.value() == static_cast<std::uint64_t>(bed.kicks));
    CHECK_FALSE(bed.queue.ring().breach());
    bed.queue.stop();
    check_all_back(*pool);
  });
}

TEST_CASE("slot tx: what was reserved and not committed comes first, as it was left") {
  const auto pool = make_pool();
  slot_tx_bed bed(*pool);
  const auto first = bed.queue.reserve(4);
  REQUIRE(first.size() == 4);
  CHECK(std::set<slot_frame*>(first.begin(), first.end()).size() == 4);
  CHECK(first[0]->size() == 0);
  CHECK(first[0]->buffer().size() == pool->capacity());
  CHECK_FALSE(first[0]->resize(pool->capacity() + 1));
  for (slot_frame* const each : first) fill(*each, pattern(1, 60));
  slot_frame* const third = first[2];
  fill(*third, pattern(3, 70), partial_checksum());
  CHECK(bed.queue.commit(2) == 2);

  const auto second = bed.queue.reserve(4);
  REQUIRE(second.size() == 4);
  CHECK(second[0] == third);
  CHECK(content_of(*third) == pattern(3, 70));
  CHECK(third->header() == partial_checksum());
  // Up to the end of the ring, then from its start: two slots are in flight.
  CHECK(bed.queue.reserve(32).size() == 6);
  CHECK(bed.queue.commit(0) == 0);
}

TEST_CASE("slot tx: a full ring has no slots until the device gives some back") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    slot_tx_bed bed(*pool, options);
    const auto send_all = [&] {
      std::size_t sent = 0;
      for (auto slots = bed.queue.reserve(8); !slots.empty(); slots = bed.queue.reserve(8)) {
        for (slot_frame* const each : slots) fill(*each, pattern(1, 60));
        sent += bed.queue.commit(slots.size());
      }
      return sent;
    };
    CHECK(send_all() == 8);
    CHECK(bed.queue.commit(1) == 0);
    bed.give_back(bed.take(3));
    CHECK(send_all() == 3);
    CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
    bed.give_back(bed.take());
    CHECK(bed.queue.enable_call() == notification::more_pending);
    bed.queue.disable_call();
    CHECK(send_all() == 8);
    bed.queue.stop();
    CHECK(bed.queue.reserve(1).empty());
    check_all_back(*pool);
  });
}

TEST_CASE(
    "slot tx: what must not be sent is dropped for its reason, and the others close the gap") {
  const auto pool = make_pool();
  slot_tx_bed bed(*pool);
  auto slots = bed.queue.reserve(5);
  fill(*slots[0], pattern(0, 60));
  fill(*slots[1], pattern(1, 13));                      // too short
  fill(*slots[2], pattern(2, 60), partial_checksum());  // not negotiated
  fill(*slots[3], pattern(3, 60));
  slots[4]->resize(0);
  CHECK(bed.queue.commit(5) == 2);
  const auto came = bed.take();
  REQUIRE(came.size() == 2);
  CHECK(came[0].payload == pattern(0, 60));
  CHECK(came[1].payload == pattern(3, 60));
  const auto& drops = bed.queue.counters().drops;
  CHECK(drops[static_cast<std::size_t>(drop_reason::too_short)].value() == 2);
  CHECK(drops[index_of(header_fault::csum_not_negotiated)].value() == 1);
  CHECK(bed.kicks == 1);
  // Their buffers are empty and free.
  slots = bed.queue.reserve(6);
  REQUIRE(slots.size() == 6);
  for (slot_frame* const each : slots) {
    CHECK(each->size() == 0);
    CHECK(each->header().is_plain());
  }
  // A burst of which nothing is left is not worth a kick.
  CHECK(bed.queue.commit(6) == 0);
  CHECK(bed.kicks == 1);
  CHECK(bed.queue.counters().dropped() == 9);
}

TEST_CASE("slot tx: a header is gone from the buffer when its next frame has none") {
  for (const std::uint32_t size : {std::uint32_t{12}, std::uint32_t{24}}) {
    bed_options options;
    options.rules.header_size = size;
    options.rules.offloads = all_offloads;
    const auto pool = make_pool();
    slot_tx_bed bed(*pool, options);
    for (int lap = 0; lap < 3; ++lap) {
      for (const bool offload : {true, false}) {
        for (int i = 0; i < 8; ++i) {
          const auto slots = bed.queue.reserve(1);
          REQUIRE(slots.size() == 1);
          CHECK(slots[0]->header().is_plain());
          fill(*slots[0], pattern(1, 120), offload ? tso4() : virtio_net_hdr{});
          CHECK(bed.queue.commit(1) == 1);
        }
        const auto came = bed.take();
        for (const auto& each : came) {
          CHECK(bed.header(each) == (offload ? tso4() : virtio_net_hdr{}));
          CHECK((each.raw_header == bytes(size)) == !offload);
        }
        bed.give_back(came);
      }
    }
  }
}

TEST_CASE("slots: each descriptor is told once where its buffer is") {
  for_each_mix(8, [](const bed_options& options) {
    const auto pool = make_pool();
    slot_tx_bed tx(*pool, options);
    slot_rx_bed rx(*pool, options);
    // Who writes the address again removes the mark.
    constexpr std::uint64_t mark = std::uint64_t{1} << 63;
    for (int lap = 0; lap < 30; ++lap) {
      const auto slots = tx.queue.reserve(3);
      for (slot_frame* const each : slots) fill(*each, pattern(1, 60));
      REQUIRE(tx.queue.commit(slots.size()) == slots.size());
      if (lap == 20) {
        for (std::uint16_t i = 0; i < 8; ++i) {
          tx.ring.descriptors()[i].address |= mark;
          rx.ring.descriptors()[i].address |= mark;
          rx.ring.descriptors()[i].rest |= mark;
        }
      }
      // A device that does not look at the descriptors: they are marked.
      while (tx.queue.ring().in_flight() != 0) {
        tx.device.push_used(tx.queue.ring().used_position().slot(7), 0);
        tx.device.publish();
        tx.queue.reclaim();
      }
      rx.push(rx.queue.ring().used_position().slot(7), 60);
      rx.device.publish();
      REQUIRE(rx.queue.peek(1).size() == 1);
      rx.queue.release(1);
    }
    for (const ring_bed* bed : {static_cast<ring_bed*>(&tx), static_cast<ring_bed*>(&rx)}) {
      for (const std::uint64_t each : addresses(*bed)) CHECK((each & mark) != 0);
    }
    for (std::uint16_t i = 0; i < 8; ++i) CHECK((rx.ring.descriptors()[i].rest & mark) != 0);
    CHECK_FALSE(tx.queue.ring().breach());
    CHECK_FALSE(rx.queue.ring().breach());
  });
}

TEST_CASE("slot rx: frames come again until they are released") {
  const auto pool = make_pool();
  slot_rx_bed bed(*pool);
  CHECK(bed.kicks == 1);
  CHECK(bed.device.avail(8) == 8);
  CHECK(bed.queue.peek(8).empty());
  for (std::uint32_t i = 0; i < 5; ++i) bed.deliver(pattern(i, 60));
  bed.device.publish();
  CHECK(bed.queue.enable_call() == notification::more_pending);
  CHECK(bed.queue.peek(2).size() == 2);
  const auto all = bed.queue.peek(8);
  REQUIRE(all.size() == 5);
  CHECK(content_of(*all[0]) == pattern(0, 60));
  CHECK(content_of(*all[4]) == pattern(4, 60));
  bed.queue.release(3);
  const auto rest = bed.queue.peek(8);
  REQUIRE(rest.size() == 2);
  CHECK(content_of(*rest[0]) == pattern(3, 60));
  CHECK(bed.device.avail(8) == 6);
  bed.queue.release(100);
  CHECK(bed.device.avail(8) == 8);
  CHECK(bed.queue.peek(8).empty());
  bed.queue.release(0);
  CHECK(bed.queue.enable_call() == notification::safe_to_sleep);
}

TEST_CASE("slot rx: what cannot be believed goes back, the frames before and after it stay") {
  for (const bool out_of_order : {false, true}) {
    bed_options options;
    options.rules.offloads = {.csum = true};
    const auto pool = make_pool();
    slot_rx_bed bed(*pool, options);
    bed.deliver(pattern(0, 60));
    bed.device.publish();
    CHECK(bed.queue.peek(8).size() == 1);  // held while others are dropped
    virtio_net_hdr beyond = partial_checksum();
    beyond.csum_start = 59;
    bed.deliver(pattern(1, 60), beyond);
    bed.deliver(pattern(2, 60), partial_checksum());
    bed.deliver(pattern(3, 60), tso4());
    const std::uint16_t fourth = bed.write(pattern(4, 13));
    const std::uint16_t fifth = bed.write(pattern(5, 60));
    if (!out_of_order) bed.push(fourth, 13);
    bed.push(fifth, 60);
    if (out_of_order) bed.push(fourth, 13);
    bed.device.publish();
    const auto frames = bed.queue.peek(8);
    REQUIRE(frames.size() == 3);
    CHECK(content_of(*frames[0]) == pattern(0, 60));
    CHECK(content_of(*frames[1]) == pattern(2, 60));
    CHECK(frames[1]->header() == partial_checksum());
    CHECK(content_of(*frames[2]) == pattern(5, 60));
    CHECK(frames[2]->header().is_plain());
    CHECK(bed.queue.counters().drops[index_of(header_fault::csum_start_beyond_end)].value() == 1);
    CHECK(bed.queue.counters().drops[index_of(header_fault::gso_not_negotiated)].value() == 1);
    CHECK(bed.queue.counters().drops[static_cast<std::size_t>(drop_reason::too_short)].value() ==
          1);
    CHECK(bed.queue.counters().frames.value() == 3);
    CHECK(bed.device.avail(8) == 5);  // three are held
    bed.queue.release(3);
    CHECK(bed.device.avail(8) == 8);
    bed.queue.stop();
    check_all_back(*pool, false);
  }
}

TEST_CASE("slots: a device that breaks the rules gets nothing more, the buffers are safe") {
  struct breach {
    std::uint32_t id, length;
    std::uint16_t index;
    ring_fault fault;
  };
  const std::uint32_t capacity = make_pool()->capacity();
  for (const breach& each :
       {breach{8, 72, 1, ring_fault::used_id_range}, breach{0, 11, 1, ring_fault::used_length},
        breach{0, capacity + 13, 1, ring_fault::used_length},
        breach{0, UINT32_MAX, 1, ring_fault::used_length},
        breach{0, 72, 9, ring_fault::used_index_jump}}) {
    CAPTURE(each.id, each.length, each.index);
    const auto pool = make_pool();
    slot_rx_bed bed(*pool);
    direct::store(bed.ring.used_elements()[0].id, each.id);
    direct::store(bed.ring.used_elements()[0].length, each.length);
    direct::publish_used(bed.ring.used_index(), each.index);
    CHECK(bed.queue.peek(8).empty());
    CHECK(bed.queue.ring().breach().fault == each.fault);
    bed.queue.release(8);
    CHECK(bed.queue.peek(8).empty());
    bed.queue.stop();
    check_all_back(*pool, false);
  }

  const auto pool = make_pool();
  slot_tx_bed bed(*pool);
  fill(*bed.queue.reserve(1)[0], pattern(1, 60));
  CHECK(bed.queue.commit(1) == 1);
  direct::store(bed.ring.used_elements()[0].id, std::uint32_t{5});  // never sent
  direct::publish_used(bed.ring.used_index(), 1);
  bed.queue.reclaim();
  CHECK(bed.queue.ring().breach());
  CHECK(bed.queue.reserve(1).empty());
  CHECK(bed.queue.commit(1) == 0);
  bed.queue.stop();
  check_all_back(*pool);
}

TEST_CASE("slots: a buffer for each slot, or none is taken and the error says so") {
  const auto pool = make_pool(7);
  const bed_options options;
  const ring_bed bed(pool->regions(), options);
  int kicks = 0;
  const auto tx = slot_tx_bed::queue_type::make({bed.ring, bed.options.ring}, *pool, {}, {&kicks});
  REQUIRE_FALSE(tx);
  CHECK(tx.error().message() ==
        "open queue-size=8: No buffer space available (a slot queue needs a buffer for each slot, "
        "and the source has 7 left)");
  const auto rx = slot_rx_bed::queue_type::make({bed.ring, bed.options.ring}, *pool,
                                                {.mergeable = true}, {&kicks});
  REQUIRE_FALSE(rx);
  CHECK(rx.error().message() ==
        "open mrg=on: Operation not supported (a slot queue has one buffer for each frame: use "
        "leases, or large buffers)");
  CHECK(kicks == 0);
  check_all_back(*pool);
}

}  // namespace
}  // namespace vkring::test
