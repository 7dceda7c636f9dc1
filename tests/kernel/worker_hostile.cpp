// SPDX-License-Identifier: BSD-3-Clause
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/skip.hpp"
#include "support/tap_wire.hpp"
#include "vkring/kernel/link.hpp"
#include "vkring/kernel/tap.hpp"
#include "vkring/worker/tap_worker.hpp"

// A driver that breaks the rules, against the worker: the ring at fault stops and is named, its
// sibling and the other pair go on, and nothing outside the memory table is touched.

using namespace vkring;
using namespace vkring::test;

namespace {

constexpr std::uint16_t ring_size = 16;
constexpr unsigned next_flag = descriptor_next;
constexpr unsigned write_flag = descriptor_write;
constexpr std::size_t page = 4096;

// Pages that are in the memory table, between pages that are not.
class arena {
 public:
  static constexpr std::uint64_t guest = 0x1000'0000;
  static constexpr std::size_t inside = 1024 * page;  // 4 MiB
  static constexpr std::size_t outside = 4 * page;

  arena()
      : bytes_(static_cast<std::byte*>(::mmap(nullptr, inside + 2 * outside, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    std::memset(bytes_, 0xa5, outside);
    std::memset(bytes_ + outside + inside, 0xa5, outside);
    REQUIRE(table.add_at(guest, {bytes_ + outside, inside}));
  }
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;
  ~arena() { ::munmap(bytes_, inside + 2 * outside); }

  [[nodiscard]] std::byte* at(std::size_t offset) const { return bytes_ + outside + offset; }
  [[nodiscard]] bool outside_untouched() const {
    const auto whole = [](const std::byte* from) {
      for (std::size_t i = 0; i < outside; ++i) {
        if (from[i] != std::byte{0xa5}) return false;
      }
      return true;
    };
    return whole(bytes_) && whole(bytes_ + outside + inside);
  }

  memory_table table;

 private:
  std::byte* bytes_;
};

// A ring as a driver without manners sees it: every word is there to be written.
class raw_ring {
 public:
  raw_ring()
      : memory_(static_cast<std::byte*>(
            std::aligned_alloc(split_ring::alignment, split_ring::bytes(ring_size)))) {
    std::memset(memory_.get(), 0, split_ring::bytes(ring_size));
    it = split_ring::place({memory_.get(), split_ring::bytes(ring_size)}, ring_size);
  }

  void describe(std::uint16_t index, std::uint64_t address, std::uint64_t length,
                unsigned flags = 0, std::uint16_t next = 0) const {
    direct::store(it.descriptors()[index].address, address);
    direct::store(it.descriptors()[index].rest,
                  split_descriptor::pack(length, static_cast<std::uint16_t>(flags), next));
  }
  void offer(std::uint16_t head) {
    direct::store(it.avail_entries()[avail % ring_size], head);
    show(static_cast<std::uint16_t>(avail + 1));
  }
  void show(std::uint16_t index) {
    avail = index;
    direct::publish_avail(it.avail_index(), index);
    kick.signal();
  }
  [[nodiscard]] std::uint16_t used() const { return direct::observe_used(it.used_index()); }

  split_ring it;
  std::uint16_t avail = 0;
  event_fd kick = event_fd::create().value();
  event_fd call = event_fd::create().value();

 private:
  struct release {
    void operator()(std::byte* at) const { std::free(at); }
  };
  std::unique_ptr<std::byte, release> memory_;
};

// A TAP, its queue pair and its kernel's end.
struct raw_pair {
  explicit raw_pair(const netns& ns)
      : queue(tap::open({.netns_fd = ns.fd()}).value()),
        link(up(net_link::open(queue.name(), ns).value())),
        wire(ns, link.index()) {}

  static net_link up(net_link link) {
    REQUIRE(link.set_up(true));
    return link;
  }

  [[nodiscard]] worker_queue<split> described(bool indirect, bool mergeable) const {
    worker_queue<split> made;
    made.tx = tx.it;
    made.rx = rx.it;
    made.options.size = ring_size;
    made.options.indirect = indirect;
    made.tap = queue.fd();
    made.tx_kick = tx.kick.fd();
    made.rx_kick = rx.kick.fd();
    made.tx_call = tx.call.fd();
    made.rx_call = rx.call.fd();
    made.error = error.fd();
    made.mergeable = mergeable;
    return made;
  }

  tap queue;
  net_link link;
  tap_wire wire;
  raw_ring tx;
  raw_ring rx;
  event_fd error = event_fd::create().value();
};

// Two pairs of one thread: the first is attacked.
struct victim {
  explicit victim(const netns& ns, bool indirect = true, bool mergeable = true)
      : pairs{std::make_unique<raw_pair>(ns), std::make_unique<raw_pair>(ns)} {
    worker_options options;
    options.threads = 1;
    worker = tap_worker::start({pairs[0]->described(indirect, mergeable),
                                pairs[1]->described(indirect, mergeable)},
                               memory.table, options)
                 .value();
  }

  // Each pair has a page for its lawful frames, each direction half of it.
  [[nodiscard]] std::size_t place(std::size_t pair, bool sending) const {
    return pair * page + (sending ? 0 : page / 2);
  }
  // Sends a frame as a driver should.
  [[nodiscard]] bool sends(std::size_t pair) {
    raw_pair& p = *pairs[pair];
    const frame_bytes frame = numbered_frame(++number, 100);
    const std::size_t at = place(pair, true);
    std::memset(memory.at(at), 0, header_size);
    std::copy(frame.begin(), frame.end(), memory.at(at) + header_size);
    p.tx.describe(3, arena::guest + at, header_size + frame.size());
    p.tx.offer(3);
    std::int64_t came = -1;
    return eventually([&] { return (came = p.wire.next_number()) != -1; }) && came == number;
  }
  // Receives a frame as a driver should.
  [[nodiscard]] bool receives(std::size_t pair) {
    raw_pair& p = *pairs[pair];
    const std::size_t at = place(pair, false);
    const std::uint16_t before = p.rx.used();
    p.rx.describe(3, arena::guest + at, page / 2, descriptor_write);
    p.rx.offer(3);
    if (p.wire.send(numbered_frame(++number, 100)) != 0) return false;
    if (!eventually([&] { return p.rx.used() != before; })) return false;
    return number_of({memory.at(at) + header_size, 100}) == number;
  }

  // The ring at fault is named, once, and all else runs.
  void check_only(bool tx, ring_fault fault) {
    const worker_health& health = worker->health(0);
    const auto met = [&] { return tx ? health.tx_breach() : health.rx_breach(); };
    CHECK(eventually([&] { return static_cast<bool>(met()); }));
    CHECK(name(met().fault) == name(fault));
    CHECK(name((tx ? health.rx_breach() : health.tx_breach()).fault) == "none");
    CHECK(wait_readable(pairs[0]->error.fd()));
    CHECK((tx ? receives(0) : sends(0)));
    CHECK(sends(1));
    CHECK(receives(1));
    CHECK_FALSE(worker->health(1).tx_breach());
    CHECK_FALSE(worker->health(1).rx_breach());
    CHECK(pairs[0]->error.drain() == 1);
    CHECK(pairs[1]->error.drain() == 0);
    CHECK(others_fall_asleep(pairs[1]->error.fd()));
    CHECK(memory.outside_untouched());
  }

  arena memory;
  std::array<std::unique_ptr<raw_pair>, 2> pairs;
  std::unique_ptr<tap_worker> worker;
  std::uint32_t number = 0;
};

// A descriptor in an indirect table at `offset` of the arena.
void table_entry(const victim& on, std::size_t offset, std::size_t index, std::uint64_t address,
                 std::uint64_t length, unsigned flags, std::uint16_t next) {
  auto* const table = reinterpret_cast<split_descriptor*>(on.memory.at(offset));
  table[index] = {little(address),
                  little(split_descriptor::pack(length, static_cast<std::uint16_t>(flags), next))};
}

constexpr std::uint64_t here = arena::guest + 2 * page;  // lawful memory for chains
constexpr std::size_t table_at = 8 * page;               // and for tables
constexpr std::uint64_t table_guest = arena::guest + table_at;
constexpr std::uint64_t beyond = arena::guest + arena::inside;

struct attack {
  const char* name;
  ring_fault fault;
  void (*run)(victim& on, raw_ring& ring, unsigned direction);
  bool indirect = true;
};

// What is a breach on either ring; `direction` is the flag that the ring's buffers have to have.
const std::vector<attack>& attacks() {
  static const std::vector<attack> all = {
      {"head beyond the ring", ring_fault::head_range,
       [](victim&, raw_ring& ring, unsigned) { ring.offer(ring_size); }},
      {"next beyond the ring", ring_fault::next_range,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, here, 100, d | descriptor_next, ring_size);
         ring.offer(0);
       }},
      {"a loop", ring_fault::chain_too_long,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, here, 100, d | descriptor_next, 1);
         ring.describe(1, here, 100, d | descriptor_next, 0);
         ring.offer(0);
       }},
      {"a loop of one", ring_fault::chain_too_long,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, here, 100, d | descriptor_next, 0);
         ring.offer(0);
       }},
      {"an address behind the table", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, beyond, 100, d);
         ring.offer(0);
       }},
      {"a buffer across the end of the table", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, beyond - 60, 100, d);
         ring.offer(0);
       }},
      {"a buffer across the start of the table", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, arena::guest - 60, 100, d);
         ring.offer(0);
       }},
      {"an address of 0", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, 0, 100, d);
         ring.offer(0);
       }},
      {"an address that wraps around", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, ~std::uint64_t{0} - 60, 100, d);
         ring.offer(0);
       }},
      {"a host address", ring_fault::address_refused,
       [](victim& on, raw_ring& ring, unsigned d) {
         ring.describe(0, reinterpret_cast<std::uintptr_t>(on.memory.at(0)), 100, d);
         ring.offer(0);
       }},
      {"indirect where it was not negotiated", ring_fault::indirect_refused,
       [](victim& on, raw_ring& ring, unsigned d) {
         table_entry(on, table_at, 0, here, 100, d, 0);
         ring.describe(0, table_guest, 16, descriptor_indirect);
         ring.offer(0);
       },
       false},
      {"an empty table", ring_fault::indirect_length,
       [](victim&, raw_ring& ring, unsigned) {
         ring.describe(0, table_guest, 0, descriptor_indirect);
         ring.offer(0);
       }},
      {"a table with half an entry", ring_fault::indirect_length,
       [](victim&, raw_ring& ring, unsigned) {
         ring.describe(0, table_guest, 24, descriptor_indirect);
         ring.offer(0);
       }},
      {"indirect and next", ring_fault::indirect_with_next,
       [](victim& on, raw_ring& ring, unsigned d) {
         table_entry(on, table_at, 0, here, 100, d, 0);
         ring.describe(0, table_guest, 16, descriptor_indirect | descriptor_next, 1);
         ring.offer(0);
       }},
      {"a table behind the memory table", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned) {
         ring.describe(0, beyond, 16, descriptor_indirect);
         ring.offer(0);
       }},
      {"a table that ends behind it", ring_fault::address_refused,
       [](victim& on, raw_ring& ring, unsigned d) {
         table_entry(on, arena::inside - 16, 0, here, 100, d | descriptor_next, 1);
         ring.describe(0, beyond - 16, 32, descriptor_indirect);
         ring.offer(0);
       }},
      {"a table at an odd address", ring_fault::address_refused,
       [](victim&, raw_ring& ring, unsigned) {
         ring.describe(0, table_guest + 1, 16, descriptor_indirect);
         ring.offer(0);
       }},
      {"a table in a table", ring_fault::indirect_refused,
       [](victim& on, raw_ring& ring, unsigned) {
         table_entry(on, table_at, 0, table_guest, 16, descriptor_indirect, 0);
         ring.describe(0, table_guest, 16, descriptor_indirect);
         ring.offer(0);
       }},
      {"next beyond the table", ring_fault::next_range,
       [](victim& on, raw_ring& ring, unsigned d) {
         table_entry(on, table_at, 0, here, 100, d | descriptor_next, 2);
         ring.describe(0, table_guest, 32, descriptor_indirect);
         ring.offer(0);
       }},
      {"a loop in a table", ring_fault::chain_too_long,
       [](victim& on, raw_ring& ring, unsigned d) {
         table_entry(on, table_at, 0, here, 100, d | descriptor_next, 0);
         ring.describe(0, table_guest, 32, descriptor_indirect);
         ring.offer(0);
       }},
      {"more pieces than a chain may have", ring_fault::chain_too_long,
       [](victim& on, raw_ring& ring, unsigned d) {
         constexpr std::uint16_t many = max_chain_pieces + 1;
         for (std::uint16_t i = 0; i < many; ++i) {
           table_entry(on, table_at, i, here, 1, d | (i + 1 < many ? next_flag : 0u),
                       static_cast<std::uint16_t>(i + 1));
         }
         ring.describe(0, table_guest, many * 16, descriptor_indirect);
         ring.offer(0);
       }},
      {"more bytes than a length can say", ring_fault::chain_too_large,
       [](victim& on, raw_ring& ring, unsigned d) {
         constexpr std::uint16_t many = max_chain_pieces;
         for (std::uint16_t i = 0; i < many; ++i) {
           table_entry(on, table_at, i, arena::guest, arena::inside,
                       d | (i + 1 < many ? next_flag : 0u), static_cast<std::uint16_t>(i + 1));
         }
         ring.describe(0, table_guest, many * 16, descriptor_indirect);
         ring.offer(0);
       }},
      {"readable behind writable", ring_fault::readable_after_writable,
       [](victim&, raw_ring& ring, unsigned) {
         ring.describe(0, here, 100, descriptor_write | descriptor_next, 1);
         ring.describe(1, here, 100, 0);
         ring.offer(0);
       }},
      {"the wrong direction", ring_fault::chain_direction,
       [](victim&, raw_ring& ring, unsigned d) {
         ring.describe(0, here, 100, d ^ descriptor_write);
         ring.offer(0);
       }},
      {"both directions", ring_fault::chain_direction,
       [](victim&, raw_ring& ring, unsigned) {
         ring.describe(0, here, 100, descriptor_next, 1);
         ring.describe(1, here, 100, descriptor_write);
         ring.offer(0);
       }},
      {"an index beyond the ring", ring_fault::avail_index_jump,
       [](victim&, raw_ring& ring, unsigned) {
         ring.show(static_cast<std::uint16_t>(ring.avail + ring_size + 1));
       }},
      {"an index that goes back", ring_fault::avail_index_jump,
       [](victim&, raw_ring& ring, unsigned) {
         ring.show(static_cast<std::uint16_t>(ring.avail - 1));
       }},
  };
  return all;
}

}  // namespace

