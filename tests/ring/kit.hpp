// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_KIT_HPP
#define VKRING_TESTS_RING_KIT_HPP

// Both sides of one ring, joined through an oracle that knows what must come out of it.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>
#include <vkring/ring/concepts.hpp>

#include "arena.hpp"
#include "messages.hpp"

namespace vkring::test {

/// Which sizes of a layout to test; its test program says so.
template <class Layout>
struct ring_of;

/// Numbers that are the same in every run.
class schedule {
 public:
  explicit schedule(std::uint32_t seed) : engine_(seed) {}
  /// From 0 to `bound - 1`.
  std::uint32_t below(std::size_t bound) {
    return static_cast<std::uint32_t>(engine_() % static_cast<std::uint32_t>(bound));
  }
  bool once_in(std::uint32_t n) { return below(n) == 0; }

 private:
  std::minstd_rand engine_;
};

/// A driver side and a device side on one ring. Every operation goes through the oracle: what is
/// added, by token, is expected at the device in that order, at those addresses and with that
/// content, and back at the driver in the order of use with what the device wrote.
template <class Layout, class DriverAccess = direct, class DeviceAccess = direct>
class joined_pair {
 public:
  using ring_type = typename Layout::ring_type;
  using driver_type = virtqueue<Layout, driver_side, std::uint64_t, DriverAccess>;
  using device_type = virtqueue<Layout, device_side, mapped_space, DeviceAccess>;
  static_assert(driver_queue<driver_type>);
  static_assert(device_queue<device_type>);

  static constexpr std::uint32_t max_written = max_chain_pieces * message_pool::buffer_bytes;
  static constexpr std::uint64_t table_base = 0x1'0000'0000;

  explicit joined_pair(const ring_options& chosen, std::uint16_t table_entries = 4)
      : options(chosen),
        entries(chosen.indirect ? table_entries : std::uint16_t{0}),
        ring_memory(ring_type::bytes(options.size)),
        table_memory(indirect_tables::bytes(options.size, table_entries) + 16),
        messages(options.size, options.size * std::max<std::uint32_t>(1, entries)),
        map(make_map(*this)),
        ring(ring_type::place(ring_memory.bytes(), options.size)),
        driver(ring, options, {table_memory.data(), table_base, table_entries}, max_written),
        device(ring, options, mapped_space(map)),
        next_head_(options.start.value() % options.size) {}
  joined_pair(const joined_pair&) = delete;
  joined_pair& operator=(const joined_pair&) = delete;

  // ---- driver ----

  /// Offers a chain; returns what try_add said, which the oracle foretells.
  bool add(std::uint32_t readable, std::uint32_t writable) {
    const std::uint32_t count = readable + writable;
    const std::uint32_t needs = count > entries ? count : 1;
    const std::uint16_t room = driver.room();
    expect(room == options.size - descriptors_, "room() is off");
    if (needs > room) {
      chain_.assign(count, {message_pool::base, 1, false});
      expect(!driver.try_add(chain_, ~std::uint64_t{0}), "a chain beyond the room was taken");
      expect(driver.room() == room, "a refused chain changed the room");
      return false;
    }
    const std::uint32_t id = messages.take(readable, writable, needs);
    chain_.clear();
    for (std::uint32_t i = 0; i < count; ++i) chain_.push_back(messages.buffer(id, i));
    expect(driver.try_add(chain_, token(id)), "a chain that has room was refused");
    enter(id);
    return true;
  }

  /// Adds up to `count` one-buffer chains, as many as there is room for: in one burst as far as the
  /// driver takes them that way.
  template <bool DeviceWritable>
  std::uint32_t add_burst(std::uint32_t count) {
    constexpr std::uint32_t writable = DeviceWritable ? 1 : 0;
    count = std::min<std::uint32_t>(count, driver.room());
    const std::uint32_t enough = 1 + count * 3 / 4;  // the generator ends some bursts
    std::uint32_t made = 0;
    const std::uint16_t added = driver.template add_burst<DeviceWritable>(
        static_cast<std::uint16_t>(count),
        [&](burst_buffer<std::uint64_t>& fresh, std::size_t nth) {
          expect(nth == made, "the count of a burst is off");
          if (made == enough) return false;
          ++made;
          const std::uint32_t id = messages.take(1 - writable, writable, 1);
          const chain_buffer buffer = messages.buffer(id, 0);
          fresh = {buffer.address, buffer.length, token(id)};
          enter(id);
          return true;
        });
    expect(added == made, "add_burst added another number than it was given");
    while (made < count && add(1 - writable, writable)) ++made;
    expect(made == count, "there was room for more");
    return count;
  }

  void publish() {
    driver.publish();
    visible_.insert(visible_.end(), hidden_.begin(), hidden_.end());
    hidden_.clear();
  }

  bool kick_needed() {
    begin();
    return driver.kick_needed();
  }

