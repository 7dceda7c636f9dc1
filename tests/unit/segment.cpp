// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/segment.hpp"

#include <catch2/catch.hpp>

#include "support/packets.hpp"

using vkring::link_layer;
using vkring::packet_fault;
using vkring::segment_checksum;
using vkring::segmenter;
using vkring::virtio_net_hdr;
using vkring::test::build;
using vkring::test::built_packet;
using vkring::test::bytes;
using vkring::test::check_segmentation;
using vkring::test::header_for;
using vkring::test::packet_recipe;
using vkring::test::scattered;

namespace {

packet_recipe random_recipe(vkring::test::random_source& source, std::size_t max_payload) {
  packet_recipe recipe;
  recipe.ethernet = source() % 4 != 0;
  recipe.tags = source() % 3;
  recipe.v6 = source() % 2 == 0;
  recipe.tcp = source() % 2 == 0;
  recipe.ip_options = source() % 4 == 0 ? source() % 11 * 4 : 0;
  recipe.tcp_options = source() % 11 * 4;
  if (recipe.v6 && source() % 3 == 0) {
    recipe.extensions = bytes(8 + source() % 3 * 8);
    recipe.extensions[0] = static_cast<std::byte>(recipe.tcp ? 6 : 17);
    recipe.extensions[1] = static_cast<std::byte>(recipe.extensions.size() / 8 - 1);
    recipe.first_extension = 60;
  }
  recipe.tcp_flags = source() % 256;
  recipe.ip_id = static_cast<std::uint16_t>(source());
  recipe.sequence = static_cast<std::uint32_t>(source());
  recipe.payload = source() % (max_payload + 1);
  recipe.padding = source() % 4 == 0 ? source() % 20 : 0;
  return recipe;
}

link_layer link_of(const packet_recipe& recipe) {
  return recipe.ethernet ? link_layer::ethernet : link_layer::none;
}

packet_fault fault_of(const virtio_net_hdr& header, const bytes& frame) {
  segmenter cut(header, frame);
  CHECK(cut.done() == (cut.fault() != packet_fault::none));
  bytes out(frame.size());
  if (cut.fault() != packet_fault::none) CHECK(cut.next(out) == 0);
  return cut.fault();
}

}  // namespace

