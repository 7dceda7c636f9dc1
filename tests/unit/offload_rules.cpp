// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/offload_rules.hpp"

#include <catch2/catch.hpp>

using vkring::feature;
using vkring::feature_set;
using vkring::detail::offload_needs;

TEST_CASE("offload rules: one row for each word, each after those that it needs") {
  feature_set before;
  for (const auto& row : vkring::detail::offload_rows) {
    CAPTURE(vkring::detail::word_of(row.wanted));
    CHECK_FALSE(vkring::detail::word_of(row.wanted).empty());
    CHECK(offload_needs(row.host | row.guest, before) == "");
    before = before | row.host | row.guest;
  }
}

TEST_CASE("offload rules: needs are told by the words of the command line") {
  using enum feature;
  CHECK(offload_needs({csum}, {}) == "");
  CHECK(offload_needs({host_tso4}, {}) == "needs csum");
  CHECK(offload_needs({host_tso4}, {guest_csum}) == "needs csum");
  CHECK(offload_needs({guest_ecn}, {guest_csum}) == "needs tso4 or tso6");
  CHECK(offload_needs({guest_uso4, guest_uso6}, {}) == "needs csum");
  CHECK(offload_needs({host_udp_tunnel_gso}, {csum, host_tso6}) == "needs tso4 and uso");
  CHECK(offload_needs({guest_udp_tunnel_gso}, {guest_csum}) == "needs tso4 and tso6 and uso");
}