  /// Takes back up to `max` used chains; with `stop_after`, the sink stops at that one.
  std::uint16_t reclaim(std::uint16_t max, std::uint32_t stop_after = UINT32_MAX) {
    const auto expected = static_cast<std::uint32_t>(
        std::min({std::size_t{max}, std::size_t{stop_after}, used_.size()}));
    std::uint32_t got = 0;
    begin();
    const std::uint16_t told = driver.reclaim(max, [&](std::uint64_t back, std::uint32_t written) {
      ++got;
      take_back(back, written);
      return got != stop_after;
    });
    expect(told == got && got == expected, "reclaim took back another number");
    expect(driver.in_flight() == in_flight_, "in_flight() is off");
    expect(!driver.breach(), "the driver side took offence at a lawful device");
    return told;
  }

  /// The same with a burst first, as queues do it; with `leave_at`, the sink leaves that one.
  std::uint16_t reclaim_burst(std::uint16_t max, std::uint32_t leave_at = UINT32_MAX) {
    begin();
    const std::uint16_t pending = driver.used_pending(max);
    std::uint32_t got = 0;
    begin();
    const std::uint16_t told = driver.reclaim_burst(
        std::min(pending, max), [&](std::size_t nth, std::uint64_t back, std::uint32_t written) {
          expect(nth == got, "the count of a burst is off");
          if (got == leave_at) return false;
          ++got;
          take_back(back, written);
          return true;
        });
    expect(told == got, "reclaim_burst took back another number");
    return static_cast<std::uint16_t>(told + reclaim(static_cast<std::uint16_t>(max - told)));
  }

  bool enable_call(std::uint16_t after) {
    begin();
    const bool may_sleep = driver.enable_call(after) == notification::safe_to_sleep;
    expect(may_sleep == (used_.size() <= after), "enable_call() misjudged what is pending");
    return may_sleep;
  }

  // ---- device ----

  /// Takes up to `max` chains; with `stop_after`, the sink stops at that one.
  std::uint16_t pop(std::uint16_t max, std::uint32_t stop_after = UINT32_MAX) {
    const std::size_t expected =
        std::min({std::size_t{max}, std::size_t{stop_after}, visible_.size()});
    std::uint32_t got = 0;
    begin();
    const std::uint16_t told = device.pop(max, [&](const device_chain& chain) {
      ++got;
      take(chain);
      return got != stop_after;
    });
    expect(told == got && got == expected, "pop took another number");
    expect(!device.breach(), "the device side took offence at a lawful driver");
    return told;
  }

  /// The same with a burst first, as workers do it.
  std::uint16_t pop_burst(std::uint16_t max) {
    begin();
    const std::uint16_t pending = device.avail(max);
    std::uint32_t got = 0;
    begin();
    const std::uint16_t told = device.pop_burst(
        std::min(pending, max),
        [&](std::size_t nth, std::uint16_t head, std::span<std::byte> buffer, bool writable) {
          expect(nth == got++, "the count of a burst is off");
          const std::span<const std::span<std::byte>> all(&buffer, 1);
          take({head, all.first(writable ? 0 : 1), all.first(writable ? 1 : 0)});
        });
    expect(told == got, "pop_burst took another number");
    return static_cast<std::uint16_t>(told + pop(static_cast<std::uint16_t>(max - told)));
  }

  void unpop(std::uint16_t n) {
    device.unpop(n);
    for (; n != 0; --n) {
      visible_.push_front(out_.back().id);
      next_head_ = out_.back().head;
      out_.pop_back();
    }
  }

  /// Uses the `which`-th of the chains that are out, in the order of pop.
  void complete(std::size_t which, std::uint32_t share = 4) {
    const popped done = out_[which];
    out_.erase(out_.begin() + static_cast<std::ptrdiff_t>(which));
    const std::uint32_t written = messages.write(done.id, share);
    device.push_used(done.head, written);
    pushed_.push_back({done.id, written, false});
  }

  /// Uses the `count` oldest chains that are out in one burst.
  void complete_burst(std::uint16_t count) {
    device.push_burst(count, [&](used_element& element, std::size_t) {
      const popped done = out_.front();
      out_.pop_front();
      element = {done.head, messages.write(done.id, 3)};
      pushed_.push_back({done.id, element.length, false});
    });
  }

  /// In-order: uses the `count` oldest chains that are out with one element.
  void complete_batch(std::uint16_t count) {
    std::uint32_t written = 0;
    for (std::uint16_t i = 0; i < count; ++i) {
      written = messages.write(out_[i].id, 4);
      pushed_.push_back({out_[i].id, written, i + 1 != count});
    }
    device.push_used_batch(out_[count - 1u].head, written, count);
    out_.erase(out_.begin(), out_.begin() + count);
  }

  void publish_used() {
    device.publish();
    used_.insert(used_.end(), pushed_.begin(), pushed_.end());
    pushed_.clear();
  }

  bool call_needed() {
    begin();
    return device.call_needed();
  }
  bool enable_kick() {
    begin();
    const bool may_sleep = device.enable_kick() == notification::safe_to_sleep;
    expect(may_sleep == visible_.empty(), "enable_kick() misjudged what is pending");
    return may_sleep;
  }

  // ---- both ----

