// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_MESSAGES_HPP
#define VKRING_TESTS_RING_MESSAGES_HPP

// What travels through a ring under test: chains of small buffers whose content is known.

#include <catch2/catch.hpp>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>
#include <vkring/ring/chain.hpp>

#include "arena.hpp"

namespace vkring::test {

/// A REQUIRE that costs nothing while it holds.
inline void expect(bool holds, const char* what) {
  if (!holds) FAIL(what);
}

/// A pool of messages. Lengths and content follow from a message's serial number, so that whoever
/// gets one can tell whether it is the right one and whole.
class message_pool {
 public:
  static constexpr std::uint32_t buffer_bytes = 32;
  static constexpr std::uint64_t base = 0x7'0000'0000;  // guest address

  struct message {
    std::uint64_t serial = 0;
    std::uint32_t readable = 0;  ///< buffers
    std::uint32_t descriptors = 0;
    std::vector<std::uint32_t> buffers = {};
  };

  message_pool(std::uint32_t messages, std::uint32_t buffers)
      : memory_(std::size_t{buffers} * buffer_bytes), messages_(messages) {
    for (std::uint32_t i = messages; i-- != 0;) free_messages_.push_back(i);
    for (std::uint32_t i = buffers; i-- != 0;) free_buffers_.push_back(i);
  }

  [[nodiscard]] std::span<std::byte> memory() const noexcept { return memory_.bytes(); }
  [[nodiscard]] const message& operator[](std::uint32_t id) const { return messages_[id]; }
  [[nodiscard]] bool holds(std::uint32_t buffers) const noexcept {
    return !free_messages_.empty() && buffers <= free_buffers_.size();
  }

  /// A new message, written by the driver. It will take this many descriptors.
  std::uint32_t take(std::uint32_t readable, std::uint32_t writable, std::uint32_t descriptors) {
    const std::uint32_t id = free_messages_.back();
    free_messages_.pop_back();
    message& fresh = messages_[id];
    fresh = {serial_++, readable, descriptors, {}};
    for (std::uint32_t i = readable + writable; i != 0; --i) {
      fresh.buffers.push_back(free_buffers_.back());
      free_buffers_.pop_back();
    }
    fill(fresh, 0, readable, UINT32_MAX, 0);
    return id;
  }
  void put_back(std::uint32_t id) {
    for (const std::uint32_t each : messages_[id].buffers) free_buffers_.push_back(each);
    free_messages_.push_back(id);
  }

  [[nodiscard]] chain_buffer buffer(std::uint32_t id, std::size_t index) const {
    const message& of = messages_[id];
    return {base + std::uint64_t{of.buffers[index]} * buffer_bytes, length(of, index),
            index >= of.readable};
  }

  /// The device: this chain is the message, with its content.
  void check_chain(std::uint32_t id, const device_chain& chain) const {
    const message& of = messages_[id];
    expect(chain.readable.size() == of.readable, "another number of readable buffers");
    expect(chain.readable.size() + chain.writable.size() == of.buffers.size(),
           "another number of buffers");
    bool same = true;
    for (std::size_t i = 0; i < of.buffers.size(); ++i) {
      const std::span<std::byte> piece =
          i < of.readable ? chain.readable[i] : chain.writable[i - of.readable];
      same = same && piece.data() == host(of, i) && piece.size() == length(of, i);
    }
    expect(same, "a buffer came with another address or length");
    check(of, 0, of.readable, UINT32_MAX, 0);
  }
  /// The device: writes `share` quarters of the writable part and returns how many bytes that is.
  std::uint32_t write(std::uint32_t id, std::uint32_t share) const {
    const message& of = messages_[id];
    std::uint32_t writable = 0;
    for (std::size_t i = of.readable; i != of.buffers.size(); ++i) writable += length(of, i);
    fill(of, of.readable, of.buffers.size(), writable * share / 4, 1);
    return writable * share / 4;
  }
  /// The driver: the device wrote `written` bytes.
  void check_written(std::uint32_t id, std::uint32_t written) const {
    const message& of = messages_[id];
    check(of, of.readable, of.buffers.size(), written, 1);
  }

 private:
  [[nodiscard]] static std::uint32_t length(const message& of, std::size_t index) noexcept {
    return static_cast<std::uint32_t>((of.serial * 7 + index * 3) % buffer_bytes) + 1;
  }
  [[nodiscard]] std::byte* host(const message& of, std::size_t index) const noexcept {
    return memory_.data() + std::size_t{of.buffers[index]} * buffer_bytes;
  }
  // A byte of one buffer, as side 0 (the driver) or 1 (the device) writes it.
  [[nodiscard]] static std::byte content(const message& of, std::size_t index, std::uint32_t at,
                                         std::uint32_t side) noexcept {
    return static_cast<std::byte>(of.serial * 13 + (of.serial >> 8) + index * 5 + at + side * 101);
  }
  void fill(const message& of, std::size_t from, std::size_t to, std::uint32_t limit,
            std::uint32_t side) const {
    for (; from != to; ++from) {
      for (std::uint32_t i = 0; i < length(of, from) && limit != 0; ++i, --limit) {
        host(of, from)[i] = content(of, from, i, side);
      }
    }
  }
  void check(const message& of, std::size_t from, std::size_t to, std::uint32_t limit,
             std::uint32_t side) const {
    bool same = true;
    for (; from != to; ++from) {
      for (std::uint32_t i = 0; i < length(of, from) && limit != 0; ++i, --limit) {
        same = same && host(of, from)[i] == content(of, from, i, side);
      }
    }
    expect(same, "the content of a buffer changed on the way");
  }

  guarded_memory memory_;
  std::vector<message> messages_;
  std::vector<std::uint32_t> free_messages_;
  std::vector<std::uint32_t> free_buffers_;
  std::uint64_t serial_ = 0;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_MESSAGES_HPP
