// SPDX-License-Identifier: BSD-3-Clause

#include <vkring/ring/layout.hpp>
//
#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

namespace vkring::test {
namespace {

TEST_CASE("the parts of a ring lie where virtio has them", "[unit]") {
  alignas(split_ring::alignment) static std::byte block[split_ring::bytes(256)];
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{256}}) {
    CAPTURE(size);
    const split_ring ring = split_ring::place(block, size);
    const auto offset = [](const void* from, const void* to) {
      return static_cast<const std::byte*>(to) - static_cast<const std::byte*>(from);
    };
    CHECK(ring.size() == size);
    CHECK(offset(block, ring.descriptors()) == 0);
    // avail: flags, idx, ring[size], used_event
    CHECK(offset(&ring.avail_flags(), &ring.avail_index()) == 2);
    CHECK(offset(&ring.avail_flags(), ring.avail_entries()) == 4);
    CHECK(offset(&ring.avail_flags(), &ring.used_event()) == 4 + 2 * size);
    // used: flags, idx, ring[size], avail_event
    CHECK(offset(&ring.used_flags(), &ring.used_index()) == 2);
    CHECK(offset(&ring.used_flags(), ring.used_elements()) == 4);
    CHECK(offset(&ring.used_flags(), &ring.avail_event()) == 4 + 8 * size);
  }
}

TEST_CASE("no two parts of a ring share a pair of lines", "[unit]") {
  for (std::uint32_t wide = 1; wide <= split_ring::max_size; wide *= 2) {
    const auto size = static_cast<std::uint16_t>(wide);
    CAPTURE(size);
    CHECK(split_ring::avail_offset(size) >= 16 * wide);
    CHECK(split_ring::used_offset(size) >= split_ring::avail_offset(size) + 6 + 2 * wide);
    CHECK(split_ring::bytes(size) >= split_ring::used_offset(size) + 6 + 8 * wide);
    CHECK(split_ring::avail_offset(size) % split_ring::alignment == 0);
    CHECK(split_ring::used_offset(size) % split_ring::alignment == 0);
    CHECK(split_ring::bytes(size) % split_ring::alignment == 0);
  }
}

TEST_CASE("a split ring has a power of two of entries, up to 32768", "[unit]") {
  for (std::uint64_t size = 1; size <= 32768; size *= 2) CHECK(split_ring::check_size(size));
  for (const std::uint64_t size :
       {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{100}, std::uint64_t{32767},
        std::uint64_t{32769}, std::uint64_t{65536}, std::uint64_t{1} << 32, UINT64_MAX}) {
    CAPTURE(size);
    CHECK_FALSE(split_ring::check_size(size));
  }
  const result<void> refused = split_ring::check_size(100);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().object == "queue-size=100");
  CHECK(refused.error().hint == "a split ring needs a power of two from 1 to 32768");
}

TEST_CASE("a descriptor's second word is {le32 length, le16 flags, le16 next} in memory",
          "[unit]") {
  const std::uint64_t rest = split_descriptor::pack(0x11223344, 0x5566, 0x7788);
  CHECK(split_descriptor::length(rest) == 0x11223344);
  CHECK(split_descriptor::flags(rest) == 0x5566);
  CHECK(split_descriptor::next(rest) == 0x7788);
  // Stored little-endian, whatever the host.
  std::vector<unsigned> bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(rest >> (8 * i) & 0xff);
  CHECK(bytes == std::vector<unsigned>{0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0x88, 0x77});
  CHECK(split_descriptor::pack(0xffffffff, 0, 0) == 0xffffffff);
}

}  // namespace
}  // namespace vkring::test