  /// Runs everything that is under way to its end and checks that nothing is left.
  void drain() {
    publish();
    while (pop(options.size) != 0) {
    }
    while (!out_.empty()) complete(0);
    publish_used();
    reclaim(options.size);
    expect(in_flight_ == 0 && driver.room() == options.size, "something was left in flight");
    begin();
    expect(device.avail(1) == 0 && driver.used_pending(1) == 0, "something was left in the ring");
  }

  /// Everything used was reclaimed behind the oracle's back.
  void forget_used() {
    for (; !used_.empty(); used_.pop_front()) retire(used_.front().id);
  }

  /// The tokens of everything added and not reclaimed.
  [[nodiscard]] std::vector<std::uint64_t> tokens_in_flight() const {
    std::vector<std::uint64_t> all;
    for (const std::uint32_t id : hidden_) all.push_back(token(id));
    for (const std::uint32_t id : visible_) all.push_back(token(id));
    for (const popped& each : out_) all.push_back(token(each.id));
    for (const completion& each : pushed_) all.push_back(token(each.id));
    for (const completion& each : used_) all.push_back(token(each.id));
    std::sort(all.begin(), all.end());
    return all;
  }

  /// The `which`-th of the chains that are out, in the order of pop.
  struct popped {
    std::uint32_t id;
    std::uint16_t head;
  };
  [[nodiscard]] const popped& out_chain(std::size_t which) const { return out_[which]; }

  [[nodiscard]] std::uint32_t hidden() const noexcept {
    return static_cast<std::uint32_t>(hidden_.size());
  }
  [[nodiscard]] std::size_t visible() const noexcept { return visible_.size(); }
  [[nodiscard]] std::size_t out() const noexcept { return out_.size(); }
  [[nodiscard]] std::size_t pushed() const noexcept { return pushed_.size(); }
  [[nodiscard]] std::size_t used() const noexcept { return used_.size(); }
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return in_flight_; }

  const ring_options options;
  const std::uint16_t entries;
  guarded_memory ring_memory;
  guarded_memory table_memory;
  message_pool messages;
  address_map map;
  ring_type ring;
  driver_type driver;
  device_type device;

 private:
  struct completion {
    std::uint32_t id;
    std::uint32_t written;
    bool skipped;
  };

  static address_map make_map(const joined_pair& self) {
    address_map map;
    map.add(table_base, self.table_memory.bytes());
    map.add(message_pool::base, self.messages.memory());
    return map;
  }
  // Tells an Access that watches that an operation begins.
  static void begin() {
    if constexpr (requires { DriverAccess::begin(); }) DriverAccess::begin();
    if constexpr (requires { DeviceAccess::begin(); }) DeviceAccess::begin();
  }
  [[nodiscard]] static std::uint64_t token(std::uint32_t id) noexcept {
    return 0xabc0'0000'0000'0000u + id;
  }

  void enter(std::uint32_t id) {
    hidden_.push_back(id);
    descriptors_ += messages[id].descriptors;
    ++in_flight_;
  }
  void retire(std::uint32_t id) {
    descriptors_ -= messages[id].descriptors;
    --in_flight_;
    messages.put_back(id);
  }

  void take(const device_chain& chain) {
    expect(!visible_.empty(), "a chain came that nobody published");
    const std::uint32_t id = visible_.front();
    visible_.pop_front();
    messages.check_chain(id, chain);
    // In-order, descriptors lie in ring order, so that a device can foretell the head: the kernel's
    // vhost does (6.17) and reads no avail ring.
    expect(!options.in_order || chain.head == next_head_, "descriptors are not in ring order");
    next_head_ = (chain.head + messages[id].descriptors) % options.size;
    out_.push_back({id, chain.head});
  }
  void take_back(std::uint64_t back, std::uint32_t written) {
    expect(!used_.empty(), "a token came back that nobody used");
    const completion want = used_.front();
    used_.pop_front();
    expect(back == token(want.id), "the wrong token came back");
    // Of the chains that an in-order batch skips the device says nothing: they count as full.
    expect(written == (want.skipped ? max_written : want.written), "the wrong length came back");
    messages.check_written(want.id, want.written);
    retire(want.id);
  }

  std::uint32_t next_head_;  // in-order: the next chain starts at this descriptor
  std::vector<chain_buffer> chain_;
  std::uint32_t descriptors_ = 0;
  std::uint32_t in_flight_ = 0;
  std::deque<std::uint32_t> hidden_;   // added, not published
  std::deque<std::uint32_t> visible_;  // published, not popped
  std::deque<popped> out_;             // popped, not pushed
  std::deque<completion> pushed_;      // pushed, not published
  std::deque<completion> used_;        // to be reclaimed
};

/// Calls `run(options)` for every mix of options, the given sizes, and a start at which the 16-bit
/// index wraps soon.
template <class Run>
void for_each_option(std::initializer_list<int> sizes, Run&& run) {
  for (const int size : sizes) {
    for (int mix = 0; mix < 8; ++mix) {
      const ring_options options{static_cast<std::uint16_t>(size), (mix & 1) != 0, (mix & 2) != 0,
                                 (mix & 4) != 0, ring_index(65530)};
      CAPTURE(size, options.event_idx, options.indirect, options.in_order);
      run(options);
    }
  }
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_KIT_HPP
