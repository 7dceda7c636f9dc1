// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_HOSTILE_BED_HPP
#define VKRING_TESTS_RING_HOSTILE_BED_HPP

// What queues under attack stand on: buffers between pages without access, and an Access that gives the
// device the time to write between any two loads.

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <concepts>

#include "support/queue_bed.hpp"

namespace vkring::test {

/// The real accesses, before each of which the device may do something.
struct interfering : direct {
  static inline void (*device_moves)(void*, const void* word) = nullptr;
  static inline void* context = nullptr;

  template <std::unsigned_integral T>
  [[nodiscard]] static T load(const T& word) noexcept {
    if (device_moves != nullptr) device_moves(context, &word);
    return direct::load(word);
  }
  [[nodiscard]] static std::uint16_t observe_used(const std::uint16_t& word) noexcept {
    if (device_moves != nullptr) device_moves(context, &word);
    return direct::observe_used(word);
  }
};

/// Calls `move(word)` before each load of a word of a ring, as long as it lives.
template <class Move>
class interference {
 public:
  explicit interference(Move& move) {
    interfering::context = &move;
    interfering::device_moves = [](void* it, const void* word) { (*static_cast<Move*>(it))(word); };
  }
  ~interference() { interfering::device_moves = nullptr; }
  interference(const interference&) = delete;
  interference& operator=(const interference&) = delete;
};

inline constexpr std::uint32_t buffer_bytes = 512;
/// Of an odd number of lines each: whole pages, guarded closely.
inline constexpr std::size_t buffers = 64;
inline constexpr std::byte untouched{0xa5};
inline constexpr std::uint64_t guest = 0x3'0000'0000;

/// Buffers between guards, with bytes before each header that nobody has a reason to write to.
class guarded_source {
 public:
  guarded_source()
      : block_(buffer_arena::bytes(buffers, buffer_bytes)),
        source((std::fill_n(block_.data(), block_.size(), untouched), block_.bytes()), buffer_bytes,
               guest) {}

  /// All buffers are back once, and none was touched before its header.
  void check() {
    std::array<buffer_handle, buffers> all;
    CHECK(source.available() == buffers);
    REQUIRE(source.take(all) == buffers);
    for (const buffer_handle each : all) {
      const std::byte* const payload =
          source.mapper()(buffer_arena::with_plain_header(each, false)).payload;
      const std::byte* const line = payload - buffer_arena::line;
      CHECK(
          std::all_of(line, payload - header_reserve, [](std::byte b) { return b == untouched; }));
    }
    source.put(all);
    check_all_back(source, false);
  }
  [[nodiscard]] std::span<std::byte> bytes() const { return block_.bytes(); }

 private:
  guarded_memory block_;

 public:
  registered_memory source;
};

using hostile_rx = rx_bed<registered_memory, interfering>;
using hostile_tx = tx_bed<registered_memory, interfering>;
using own_frame = basic_frame<registered_memory>;

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_HOSTILE_BED_HPP
