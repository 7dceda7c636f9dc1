// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/checksum.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <vector>

#include "support/packets.hpp"

using vkring::checksum_state;
using vkring::complete_checksum;
using vkring::internet_sum;
using vkring::test::bytes;
using vkring::test::naive_checksum;

namespace {

std::uint16_t checksum_of(std::span<const std::byte> data) {
  internet_sum sum;
  sum.add(data);
  return sum.checksum();
}

}  // namespace

TEST_CASE("checksum: the example of RFC 1071") {
  bytes data;
  vkring::test::append(data, {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7});
  internet_sum sum;
  sum.add(data);
  CHECK(sum.sum() == 0xddf2);
  CHECK(sum.checksum() == 0x220d);
}

TEST_CASE("checksum: every length at every alignment, against the sum byte by byte") {
  vkring::test::random_source source(2);
  const bytes data = vkring::test::random_bytes(source, 400);
  for (std::size_t start = 0; start < 16; ++start)
    for (std::size_t size = 0; start + size <= data.size(); ++size) {
      const auto part = std::span(data).subspan(start, size);
      if (checksum_of(part) != naive_checksum(part)) {
        CAPTURE(start, size);
        FAIL("wrong");
      }
    }
}

TEST_CASE("checksum: sums that carry through all bits") {
  for (const std::size_t size : {1u, 2u, 31u, 32u, 33u, 65535u, 1u << 20}) {
    const bytes ones(size, std::byte{0xff});
    CAPTURE(size);
    CHECK(checksum_of(ones) == naive_checksum(ones));
    const bytes zeros(size);
    CHECK(checksum_of(zeros) == 0xffff);
  }
  internet_sum sum;
  for (int i = 0; i < 100'000; ++i) sum.add(std::uint16_t{0xffff});
  CHECK(sum.sum() == 0xffff);
}

TEST_CASE("checksum: pieces of any length give the sum of the whole") {
  vkring::test::random_source source(3);
  for (int round = 0; round < 3000; ++round) {
    const bytes data = vkring::test::random_bytes(source, source() % 600);
    const vkring::test::scattered pieces(data, 1 + source() % 9, source);
    internet_sum sum;
    for (const auto piece : pieces.spans) sum.add(piece);
    REQUIRE(sum.checksum() == naive_checksum(data));
  }
}

TEST_CASE("checksum: words and pseudo headers") {
  vkring::test::random_source source(4);
  bytes v4 = vkring::test::random_bytes(source, 20);
  bytes v6 = vkring::test::random_bytes(source, 40);
  const auto sum_of = [](const bytes& data) {
    return static_cast<std::uint16_t>(~naive_checksum(data));
  };
  const auto addresses4 = std::span(std::as_const(v4));
  CHECK(vkring::pseudo_header(addresses4.subspan<12, 4>(), addresses4.subspan<16, 4>(), 17, 0xfffe)
            .sum() == sum_of(vkring::test::pseudo_header_bytes(v4, 0, false, 17, 0xfffe)));
  const auto addresses6 = std::span(std::as_const(v6));
  CHECK(vkring::pseudo_header(addresses6.subspan<8, 16>(), addresses6.subspan<24, 16>(), 6,
                              std::uint32_t{0xffff})
            .sum() == sum_of(vkring::test::pseudo_header_bytes(v6, 0, true, 6, 0xffff)));
}

TEST_CASE("checksum: a partial one is completed, in one piece and in several") {
  vkring::test::random_source source(5);
  for (int round = 0; round < 4000; ++round) {
    vkring::test::packet_recipe recipe;
    recipe.v6 = source() % 2 == 0;
    recipe.tcp = source() % 2 == 0;
    recipe.tags = source() % 3;
    recipe.payload = source() % 300;
    const auto packet = vkring::test::build(recipe, source);
    const std::size_t offset = recipe.tcp ? 16 : 6;

    bytes whole = packet.frame;
    REQUIRE(complete_checksum(whole, packet.l4, offset));
    bytes verify = vkring::test::pseudo_header_bytes(whole, packet.ip, recipe.v6,
                                                     recipe.tcp ? 6 : 17, whole.size() - packet.l4);
    verify.insert(verify.end(), whole.begin() + static_cast<std::ptrdiff_t>(packet.l4),
                  whole.end());
    REQUIRE(naive_checksum(verify) == 0);

    vkring::test::scattered pieces(packet.frame, 1 + source() % 12, source);
    const std::vector<std::span<std::byte>> spans(pieces.parts.begin(), pieces.parts.end());
    REQUIRE(complete_checksum(spans, packet.l4, offset));
    bytes joined;
    for (const bytes& part : pieces.parts) joined.insert(joined.end(), part.begin(), part.end());
    REQUIRE(joined == whole);
  }
}

TEST_CASE("checksum: UDP sends all ones for zero, others send zero") {
  std::array<std::byte, 8> frame{};
  frame[0] = frame[1] = std::byte{0xff};
  REQUIRE(complete_checksum(frame, 0, 6));
  CHECK(frame[6] == std::byte{0xff});
  CHECK(frame[7] == std::byte{0xff});
  frame[6] = frame[7] = std::byte{0};
  REQUIRE(complete_checksum(frame, 0, 4));
  CHECK(frame[4] == std::byte{0});
  CHECK(frame[5] == std::byte{0});
}

TEST_CASE("checksum: a field that does not lie within the frame is refused") {
  std::array<std::byte, 10> frame{};
  const std::array<std::span<std::byte>, 3> spans{
      std::span(frame).first(3), std::span(frame).subspan(3, 0), std::span(frame).subspan(3)};
  constexpr std::size_t huge = ~std::size_t{0};
  for (const std::size_t start : {std::size_t{0}, std::size_t{5}, std::size_t{8}, std::size_t{9},
                                  std::size_t{10}, std::size_t{11}, huge, huge - 1})
    for (const std::size_t offset :
         {std::size_t{0}, std::size_t{3}, std::size_t{8}, std::size_t{9}, huge, huge - 1}) {
      CAPTURE(start, offset);
      const bool inside = start <= 8 && offset <= 8 && start + offset <= 8;
      frame.fill(std::byte{1});
      CHECK(complete_checksum(frame, start, offset) == inside);
      const auto once = frame;
      if (!inside) CHECK(checksum_of(frame) == checksum_of(bytes(10, std::byte{1})));
      frame.fill(std::byte{1});
      CHECK(complete_checksum(spans, start, offset) == inside);
      CHECK(frame == once);
    }
  CHECK_FALSE(complete_checksum(std::span<std::byte>{}, 0, 0));
  CHECK_FALSE(complete_checksum(std::span<const std::span<std::byte>>{}, 0, 0));
}

TEST_CASE("checksum: the state that a header tells") {
  vkring::virtio_net_hdr header;
  header.csum_start = 34;
  header.csum_offset = 16;
  CHECK(checksum_state::of(header) == checksum_state());
  CHECK(checksum_state().what() == checksum_state::kind::none);
  header.flags = vkring::header_flag::data_valid;
  CHECK(checksum_state::of(header) == checksum_state::verified());
  header.flags |= vkring::header_flag::needs_csum;
  CHECK(checksum_state::of(header) == checksum_state::partial(34, 16));
  CHECK(checksum_state::of(header).start() == 34);
  CHECK(checksum_state::of(header).offset() == 16);
}
