// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/mac.hpp"

#include <catch2/catch.hpp>

using vkring::mac_address;
using vkring::parse_mac;

TEST_CASE("mac: text and back") {
  constexpr mac_address mac{0x02, 0x00, 0x5e, 0x10, 0xab, 0xff};
  CHECK(vkring::mac_text(mac) == "02:00:5e:10:ab:ff");
  CHECK(parse_mac("02:00:5e:10:ab:ff") == mac);
  CHECK(parse_mac("02:00:5E:10:AB:FF") == mac);
}

TEST_CASE("mac: nothing but six pairs of digits is an address") {
  for (const char* text :
       {"", "02", "02:00:5e:10:ab", "02:00:5e:10:ab:f",
        "02:00:5e:10:ab:ff:", "02:00:5e:10:ab:ff:00", "02-00-5e-10-ab-ff", "2:0:5e:10:ab:ff",
        " 2:00:5e:10:ab:ff", "+2:00:5e:10:ab:ff", "02:00:5e:10:ab:fg", "02:00:5e:10:ab ff"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_mac(text));
  }
}

TEST_CASE("mac: group addresses") {
  CHECK(vkring::is_multicast({0x01, 0, 0x5e, 0, 0, 1}));
  CHECK(vkring::is_multicast({0xff, 0xff, 0xff, 0xff, 0xff, 0xff}));
  CHECK_FALSE(vkring::is_multicast({0x02, 0, 0, 0, 0, 1}));
}
