// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_SCRIPTS_HPP
#define VKRING_TESTS_MODEL_SCRIPTS_HPP

// A driver that sends a few messages and a device that answers them, over the real queue code.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "explorer.hpp"
#include "scenario.hpp"
#include "vkring/ring/packed_layout.hpp"

namespace vkring::test::model {

/// Fits a queue and the rest of a script into `script`: `Program::visit` names every private word.
template <class Program>
class scripted : public script {
 public:
  [[nodiscard]] private_words save() final {
    private_words to;
    static_cast<Program&>(*this).visit([&to](const auto& word) { to.save(word); });
    return to;
  }
  void restore(const private_words& from) final {
    std::size_t at = 0;
    static_cast<Program&>(*this).visit([&](auto& word) { from.load(word, at++); });
  }
};

[[nodiscard]] constexpr std::uint64_t request_of(std::uint64_t message) noexcept {
  return 100 + message;
}
[[nodiscard]] constexpr std::uint64_t answer_of(std::uint64_t message) noexcept {
  return 200 + message;
}

/// Whether the used index, or the position in a packed ring and its wrap counter, came to start again.
template <class Queue>
[[nodiscard]] bool has_wrapped(const Queue& queue, ring_index start) {
  if constexpr (std::is_same_v<typename Queue::layout_type, packed>) {
    const packed_position first(start, queue.size());
    return queue.next_used().start(queue.size()).value() < first.start(queue.size()).value();
  } else {
    return queue.used_position().value() < start.value();
  }
}

/// The driver: sends all messages, checks what comes back, sleeps when there is nothing to do.
template <class Queue, class Access>
class driver_script final : public scripted<driver_script<Queue, Access>> {
 public:
  driver_script(machine& world, const scenario& what, shared_block& block, Queue& queue)
      : world_(world), what_(what), block_(block), queue_(queue) {}

  void operate() override {
    switch (at_) {
      case operation::send:
        return send();
      case operation::kick:
        return kick();
      case operation::reclaim:
        return reclaim();
      case operation::sleep:
        return sleep();
      case operation::done:
        return;
    }
  }
  [[nodiscard]] bool finished() const override { return at_ == operation::done; }
  [[nodiscard]] const char* doing() const override {
    constexpr std::array names{"send", "kick", "reclaim", "sleep", "done"};
    return names[static_cast<std::size_t>(at_)];
  }
  template <class Visit>
  void visit(Visit&& visit) {
    visit(at_), visit(sent_), visit(received_);
    Queue::visit_state(queue_, visit);
  }

 private:
  enum class operation : std::uint8_t { send, kick, reclaim, sleep, done };

  [[nodiscard]] bool sendable() const {
    return sent_ < what_.messages && queue_.room() >= (what_.form == shape::both ? 2 : 1);
  }

  void send() {
    at_ = operation::reclaim;
    if (!sendable()) return;
    std::uint8_t left = what_.driver_burst;
    if (what_.form == shape::transmit) left = send_burst<false>(left);
    if (what_.form == shape::receive) left = send_burst<true>(left);
    for (; left != 0 && sendable(); --left) send_one();
    if (queue_.mode() == ring_mode::general) world_.note(event::general_mode);
    queue_.publish();
    at_ = operation::kick;
  }
  // The hot path of the queues: returns what is left for the other one.
  template <bool DeviceWritable>
  std::uint8_t send_burst(std::uint8_t burst) {
    const int possible = std::min({int{queue_.room()}, what_.messages - sent_, int{burst}});
    const std::uint16_t added = queue_.template add_burst<DeviceWritable>(
        static_cast<std::uint16_t>(possible),
        [this](burst_buffer<std::uint8_t>& fresh, std::size_t) {
          const std::array<chain_buffer, 2> chain = next_chain();
          fresh = {chain[DeviceWritable].address, chain[DeviceWritable].length, sent_++};
          return true;
        });
    return static_cast<std::uint8_t>(burst - added);
  }
  void send_one() {
    const std::array<chain_buffer, 2> both = next_chain();
    std::span<const chain_buffer> chain(both);
    if (what_.form == shape::transmit) chain = chain.first(1);
    if (what_.form == shape::receive) chain = chain.last(1);
    if (!queue_.try_add(chain, sent_++)) world_.fail("no room where there was some");
  }
  std::array<chain_buffer, 2> next_chain() {
    auto& buffer = block_.buffer_of(sent_);
    if (what_.form != shape::receive) Access::store(buffer.request, request_of(sent_));
    return {{{block_.address_of(buffer.request), 8, false},
             {block_.address_of(buffer.answer), 8, true}}};
  }

