// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/core/error.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

using vkring::error;
using vkring::fail;
using vkring::result;

namespace {

result<int> half(int n) {
  if (n % 2 != 0) return fail(EINVAL, "half", "n=" + std::to_string(n), "give it an even number");
  return n / 2;
}

result<void> refuse(bool wanted) {
  if (wanted) return fail(std::errc::operation_not_supported, "refuse");
  return {};
}

result<std::string> text_of_half(int n) {
  const auto halved = half(n);
  if (!halved) return fail(halved.error());
  return std::to_string(*halved);
}

const std::string half_of_3 = "half n=3: Invalid argument (give it an even number)";

}  // namespace

TEST_CASE("an error reads operation, object, reason, hint") {
  CHECK(half(3).error().message() == half_of_3);
}

TEST_CASE("an error leaves out what it does not have") {
  const std::error_code code(EPERM, std::generic_category());
  CHECK(error{code, "open", "", ""}.message() == "open: Operation not permitted");
  CHECK(error{code, "open", "x", ""}.message() == "open x: Operation not permitted");
  CHECK(error{code, "open", "", "h"}.message() == "open: Operation not permitted (h)");
}

TEST_CASE("an error compares with both errno values and errc") {
  CHECK(half(1).error().code == std::errc::invalid_argument);
  CHECK(half(1).error().code.value() == EINVAL);
  CHECK(refuse(true).error().code == std::errc::operation_not_supported);
}

TEST_CASE("a result holds a value or the error") {
  CHECK(half(4).value() == 2);
  CHECK(*half(4) == 2);
  CHECK_FALSE(half(3));
  CHECK(refuse(false));
  CHECK(text_of_half(8).value() == "4");
  CHECK(text_of_half(3).error().message() == half_of_3);
}

TEST_CASE("a result gives its value by reference or moves it out") {
  result<std::unique_ptr<int>> owner = std::make_unique<int>(7);
  *owner.value() = 8;
  CHECK(*std::as_const(owner).value() == 8);
  const std::unique_ptr<int> taken = std::move(owner).value();
  CHECK(*taken == 8);
  CHECK(owner.value() == nullptr);
  static_assert(std::is_same_v<decltype(half(1).value()), int>);
  static_assert(std::is_void_v<decltype(refuse(true).value())>);
}

TEST_CASE("a result has the members of an expected") {
  const auto plus_one = [](int n) { return n + 1; };
  CHECK(half(8).map(plus_one).value() == 5);
  CHECK(half(3).map(plus_one).error().object == "n=3");
  CHECK(half(3).value_or(-1) == -1);
}

#if defined(__cpp_exceptions)
TEST_CASE("value() of an error throws a system_error with the full text") {
  CHECK_THROWS_AS(half(3).value(), std::system_error);
  CHECK_THROWS_WITH(half(3).value(), half_of_3);
  CHECK_THROWS_AS(refuse(true).value(), std::system_error);
  const auto failed = half(3);
  try {
    static_cast<void>(failed.value());
    FAIL("value() returned");
  } catch (const std::system_error& thrown) {
    CHECK(thrown.code() == std::errc::invalid_argument);
  }
}
#endif

TEST_CASE("value() of an error prints it and aborts where exceptions are off") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGABRT, SIG_DFL);  // else Catch2 reports the abort, which is the subject here
    ::dup2(ends[1], STDERR_FILENO);
    static_cast<void>(half(3).value<false>());
    ::_exit(0);
  }
  ::close(ends[1]);
  std::array<char, 256> text{};
  std::string printed;
  for (ssize_t n; (n = ::read(ends[0], text.data(), text.size())) > 0;) {
    printed.append(text.data(), static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  // An emulator of the CPU may have a word to say about the abort after that.
  CHECK(printed.starts_with("vkring: " + half_of_3 + "\n"));
}
