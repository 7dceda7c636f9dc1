// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/event_fd.hpp"

#include <catch2/catch.hpp>
#include <type_traits>

#include "support/faulty_sys.hpp"

using vkring::test::fault_book;
using vkring::test::faulty_sys;
using event_fd = vkring::basic_event_fd<faulty_sys>;

static_assert(!std::is_copy_constructible_v<event_fd>);
static_assert(std::is_nothrow_move_constructible_v<event_fd>);
static_assert(noexcept(std::declval<const event_fd&>().signal()));
static_assert(noexcept(std::declval<const event_fd&>().drain()));

namespace {

bool readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, 0) == 1;
}

}  // namespace

TEST_CASE("event_fd: readable between signal and drain") {
  fault_book::get().reset();
  {
    const auto event = event_fd::create().value();
    CHECK_FALSE(readable(event.fd()));
    CHECK(event.drain() == 0);
    event.signal();
    CHECK(readable(event.fd()));
    event.signal();
    CHECK(event.drain() == 2);
    CHECK_FALSE(readable(event.fd()));
    CHECK(event.drain() == 0);
  }
  CHECK(fault_book::get().clean());
}

TEST_CASE("event_fd: non-blocking and close-on-exec") {
  const auto event = event_fd::create().value();
  CHECK((::fcntl(event.fd(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK(::fcntl(event.fd(), F_GETFD) == FD_CLOEXEC);
}

TEST_CASE("event_fd: a signal on a full counter neither blocks nor is lost") {
  const auto event = event_fd::create().value();
  const std::uint64_t all_but_one = ~std::uint64_t{0} - 1;
  REQUIRE(::write(event.fd(), &all_but_one, sizeof all_but_one) == sizeof all_but_one);
  event.signal();
  CHECK(readable(event.fd()));
  CHECK(event.drain() == all_but_one);
}

TEST_CASE("event_fd: interrupted calls are repeated") {
  auto& book = fault_book::get();
  const auto event = event_fd::create().value();
  book.reset({.reason = EINTR, .call = "write", .times = 2});
  event.signal();
  CHECK(book.refused() == 2);
  book.reset({.reason = EINTR, .call = "read", .times = 2});
  CHECK(event.drain() == 1);
  CHECK(book.refused() == 2);
}

TEST_CASE("event_fd: a blocking one from elsewhere becomes non-blocking") {
  auto& book = fault_book::get();
  book.reset();
  {
    auto event = event_fd::from_fd(vkring::basic_fd<faulty_sys>(faulty_sys::eventfd(0, 0)));
    REQUIRE(event);
    CHECK(event->drain() == 0);
    event->signal();
    CHECK(event->drain() == 1);
  }
  CHECK(book.clean());
  const auto none = event_fd::from_fd({});
  REQUIRE_FALSE(none);
  CHECK(none.error().message() == "fcntl(O_NONBLOCK) fd -1: Bad file descriptor");
}

TEST_CASE("event_fd: each failing call is named, and nothing leaks") {
  auto& book = fault_book::get();
  for (const int reason : {EMFILE, ENFILE, ENOMEM}) {
    book.reset({.reason = reason});
    const auto event = event_fd::create();
    REQUIRE_FALSE(event);
    CHECK(event.error().code.value() == reason);
    CHECK(event.error().operation == "eventfd");
    CHECK(event.error().hint.empty() == (reason != EMFILE));
    CHECK(book.clean());
  }
  for (const std::size_t nth : {std::size_t{1}, std::size_t{2}}) {
    book.reset({.reason = EPERM, .nth = nth, .call = "fcntl"});
    const auto event = event_fd::from_fd(vkring::basic_fd<faulty_sys>(faulty_sys::eventfd(0, 0)));
    REQUIRE_FALSE(event);
    CHECK(event.error().code.value() == EPERM);
    CHECK(event.error().operation == "fcntl(O_NONBLOCK)");
    CHECK(book.clean());
  }
}