TEST_CASE("worker: a hostile driver stops its own ring only") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const attack& each : attacks()) {
    for (const bool tx : {true, false}) {
      for (const bool mergeable : {true, false}) {
        if (tx && !mergeable) continue;
        CAPTURE(each.name, tx, mergeable);
        victim on(*ns, each.indirect, mergeable);
        // Not the first chain: what came before it is served.
        CHECK(on.sends(0));
        CHECK(on.receives(0));
        raw_ring& ring = tx ? on.pairs[0]->tx : on.pairs[0]->rx;
        const std::uint16_t used = ring.used();
        each.run(on, ring, tx ? 0u : write_flag);
        on.check_only(tx, each.fault);
        CHECK(ring.used() == used);
        CHECK_FALSE(on.pairs[0]->wire.receive());
      }
    }
  }
}

TEST_CASE("worker: receive buffers that cannot hold a header") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const std::uint32_t length : {0u, 1u, 11u}) {
    for (const bool mergeable : {true, false}) {
      CAPTURE(length, mergeable);
      victim on(*ns, true, mergeable);
      CHECK(on.receives(0));
      on.pairs[0]->rx.describe(0, here, length, descriptor_write);
      on.pairs[0]->rx.offer(0);
      on.check_only(false, ring_fault::buffer_too_small);
    }
  }
  SECTION("even if there is a large one before it and one behind it") {
    victim on(*ns);
    raw_ring& rx = on.pairs[0]->rx;
    rx.describe(0, here, 1000, descriptor_write);
    rx.describe(1, here + page, 11, descriptor_write);
    rx.describe(2, here + 2 * page, 4000, descriptor_write);
    for (std::uint16_t head = 0; head < 3; ++head) rx.offer(head);
    REQUIRE(on.pairs[0]->wire.send(numbered_frame(1, 500)) == 0);
    on.check_only(false, ring_fault::buffer_too_small);
    CHECK(rx.used() == 1);
  }
}