TEST_CASE("segment: everything comes out as computed again") {
  vkring::test::random_source source(1);
  std::size_t segments = 0;
  for (int round = 0; round < 4000; ++round) {
    const packet_recipe recipe = random_recipe(source, round % 50 == 0 ? 65'000 : 5'000);
    const built_packet packet = build(recipe, source);
    const auto mss = static_cast<std::uint16_t>(1 + source() % 2000);
    const virtio_net_hdr header = header_for(recipe, packet, mss);
    const auto checksums =
        source() % 4 == 0 ? segment_checksum::partial : segment_checksum::complete;
    const scattered pieces(packet.frame, 1 + source() % 10, source);
    CAPTURE(round, mss, recipe.v6, recipe.tcp, recipe.payload);
    segmenter cut(header, pieces.spans, checksums, link_of(recipe));
    REQUIRE(name(cut.fault()) == "none");
    REQUIRE(cut.segments() == (recipe.payload == 0 ? 1 : (recipe.payload + mss - 1) / mss));
    segments += cut.segments();
    REQUIRE(check_segmentation(header, packet.frame, pieces.spans, checksums, link_of(recipe)) ==
            "");
  }
  CHECK(segments > 20'000);
}

TEST_CASE("segment: flags, numbers and lengths of a known frame") {
  vkring::test::random_source source(2);
  packet_recipe recipe;
  recipe.tcp_flags = 0x80 | 0x40 | 0x10 | 0x08 | 0x01;  // CWR ECE ACK PSH FIN
  recipe.ip_id = 0xfffe;
  recipe.sequence = 0xffffff00;
  recipe.payload = 2500;
  const built_packet packet = build(recipe, source);
  segmenter cut(header_for(recipe, packet, 1000), packet.frame);
  REQUIRE(cut.segments() == 3);
  CHECK(cut.max_segment_size() == 1054);
  CHECK(cut.header() == virtio_net_hdr{});

  struct {
    std::size_t size;
    unsigned id, flags;
    std::uint32_t sequence;
  } const expected[] = {
      {1054, 0xfffe, 0xd0, 0xffffff00}, {1054, 0xffff, 0x50, 0x2e8}, {554, 0x0000, 0x59, 0x6d0}};
  for (const auto& segment : expected) {
    bytes out(2000, std::byte{0xee});
    REQUIRE(cut.next(out) == segment.size);
    CHECK(out[segment.size] == std::byte{0xee});
    CHECK(vkring::test::number_at(out, 16, 2) == segment.size - 14);
    CHECK(vkring::test::number_at(out, 18, 2) == segment.id);
    CHECK(vkring::test::number_at(out, 38, 4) == segment.sequence);
    CHECK(vkring::test::number_at(out, 47, 1) == segment.flags);
  }
  CHECK(cut.done());
}

TEST_CASE("segment: a frame of one segment keeps its flags, and all of it") {
  vkring::test::random_source source(3);
  packet_recipe recipe;
  recipe.tcp_flags = 0xff;
  recipe.payload = 1000;
  const built_packet packet = build(recipe, source);
  segmenter cut(header_for(recipe, packet, 1000), packet.frame);
  REQUIRE(cut.segments() == 1);
  bytes out(packet.frame.size());
  REQUIRE(cut.next(out) == out.size());
  bytes expected = packet.frame;
  REQUIRE(vkring::complete_checksum(expected, packet.l4, 16));
  CHECK(out == expected);
}

TEST_CASE("segment: a buffer that is too small takes nothing and loses nothing") {
  vkring::test::random_source source(4);
  packet_recipe recipe;
  recipe.tcp = false;
  recipe.payload = 150;
  const built_packet packet = build(recipe, source);
  segmenter cut(header_for(recipe, packet, 100), packet.frame);
  bytes small(141, std::byte{0xee});
  CHECK(cut.next(small) == 0);
  CHECK(cut.next({}) == 0);
  CHECK(small == bytes(141, std::byte{0xee}));
  CHECK_FALSE(cut.done());
  bytes out(142);
  CHECK(cut.next(out) == 142);
  CHECK(cut.next(small) == 92);
  CHECK(cut.done());
  CHECK(cut.next(out) == 0);
}

TEST_CASE("segment: a checksum left partial says so in the header of each") {
  vkring::test::random_source source(5);
  packet_recipe recipe;
  recipe.v6 = true;
  recipe.payload = 3000;
  const built_packet packet = build(recipe, source);
  virtio_net_hdr header = header_for(recipe, packet, 1000);
  const virtio_net_hdr expected = header_for(recipe, packet);
  const segmenter cut(header, packet.frame, segment_checksum::partial);
  CHECK(cut.header() == expected);
  // One that came complete is as good.
  header.flags = 0;
  const segmenter anew(header, packet.frame, segment_checksum::partial);
  CHECK(anew.header() == expected);
}

TEST_CASE("segment: frames without GSO come out whole") {
  vkring::test::random_source source(6);
  for (int round = 0; round < 500; ++round) {
    const packet_recipe recipe = random_recipe(source, 2000);
    const built_packet packet = build(recipe, source);
    const virtio_net_hdr header = source() % 4 == 0 ? virtio_net_hdr{} : header_for(recipe, packet);
    const auto checksums =
        source() % 4 == 0 ? segment_checksum::partial : segment_checksum::complete;
    const scattered pieces(packet.frame, 1 + source() % 10, source);
    REQUIRE(check_segmentation(header, packet.frame, pieces.spans, checksums, link_of(recipe)) ==
            "");
    const segmenter cut(header, pieces.spans, segment_checksum::partial);
    REQUIRE(cut.header() == header);
  }
  segmenter nothing(virtio_net_hdr{}, std::span<const std::byte>{});
  CHECK(nothing.segments() == 1);
  CHECK(nothing.max_segment_size() == 0);
  bytes arp(42, std::byte{7});
  segmenter cut(virtio_net_hdr{}, arp);
  bytes out(42);
  CHECK(cut.next(out) == 42);
  CHECK(out == arp);
}

TEST_CASE("segment: what cannot be segmented is named") {
  vkring::test::random_source source(7);
  packet_recipe recipe;
  recipe.payload = 3000;
  const built_packet packet = build(recipe, source);
  const auto fault_with = [&](auto change) {
    virtio_net_hdr header = header_for(recipe, packet, 1000);
    change(header);
    return fault_of(header, packet.frame);
  };
  using enum packet_fault;
  namespace type = vkring::gso;
  CHECK(fault_with([](auto&) {}) == none);
  CHECK(fault_with([](auto& h) { h.gso_type |= type::ecn; }) == none);
  CHECK(fault_with([](auto& h) { h.flags = 0; }) == none);
  CHECK(fault_with([](auto& h) { h.gso_type = 2; }) == gso_type);
  CHECK(fault_with([](auto& h) { h.gso_type = type::udp; }) == gso_ufo);
  CHECK(fault_with([](auto& h) { h.gso_type |= type::udp_tunnel_ipv6; }) == gso_tunnel);
  CHECK(fault_with([](auto& h) { h.gso_size = 0; }) == gso_size);
  CHECK(fault_with([](auto& h) { h.gso_type = type::tcpv6; }) == gso_mismatch);
  CHECK(fault_with([](auto& h) { h.gso_type = type::udp_l4; }) == gso_mismatch);
  CHECK(fault_with([](auto& h) { h.csum_start = 14; }) == csum_mismatch);
  CHECK(fault_with([](auto& h) { h.csum_offset = 6; }) == csum_mismatch);

  virtio_net_hdr partial;
  partial.flags = vkring::header_flag::needs_csum;
  partial.csum_start = 0xffff;
  partial.csum_offset = 0xffff;
  CHECK(fault_of(partial, packet.frame) == csum_beyond_end);
  CHECK(fault_of(header_for(recipe, packet, 9),
                 bytes(packet.frame.begin(), packet.frame.begin() + 53)) == ip_length);

  packet_recipe long_headers = recipe;
  long_headers.v6 = true;
  long_headers.first_extension = 60;
  long_headers.extensions = bytes(248);
  long_headers.extensions[0] = std::byte{6};
  long_headers.extensions[1] = std::byte{30};
  const built_packet too_long = build(long_headers, source);
  CHECK(fault_of(header_for(long_headers, too_long, 1000), too_long.frame) == headers_too_long);
}

TEST_CASE("segment: one hundred thousand frames of garbage") {
  vkring::test::random_source source(8);
  std::size_t refused = 0;
  for (int round = 0; round < 100'000; ++round) {
    const packet_recipe recipe = random_recipe(source, 400);
    built_packet packet = build(recipe, source);
    virtio_net_hdr header = header_for(recipe, packet, static_cast<std::uint16_t>(source() % 200));
    for (unsigned changes = source() % 4; changes != 0; --changes)
      packet.frame[source() %
                   (packet.payload < packet.frame.size() ? packet.payload : packet.frame.size())] =
          static_cast<std::byte>(source());
    if (source() % 4 == 0) packet.frame.resize(source() % (packet.frame.size() + 1));
    if (source() % 16 == 0) packet.frame = vkring::test::random_bytes(source, source() % 200);
    switch (source() % 10) {
      case 0:
        header.gso_type = static_cast<std::uint8_t>(source());
        break;
      case 1:
        header.csum_start = static_cast<std::uint16_t>(source());
        break;
      case 2:
        header.csum_offset = static_cast<std::uint16_t>(source());
        break;
      case 3:
        header.flags = static_cast<std::uint8_t>(source());
        break;
      case 4:
        header.gso_type = vkring::gso::none;
        break;
      default:
        break;
    }
    const scattered pieces(packet.frame, 1 + source() % 5, source);
    const std::string wrong = check_segmentation(header, packet.frame, pieces.spans,
                                                 segment_checksum::complete, link_of(recipe));
    if (!wrong.empty()) {
      CAPTURE(round);
      REQUIRE(wrong == "");
    }
    refused +=
        segmenter(header, packet.frame, segment_checksum::complete, link_of(recipe)).fault() !=
        packet_fault::none;
  }
  CHECK(refused > 10'000);
  CHECK(refused < 90'000);
}
