// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_STRESS_HPP
#define VKRING_TESTS_MODEL_STRESS_HPP

// Both sides of a ring in two threads with the real atomics, sleeping on eventfds: for the thread
// sanitizer, which sees an acquire or a release that is missing, and for the CPU at hand.

#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "vkring/kernel/event_fd.hpp"
#include "vkring/ring/concepts.hpp"

namespace vkring::test::model {

struct stress_options {
  ring_options ring{};
  bool pairs = false;      ///< chains of a readable and a writable buffer instead of one buffer
  bool shuffled = false;   ///< the device completes in any order; not with in-order
  bool late_call = false;  ///< the driver asks for a call half-way through what is in flight
  std::uint32_t messages = 1000;
};

/// Sends messages through a ring and checks each on both sides. `Ring` is a layout's part: its tag
/// `layout`, `bytes(size)`, `place(block, size)` and its `large` size.
template <class Ring>
class stress_run {
 public:
  explicit stress_run(const stress_options& what)
      : what_(what),
        memory_(buffers_offset() + sizeof(buffer) * what.ring.size),
        tables_(what.ring.indirect
                    ? indirect_tables{memory_.data() + tables_offset(), tables_offset(), 2}
                    : indirect_tables{}),
        ring_(Ring::place(std::span(memory_.data(), tables_offset()), what.ring.size)),
        driver_(ring_, what.ring, tables_, std::uint32_t{sizeof(content)}),
        device_(ring_, what.ring, space{memory_}) {}

  /// What went wrong, or nothing.
  [[nodiscard]] std::string run() {
    std::thread device([this] { serve(); });
    drive();
    stop_.store(true, std::memory_order_relaxed);
    kick_.signal();
    device.join();
    // A side that gave up leaves the other one asleep.
    return device_error_.empty() ? driver_error_ : device_error_ + driver_error_;
  }

 private:
  using content = std::array<std::uint64_t, 8>;
  struct buffer {
    content request;
    content answer;
  };
  struct alignas(128) line {
    std::array<std::byte, 128> bytes;
  };
  // Memory on a boundary of its own; guest addresses are offsets in it.
  class block {
   public:
    explicit block(std::size_t bytes) : lines_((bytes + sizeof(line) - 1) / sizeof(line)) {}
    [[nodiscard]] std::byte* data() noexcept { return lines_.data()->bytes.data(); }
    [[nodiscard]] std::size_t size() const noexcept { return lines_.size() * sizeof(line); }

   private:
    std::vector<line> lines_;
  };
  struct space {
    std::span<std::byte> memory;
    explicit space(block& of) : memory(of.data(), of.size()) {}
    [[nodiscard]] std::span<std::byte> translate(std::uint64_t address, std::uint32_t length,
                                                 memory_access) noexcept {
      if (address > memory.size() || length > memory.size() - address) return {};
      return memory.subspan(static_cast<std::size_t>(address), length);
    }
  };
  // xorshift: the two sides have to get out of step.
  class dice {
   public:
    explicit dice(std::uint32_t seed) : state_(seed) {}
    std::uint16_t below(std::size_t n) {
      state_ ^= state_ << 13, state_ ^= state_ >> 17, state_ ^= state_ << 5;
      return static_cast<std::uint16_t>(state_ % n);
    }

   private:
    std::uint32_t state_;
  };

  static constexpr int patience_ms = 20000;  // far beyond any scheduling delay: a wake-up was lost

