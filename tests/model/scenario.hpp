// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_SCENARIO_HPP
#define VKRING_TESTS_MODEL_SCENARIO_HPP

// What a driver and a device of the model check do, and the memory that they share.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "machine.hpp"
#include "vkring/ring/concepts.hpp"

namespace vkring::test::model {

/// What a message looks like.
enum class shape : std::uint8_t {
  transmit,  ///< one buffer that the device reads
  receive,   ///< one buffer that the device fills
  both,      ///< one of each, in a direct chain: general mode
  table,     ///< one of each, in an indirect table
};

struct scenario {
  ring_options options{};
  shape form = shape::transmit;
  std::uint8_t driver_burst = 1;  ///< added before each publish
  std::uint8_t device_burst = 1;  ///< popped at a time
  bool reversed = false;          ///< the device completes what it popped last to first
  bool late_call = false;         ///< the driver sleeps until all that is in flight came back
  std::uint8_t messages = 4;
  strength model = strength::store_buffers;
  bool notifications_order =
      true;  ///< a kick or call makes earlier stores visible, as a syscall does
};

/// Memory of a scenario: the ring, the buffers (one pair for each message) and the indirect tables.
class shared_block {
 public:
  static constexpr std::size_t max_messages = 8;
  static constexpr std::uint64_t guest_base = 0x1000;
  struct buffer {
    std::uint64_t request;
    std::uint64_t answer;
  };
  struct table {
    std::array<split_descriptor, 2> entries;
  };

  [[nodiscard]] std::span<std::byte> bytes() noexcept {
    return {reinterpret_cast<std::byte*>(this), sizeof *this};
  }
  [[nodiscard]] std::span<std::byte> ring() noexcept { return ring_; }
  [[nodiscard]] buffer& buffer_of(std::size_t message) noexcept { return buffers_[message]; }
  [[nodiscard]] indirect_tables tables(bool used) noexcept {
    if (!used) return {};
    return {reinterpret_cast<std::byte*>(tables_.data()), address_of(tables_), 2};
  }
  template <class T>
  [[nodiscard]] std::uint64_t address_of(const T& where) noexcept {
    return guest_base +
           static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&where) - bytes().data());
  }

  void add_words(machine& world, const scenario& what) {
    for (std::size_t i = 0; i < what.messages; ++i) {
      const std::string number = std::to_string(i);
      world.add_word(buffers_[i].request, "request" + number);
      world.add_word(buffers_[i].answer, "answer" + number);
    }
    if (what.form != shape::table) return;
    for (std::size_t i = 0; i < what.options.size; ++i) {
      for (std::size_t j = 0; j < 2; ++j) {
        const std::string name = "table" + std::to_string(i) + "[" + std::to_string(j) + "]";
        world.add_word(tables_[i].entries[j].address, name + ".address");
        world.add_word(tables_[i].entries[j].rest, name + ".rest");
      }
    }
  }

 private:
  alignas(128) std::array<std::byte, 1024> ring_;
  std::array<buffer, max_messages> buffers_;
  std::array<table, 4> tables_;
};

/// The address space of the model: the block at a fixed guest address.
struct block_space {
  std::span<std::byte> block;

  [[nodiscard]] std::span<std::byte> translate(std::uint64_t address, std::uint32_t length,
                                               memory_access) noexcept {
    const std::uint64_t offset = address - shared_block::guest_base;
    if (offset > block.size() || length > block.size() - offset) return {};
    return block.subspan(static_cast<std::size_t>(offset), length);
  }
};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_SCENARIO_HPP
