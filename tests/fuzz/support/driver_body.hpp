// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_FUZZ_SUPPORT_DRIVER_BODY_HPP
#define VKRING_TESTS_FUZZ_SUPPORT_DRIVER_BODY_HPP

// The driver side of a ring against a device made of fuzzer input. Whatever the device writes:
// each token comes back at most once, lengths stay within the buffers, a broken queue hands out
// nothing, and nothing is read that only the driver writes.

#include <algorithm>
#include <vector>
#include <vkring/ring/concepts.hpp>

#include "fuzz/support/input.hpp"
#include "fuzz/support/ring_mix.hpp"
#include "ring/arena.hpp"
#include "ring/hands.hpp"
#include "ring/invariant.hpp"
#include "ring/meddling.hpp"

namespace vkring::test {

inline constexpr std::uint32_t buffer_size = 2048;

template <class Layout>
class driver_body {
 public:
  driver_body(fuzz_input& input, const ring_options& options, std::uint16_t entries)
      : input_(input),
        options_(options),
        memory_(reused_memory(0, ring_type::bytes(options.size))),
        table_memory_(reused_memory(1, indirect_tables::bytes(options.size, entries) + 16)),
        ring_(ring_type::place(memory_.bytes(), options.size)),
        driver_((meddler::get() = {}, ring_), options, {table_memory_.data(), 0x100000, entries},
                buffer_size),
        hand_(ring_, options) {
    hand::allow(meddler::get(), memory_.bytes(), options.size);
    meddler::get().may_store.push_back({table_memory_.bytes()});
    meddler::get().rate = input.flag() ? input.next() : std::uint32_t{0};
    meddler::get().seed = input.next();
  }

  void run() {
    while (!input_.empty()) {
      step();
      check();
    }
    gave_up_ = true;
    driver_.abandon([&](std::uint64_t token) { take_back(token); });
    invariant(in_flight_ == 0, "a token was not given up");
    driver_.abandon([](std::uint64_t) { invariant(false, "a token was given up twice"); });
    invariant(driver_.reclaim(options_.size, [](std::uint64_t, std::uint32_t) {}) == 0,
              "a token was reclaimed after it was given up");
  }

 private:
  using hand = device_hand<Layout>;
  using ring_type = typename Layout::ring_type;

  void step() {
    const std::uint16_t room = driver_.room();
    switch (input_.below(16)) {
      case 0:
      case 1: {
        const std::uint32_t readable = input_.below(4), writable = input_.below(4);
        std::vector<chain_buffer> chain(readable, {0x1000, buffer_size, false});
        chain.resize(readable + writable, {0x2000, buffer_size, true});
        if (chain.empty()) break;
        if (driver_.try_add(chain, tokens_.size())) enter();
        break;
      }
      case 2:
        add_burst<true>(std::min<std::uint16_t>(room, input_.next()));
        break;
      case 3:
        add_burst<false>(std::min<std::uint16_t>(room, input_.next()));
        break;
      case 4:
        driver_.publish();
        (void)driver_.kick_needed();
        break;
      case 5:
      case 6: {
        const std::uint16_t max = input_.next();
        const std::uint16_t pending = driver_.used_pending(max);
        invariant(pending <= in_flight_, "more is used than was in flight");
        const std::uint16_t count = std::min(pending, max);
        const bool written = input_.flag();
        if (input_.flag()) {
          written
              ? driver_.reclaim_burst(count,
                                      [&](std::size_t, std::uint64_t token, std::uint32_t length) {
                                        if (length > buffer_size) return false;
                                        take_back(token, length);
                                        return true;
                                      })
              : driver_.reclaim_burst(count, [&](std::size_t, std::uint64_t token) {
                  take_back(token);
                  return true;
                });
        }
        written ? driver_.reclaim(max,
                                  [&](std::uint64_t token, std::uint32_t length) {
                                    take_back(token, length);
                                    return length % 7 != 0;
                                  })
                : driver_.reclaim(max, [&](std::uint64_t token) { take_back(token); });
        break;
      }
      case 7:
        (void)driver_.enable_call(input_.next());
        break;
      case 8:
        driver_.disable_call();
        break;
      case 9:
      case 10:
      case 11: {  // a lawful completion, at times of another chain than the next
        const std::uint8_t ahead = input_.next();
        const std::uint32_t id = hand_.head_ahead(ahead < 224 ? std::uint8_t{0} : ahead);
        hand_.use(id, input_.next<std::uint16_t>() & 4095u);
        hand_.show(1);
        break;
      }
      case 12: {
        const std::uint32_t id =
            input_.flag() ? input_.below(options_.size + 1u) : input_.next<std::uint32_t>();
        hand_.use(id, input_.next<std::uint32_t>());
        break;
      }
      case 13:
        hand_.show(input_.flag() ? input_.below(4) : input_.next<std::uint16_t>());
        break;
      case 14:
        hand_.set_event(input_.next<std::uint32_t>());
        break;
      default: {  // anywhere: what the driver needs of its own words it does not read from here
        const std::size_t at = input_.next<std::uint32_t>() % memory_.size();
        memory_.data()[at] = static_cast<std::byte>(input_.next());
      }
    }
  }

  template <bool DeviceWritable>
  void add_burst(std::uint16_t count) {
    driver_.template add_burst<DeviceWritable>(
        count, [&](burst_buffer<std::uint64_t>& fresh, std::size_t) {
          fresh = {0x3000, buffer_size, tokens_.size()};
          enter();
          return true;
        });
  }

  void enter() {
    tokens_.push_back(true);
    ++in_flight_;
  }
  void take_back(std::uint64_t token, std::uint32_t written = 0) {
    invariant(!driver_.breach() || gave_up_, "a broken queue handed out a token");
    invariant(token < tokens_.size(), "a token came back that was never added");
    invariant(tokens_[token], "a token came back twice");
    invariant(written <= buffer_size, "a length beyond the buffer was handed out");
    tokens_[token] = false;
    --in_flight_;
  }

  void check() {
    invariant(driver_.in_flight() == in_flight_, "in_flight() is off");
    invariant(in_flight_ <= options_.size, "more in flight than the ring holds");
    invariant(driver_.room() + in_flight_ <= options_.size, "more room than there is");
    invariant(!driver_.breach() || (driver_.room() == 0 && driver_.used_pending(1) == 0),
              "a broken queue goes on");
  }

  fuzz_input& input_;
  ring_options options_;
  const guarded_memory &memory_, &table_memory_;
  ring_type ring_;
  virtqueue<Layout, driver_side, std::uint64_t, meddling> driver_;
  hand hand_;
  std::vector<bool> tokens_;  // in flight
  std::size_t in_flight_ = 0;
  bool gave_up_ = false;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_FUZZ_SUPPORT_DRIVER_BODY_HPP