  [[nodiscard]] std::size_t tables_offset() const { return Ring::bytes(what_.ring.size); }
  [[nodiscard]] std::size_t buffers_offset() const {
    return tables_offset() + indirect_tables::bytes(what_.ring.size, 2);
  }
  [[nodiscard]] buffer& buffer_at(std::size_t i) {
    return reinterpret_cast<buffer*>(memory_.data() + buffers_offset())[i];
  }
  [[nodiscard]] std::uint64_t address_of(const content& where) {
    return static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&where) - memory_.data());
  }
  static void fill(content& to, std::uint64_t seed) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = (seed + i) * 0x9e3779b97f4a7c15;
  }
  [[nodiscard]] static bool holds(const content& in, std::uint64_t seed) {
    content expected;
    fill(expected, seed);
    return in == expected;
  }
  // Odd messages of a ring of single buffers go the other way.
  [[nodiscard]] bool readable(std::uint64_t message) const {
    return what_.pairs || message % 2 == 0;
  }
  [[nodiscard]] bool writable(std::uint64_t message) const {
    return what_.pairs || message % 2 == 1;
  }

  // Sleeps until `bell` rings. False: it never did.
  [[nodiscard]] static bool sleep_on(const event_fd& bell) {
    pollfd entry{bell.fd(), POLLIN, 0};
    int ready = -1;
    do {
      ready = ::poll(&entry, 1, patience_ms);
    } while (ready == -1 && errno == EINTR);
    bell.drain();
    return ready == 1;
  }

  void drive() {
    dice random(1);
    std::vector<std::uint32_t> unused(what_.ring.size);
    for (std::uint32_t i = 0; i < unused.size(); ++i) unused[i] = i;
    std::vector<std::uint64_t> carries(what_.ring.size);  // the message that each buffer carries
    std::uint64_t sent = 0;
    std::uint64_t back = 0;
    while (back != what_.messages && driver_error_.empty()) {
      const std::uint64_t before = sent;
      for (int burst = 1 + random.below(32); burst != 0 && sent != what_.messages; --burst) {
        if (unused.empty()) break;
        const std::uint32_t at = unused.back();
        if (!add(at, sent)) break;
        unused.pop_back();
        carries[at] = sent++;
      }
      if (sent != before) {
        driver_.publish();
        if (driver_.kick_needed()) kick_.signal();
      }
      const std::uint16_t count = driver_.reclaim(
          static_cast<std::uint16_t>(1 + random.below(64)),
          [&](std::uint32_t at, std::uint32_t written) {
            if (written != (writable(carries[at]) ? sizeof(content) : 0)) {
              driver_error_ = "a wrong length";
            }
            if (writable(carries[at]) && !holds(buffer_at(at).answer, ~carries[at])) {
              driver_error_ = "a wrong answer";
            }
            unused.push_back(at);
            ++back;
          });
      if (driver_.breach()) driver_error_ = name(driver_.breach().fault);
      if (count != 0 || sent != before || back == what_.messages) continue;
      const auto half = static_cast<std::uint16_t>(driver_.in_flight() / 2);
      if (driver_.enable_call(what_.late_call ? half : std::uint16_t{0}) ==
              notification::safe_to_sleep &&
          !sleep_on(call_)) {
        driver_error_ = "the driver sleeps for ever";
      }
      driver_.disable_call();
    }
  }
  bool add(std::uint32_t at, std::uint64_t message) {
    buffer& to = buffer_at(at);
    std::array<chain_buffer, 2> chain;
    std::size_t length = 0;
    if (readable(message)) {
      chain[length++] = {address_of(to.request), sizeof(content), false};
    }
    if (writable(message)) chain[length++] = {address_of(to.answer), sizeof(content), true};
    fill(to.request, message);
    return driver_.try_add(std::span<const chain_buffer>(chain).first(length), at);
  }

  void serve() {
    dice random(2);
    std::uint64_t next = 0;
    struct done {
      std::uint16_t head;
      std::uint32_t written;
    };
    std::vector<done> held;
    while (!stop_.load(std::memory_order_relaxed) && device_error_.empty()) {
      const std::uint16_t count = device_.pop(
          static_cast<std::uint16_t>(1 + random.below(32)), [&](const device_chain& chain) {
            if (chain.readable.empty() == readable(next) ||
                chain.writable.empty() == writable(next)) {
              device_error_ = "a wrong chain";
              return;
            }
            if (readable(next) && !holds(content_of(chain.readable), next)) {
              device_error_ = "a wrong request";
            }
            if (writable(next)) fill(content_of(chain.writable), ~next);
            held.push_back({chain.head, writable(next) ? std::uint32_t{sizeof(content)} : 0});
            ++next;
          });
      if (device_.breach()) device_error_ = name(device_.breach().fault);
      if (count == 0 && held.empty()) {
        if (device_.enable_kick() == notification::safe_to_sleep && !sleep_on(kick_)) {
          device_error_ = "the device sleeps for ever";
        }
        device_.disable_kick();
        continue;
      }
      // Some now, some later.
      std::size_t pushed = count == 0 ? held.size() : 1u + random.below(held.size());
      for (std::size_t i = 0; i < pushed; ++i) {
        if (what_.shuffled) std::swap(held[i], held[i + random.below(held.size() - i)]);
        device_.push_used(held[i].head, held[i].written);
      }
      held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(pushed));
      device_.publish();
      if (device_.call_needed()) call_.signal();
    }
  }
  [[nodiscard]] static content& content_of(std::span<const std::span<std::byte>> pieces) {
    return *reinterpret_cast<content*>(pieces.front().data());
  }

  using driver_type = virtqueue<typename Ring::layout, driver_side, std::uint32_t>;
  using device_type = virtqueue<typename Ring::layout, device_side, space>;

  stress_options what_;
  block memory_;
  indirect_tables tables_;
  decltype(Ring::place({}, 0)) ring_;
  driver_type driver_;
  device_type device_;
  event_fd kick_ = event_fd::create().value();
  event_fd call_ = event_fd::create().value();
  std::atomic<bool> stop_ = false;
  std::string driver_error_;
  std::string device_error_;
};

/// Runs of that many messages in all orders of completion, with and without tables.
template <class Ring>
void stress_all(std::uint32_t messages) {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, Ring::large}) {
    for (const bool event_idx : {false, true}) {
      stress_options what;
      what.ring = {.size = size, .event_idx = event_idx, .start = ring_index(65000)};
      what.messages = messages;
      const auto check = [](const stress_options& options) {
        CAPTURE(options.ring.size, options.ring.event_idx, options.ring.in_order,
                options.ring.indirect, options.pairs, options.shuffled, options.late_call);
        CHECK(stress_run<Ring>(options).run() == "");
      };
      check(what);
      what.late_call = true;
      check(what);
      what.shuffled = true;
      check(what);
      what.shuffled = false;
      what.ring.in_order = true;
      check(what);
      what.ring.indirect = what.pairs = true;
      check(what);
      what.ring.indirect = false;
      if (size > 1) check(what);
      what.ring.in_order = false;
      what.shuffled = true;
      if (size > 1) check(what);
    }
  }
}

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_STRESS_HPP
