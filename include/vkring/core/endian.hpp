// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_ENDIAN_HPP
#define VKRING_CORE_ENDIAN_HPP

// Little-endian words of virtio and big-endian words of packets, on hosts of either byte order.

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace vkring::inline v0 {

static_assert(std::endian::native == std::endian::little || std::endian::native == std::endian::big,
              "vkring knows little-endian and big-endian hosts only");

/// The bytes of `value` in reverse order.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T byte_swap(T value) noexcept {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

/// Host order to little-endian and, the same operation, back. No instruction on x86-64.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T little(T value) noexcept {
  if constexpr (std::endian::native == std::endian::little) return value;
  return byte_swap(value);
}

/// Host order to big-endian (network order) and, the same operation, back.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T big(T value) noexcept {
  if constexpr (std::endian::native == std::endian::big) return value;
  return byte_swap(value);
}

/// Reads a big-endian word at any alignment.
template <std::unsigned_integral T>
[[nodiscard]] inline T load_big(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return big(value);
}

/// Writes a big-endian word at any alignment.
template <std::unsigned_integral T>
inline void store_big(std::byte* at, T value) noexcept {
  value = big(value);
  std::memcpy(at, &value, sizeof value);
}

}  // namespace vkring::inline v0

#endif  // VKRING_CORE_ENDIAN_HPP
