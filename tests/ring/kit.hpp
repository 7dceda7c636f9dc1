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

namespace vkring::test {

/// A REQUIRE that costs nothing while it holds.
inline void expect(bool holds, const char* what) {
  if (!holds) FAIL(what);
}

/// Which ring type a layout lies in; each layout's test program says so.
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
template <class Layout, class Access = direct>
class joined_pair {
 public:
  using ring_type = typename ring_of<Layout>::type;
  using driver_type = virtqueue<Layout, driver_side, std::uint64_t, Access>;
  using device_type = virtqueue<Layout, device_side, mapped_space, Access>;
  static_assert(driver_queue<driver_type>);
  static_assert(device_queue<device_type>);

  static constexpr std::uint32_t buffer_bytes = 32;
  static constexpr std::uint32_t max_written = max_chain_pieces * buffer_bytes;
  static constexpr std::uint64_t table_base = 0x1'0000'0000;
  static constexpr std::uint64_t buffer_base = 0x7'0000'0000;

  explicit joined_pair(const ring_options& chosen, std::uint16_t table_entries = 4)
      : options(chosen),
        entries(chosen.indirect ? table_entries : std::uint16_t{0}),
        ring_memory(ring_type::bytes(options.size)),
        table_memory(std::max<std::size_t>(16, indirect_tables::bytes(options.size, entries))),
        buffer_memory(std::size_t{options.size} * std::max<std::size_t>(1, entries) * buffer_bytes),
        map(make_map(*this)),
        ring(ring_type::place(ring_memory.bytes(), options.size)),
        driver(ring, options, {table_memory.data(), table_base, entries}, max_written),
        device(ring, options, mapped_space(map)),
        next_head_(options.start.value() % options.size),
        messages_(options.size) {
    for (std::uint32_t i = options.size; i-- != 0;) free_messages_.push_back(i);
    for (auto i = static_cast<std::uint32_t>(buffer_memory.size() / buffer_bytes); i-- != 0;) {
      free_buffers_.push_back(i);
    }
  }
  joined_pair(const joined_pair&) = delete;
  joined_pair& operator=(const joined_pair&) = delete;

  // ---- driver ----

  /// Offers a chain; returns what try_add said, which the oracle foretells.
  bool add(std::uint32_t readable, std::uint32_t writable) {
    const std::uint32_t count = readable + writable;
    const std::uint32_t needs = count > 1 && count > entries ? count : 1;
    const std::uint16_t room_before = driver.room();
    expect(room_before == options.size - descriptors_, "room() is off");
    const bool fits = needs <= room_before;
    if (count > free_buffers_.size()) return expect_refusal(count);
    message fresh;
    chain_.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      fresh.buffers.push_back(take_buffer());
      chain_.push_back({guest(fresh.buffers[i]), length_of(serial_, i), i >= readable});
    }
    if (!fits) {
      expect(!driver.try_add(chain_, ~std::uint64_t{0}), "a chain larger than the room was taken");
      expect(driver.room() == room_before, "a refused chain changed the room");
      for (const std::uint32_t each : fresh.buffers) free_buffers_.push_back(each);
      return false;
    }
    const std::uint32_t id = free_messages_.back();
    free_messages_.pop_back();
    fresh.serial = serial_++;
    fresh.readable = readable;
    fresh.descriptors = needs;
    fill(fresh, 0, readable, 0);
    messages_[id] = std::move(fresh);
    expect(driver.try_add(chain_, token(id)), "a chain that has room was refused");
    enter(id);
    return true;
  }

  /// Adds up to `count` one-buffer chains in one burst, as many as there is room for.
  template <bool DeviceWritable>
  std::uint32_t add_burst(std::uint32_t count) {
    count = std::min<std::uint32_t>(count, driver.room());
    std::uint32_t left = count;
    const std::uint16_t added = driver.template add_burst<DeviceWritable>(
        static_cast<std::uint16_t>(count), [&](burst_buffer<std::uint64_t>& fresh) {
          if (left-- == 0) return false;
          const std::uint32_t id = free_messages_.back();
          free_messages_.pop_back();
          message& made = messages_[id];
          made = {};
          made.buffers.push_back(take_buffer());
          made.serial = serial_++;
          made.readable = DeviceWritable ? 0 : 1;
          made.descriptors = 1;
          fill(made, 0, made.readable, 0);
          fresh = {guest(made.buffers[0]), length_of(made.serial, 0), token(id)};
          enter(id);
          return true;
        });
    expect(added == count, "add_burst did not add what there was room for");
    return added;
  }

  void publish() {
    driver.publish();
    visible_.insert(visible_.end(), hidden_.begin(), hidden_.end());
    hidden_.clear();
  }

