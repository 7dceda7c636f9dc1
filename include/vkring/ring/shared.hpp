// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_SHARED_HPP
#define VKRING_RING_SHARED_HPP

// Every load, store and fence on memory that the other side of a ring also touches.
//
// Four pairs of accesses order the two sides, labelled A to D here, in docs/memory-model.md and in
// the model checker, which removes them one at a time and must find the lost frame or wake-up:
//
//   A  publish avail   driver: descriptors, then index     device: index, then descriptors
//   B  publish used    device: buffers, elements, index    driver: index, then elements, buffers
//   C  kick            driver: avail index, then "am I to kick?"
//                      device: "kick me", then avail index
//   D  call            device: used index, then "am I to call?"
//                      driver: "call me", then used index
//
// "Index" is a split ring's word. On a packed ring it is the word with the flags of the first new
// descriptor, and "looking at the index" is looking at the flags of the next one.
//
// A and B pass data one way: release and acquire. C and D are Dekker's pattern: both sides store,
// then load what the other stored. Acquire and release leave that store and load free to change
// places, which x86 does too, and then each side sees the old value: the frame waits in the ring and
// nobody wakes up. Only a full fence on both sides forbids it.

#include <atomic>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vkring/core/endian.hpp>

namespace vkring::inline v0 {

/// How the rings touch shared memory: the real thing, which compiles to plain moves but for C and D.
///
/// Words are little-endian in memory (virtio 1.0 and later) and host-endian in arguments. Each call
/// is one access of the word's size, so a value that was checked is the value that is used. The
/// model checker and the fuzzers put their own type in this place.
struct direct {
  /// One load that orders nothing.
  template <std::unsigned_integral T>
  [[nodiscard]] static T load(const T& word) noexcept {
    // atomic_ref takes no const object before C++26; nothing is written through it here.
    return little(std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_relaxed));
  }
  /// Two adjacent words, `first` in the low half, by one load that orders nothing. Each is read once.
  [[nodiscard]] static std::uint64_t load_pair(const std::uint32_t& first) noexcept {
    // Not an atomic_ref, as the pair need not be aligned to its size. Where the device keeps to the
    // protocol, B orders this load; where it does not, whatever is read gets checked.
    std::uint64_t pair;
    std::memcpy(&pair, &first, sizeof pair);
    std::atomic_signal_fence(std::memory_order_acquire);  // never read again instead of kept
    return little(pair);
  }
  /// One store that orders nothing. Also keeps compilers from merging stores into slower vectors.
  template <std::unsigned_integral T>
  static void store(T& word, T value) noexcept {
    std::atomic_ref<T>(word).store(little(value), std::memory_order_relaxed);
  }

  /// A, driver side: the descriptors and ring entries written before are seen by who sees `value`.
  /// Pairs with `observe_avail`. A weaker store lets the device read a descriptor that is not there.
  template <std::unsigned_integral T>
  static void publish_avail(T& word, std::type_identity_t<T> value) noexcept {
    std::atomic_ref(word).store(little(value), std::memory_order_release);
  }
  /// A, device side: pairs with `publish_avail`. A weaker load lets descriptors be read too early.
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_avail(const T& word) noexcept {
    return acquire(word);
  }

  /// B, device side: the buffers and used elements written before are seen by who sees `value`.
  /// Pairs with `observe_used`. A weaker store hands the driver a frame that is not yet there.
  template <std::unsigned_integral T>
  static void publish_used(T& word, std::type_identity_t<T> value) noexcept {
    std::atomic_ref(word).store(little(value), std::memory_order_release);
  }
  /// B, driver side: pairs with `publish_used`. A weaker load lets elements be read too early.
  template <std::unsigned_integral T>
  [[nodiscard]] static T observe_used(const T& word) noexcept {
    return acquire(word);
  }

  /// C, driver side: after the avail index is stored, before the kick suppression word is loaded.
  /// Pairs with `after_kick_enabled`.
  static void before_kick_check() noexcept { store_load_fence(); }
  /// C, device side: after kicks are asked for, before the avail index is loaded once more.
  /// Pairs with `before_kick_check`.
  static void after_kick_enabled() noexcept { store_load_fence(); }

  /// D, device side: after the used index is stored, before the call suppression word is loaded.
  /// Pairs with `after_call_enabled`.
  static void before_call_check() noexcept { store_load_fence(); }
  /// D, driver side: after calls are asked for, before the used index is loaded once more.
  /// Pairs with `before_call_check`.
  static void after_call_enabled() noexcept { store_load_fence(); }

 private:
  template <std::unsigned_integral T>
  [[nodiscard]] static T acquire(const T& word) noexcept {
    return little(std::atomic_ref<T>(const_cast<T&>(word)).load(std::memory_order_acquire));
  }
  static void store_load_fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }
};

}  // namespace vkring::inline v0

#endif  // VKRING_RING_SHARED_HPP
