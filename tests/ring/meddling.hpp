// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_MEDDLING_HPP
#define VKRING_TESTS_RING_MEDDLING_HPP

// An Access whose other side writes to shared memory between any two accesses.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>
#include <vkring/ring/shared.hpp>

#include "invariant.hpp"
#include "plain_words.hpp"

namespace vkring::test {

/// What the ring under test may touch, and how often the other side changes a word just before it
/// is loaded.
struct meddler {
  struct area {
    std::span<const std::byte> bytes;
    std::size_t word = 0;  ///< what its words have in bytes; 0: of any size
  };

  std::vector<area> may_load{}, may_store{};
  std::uint32_t rate = 0;  ///< of 256 loads
  std::uint32_t seed = 1;

  static meddler& get() {
    static meddler the_one;
    return the_one;
  }
  std::uint32_t random() {
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
  }
  static bool within(const std::vector<area>& areas, const void* word, std::size_t size) {
    const auto* const at = static_cast<const std::byte*>(word);
    for (const auto& [bytes, word_size] : areas) {
      if (at >= bytes.data() && at + size <= bytes.data() + bytes.size()) {
        if (word_size == 0 || word_size == size) return true;
      }
    }
    return areas.empty();
  }
};

struct meddling : plain_words<meddling> {
  template <std::unsigned_integral T>
  [[nodiscard]] static T load(const T& word) noexcept {
    meddler& other = meddler::get();
    invariant(meddler::within(other.may_load, &word, sizeof word), "a load of a word of one's own");
    if (other.rate != 0 && (other.random() & 255) < other.rate) {
      const T bit = static_cast<T>(T{1} << other.random() % (8 * sizeof(T)));
      const T now = direct::load(word);
      const std::uint32_t kind = other.random() % 4;
      direct::store(const_cast<T&>(word), kind == 0   ? static_cast<T>(other.random())
                                          : kind == 1 ? static_cast<T>(now + 1)
                                          : kind == 2 ? static_cast<T>(now - 1)
                                                      : static_cast<T>(now ^ bit));
    }
    return direct::load(word);
  }
  template <std::unsigned_integral T>
  static void store(T& word, T value) noexcept {
    invariant(meddler::within(meddler::get().may_store, &word, sizeof word),
              "a store to a word of the other side");
    direct::store(word, value);
  }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_MEDDLING_HPP
