// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/core/set_once.hpp"

#include <catch2/catch.hpp>

using vkring::set_once;

namespace {

struct finding {
  int what = 0;
  long where = -1;
};

}  // namespace

TEST_CASE("set_once: nothing until it is set, and then the first value for good") {
  set_once<finding> found;
  CHECK_FALSE(found.is_set());
  CHECK(found.get().where == -1);
  found.set({1, 10});
  found.set({2, 20});
  CHECK(found.is_set());
  CHECK(found.get().what == 1);
  CHECK(found.get().where == 10);
}

TEST_CASE("set_once: a copy is a snapshot") {
  set_once<finding> found;
  set_once<finding> before = found;
  found.set({1, 10});
  CHECK_FALSE(before.is_set());
  const set_once<finding> after = found;
  CHECK(after.get().what == 1);
  before.set({3, 30});
  CHECK(before.get().what == 3);
  CHECK(found.get().what == 1);
  before = found;
  CHECK(before.get().what == 1);
  found = set_once<finding>();
  CHECK_FALSE(found.is_set());
}

TEST_CASE("set_once: a snapshot of a model's state may unset it") {
  set_once<finding> found;
  found.set({1, 10});
  bool seen = false;
  set_once<finding>::visit_state(found, [&](bool& word) {
    seen = word;
    word = false;
  });
  CHECK(seen);
  CHECK_FALSE(found.is_set());
  const set_once<finding> fixed = found;
  set_once<finding>::visit_state(fixed, [&](bool& word) { seen = word; });
  CHECK_FALSE(seen);
}
