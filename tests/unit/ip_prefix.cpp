// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/ip_prefix.hpp"

#include <catch2/catch.hpp>
#include <string>

using vkring::ip_prefix;
using vkring::ip_text;
using vkring::parse_ip_prefix;

TEST_CASE("ip_prefix: text and back") {
  const std::string text =
      GENERATE("192.168.1.1/24", "0.0.0.0/0", "255.255.255.255/32", "fd00::1/64", "::/0",
               "2001:db8:1:2:3:4:5:6/128", "::ffff:192.0.2.1/96");
  const auto prefix = parse_ip_prefix(text);
  REQUIRE(prefix);
  CHECK(ip_text(*prefix) == text);
}

TEST_CASE("ip_prefix: octets in the order of transmission") {
  const auto v4 = parse_ip_prefix("192.168.1.2/24").value();
  CHECK(v4.family == ip_prefix::version::v4);
  CHECK(v4.length == 24);
  REQUIRE(v4.address().size() == 4);
  CHECK(v4.address()[0] == 192);
  CHECK(v4.address()[3] == 2);
  const auto v6 = parse_ip_prefix("fd00::1/64").value();
  CHECK(v6.family == ip_prefix::version::v6);
  REQUIRE(v6.address().size() == 16);
  CHECK(v6.address()[0] == 0xfd);
  CHECK(v6.address()[15] == 1);
}

TEST_CASE("ip_prefix: what is none") {
  const std::string text =
      GENERATE("", "/", "/24", "192.168.1.1", "192.168.1.1/", "192.168.1.1/33", "192.168.1.1/-1",
               "192.168.1.1/24 ", " 192.168.1.1/24", "192.168.1/24", "192.168.1.256/24",
               "192.168.1.1/24/24", "192.168.1.1/0x18", "fd00::1", "fd00::1/129", "fd00::1/300",
               "fd00:::1/64", "tap0/24", "192.168.1.1/+24");
  CHECK_FALSE(parse_ip_prefix(text));
}

TEST_CASE("ip_prefix: a NUL does not end the address") {
  CHECK_FALSE(parse_ip_prefix(std::string_view("10.0.0.1\0/24", 12)));
}
