// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_WORKER_VICTIM_HPP
#define VKRING_TESTS_SUPPORT_WORKER_VICTIM_HPP

// The worker on rings whose descriptors a test writes, of either layout.

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <memory>
#include <random>
#include <utility>

#include "support/tap_wire.hpp"
#include "vkring/kernel/event_fd.hpp"
#include "vkring/kernel/link.hpp"
#include "vkring/kernel/tap.hpp"
#include "vkring/memory/table.hpp"
#include "vkring/ring/packed.hpp"
#include "vkring/ring/split.hpp"
#include "vkring/worker/tap_worker.hpp"

namespace vkring::test {

inline constexpr std::size_t page = 4096;
inline constexpr unsigned next_flag = descriptor_next, write_flag = descriptor_write,
                          indirect_flag = descriptor_indirect;

/// Pages that are in the memory table, between pages that are not.
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

/// A descriptor as a driver without manners fills it in.
struct raw_buffer {
  std::uint64_t address;
  std::uint64_t length;
  unsigned flags = 0;
};

/// The memory of a ring, and how it is told of what is in it.
template <class Layout>
class ring_memory {
 public:
  static constexpr std::uint16_t size = 16;

  typename Layout::ring_type it;
  event_fd kick = event_fd::create().value();
  event_fd call = event_fd::create().value();

 protected:
  ring_memory() : memory_(static_cast<std::byte*>(std::aligned_alloc(ring::alignment, bytes()))) {
    std::memset(memory_.get(), 0, bytes());
    it = ring::place({memory_.get(), bytes()}, size);
  }

 private:
  using ring = typename Layout::ring_type;
  static std::size_t bytes() { return ring::bytes(size); }
  struct release {
    void operator()(std::byte* at) const { std::free(at); }
  };
  std::unique_ptr<std::byte, release> memory_;
};

/// A ring as such a driver sees it: every word is there to be written.
template <class Layout>
class raw_ring;

template <>
class raw_ring<split> : public ring_memory<split> {
 public:
  using descriptor = split_descriptor;

  static void write(descriptor& to, const raw_buffer& what, std::uint16_t next = 0) {
    direct::store(to.address, what.address);
    direct::store(to.rest, split_descriptor::pack(what.length,
                                                  static_cast<std::uint16_t>(what.flags), next));
  }
  /// Makes a chain of these available.
  void offer(std::initializer_list<raw_buffer> chain) {
    const std::uint16_t head = fresh_;
    for (const raw_buffer& each : chain) {
      const bool more = &each + 1 != chain.end();
      const auto next = static_cast<std::uint16_t>((fresh_ + 1u) % size);
      write(it.descriptors()[fresh_],
            {each.address, each.length, each.flags | (more ? next_flag : 0u)}, next);
      fresh_ = next;
    }
    offer(head);
  }
  void offer(std::uint16_t head) {
    direct::store(it.avail_entries()[avail % size], head);
    show(static_cast<std::uint16_t>(avail + 1));
  }
  void show(std::uint16_t index) {
    avail = index;
    direct::publish_avail(it.avail_index(), index);
    kick.signal();
  }
  /// How many chains were used.
  [[nodiscard]] std::uint16_t used() const { return direct::observe_used(it.used_index()); }

  /// Writes something anywhere, and makes something available at times.
  void scribble(std::mt19937& random, const raw_buffer& what) {
    write(it.descriptors()[random() % size], what, static_cast<std::uint16_t>(random() % (size + 1)));
    if (random() % 4 == 0) offer(static_cast<std::uint16_t>(random() % size));
    if (random() % 64 == 0) show(static_cast<std::uint16_t>(random()));
  }

  std::uint16_t avail = 0;

 private:
  std::uint16_t fresh_ = 0;  // the descriptor after those that were written last
};

template <>
class raw_ring<packed> : public ring_memory<packed> {
 public:
  using descriptor = packed_descriptor;

