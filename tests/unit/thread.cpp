// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/thread.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <string>
#include <thread>

#include "support/faulty_sys.hpp"

using namespace vkring;
using vkring::test::fault_book;
using vkring::test::faulty_sys;

namespace {

// A thread of this process by that name, for as long as it lives.
class named_thread {
 public:
  explicit named_thread(const char* name)
      : it_([this, name] {
          ::pthread_setname_np(::pthread_self(), name);
          id_ = posix::gettid();
          id_.notify_one();
          over_.wait(false);
        }) {
    id_.wait(0);
  }
  named_thread(const named_thread&) = delete;
  named_thread& operator=(const named_thread&) = delete;
  ~named_thread() {
    over_ = true;
    over_.notify_one();
    it_.join();
  }
  [[nodiscard]] pid_t id() const { return id_; }

 private:
  std::atomic<pid_t> id_{0};
  std::atomic<bool> over_{false};
  std::thread it_;
};

}  // namespace

TEST_CASE("vhost_threads: those of this process that are called so, in ascending order") {
  CHECK(vhost_threads(false).value().empty());
  const named_thread first("vhost-1");
  const named_thread other("whost-1");
  const named_thread second("vhost-1234567");
  std::vector expected = {first.id(), second.id()};
  std::sort(expected.begin(), expected.end());
  CHECK(vhost_threads(false).value() == expected);
}

TEST_CASE("vhost_threads: among all processes, and none of this one's threads") {
  const named_thread mine("vhost-1");
  const auto found = vhost_threads(true).value();
  CHECK(std::find(found.begin(), found.end(), mine.id()) == found.end());
}

TEST_CASE("vhost_threads: more threads than one call lists") {
  std::vector<std::unique_ptr<named_thread>> all;
  for (int i = 0; i < 400; ++i) all.push_back(std::make_unique<named_thread>("vhost-1"));
  CHECK(vhost_threads(false).value().size() == 400);
}

TEST_CASE("vhost_threads: none is passed over when another ends meanwhile") {
  std::size_t missing = 0;
  for (int i = 0; i < 2000; ++i) {
    std::atomic<bool> over = false;
    std::thread leaves([&] { over.wait(false); });
    const named_thread stays("vhost-1");
    over = true;
    over.notify_one();
    for (int look = 0; look < 2; ++look) {
      // One of the turn before may also be there: a thread is joined before the kernel lists it no more.
      const auto found = vhost_threads(false).value();
      missing += std::find(found.begin(), found.end(), stays.id()) == found.end() ? 1 : 0;
    }
    leaves.join();
  }
  CHECK(missing == 0);
}

TEST_CASE("vhost_threads: each failing call is named, and nothing leaks") {
  const named_thread mine("vhost-1");
  auto& book = fault_book::get();
  book.reset({.reason = ENOENT, .call = "open"});
  CHECK(vhost_threads<faulty_sys>(true).error().message() ==
        "open /proc: No such file or directory");
  book.reset({.reason = ENOENT, .call = "getdents64"});
  CHECK(vhost_threads<faulty_sys>(false).error().message() ==
        "getdents64 /proc/self/task: No such file or directory");
  CHECK(book.clean());
  // A thread that has gone in the meantime is none of them.
  book.reset({.reason = ESRCH, .call = "read", .times = 1000});
  CHECK(vhost_threads<faulty_sys>(false).value().empty());
  book.reset({.reason = EINTR, .call = "read", .times = 2});
  CHECK(vhost_threads<faulty_sys>(false).value().size() == 1);
  CHECK(book.clean());
  book.reset();
}

TEST_CASE("pin_thread, schedule_thread: what they do, and what they refuse") {
  const named_thread it("any");
  ::cpu_set_t before;
  REQUIRE(::sched_getaffinity(it.id(), sizeof before, &before) == 0);
  int cpu = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(cpu), &before)) ++cpu;
  CHECK(pin_thread(it.id(), cpu));
  ::cpu_set_t now;
  REQUIRE(::sched_getaffinity(it.id(), sizeof now, &now) == 0);
  CHECK(CPU_COUNT(&now) == 1);
  CHECK(CPU_ISSET(static_cast<std::size_t>(cpu), &now));
  for (const int none : {-1, 4095, 1 << 20}) {
    const auto refused = pin_thread(it.id(), none);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message() == "sched_setaffinity thread " + std::to_string(it.id()) +
                                           " on CPU " + std::to_string(none) +
                                           ": Invalid argument (needs a CPU that exists and is "
                                           "online)");
  }
  CHECK(schedule_thread(it.id(), {SCHED_BATCH, 0}));
  CHECK(::sched_getscheduler(it.id()) == SCHED_BATCH);
  CHECK(schedule_thread(it.id(), {SCHED_OTHER, 1}).error().message().find(
            "(priority 1 to 99 with SCHED_FIFO and SCHED_RR, 0 with the others)") !=
        std::string::npos);
  auto& book = fault_book::get();
  book.reset({.reason = EPERM, .call = "sched_setscheduler"});
  CHECK(schedule_thread<faulty_sys>(it.id(), {SCHED_RR, 1}).error().hint == "needs CAP_SYS_NICE");
  book.reset({.reason = EPERM, .call = "sched_setaffinity"});
  CHECK(pin_thread<faulty_sys>(it.id(), 0).error().hint == "needs CAP_SYS_NICE");
  book.reset();
}
