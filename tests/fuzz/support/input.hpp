// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_FUZZ_SUPPORT_INPUT_HPP
#define VKRING_TESTS_FUZZ_SUPPORT_INPUT_HPP

// A fuzzer's input as a stream of numbers.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vkring::test {

/// Numbers from the input, 0 once it is used up.
class fuzz_input {
 public:
  fuzz_input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}

  [[nodiscard]] bool empty() const noexcept { return left_.empty(); }

  template <std::unsigned_integral T = std::uint8_t>
  T next() {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T) && !left_.empty(); ++i, left_ = left_.subspan(1)) {
      value = static_cast<T>(value | static_cast<T>(left_[0]) << (8 * i));
    }
    return value;
  }
  /// From 0 to `bound - 1`.
  std::uint32_t below(std::uint32_t bound) { return next() % bound; }
  bool flag() { return (next() & 1) != 0; }

 private:
  std::span<const std::uint8_t> left_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_FUZZ_SUPPORT_INPUT_HPP
