// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_ACCESS_HPP
#define VKRING_TESTS_MODEL_ACCESS_HPP

// `Access` for the model checker, and the same with one thing wrong.

#include <concepts>

#include "machine.hpp"

namespace vkring::test::model {

/// What `direct` promises, in terms of the machine.
struct model_access {
  template <std::unsigned_integral T>
  [[nodiscard]] static T load(const T& word) noexcept {
    return static_cast<T>(machine::current()->load(&word, sizeof word, false));
  }
  template <std::unsigned_integral T>
  static void store(T& word, T value) noexcept {
    machine::current()->store(&word, sizeof word, value, false);
  }
  template <std::unsigned_integral T>
  static void publish_avail(T& word, T value) noexcept {
    machine::current()->store(&word, sizeof word, value, true);
  }
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_avail(const T& word) noexcept {
    return static_cast<T>(machine::current()->load(&word, sizeof word, true));
  }
  template <std::unsigned_integral T>
  static void publish_used(T& word, T value) noexcept {
    machine::current()->store(&word, sizeof word, value, true);
  }
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_used(const T& word) noexcept {
    return static_cast<T>(machine::current()->load(&word, sizeof word, true));
  }
  static void before_kick_check() noexcept { machine::current()->full_fence(); }
  static void after_kick_enabled() noexcept { machine::current()->full_fence(); }
  static void before_call_check() noexcept { machine::current()->full_fence(); }
  static void after_call_enabled() noexcept { machine::current()->full_fence(); }
};

// The mutations: `model_access` with one member taken back.

struct plain_publish_avail : model_access {
  template <std::unsigned_integral T>
  static void publish_avail(T& word, T value) noexcept {
    store(word, value);
  }
};
struct plain_observe_avail : model_access {
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_avail(const T& word) noexcept {
    return load(word);
  }
};
struct plain_publish_used : model_access {
  template <std::unsigned_integral T>
  static void publish_used(T& word, T value) noexcept {
    store(word, value);
  }
};
struct plain_observe_used : model_access {
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_used(const T& word) noexcept {
    return load(word);
  }
};
struct no_before_kick_check : model_access {
  static void before_kick_check() noexcept {}
};
struct no_after_kick_enabled : model_access {
  static void after_kick_enabled() noexcept {}
};
struct no_before_call_check : model_access {
  static void before_call_check() noexcept {}
};
struct no_after_call_enabled : model_access {
  static void after_call_enabled() noexcept {}
};
struct light_before_kick_check : model_access {
  static void before_kick_check() noexcept { machine::current()->light_fence(); }
};
struct light_after_kick_enabled : model_access {
  static void after_kick_enabled() noexcept { machine::current()->light_fence(); }
};
struct light_before_call_check : model_access {
  static void before_call_check() noexcept { machine::current()->light_fence(); }
};
struct light_after_call_enabled : model_access {
  static void after_call_enabled() noexcept { machine::current()->light_fence(); }
};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_ACCESS_HPP
