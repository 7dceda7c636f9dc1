// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/netns.hpp"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "support/faulty_sys.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"
#include "support/tap_wire.hpp"

namespace {

using vkring::netns;
using vkring::result;
using vkring::run_in_netns;
using vkring::test::eventually;
using vkring::test::fault_book;
using vkring::test::faulty_sys;
using vkring::test::private_netns;
using vkring::test::skip;
using vkring::test::this_netns;
using faulty_netns = vkring::basic_netns<faulty_sys>;

constexpr std::string_view no_netns = "may not make a network namespace";

ino_t inode(int fd) {
  struct ::stat about {};
  REQUIRE(::fstat(fd, &about) == 0);
  return about.st_ino;
}

std::ptrdiff_t threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

}  // namespace

TEST_CASE("netns: work runs inside, on another thread, and the caller stays") {
  // Before anything that starts one: the kernel lists a thread a little longer than it runs.
  const auto threads_before = threads();
  const auto where = private_netns();
  if (!where) return skip(no_netns);
  const ino_t mine = this_netns();
  const pid_t self = vkring::posix::gettid();
  pid_t other = self;
  const auto seen = where->run([&] {
    other = vkring::posix::gettid();
    return this_netns();
  });
  REQUIRE(seen);
  CHECK(*seen == inode(where->fd()));
  CHECK(*seen != mine);
  CHECK(other != self);
  CHECK(this_netns() == mine);
  CHECK(eventually([&] { return threads() == threads_before; }));
}

TEST_CASE("netns: what work returns comes back as a result") {
  const auto where = private_netns();
  if (!where) return skip(no_netns);
  int calls = 0;
  result<void> nothing = where->run([&] { ++calls; });
  CHECK(nothing.has_value());
  CHECK(calls == 1);
  result<std::unique_ptr<int>> moved = where->run([] { return std::make_unique<int>(5); });
  CHECK(*moved.value() == 5);
  result<int> refused =
      where->run([]() -> result<int> { return vkring::fail(EBUSY, "work", "tap0", "wait"); });
  CHECK(refused.error().message() == "work tap0: Device or resource busy (wait)");
  result<int> value = where->run([]() -> result<int> { return 7; });
  CHECK(value.value() == 7);
}

TEST_CASE("netns: the handle outlives whoever made the namespace") {
  const auto where = private_netns();
  if (!where) return skip(no_netns);
  const auto socket = where->run([] { return ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
  const vkring::fd owned(socket.value());
  CHECK(owned.get() >= 0);
  CHECK(where->run([] { return 1; }).value() == 1);
}

TEST_CASE("netns: by process, by path, as the current one, from a descriptor") {
  const ino_t mine = this_netns();
  CHECK(inode(netns::of_process(::getpid()).value().fd()) == mine);
  CHECK(inode(netns::open("/proc/self/ns/net").value().fd()) == mine);
  CHECK(inode(netns::current().value().fd()) == mine);
  vkring::fd opened(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  CHECK(inode(netns::from_fd(std::move(opened)).value().fd()) == mine);
}

TEST_CASE("netns: by the name that `ip netns` gives") {
  bool may = false;
  bool right = false;
  std::string left_behind;
  // In a mount namespace of this thread's own, nothing of which is seen outside or survives it.
  std::thread([&] {
    if (::unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) return;
    may = ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
          ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) == 0 && ::mkdir("/run/netns", 0755) == 0 &&
          ::close(::open("/run/netns/outside", O_CREAT | O_RDWR, 0600)) == 0 &&
          ::close(::open("/run/netns/stale", O_CREAT | O_RDWR, 0600)) == 0 &&
          ::mount("/proc/thread-self/ns/net", "/run/netns/outside", nullptr, MS_BIND, nullptr) == 0;
    if (!may) return;
    const auto named = netns::open("outside");
    right = named && inode(named->fd()) == this_netns();
    const auto stale = netns::open("stale");
    if (!stale) left_behind = stale.error().message();
  }).join();
  if (!may) return skip("may not mount in a namespace of its own");
  CHECK(right);
  CHECK(left_behind == "netns /run/netns/stale: Invalid argument (not a network namespace)");
}

TEST_CASE("netns: what cannot be opened, and why") {
  CHECK(netns::open("no-such-name").error().message() ==
        "open /run/netns/no-such-name: No such file or directory (`ip netns list` shows the names, "
        "`ip netns add` makes one)");
  for (const char* const name : {"", ".", ".."}) {
    CHECK(netns::open(name).error().code == std::errc::invalid_argument);
  }
  CHECK(netns::open("/proc/self/ns/uts").error().message() ==
        "netns /proc/self/ns/uts: Invalid argument (not a network namespace)");
  CHECK(netns::open("/dev/null").error().code == std::errc::invalid_argument);
  const auto gone = netns::of_process(0x3fff'ffff);
  CHECK(gone.error().code == std::errc::no_such_file_or_directory);
  CHECK_FALSE(gone.error().hint.empty());
  CHECK(netns::from_fd(vkring::fd()).error().code == std::errc::invalid_argument);
}

TEST_CASE("netns: where the namespace cannot be entered, work does not run") {
  bool ran = false;
  const auto work = [&] { ran = true; };
  CHECK(run_in_netns<vkring::posix>(-1, work).error().code == std::errc::bad_file_descriptor);
  CHECK(run_in_netns<vkring::posix>(0, work).error().code == std::errc::invalid_argument);

  fault_book::get().reset({EPERM, 1, "setns"});
  {
    const auto here = faulty_netns::current().value();
    const auto refused = here.run(work);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().operation == "setns");
    CHECK(refused.error().hint ==
          "needs CAP_SYS_ADMIN, here and in the namespace's user namespace");
  }
  CHECK(fault_book::get().clean());
  CHECK_FALSE(ran);
}

TEST_CASE("netns: a thread without the capability is refused by the kernel") {
  const auto where = private_netns();
  if (!where) return skip(no_netns);
  std::string refusal;
  std::thread([&] {
    struct {
      std::uint32_t version = 0x20080522;
      int pid = 0;
    } header;
    const std::array<std::uint32_t, 6> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) return;
    if (const auto refused = where->run([] {}); !refused) refusal = refused.error().message();
  }).join();
  CHECK_THAT(refusal, Catch::StartsWith("setns fd ") &&
                          Catch::EndsWith(": Operation not permitted (needs CAP_SYS_ADMIN, here "
                                          "and in the namespace's user namespace)"));
}

TEST_CASE("netns: each call of opening, failing") {
  for (std::size_t n = 1; n <= 2; ++n) {
    fault_book::get().reset({EACCES, n});
    CHECK_FALSE(faulty_netns::current());
    CHECK(fault_book::get().refused() == 1);
    CHECK(fault_book::get().clean());
  }
  fault_book::get().reset({EINTR, 1, "open"});
  CHECK(faulty_netns::current());
}