  /// Takes back up to `max` used chains; with `stop_after`, the sink stops at that one.
  std::uint16_t reclaim(std::uint16_t max, std::uint32_t stop_after = UINT32_MAX) {
    const auto expected = static_cast<std::uint32_t>(
        std::min({std::size_t{max}, std::size_t{stop_after}, used_.size()}));
    std::uint32_t got = 0;
    const std::uint16_t told = driver.reclaim(max, [&](std::uint64_t back, std::uint32_t written) {
      ++got;
      expect(!used_.empty(), "a token came back that nobody used");
      const completion want = used_.front();
      used_.pop_front();
      expect(back == token(want.id), "the wrong token came back");
      const message& done = messages_[want.id];
      // Of the chains that an in-order batch skips the device says nothing: full, or the limit.
      expect(want.skipped ? written >= bytes(done, done.readable, done.buffers.size()) ||
                                written == max_written
                          : written == want.written,
             "the wrong length came back");
      if (!want.skipped) check(done, done.readable, done.buffers.size(), want.written, 1);
      retire(want.id);
      return got != stop_after;
    });
    expect(told == got && got == expected, "reclaim took back another number");
    expect(driver.in_flight() == in_flight_, "in_flight() is off");
    expect(!driver.breach(), "the driver side took offence at a lawful device");
    return told;
  }

  // ---- device ----

  /// Takes up to `max` chains; with `stop_after`, the sink stops at that one.
  std::uint16_t pop(std::uint16_t max, std::uint32_t stop_after = UINT32_MAX) {
    const std::size_t expected =
        std::min({std::size_t{max}, std::size_t{stop_after}, visible_.size()});
    std::uint32_t got = 0;
    const std::uint16_t told = device.pop(max, [&](const device_chain& chain) {
      ++got;
      expect(!visible_.empty(), "a chain came that nobody published");
      const std::uint32_t id = visible_.front();
      visible_.pop_front();
      check(chain, messages_[id]);
      // In-order, descriptors are laid in ring order, so that a device can foretell the head: the
      // kernel's vhost does (6.17) and reads no avail ring.
      expect(!options.in_order || chain.head == next_head_, "descriptors are not in ring order");
      next_head_ = (chain.head + messages_[id].descriptors) % options.size;
      out_.push_back({id, chain.head});
      return got != stop_after;
    });
    expect(told == got && got == expected, "pop took another number");
    expect(!device.breach(), "the device side took offence at a lawful driver");
    return told;
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
    const std::uint32_t written = write(messages_[done.id], share);
    device.push_used(done.head, written);
    pushed_.push_back({done.id, written, false});
  }

  /// In-order: uses the `count` oldest chains that are out with one element.
  void complete_batch(std::uint16_t count) {
    std::uint32_t written = 0;
    for (std::uint16_t i = 0; i < count; ++i) {
      written = write(messages_[out_[i].id], 4);
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
    expect(device.avail(1) == 0 && driver.used_pending(1) == 0, "something was left in the ring");
  }

  /// Everything used was reclaimed behind the oracle's back.
  void forget_used() {
    for (; !used_.empty(); used_.pop_front()) retire(used_.front().id);
  }

  /// The tokens of everything added and not reclaimed.
  [[nodiscard]] std::vector<std::uint64_t> tokens_in_flight() const {
    std::vector<std::uint64_t> all;
    const auto take = [&](const auto& each) { all.push_back(token(each.id)); };
    for (const std::uint32_t id : hidden_) all.push_back(token(id));
    for (const std::uint32_t id : visible_) all.push_back(token(id));
    std::for_each(out_.begin(), out_.end(), take);
    std::for_each(pushed_.begin(), pushed_.end(), take);
    std::for_each(used_.begin(), used_.end(), take);
    std::sort(all.begin(), all.end());
    return all;
  }

  [[nodiscard]] std::size_t visible() const noexcept { return visible_.size(); }
  [[nodiscard]] std::size_t out() const noexcept { return out_.size(); }
  [[nodiscard]] std::size_t used() const noexcept { return used_.size(); }
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return in_flight_; }

  const ring_options options;
  const std::uint16_t entries;
  guarded_memory ring_memory;
  guarded_memory table_memory;
  guarded_memory buffer_memory;
  address_map map;
  ring_type ring;
  driver_type driver;
  device_type device;

 private:
  struct message {
    std::uint64_t serial = 0;
    std::uint32_t readable = 0;  // buffers
    std::uint32_t descriptors = 0;
    std::vector<std::uint32_t> buffers = {};
  };
  struct popped {
    std::uint32_t id;
    std::uint16_t head;
  };
  struct completion {
    std::uint32_t id;
    std::uint32_t written;
    bool skipped;
  };

  static address_map make_map(const joined_pair& self) {
    address_map map;
    map.add(table_base, self.table_memory.bytes());
    map.add(buffer_base, self.buffer_memory.bytes());
    return map;
  }