TEST_CASE("worker: a chain that cannot be lined up costs the frame before it, and no time") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  victim on(*ns);
  raw_pair& p = *on.pairs[0];
  const worker_counters& counters = on.worker->counters(0);
  constexpr std::uint16_t many = max_chain_pieces;
  for (std::uint16_t i = 0; i < many; ++i) {
    table_entry(on, table_at, i, here + page, 4, descriptor_write | (i + 1 < many ? next_flag : 0u),
                static_cast<std::uint16_t>(i + 1));
  }
  p.rx.describe(0, here, 200, descriptor_write);
  p.rx.describe(1, table_guest, many * 16, descriptor_indirect);
  p.rx.offer(0);
  p.rx.offer(1);
  REQUIRE(p.wire.send(numbered_frame(1, 1000)) == 0);
  CHECK(eventually([&] { return counters.rx_too_long.value() == 1; }));
  CHECK(others_fall_asleep(p.error.fd()));
  REQUIRE(p.wire.send(numbered_frame(2, 100)) == 0);
  CHECK(eventually([&] { return p.rx.used() == 1; }));
  CHECK(number_of({on.memory.at(2 * page) + header_size, 100}) == 2);
  on.check_only(false, ring_fault::chain_too_long);
}

TEST_CASE("worker: memory that is in the table and not in the process") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  victim on(*ns);
  REQUIRE(::mprotect(on.memory.at(2 * page), page, PROT_NONE) == 0);
  raw_pair& p = *on.pairs[0];
  SECTION("to send from") {
    p.tx.describe(0, here, 100);
    p.tx.offer(0);
    CHECK(eventually([&] { return on.worker->counters(0).tx_failed.value() == 1; }));
    CHECK(on.sends(0));
    CHECK(on.receives(0));
  }
  SECTION("to receive to") {
    p.rx.describe(0, here, 1000, descriptor_write);
    p.rx.offer(0);
    REQUIRE(p.wire.send(numbered_frame(1, 100)) == 0);
    on.check_only(false, ring_fault::address_refused);
  }
}