  void kick() {
    if (queue_.kick_needed()) {
      world_.notify();
    } else {
      world_.note(event::kick_suppressed);
    }
    at_ = operation::reclaim;
  }

  void reclaim() {
    const bool was_general = queue_.mode() == ring_mode::general;
    const std::uint16_t pending = queue_.used_pending(queue_.size());
    std::uint16_t left = pending;
    if (what_.form == shape::transmit) {
      left -= queue_.reclaim_burst(
          left, [this](std::size_t, std::uint8_t message) { return take_back(message); });
      if (left != 0) queue_.reclaim(left, [this](std::uint8_t message) { take_back(message); });
    } else {
      left -= queue_.reclaim_burst(
          left, [this](std::size_t, std::uint8_t message, std::uint32_t written) {
            return take_answer(message, written);
          });
      if (left != 0) {
        queue_.reclaim(left, [this](std::uint8_t message, std::uint32_t written) {
          take_answer(message, written);
        });
      }
    }
    if (queue_.breach()) {
      world_.fail("the driver side broke: " + std::string(name(queue_.breach().fault)));
    }
    if (was_general && queue_.mode() == ring_mode::fast) world_.note(event::back_to_fast);
    if (has_wrapped(queue_, what_.options.start)) world_.note(event::index_wrapped);
    if (received_ == (1u << what_.messages) - 1) {
      at_ = operation::done;
    } else {
      at_ = pending != 0 || sendable() ? operation::send : operation::sleep;
    }
  }

  bool take_back(std::uint8_t message) {
    const auto bit = static_cast<std::uint8_t>(1u << message);
    if ((received_ & bit) != 0) world_.fail("the driver got a buffer back twice");
    received_ |= bit;
    return true;
  }
  bool take_answer(std::uint8_t message, std::uint32_t written) {
    if (written != 8) world_.fail("the driver was told a wrong length");
    if (Access::load(block_.buffer_of(message).answer) != answer_of(message)) {
      world_.fail("the driver read a stale answer");
    }
    return take_back(message);
  }

  void sleep() {
    const auto after = static_cast<std::uint16_t>(what_.late_call ? queue_.in_flight() - 1 : 0);
    if (queue_.enable_call(after) == notification::safe_to_sleep) {
      world_.note(event::driver_slept);
      world_.wait();
    } else {
      world_.note(event::driver_found_more);
    }
    queue_.disable_call();
    at_ = operation::reclaim;
  }

  machine& world_;
  const scenario& what_;
  shared_block& block_;
  Queue& queue_;
  operation at_ = operation::send;
  std::uint8_t sent_ = 0;
  std::uint8_t received_ = 0;  // bit n: message n came back
};

/// The device: answers what it finds, sleeps when there is nothing.
template <class Queue, class Access>
class device_script final : public scripted<device_script<Queue, Access>> {
 public:
  device_script(machine& world, const scenario& what, Queue& queue)
      : world_(world), what_(what), queue_(queue) {}

  void operate() override {
    switch (at_) {
      case operation::pop:
        return pop();
      case operation::push:
        return push();
      case operation::sleep:
        return sleep();
    }
  }
  [[nodiscard]] bool finished() const override { return false; }
  [[nodiscard]] const char* doing() const override {
    constexpr std::array names{"pop", "push", "sleep"};
    return names[static_cast<std::size_t>(at_)];
  }
  template <class Visit>
  void visit(Visit&& visit) {
    visit(at_), visit(served_), visit(held_);
    for (std::uint16_t& head : heads_) visit(head);
    Queue::visit_state(queue_, visit);
  }

 private:
  enum class operation : std::uint8_t { pop, push, sleep };

