// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/counters.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <string>

using vkring::drop_name;
using vkring::drop_reason;
using vkring::drop_reasons;
using vkring::header_fault;
using vkring::queue_counters;

TEST_CASE("counters: every reason has an entry and a name of its own") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < drop_reasons; ++i) names.insert(std::string(drop_name(i)));
  CHECK(names.size() == drop_reasons);
  CHECK_FALSE(names.contains("unknown"));
  CHECK(drop_name(drop_reasons) == "unknown");
  CHECK(drop_name(static_cast<std::size_t>(drop_reason::foreign_source)) == "foreign_source");
  CHECK(drop_name(index_of(header_fault::gso_without_csum)) == "gso_without_csum");
}

TEST_CASE("counters: drops are counted by reason and together") {
  queue_counters counters;
  CHECK(counters.dropped() == 0);
  counters.drop(drop_reason::too_short);
  counters.drop(drop_reason::too_short);
  counters.drop(header_fault::gso_size_zero);
  counters.frames.add(7);
  CHECK(counters.drops[static_cast<std::size_t>(drop_reason::too_short)].value() == 2);
  CHECK(counters.drops[index_of(header_fault::gso_size_zero)].value() == 1);
  CHECK(counters.dropped() == 3);
  for (std::size_t i = 0; i < vkring::header_fault_count; ++i)
    counters.drop(static_cast<header_fault>(i));
  for (std::size_t i = 0; i < static_cast<std::size_t>(drop_reason::header); ++i) {
    counters.drop(static_cast<drop_reason>(i));
  }
  CHECK(counters.dropped() == 3 + drop_reasons);
}
