// SPDX-License-Identifier: BSD-3-Clause
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "support/faulty_sys.hpp"
#include "support/known_calls.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"
#include "vkring/kernel/tap.hpp"

// Each system call behind a TAP fails once, for each plausible reason: the error names that call
// and reason, nothing is left open, and no interface is left behind.

using namespace vkring;
using namespace vkring::test;
using ftap = basic_tap<faulty_sys>;

namespace {

constexpr const char* no_netns = "may not make network namespaces";

// Runs `work`, which returns a result, with each of its calls refused in turn.
template <class Work>
void refuse_each(Work&& work) {
  auto& book = fault_book::get();
  book.reset();
  REQUIRE(work());
  REQUIRE(book.clean());
  const auto calls = book.trace();
  std::size_t refused = 0;
  for (std::size_t n = 0; n < calls.size(); ++n) {
    if (may_fail(calls[n])) {
      book.reset({.reason = EIO, .nth = n + 1});
      static_cast<void>(work());
      CAPTURE(n, calls[n]);
      CHECK(book.clean());
      continue;
    }
    const known_call* const known = find_call(calls[n]);
    REQUIRE(known != nullptr);
    const auto& [operation, reasons] = *known;
    for (const int reason : reasons) {
      CAPTURE(n, calls[n], reason);
      book.reset({.reason = reason, .nth = n + 1});
      const auto made = work();
      CHECK(book.refused() == 1);
      CHECK(book.clean());
      REQUIRE_FALSE(made);
      CHECK(made.error().code.value() == reason);
      CHECK(made.error().operation == operation);
      CHECK_FALSE(made.error().object.empty());
      ++refused;
    }
    // A signal is no reason to fail. Some of the calls are never interrupted.
    if (never_interrupted(calls[n])) continue;
    CAPTURE(n, calls[n]);
    book.reset({.reason = EINTR, .nth = n + 1, .times = 2});
    CHECK(work());
    CHECK(book.refused() == 2);
    CHECK(book.clean());
  }
  CHECK(refused >= 2);
}

template <class T>
result<void> closed_again(result<T> opened) {
  if (!opened) return fail(std::move(opened.error()));
  return {};
}

std::size_t interfaces(const netns& where) {
  return where
      .run([] {
        std::size_t found = 0;
        const fd socket(::socket(AF_UNIX, SOCK_DGRAM, 0));
        for (const char* name : {"vkfault", "vkfault0", "tap0", "tun0"}) {
          tun_abi::ifreq request;
          std::string(name).copy(request.name, sizeof request.name - 1);
          if (::ioctl(socket.get(), tun_abi::siocgifindex, &request) == 0) ++found;
        }
        return found;
      })
      .value();
}

}  // namespace

TEST_CASE("tap faults: open with all options") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  for (const tap_mode mode : {tap_mode::tap, tap_mode::tun}) {
    refuse_each([&] {
      auto made = ftap::open({.name = "vkfault",
                              .mode = mode,
                              .owner = 1,
                              .group = 1,
                              .persist = true,
                              .netns_fd = ns->fd()});
      if (made) CHECK(::ioctl(made->fd(), tun_abi::tunsetpersist, 0) == 0);
      auto done = closed_again(std::move(made));
      CHECK(interfaces(*ns) == 0);
      return done;
    });
  }
}

TEST_CASE("tap faults: open where it is, without a namespace") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto done =
      ns->run([&] { refuse_each([] { return closed_again(ftap::open({.name = "vkfault"})); }); });
  CHECK(done);
  CHECK(interfaces(*ns) == 0);
}

TEST_CASE("tap faults: several queues") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  refuse_each([&] {
    auto done = closed_again(
        ftap::open_queues({.name = "vkfault%d", .mode = tap_mode::tun, .netns_fd = ns->fd()}, 3));
    CHECK(interfaces(*ns) == 0);
    return done;
  });
}

TEST_CASE("tap faults: from a descriptor") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto original = tap::open({.netns_fd = ns->fd()}).value();
  refuse_each([&] {
    // Made outside the seam: the copy is the caller's, and from then on from_fd's.
    const int copy = ::fcntl(original.fd(), F_DUPFD_CLOEXEC, 0);
    auto done = closed_again(ftap::from_fd(basic_fd<faulty_sys>(copy), {}));
    CHECK(::fcntl(copy, F_GETFD) == -1);
    return done;
  });
}

TEST_CASE("tap faults: another queue, the index, the offloads") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  fault_book::get().reset();
  const auto first =
      ftap::open({.mode = tap_mode::tun, .multi_queue = true, .netns_fd = ns->fd()}).value();
  refuse_each([&] { return closed_again(first.open_queue()); });
  refuse_each([&] { return closed_again(first.index()); });
  refuse_each([&] { return closed_again(first.probe_offloads()); });
  fault_book::get().reset();
}

TEST_CASE("tap faults: a hint that cannot be found out does not hide the error") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto other = tap::open({.name = "vkfault", .netns_fd = ns->fd()}).value();
  auto& book = fault_book::get();
  for (const char* call : {"socket", "ioctl"}) {
    book.reset({.reason = EMFILE, .nth = call == std::string("ioctl") ? 2U : 1U, .call = call});
    const auto made = ftap::open({.name = "vkfault", .mode = tap_mode::tun, .netns_fd = ns->fd()});
    REQUIRE_FALSE(made);
    CHECK(made.error().message() ==
          "TUNSETIFF vkfault: Invalid argument (perhaps it exists as something else, or with "
          "another number of queues)");
    CHECK(book.refused() == 1);
    CHECK(book.clean());
  }
}