TEST_CASE("worker: what is no frame is returned and counted") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  victim on(*ns);
  raw_ring& tx = on.pairs[0]->tx;
  std::memset(on.memory.at(2 * page), 0, page);
  for (const std::uint32_t length : {0u, 1u, 11u, 12u, 20u}) {
    tx.describe(0, here, length);
    tx.offer(0);
  }
  CHECK(eventually([&] { return tx.used() == 5; }));
  const worker_counters& counters = on.worker->counters(0);
  CHECK(counters.tx_refused.value() + counters.tx_failed.value() == 5);
  // A header that asks for what is not there.
  const virtio_net_hdr bad{.flags = header_flag::needs_csum, .csum_start = 200, .csum_offset = 16};
  store_header(on.memory.at(2 * page), header_size, bad);
  tx.describe(0, here, 100);
  tx.offer(0);
  CHECK(eventually([&] { return tx.used() == 6; }));
  CHECK(counters.tx_refused.value() + counters.tx_failed.value() == 6);
  CHECK(counters.tx_frames.value() == 0);
  CHECK(on.sends(0));
}

TEST_CASE("worker: rings and tables that change all the time") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    victim on(*ns, true, seed % 2 == 0);
    std::atomic<bool> ended = false;
    std::thread vandal([&] {
      std::mt19937 random(seed);
      const std::array<std::uint64_t, 6> addresses = {here,   here + 100,  beyond - 50,
                                                      beyond, table_guest, 0};
      const std::array<raw_ring*, 2> rings = {&on.pairs[0]->tx, &on.pairs[0]->rx};
      auto* const table = reinterpret_cast<split_descriptor*>(on.memory.at(table_at));
      while (!ended.load()) {
        raw_ring& ring = *rings[random() % 2];
        const std::uint64_t address = addresses[random() % addresses.size()];
        // Mostly lawful, so that it goes on for a while.
        const unsigned flags =
            (random() % 8 == 0 ? random() % 8 : 0) | (&ring == rings[1] ? write_flag : 0u);
        const std::uint64_t length = random() % 4 == 0 ? random() % 70'000 : 16 * (random() % 100);
        const auto next = static_cast<std::uint16_t>(random() % (ring_size + 1));
        split_descriptor& entry = table[random() % 64];
        direct::store(entry.address, address);
        direct::store(entry.rest,
                      split_descriptor::pack(length, static_cast<std::uint16_t>(flags), next));
        ring.describe(static_cast<std::uint16_t>(random() % ring_size), address, length, flags,
                      next);
        if (random() % 4 == 0) ring.offer(static_cast<std::uint16_t>(random() % ring_size));
        if (random() % 64 == 0) ring.show(static_cast<std::uint16_t>(random()));
      }
    });
    for (std::uint32_t i = 0; i < 20; ++i) {
      static_cast<void>(on.pairs[0]->wire.send(numbered_frame(i, 100 + 50 * i)));
      CHECK(on.sends(1));
      CHECK(on.receives(1));
    }
    ended = true;
    vandal.join();
    CHECK_FALSE(on.worker->health(1).tx_breach());
    CHECK_FALSE(on.worker->health(1).rx_breach());
    on.worker->stop();
    CHECK(on.memory.outside_untouched());
  }
}
