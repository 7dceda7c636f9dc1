// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/fd.hpp"

#include <catch2/catch.hpp>
#include <type_traits>

#include "support/faulty_sys.hpp"

using vkring::test::fault_book;
using vkring::test::faulty_sys;
using fd = vkring::basic_fd<faulty_sys>;

static_assert(!std::is_copy_constructible_v<fd> && !std::is_copy_assignable_v<fd>);
static_assert(std::is_nothrow_move_constructible_v<fd> && std::is_nothrow_move_assignable_v<fd>);
static_assert(sizeof(fd) == sizeof(int));

namespace {

fd open_null() { return fd::open("/dev/null", O_RDWR).value(); }
bool is_open(int number) { return ::fcntl(number, F_GETFD) != -1; }

}  // namespace

TEST_CASE("fd: empty by default, and closing nothing succeeds") {
  fault_book::get().reset();
  fd nothing;
  CHECK(nothing.get() == -1);
  CHECK_FALSE(nothing);
  CHECK(nothing.close());
  CHECK(fault_book::get().trace().empty());
}

TEST_CASE("fd: closed once, by whoever owns it last") {
  fault_book::get().reset();
  int number = -1;
  {
    fd first = open_null();
    number = first.get();
    CHECK(first);
    fd second(std::move(first));
    CHECK(first.get() == -1);
    fd third = open_null();
    const int replaced = third.get();
    third = std::move(second);
    CHECK_FALSE(is_open(replaced));
    CHECK(third.get() == number);
    auto& self = third;
    third = std::move(self);
    CHECK(third.get() == number);
    CHECK(is_open(number));
  }
  CHECK_FALSE(is_open(number));
  CHECK(fault_book::get().clean());
}

TEST_CASE("fd: release gives it away") {
  fault_book::get().reset();
  int number = -1;
  {
    fd owner = open_null();
    number = owner.release();
    CHECK_FALSE(owner);
  }
  CHECK(is_open(number));
  CHECK(fd(number).close());
  CHECK(fault_book::get().clean());
}

TEST_CASE("fd: close says what went wrong and is never retried") {
  for (const int reason : {EINTR, EIO, ENOSPC}) {
    CAPTURE(reason);
    auto& book = fault_book::get();
    book.reset({.reason = reason, .call = "close", .times = 9});
    fd owner = open_null();
    const std::string number = std::to_string(owner.get());
    const auto closed = owner.close();
    REQUIRE_FALSE(closed);
    CHECK(closed.error().code.value() == reason);
    CHECK(closed.error().operation == "close");
    CHECK(closed.error().object == "fd " + number);
    CHECK_FALSE(owner);
    CHECK(owner.close());
    CHECK(book.refused() == 1);
    CHECK(book.clean());
  }
}

TEST_CASE("fd: the destructor's close is not retried either") {
  fault_book::get().reset({.reason = EINTR, .call = "close", .times = 9});
  { const fd owner = open_null(); }
  CHECK(fault_book::get().refused() == 1);
  CHECK(fault_book::get().clean());
}

TEST_CASE("fd: open is retried, close-on-exec, and names the path") {
  auto& book = fault_book::get();
  book.reset({.reason = EINTR, .call = "open", .times = 2});
  {
    const fd owner = open_null();
    CHECK(book.refused() == 2);
    CHECK(::fcntl(owner.get(), F_GETFD) == FD_CLOEXEC);
  }
  const auto missing = fd::open("/nowhere/at/all", O_RDONLY, "look elsewhere");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message() ==
        "open /nowhere/at/all: No such file or directory (look elsewhere)");
  CHECK(book.clean());
}

TEST_CASE("fd: a duplicate is another close-on-exec descriptor") {
  auto& book = fault_book::get();
  book.reset();
  {
    const fd owner = open_null();
    auto copy = owner.duplicate();
    REQUIRE(copy);
    CHECK(copy->get() != owner.get());
    CHECK(::fcntl(copy->get(), F_GETFD) == FD_CLOEXEC);
  }
  CHECK(book.clean());
  const auto none = fd().duplicate();
  REQUIRE_FALSE(none);
  CHECK(none.error().code.value() == EBADF);
}
