// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/packet.hpp"

#include <catch2/catch.hpp>

#include "support/packets.hpp"

using vkring::link_layer;
using vkring::packet_fault;
using vkring::packet_layout;
using vkring::parse_packet;
using vkring::test::build;
using vkring::test::bytes;
using vkring::test::packet_recipe;

namespace {

packet_layout parse(const bytes& frame, link_layer link = link_layer::ethernet) {
  return parse_packet(frame, frame.size(), link);
}

// An IPv6 extension header of 8 * (1 + more) bytes.
bytes extension(unsigned next, unsigned more, unsigned third = 0, unsigned fourth = 0) {
  bytes made;
  vkring::test::append(made, {next, more, third, fourth, 0, 0, 0, 0});
  made.resize(8 * (1 + std::size_t{more}));
  return made;
}

bytes operator+(bytes first, const bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace

TEST_CASE("packet: headers are found where they were put") {
  vkring::test::random_source source(1);
  for (int round = 0; round < 1000; ++round) {
    packet_recipe recipe;
    recipe.ethernet = source() % 4 != 0;
    recipe.tags = source() % 3;
    recipe.v6 = source() % 2 == 0;
    recipe.tcp = source() % 2 == 0;
    recipe.ip_options = source() % 11 * 4;
    recipe.tcp_options = source() % 11 * 4;
    recipe.payload = source() % 100;
    recipe.padding = source() % 8;
    if (recipe.v6 && source() % 2 == 0) {
      recipe.first_extension = 0;
      recipe.extensions =
          extension(60, source() % 3) + extension(43, 1) + extension(recipe.tcp ? 6 : 17, 0);
    }
    const auto packet = build(recipe, source);
    const auto link = recipe.ethernet ? link_layer::ethernet : link_layer::none;
    const packet_layout found = parse(packet.frame, link);
    REQUIRE(name(found.fault) == "none");
    REQUIRE(found.ipv6 == recipe.v6);
    REQUIRE(found.protocol == (recipe.tcp ? 6 : 17));
    REQUIRE(found.ip == packet.ip);
    REQUIRE(found.l4 == packet.l4);
    REQUIRE(found.payload == packet.payload);
    REQUIRE(found.end == packet.frame.size() - recipe.padding);

    // Only the headers have to be at hand, and each byte of them has to.
    const auto headers = std::span(packet.frame).first(packet.payload);
    REQUIRE(parse_packet(headers, packet.frame.size(), link).fault == packet_fault::none);
    for (std::size_t n = 0; n < headers.size(); ++n) {
      REQUIRE(parse_packet(headers.first(n), packet.frame.size(), link).fault ==
              packet_fault::truncated);
      REQUIRE(parse(bytes(headers.begin(), headers.begin() + static_cast<std::ptrdiff_t>(n)), link)
                  .fault != packet_fault::none);
    }
    // A frame said to be shorter than what is at hand.
    REQUIRE(parse_packet(packet.frame, 13, link).fault != packet_fault::none);
  }
}

TEST_CASE("packet: what cannot be followed is named") {
  vkring::test::random_source source(2);
  const auto fault_of = [&](const packet_recipe& recipe, auto change) {
    auto packet = build(recipe, source);
    change(packet);
    return name(
        parse(packet.frame, recipe.ethernet ? link_layer::ethernet : link_layer::none).fault);
  };
  const auto set = [](std::size_t vkring::test::built_packet::*base, std::size_t at,
                      unsigned value) {
    return [=](vkring::test::built_packet& packet) {
      packet.frame[packet.*base + at] = static_cast<std::byte>(value);
    };
  };
  const auto keep = [](auto&) {};
  using vkring::test::built_packet;
  packet_recipe v4;
  v4.payload = 50;
  packet_recipe v6 = v4;
  v6.v6 = true;

  CHECK(fault_of(v4, keep) == "none");
  CHECK(fault_of(v4, set(&built_packet::ip, 0, 0x65)) == "ip_header");
  CHECK(fault_of(v4, set(&built_packet::ip, 0, 0x44)) == "ip_header");
  CHECK(fault_of(v4, set(&built_packet::ip, 2, 0x7f)) == "ip_length");
  CHECK(fault_of(v4, set(&built_packet::ip, 3, 19)) == "ip_length");
  CHECK(fault_of(v4, set(&built_packet::ip, 3, 20)) == "ip_length");
  CHECK(fault_of(v4, set(&built_packet::ip, 3, 39)) == "ip_length");
  CHECK(fault_of(v4, set(&built_packet::ip, 3, 0)) == "jumbogram");
  CHECK(fault_of(v4, set(&built_packet::ip, 6, 0x20)) == "fragment");
  CHECK(fault_of(v4, set(&built_packet::ip, 7, 1)) == "fragment");
  CHECK(fault_of(v4, set(&built_packet::ip, 9, 1)) == "not_tcp_or_udp");
  CHECK(fault_of(v4, set(&built_packet::l4, 12, 0x40)) == "tcp_header");
  CHECK(fault_of(v4, set(&built_packet::l4, 12, 0xf0)) == "none");
  v4.payload = 39;
  CHECK(fault_of(v4, set(&built_packet::l4, 12, 0xf0)) == "truncated");
  v4.padding = 1;
  CHECK(fault_of(v4, set(&built_packet::l4, 12, 0xf0)) == "ip_length");

  CHECK(fault_of(v6, keep) == "none");
  CHECK(fault_of(v6, set(&built_packet::ip, 0, 0x45)) == "ip_header");
  CHECK(fault_of(v6, set(&built_packet::ip, 4, 1)) == "ip_length");
  CHECK(fault_of(v6, set(&built_packet::ip, 5, 19)) == "ip_length");
  CHECK(fault_of(v6, set(&built_packet::ip, 6, 58)) == "not_tcp_or_udp");
  CHECK(fault_of(v6, set(&built_packet::ip, 6, 44)) == "fragment");
  CHECK(fault_of(v6, set(&built_packet::ip, 6, 50)) == "unsupported_extension");
  CHECK(fault_of(v6, set(&built_packet::ip, 6, 51)) == "unsupported_extension");
  v6.extensions = extension(6, 1, 4, 1);
  v6.first_extension = 43;
  CHECK(fault_of(v6, keep) == "routing_header");
  v6.extensions = extension(44, 0) + extension(6, 0);
  v6.first_extension = 0;
  CHECK(fault_of(v6, keep) == "fragment");
  v6.extensions = {};
  for (int i = 0; i < 7; ++i) v6.extensions = v6.extensions + extension(60, 0);
  const bytes seven = v6.extensions;
  v6.extensions = seven + extension(6, 0);
  v6.first_extension = 60;
  CHECK(fault_of(v6, keep) == "none");
  v6.extensions = seven + extension(60, 0) + extension(6, 0);
  CHECK(fault_of(v6, keep) == "too_many_extensions");
  v6.extensions = extension(6, 0);
  CHECK(fault_of(v6, [](built_packet& packet) { packet.frame[packet.ip + 41] = std::byte{255}; }) ==
        "ip_length");
  v6.first_extension = 0;
  CHECK(fault_of(v6, [](built_packet& packet) {
          packet.frame[packet.ip + 4] = packet.frame[packet.ip + 5] = std::byte{0};
        }) == "jumbogram");

  packet_recipe tagged;
  tagged.tags = 3;
  CHECK(fault_of(tagged, keep) == "too_many_tags");
  CHECK(fault_of({}, [](built_packet& packet) { packet.frame[13] = std::byte{6}; }) == "not_ip");
  packet_recipe raw;
  raw.ethernet = false;
  CHECK(fault_of(raw, set(&built_packet::ip, 0, 0x55)) == "not_ip");
  CHECK(name(parse({}).fault) == "truncated");
  CHECK(name(parse({}, link_layer::none).fault) == "truncated");
}

TEST_CASE("packet: what was found before a fault stands") {
  vkring::test::random_source source(3);
  auto packet = build({}, source);
  packet.frame[packet.ip + 9] = std::byte{1};
  const packet_layout icmp = parse(packet.frame);
  CHECK(icmp.fault == packet_fault::not_tcp_or_udp);
  CHECK(icmp.protocol == 1);
  CHECK(icmp.l4 == packet.l4);
  CHECK(icmp.payload == 0);
}