  static void write(descriptor& to, const raw_buffer& what, std::uint16_t id = 0) {
    direct::store(to.address, what.address);
    direct::publish_avail(to.rest, packed_descriptor::pack(what.length, id,
                                                           static_cast<std::uint16_t>(what.flags)));
  }
  void offer(std::initializer_list<raw_buffer> chain) { offer(chain, at_.slot()); }
  void offer(std::initializer_list<raw_buffer> chain, std::uint16_t id) {
    // The first one last, as it shows the others.
    for (auto i = static_cast<std::uint32_t>(chain.size()); i-- != 0;) {
      const packed_position at = at_.plus(i, size);
      raw_buffer what = chain.begin()[i];
      what.flags |= at.available() | (i + 1 != chain.size() ? next_flag : 0u);
      write(it.descriptors()[at.slot()], what, id);
    }
    at_.advance(static_cast<std::uint32_t>(chain.size()), size);
    out_.push_back(static_cast<std::uint16_t>(chain.size()));
    kick.signal();
  }
  // The worker uses chains in order.
  [[nodiscard]] std::uint16_t used() {
    while (!out_.empty() &&
           used_at_.is_used(direct::observe_used(it.descriptors()[used_at_.slot()].rest))) {
      used_at_.advance(out_.front(), size);
      out_.pop_front();
      ++used_;
    }
    return used_;
  }

  void scribble(std::mt19937& random, raw_buffer what) {
    constexpr unsigned marks = packed_descriptor::avail_flag | packed_descriptor::used_flag;
    what.flags |= random() % 4 == 0 ? static_cast<unsigned>(random()) & marks : at_.available();
    write(it.descriptors()[random() % 2 == 0 ? at_.slot() : random() % size], what,
          static_cast<std::uint16_t>(random() % (size + 1)));
    if (random() % 4 == 0) at_.advance(1, size);
    if (random() % 64 == 0) at_.advance(static_cast<std::uint32_t>(random() % size), size);
    kick.signal();
  }

 private:
  packed_position at_{ring_index(0), size};
  packed_position used_at_ = at_;
  std::deque<std::uint16_t> out_;  // how many descriptors each chain has
  std::uint16_t used_ = 0;
};

/// A TAP, its queue pair and its kernel's end.
template <class Layout>
struct raw_pair {
  explicit raw_pair(const netns& ns)
      : queue(tap::open({.netns_fd = ns.fd()}).value()),
        link(up(net_link::open(queue.name(), ns).value())),
        wire(ns, link.index()) {}

  static net_link up(net_link link) {
    REQUIRE(link.set_up(true));
    return link;
  }

  [[nodiscard]] worker_queue<Layout> described(bool indirect, bool mergeable) const {
    worker_queue<Layout> made;
    made.tx = tx.it;
    made.rx = rx.it;
    made.options.size = raw_ring<Layout>::size;
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
  raw_ring<Layout> tx;
  raw_ring<Layout> rx;
  event_fd error = event_fd::create().value();
};

/// Two pairs of one thread: the first is attacked.
template <class Layout>
struct victim {
  explicit victim(const netns& ns, bool indirect = true, bool mergeable = true)
      : pairs{std::make_unique<raw_pair<Layout>>(ns), std::make_unique<raw_pair<Layout>>(ns)} {
    worker_options options;
    options.threads = 1;
    worker = basic_tap_worker<Layout>::start({pairs[0]->described(indirect, mergeable),
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
    raw_pair<Layout>& p = *pairs[pair];
    const frame_bytes frame = numbered_frame(++number, 100);
    const std::size_t at = place(pair, true);
    std::memset(memory.at(at), 0, header_size);
    std::copy(frame.begin(), frame.end(), memory.at(at) + header_size);
    p.tx.offer({{arena::guest + at, header_size + frame.size()}});
    std::int64_t came = -1;
    return eventually([&] { return (came = p.wire.next_number()) != -1; }) && came == number;
  }
  // Receives a frame as a driver should.
  [[nodiscard]] bool receives(std::size_t pair) {
    raw_pair<Layout>& p = *pairs[pair];
    const std::size_t at = place(pair, false);
    const std::uint16_t before = p.rx.used();
    p.rx.offer({{arena::guest + at, page / 2, write_flag}});
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

  // Writes an entry of an indirect table at `offset` of the arena.
  void table_entry(std::size_t offset, std::size_t index, const raw_buffer& what,
                   std::uint16_t next = 0) {
    using descriptor = typename raw_ring<Layout>::descriptor;
    raw_ring<Layout>::write(reinterpret_cast<descriptor*>(memory.at(offset))[index], what, next);
  }

  arena memory;
  std::array<std::unique_ptr<raw_pair<Layout>>, 2> pairs;
  std::unique_ptr<basic_tap_worker<Layout>> worker;
  std::uint32_t number = 0;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_WORKER_VICTIM_HPP
