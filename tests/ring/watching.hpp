// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_WATCHING_HPP
#define VKRING_TESTS_RING_WATCHING_HPP

// An Access that books what a ring loads and stores, and lies at every second look.

#include <cstddef>
#include <span>
#include <unordered_set>
#include <vector>
#include <vkring/ring/shared.hpp>

#include "plain_words.hpp"

namespace vkring::test {

/// What a ring did to shared memory: each word is to be loaded once in an operation, because the
/// other side may have changed it by the second load. Here it always has.
struct watch_book {
  using area = std::span<const std::byte>;

  std::vector<area> may_load, may_store;     ///< empty: anywhere
  std::unordered_set<const void*> loaded{};  ///< in this operation
  std::size_t loads = 0, second_loads = 0, strays = 0;
  bool revisits = false;  ///< a loop of descriptors leads to the same words over and over

  static watch_book& get() {
    static watch_book book;
    return book;
  }

  /// True if this is not the first load of the word in this operation.
  bool load(const void* word, std::size_t size) {
    ++loads;
    if (!within(may_load, word, size)) ++strays;
    const bool again = !loaded.insert(word).second && !revisits;
    second_loads += again ? 1 : 0;
    return again;
  }
  void store(const void* word, std::size_t size) {
    if (!within(may_store, word, size)) ++strays;
  }

 private:
  static bool within(const std::vector<area>& areas, const void* word, std::size_t size) {
    const auto* const at = static_cast<const std::byte*>(word);
    for (const area& each : areas) {
      if (at >= each.data() && at + size <= each.data() + each.size()) return true;
    }
    return areas.empty();
  }
};

struct watching : plain_words<watching> {
  /// A new operation: words may be loaded afresh.
  static void begin() { watch_book::get().loaded.clear(); }

  template <std::unsigned_integral T>
  [[nodiscard]] static T load(const T& word) noexcept {
    const T value = direct::load(word);
    return watch_book::get().load(&word, sizeof word) ? static_cast<T>(~value) : value;
  }
  template <std::unsigned_integral T>
  static void store(T& word, T value) noexcept {
    watch_book::get().store(&word, sizeof word);
    direct::store(word, value);
  }
  // Whoever wants to sleep looks again at what may have come since.
  static void after_kick_enabled() noexcept { begin(); }
  static void after_call_enabled() noexcept { begin(); }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_WATCHING_HPP
