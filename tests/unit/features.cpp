// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/features.hpp"

#include <catch2/catch.hpp>
#include <string>

using vkring::feature;
using vkring::feature_set;
using vkring::feature_text;
using vkring::parse_features;

extern "C" const struct {
  const char* name;
  int bit;
} uapi_features[];

TEST_CASE("features: the kernel's headers number them alike") {
  std::size_t compared = 0;
  for (const auto* entry = uapi_features; entry->name != nullptr; ++entry, ++compared) {
    CAPTURE(entry->name);
    const auto bit = vkring::parse_feature(entry->name);
    REQUIRE(bit);
    CHECK(static_cast<int>(*bit) == entry->bit);
  }
  CHECK(compared >= 41);
}

TEST_CASE("features: sets reach over both words") {
  constexpr feature_set set{feature::csum, feature::speed_duplex, feature::rss_context,
                            feature::host_udp_tunnel_gso_csum};
  STATIC_REQUIRE(set.words()[0] == (1u | std::uint64_t{1} << 63));
  STATIC_REQUIRE(set.words()[1] == (1u | 1u << 4));
  STATIC_REQUIRE(set.count() == 4);
  STATIC_REQUIRE(set == feature_set::from_words(set.words()[0], set.words()[1]));
  STATIC_REQUIRE(set.contains(feature::rss_context));
  STATIC_REQUIRE_FALSE(set.contains(feature::guest_csum));
  STATIC_REQUIRE(set.contains(feature_set{feature::csum, feature::rss_context}));
  STATIC_REQUIRE_FALSE(set.contains(feature_set{feature::csum, feature::mac}));
  STATIC_REQUIRE(set.contains(feature_set{}));
  STATIC_REQUIRE((set & feature_set{feature::csum, feature::mac}) == feature_set{feature::csum});
  STATIC_REQUIRE((set - set).empty());

  feature_set changed = set;
  changed.erase(feature::rss_context);
  CHECK(changed.words()[1] == 1u << 4);
  changed.insert(feature::rss_context);
  CHECK(changed == set);
}

TEST_CASE("features: text and back") {
  CHECK(feature_text({}) == "none");
  CHECK(parse_features("none").value().empty());
  // What vhost-net of Linux 6.12 offers.
  const auto vhost = feature_set::from_words(0x1033d008000);
  CHECK(feature_text(vhost) ==
        "mrg_rxbuf+notify_on_empty+vhost_log_all+any_layout+indirect_desc+event_idx+version_1+"
        "access_platform+ring_reset");
  CHECK(parse_features(feature_text(vhost)).value() == vhost);
  CHECK(feature_text(feature_set::from_words(1u << 4, std::uint64_t{1} << 63)) == "bit4+bit127");
  for (int number = 0; number < 128; ++number) {
    const auto bit = static_cast<feature>(number);
    if (!name(bit).empty()) CHECK(vkring::parse_feature(name(bit)) == bit);
  }
}

TEST_CASE("features: a word that names none is told") {
  for (const char* text : {"", "csum+", "+csum", "csum++mac", "Csum", "csum,mac", "bit4", "auto"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_features(text));
  }
  CHECK(parse_features("csum+tso9").error().object == "tso9");
}

TEST_CASE("features: every rule is about named bits and can be met") {
  for (const auto& rule : vkring::feature_requirements) {
    CAPTURE(name(rule.bit));
    CHECK_FALSE(name(rule.bit).empty());
    CHECK_FALSE(rule.any_of.empty());
    CHECK_FALSE(rule.any_of.contains(rule.bit));
  }
}
