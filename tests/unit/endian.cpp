// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/core/endian.hpp"

#include <arpa/inet.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>

using vkring::big;
using vkring::byte_swap;
using vkring::little;

namespace {

template <class T>
std::array<std::uint8_t, sizeof(T)> bytes_of(T value) {
  std::array<std::uint8_t, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

}  // namespace

TEST_CASE("byte_swap reverses the bytes of every width") {
  static_assert(byte_swap(std::uint8_t{0x12}) == 0x12);
  static_assert(byte_swap(std::uint16_t{0x1234}) == 0x3412);
  static_assert(byte_swap(std::uint32_t{0x12345678}) == 0x78563412);
  static_assert(byte_swap(std::uint64_t{0x123456789abcdef0}) == 0xf0debc9a78563412);
}

TEST_CASE("little and big give the byte order of their name on any host") {
  CHECK(bytes_of(little(std::uint16_t{0x1234})) == std::array<std::uint8_t, 2>{0x34, 0x12});
  CHECK(bytes_of(little(std::uint32_t{0x12345678})) ==
        std::array<std::uint8_t, 4>{0x78, 0x56, 0x34, 0x12});
  CHECK(bytes_of(big(std::uint16_t{0x1234})) == std::array<std::uint8_t, 2>{0x12, 0x34});
  CHECK(bytes_of(big(std::uint64_t{0x123456789abcdef0})) ==
        std::array<std::uint8_t, 8>{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0});
  CHECK(big(std::uint32_t{0x12345678}) == ::htonl(0x12345678));
}

TEST_CASE("little and big are their own inverse") {
  static_assert(little(little(std::uint32_t{0x12345678})) == 0x12345678);
  static_assert(big(big(std::uint64_t{0x123456789abcdef0})) == 0x123456789abcdef0);
}

TEST_CASE("big-endian words are read and written at any alignment") {
  std::array<std::byte, 12> line{};
  for (std::size_t at = 0; at < 8; ++at) {
    line.fill(std::byte{0xee});
    vkring::store_big(line.data() + at, std::uint32_t{0x01020304});
    for (std::size_t i = 0; i < line.size(); ++i) {
      const bool inside = i >= at && i < at + 4;
      CHECK(line[i] == (inside ? std::byte(i - at + 1) : std::byte{0xee}));
    }
    CHECK(vkring::load_big<std::uint32_t>(line.data() + at) == 0x01020304);
    CHECK(vkring::load_big<std::uint16_t>(line.data() + at) == 0x0102);
  }
}
