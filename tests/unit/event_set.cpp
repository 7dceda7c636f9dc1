// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/event_set.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "support/faulty_sys.hpp"

using namespace std::chrono_literals;
using vkring::test::fault_book;
using vkring::test::faulty_sys;
using event_fd = vkring::basic_event_fd<faulty_sys>;
using event_set = vkring::basic_event_set<faulty_sys>;

static_assert(!std::is_copy_constructible_v<event_set>);
static_assert(std::is_nothrow_move_constructible_v<event_set>);

namespace {

// Without the newer call the set does the same by two older ones.
void wakes_as_it_should() {
  const auto first = event_fd::create().value();
  const auto second = event_fd::create().value();
  first.signal();
  auto set = event_set::create().value();
  REQUIRE(set.add(first));
  REQUIRE(set.add(second));
  CHECK(set.wait(-1ns));  // the signal from before
  CHECK_FALSE(set.wait(0ns));
  CHECK_FALSE(set.wait(100us));
  second.signal();
  first.signal();
  CHECK(set.wait(-1ns));  // nobody has drained the first one
  CHECK_FALSE(set.wait(0ns));
  std::thread other([&] { second.signal(); });
  CHECK(set.wait(10s));
  other.join();
  CHECK_FALSE(set.wait(0ns));
  CHECK(first.drain() == 2);  // whoever polls the eventfd itself sees every signal
}

}  // namespace

TEST_CASE("event_set: each signal wakes one wait, drained or not") {
  auto& book = fault_book::get();
  book.reset();
  wakes_as_it_should();
  CHECK(book.clean());
}

TEST_CASE("event_set: the same on kernels without epoll_pwait2") {
  auto& book = fault_book::get();
  book.reset({.reason = ENOSYS, .call = "epoll_pwait2", .times = 1000});
  wakes_as_it_should();
  CHECK(book.refused() == 7);
  CHECK(book.clean());
}

TEST_CASE("event_set: an interrupted wait is over") {
  auto& book = fault_book::get();
  auto set = event_set::create().value();
  const auto event = event_fd::create().value();
  REQUIRE(set.add(event));
  event.signal();
  book.reset({.reason = EINTR, .call = "epoll_pwait2"});
  CHECK_FALSE(set.wait(-1ns));
  CHECK(set.wait(-1ns));
}

TEST_CASE("event_set: each failing call is named, and nothing leaks") {
  auto& book = fault_book::get();
  book.reset({.reason = EMFILE});
  const auto none = event_set::create();
  REQUIRE_FALSE(none);
  CHECK(none.error().message() ==
        "epoll_create1: Too many open files (raise the limit on open files (ulimit -n))");
  book.reset({.reason = ENOSPC, .call = "epoll_ctl"});
  {
    auto set = event_set::create().value();
    const auto event = event_fd::create().value();
    const auto added = set.add(event);
    REQUIRE_FALSE(added);
    CHECK(added.error().operation == "epoll_ctl");
    CHECK(added.error().object == "fd " + std::to_string(event.fd()));
    CHECK(added.error().hint.find("fs.epoll.max_user_watches") != std::string::npos);
  }
  CHECK(book.clean());
}
