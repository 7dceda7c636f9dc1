// SPDX-License-Identifier: BSD-3-Clause

// The exit status of test programs, shown on this one: its hidden cases are run one by one.

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>

#include "support/skip.hpp"

TEST_CASE("77 failed checks", "[.]") {
  for (int i = 0; i < 77; ++i) CHECK(i < 0);
}
TEST_CASE("passes", "[.]") { SUCCEED(); }
TEST_CASE("skips", "[.]") { return vkring::test::skip("to see what happens"); }
TEST_CASE("skips and fails", "[.]") {
  vkring::test::skip("to see what happens");
  CHECK(false);
}
TEST_CASE("skips in one section", "[.]") {
  SECTION("first") { return vkring::test::skip("to see what happens"); }
  SECTION("second") { CHECK(true); }
}

namespace {

// The exit status of this program when it runs only `cases`.
int status_of(const std::string& cases) {
  char self[4096];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  REQUIRE(length > 0);
  REQUIRE(length < static_cast<ssize_t>(sizeof self));
  const std::string path(self, static_cast<std::size_t>(length));
  // Without the log: these skips are the subject and not news.
  // $VKRING_EMULATOR runs programs for another CPU, where this one is such.
  const int status = ::system(("env -u VKRING_SKIP_LOG $VKRING_EMULATOR '" + path + "' '" + cases +
                               "' >/dev/null 2>&1")
                                  .c_str());
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("a program passes, fails or was skipped") {
  CHECK(status_of("passes") == 0);
  CHECK(status_of("77 failed checks") == 1);
  CHECK(status_of("skips") == 77);
  CHECK(status_of("skips in one section") == 77);
  CHECK(status_of("skips and fails") == 1);
}

TEST_CASE("a program with one case skipped and one passed has passed") {
  CHECK(status_of("passes,skips") == 0);
}

TEST_CASE("a failure beats any number of skips") {
  CHECK(status_of("skips,77 failed checks") == 1);
}

TEST_CASE("a program in which nothing ran has failed") {
  CHECK(status_of("no such case") == 1);
  CHECK(status_of("--no-such-option") == 1);
}