  bool expect_refusal(std::uint32_t count) {
    chain_.assign(count, {buffer_base, 1, false});
    const bool taken = driver.try_add(chain_, ~std::uint64_t{0});
    expect(!taken, "a chain larger than the ring was taken");
    return taken;
  }

  void enter(std::uint32_t id) {
    hidden_.push_back(id);
    descriptors_ += messages_[id].descriptors;
    ++in_flight_;
  }
  void retire(std::uint32_t id) {
    for (const std::uint32_t each : messages_[id].buffers) free_buffers_.push_back(each);
    descriptors_ -= messages_[id].descriptors;
    --in_flight_;
    free_messages_.push_back(id);
  }

  [[nodiscard]] static std::uint64_t token(std::uint32_t id) noexcept {
    return 0xabc0'0000'0000'0000u + id;
  }
  std::uint32_t take_buffer() {
    const std::uint32_t buffer = free_buffers_.back();
    free_buffers_.pop_back();
    return buffer;
  }
  [[nodiscard]] static std::uint64_t guest(std::uint32_t buffer) noexcept {
    return buffer_base + std::uint64_t{buffer} * buffer_bytes;
  }
  [[nodiscard]] std::byte* host(std::uint32_t buffer) const noexcept {
    return buffer_memory.data() + std::size_t{buffer} * buffer_bytes;
  }
  [[nodiscard]] static std::uint32_t length_of(std::uint64_t serial, std::size_t index) noexcept {
    return static_cast<std::uint32_t>((serial * 7 + index * 3) % buffer_bytes) + 1;
  }
  [[nodiscard]] static std::uint32_t bytes(const message& of, std::size_t from, std::size_t to) {
    std::uint32_t sum = 0;
    for (; from != to; ++from) sum += length_of(of.serial, from);
    return sum;
  }
  // The content of one buffer: `kind` tells what the driver writes from what the device writes.
  [[nodiscard]] static std::byte content(std::uint64_t serial, std::size_t index, std::uint32_t at,
                                         std::uint32_t kind) noexcept {
    return static_cast<std::byte>(serial * 13 + index * 5 + at + kind * 101 + (serial >> 8));
  }
  void fill(const message& of, std::size_t from, std::size_t to, std::uint32_t kind,
            std::uint32_t limit = UINT32_MAX) const {
    for (; from != to; ++from) {
      for (std::uint32_t i = 0; i < length_of(of.serial, from) && limit != 0; ++i, --limit) {
        host(of.buffers[from])[i] = content(of.serial, from, i, kind);
      }
    }
  }
  void check(const message& of, std::size_t from, std::size_t to, std::uint32_t limit,
             std::uint32_t kind) const {
    bool same = true;
    for (; from != to; ++from) {
      for (std::uint32_t i = 0; i < length_of(of.serial, from) && limit != 0; ++i, --limit) {
        same = same && host(of.buffers[from])[i] == content(of.serial, from, i, kind);
      }
    }
    expect(same, "the content of a buffer changed on the way");
  }
  void check(const device_chain& chain, const message& of) const {
    expect(chain.readable.size() == of.readable, "another number of readable buffers");
    expect(chain.readable.size() + chain.writable.size() == of.buffers.size(),
           "another number of buffers");
    bool same = true;
    for (std::size_t i = 0; i < of.buffers.size(); ++i) {
      const std::span<std::byte> piece =
          i < of.readable ? chain.readable[i] : chain.writable[i - of.readable];
      same = same && piece.data() == host(of.buffers[i]) && piece.size() == length_of(of.serial, i);
    }
    expect(same, "a buffer came with another address or length");
    check(of, 0, of.readable, UINT32_MAX, 0);
  }
  // The device writes `share` quarters of the writable part.
  std::uint32_t write(const message& to, std::uint32_t share) const {
    const std::uint32_t written = bytes(to, to.readable, to.buffers.size()) * share / 4;
    fill(to, to.readable, to.buffers.size(), 1, written);
    return written;
  }

  std::uint32_t next_head_;  // in-order: the next chain starts at this descriptor
  std::uint64_t serial_ = 0;
  std::vector<message> messages_;
  std::vector<std::uint32_t> free_messages_;
  std::vector<std::uint32_t> free_buffers_;
  std::vector<chain_buffer> chain_;
  std::uint32_t descriptors_ = 0;
  std::uint32_t in_flight_ = 0;
  std::deque<std::uint32_t> hidden_;     // added, not published
  std::deque<std::uint32_t> visible_;    // published, not popped
  std::deque<popped> out_;               // popped, not pushed
  std::deque<completion> pushed_;        // pushed, not published
  std::deque<completion> used_;          // to be reclaimed
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
