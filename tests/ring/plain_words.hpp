// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_PLAIN_WORDS_HPP
#define VKRING_TESTS_RING_PLAIN_WORDS_HPP

#include <concepts>
#include <vkring/ring/shared.hpp>

namespace vkring::test {

/// The ordered accesses of `Words`, an Access for one thread that cares which words are touched: they are
/// its plain ones.
template <class Words>
struct plain_words : direct {
  template <std::unsigned_integral T>
  static void publish_avail(T& word, T value) noexcept {
    Words::store(word, value);
  }
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_avail(const T& word) noexcept {
    return Words::load(word);
  }
  template <std::unsigned_integral T>
  static void publish_used(T& word, T value) noexcept {
    Words::store(word, value);
  }
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_used(const T& word) noexcept {
    return Words::load(word);
  }
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_PLAIN_WORDS_HPP
