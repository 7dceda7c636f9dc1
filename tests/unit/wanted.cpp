// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/wanted.hpp"

#include <catch2/catch.hpp>
#include <string>

using vkring::directed_want;
using vkring::parse_offloads;
using vkring::want;
using vkring::wanted_offloads;

TEST_CASE("wanted: auto, none and lists") {
  CHECK(parse_offloads("auto").value() == wanted_offloads{});
  CHECK(parse_offloads("none").value() == wanted_offloads::all(want::off));
  CHECK(wanted_offloads{}.ufo == directed_want{});
  CHECK(wanted_offloads{}.tso6 == directed_want{want::preferred, want::preferred});

  wanted_offloads some = wanted_offloads::all(want::off);
  some.csum = want::required;
  some.tso4 = {want::required, want::off};
  some.udp_tunnel_csum = {want::off, want::required};
  CHECK(parse_offloads("csum+tso4-tx+udp-tunnel-csum-rx").value() == some);
  CHECK(parse_offloads("csum-rx+tso4-tx+csum-tx+udp-tunnel-csum-rx").value() == some);
  CHECK(parse_offloads("csum+tso4+tso6+ecn+uso+ufo+udp-tunnel+udp-tunnel-csum").value() ==
        wanted_offloads::all(want::required));
}

TEST_CASE("wanted: a word that is not known is told, with what is") {
  const struct {
    const char* text;
    const char* at_fault;
  } cases[] = {{"", "offloads="},
               {"csum+", "offloads="},
               {"+csum", "offloads="},
               {"csum+tso9", "offloads=tso9"},
               {"CSUM", "offloads=CSUM"},
               {"csum+auto", "offloads=auto"},
               {"none+csum", "offloads=none"},
               {"csum-up", "offloads=csum-up"},
               {"-tx", "offloads=-tx"},
               {"csum,tso4", "offloads=csum,tso4"},
               {"csum+tso4+csum", "offloads=csum"},
               {"csum+csum-rx", "offloads=csum-rx"},
               {"csum-tx+csum", "offloads=csum"}};
  for (const auto& [text, at_fault] : cases) {
    CAPTURE(text);
    const auto parsed = parse_offloads(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().object == at_fault);
    CHECK(parsed.error().hint ==
          "auto, none, or a list with + between of csum tso4 tso6 ecn uso ufo udp-tunnel "
          "udp-tunnel-csum, each once, with -tx or -rx for one direction");
  }
}