  void pop() {
    const std::uint16_t count =
        std::min<std::uint16_t>(queue_.avail(what_.device_burst), what_.device_burst);
    const std::uint16_t done = queue_.pop_burst(
        count, [this](std::size_t, std::uint16_t head, std::span<std::byte> buffer, bool writable) {
          serve(head, writable ? std::span<std::byte>{} : buffer,
                writable ? buffer : std::span<std::byte>{});
        });
    if (done != count) {
      queue_.pop(static_cast<std::uint16_t>(count - done), [this](const device_chain& chain) {
        serve(chain.head, chain.readable.empty() ? std::span<std::byte>{} : chain.readable[0],
              chain.writable.empty() ? std::span<std::byte>{} : chain.writable[0]);
      });
    }
    if (queue_.breach()) {
      world_.fail("the device side broke: " + std::string(name(queue_.breach().fault)));
    }
    at_ = held_ != 0 ? operation::push : operation::sleep;
  }
  void serve(std::uint16_t head, std::span<std::byte> request, std::span<std::byte> answer) {
    if (request.size() != (what_.form == shape::receive ? 0 : 8) ||
        answer.size() != (what_.form == shape::transmit ? 0 : 8)) {
      return world_.fail("the device found a stale chain");
    }
    if (!request.empty()) {
      const auto& word = *reinterpret_cast<const std::uint64_t*>(request.data());
      const std::uint64_t found = Access::load(word);
      if (found != request_of(served_)) {
        world_.fail("the device read " + std::to_string(found) + " for " +
                    std::to_string(request_of(served_)));
      }
    }
    if (!answer.empty()) {
      Access::store(*reinterpret_cast<std::uint64_t*>(answer.data()), answer_of(served_));
    }
    heads_[held_++] = head;
    ++served_;
  }

  // One step of completion: all that was popped, or the last one of it.
  void push() {
    const std::uint32_t written = what_.form == shape::transmit ? 0 : 8;
    if (what_.reversed) {
      queue_.push_used(heads_[--held_], written);
      heads_[held_] = 0;
    } else if (what_.options.in_order) {
      queue_.push_used_batch(heads_[held_ - 1u], written, held_);
      held_ = 0, heads_ = {};
    } else {
      queue_.push_burst(held_, [&](used_element& element, std::size_t nth) {
        element = {heads_[nth], written};
      });
      held_ = 0, heads_ = {};
    }
    queue_.publish();
    if (queue_.call_needed()) {
      world_.notify();
    } else {
      world_.note(event::call_suppressed);
    }
    at_ = held_ != 0 ? operation::push : operation::pop;
  }

  void sleep() {
    if (queue_.enable_kick() == notification::safe_to_sleep) {
      world_.note(event::device_slept);
      world_.wait();
    } else {
      world_.note(event::device_found_more);
    }
    queue_.disable_kick();
    at_ = operation::pop;
  }

  machine& world_;
  const scenario& what_;
  Queue& queue_;
  operation at_ = operation::pop;
  std::uint8_t served_ = 0;
  std::uint8_t held_ = 0;
  std::array<std::uint16_t, 4> heads_{};
};

/// Explores a scenario with the queues of a layout. `Ring` names it, `layout`, and says how it lies
/// in memory: `place(block, size)` makes the view that queues take, `add_words(machine, view)`
/// names its words.
template <class Ring, class DriverAccess, class DeviceAccess>
[[nodiscard]] outcome explore(const scenario& what) {
  using driver_queue_type =
      virtqueue<typename Ring::layout, driver_side, std::uint8_t, DriverAccess>;
  using device_queue_type =
      virtqueue<typename Ring::layout, device_side, block_space, DeviceAccess>;
  shared_block block;
  machine world(what.model, what.notifications_order, block.bytes().data(), block.bytes().size());
  const auto ring = Ring::place(block.ring(), what.options.size);
  Ring::add_words(world, ring);
  block.add_words(world, what);
  driver_queue_type driver_queue(ring, what.options, block.tables(what.form == shape::table),
                                 what.form == shape::transmit ? 0 : 8);
  device_queue_type device_queue(ring, what.options, block_space{block.bytes()});
  driver_script<driver_queue_type, DriverAccess> driver(world, what, block, driver_queue);
  device_script<device_queue_type, DeviceAccess> device(world, what, device_queue);
  return explorer::explore(world, driver, device);
}

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_SCRIPTS_HPP
