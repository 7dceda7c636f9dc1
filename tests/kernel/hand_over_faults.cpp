// SPDX-License-Identifier: BSD-3-Clause
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/control_sys.hpp"
#include "support/device_bed.hpp"
#include "support/entries.hpp"
#include "support/known_calls.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"

// Each system call of a hand-over fails once, for each plausible reason: the error names that call and
// reason, nothing is left behind, and what was to be handed over is as it was before.

using namespace vkring;
using namespace vkring::test;

namespace {

using faulty_device = basic_device<split, basic_buffer_pool<control_sys>, control_sys>;
using faulty_suspended = faulty_device::suspended;

// What this process has open, mapped and running.
struct holdings {
  std::size_t booked = fault_book::get().open_descriptors();
  std::size_t mapped = fault_book::get().mapped_bytes();
  std::size_t open = open_descriptors();
  std::size_t threads = tasks().size();

  void check() const {
    CHECK(fault_book::get().open_descriptors() == booked);
    CHECK(fault_book::get().mapped_bytes() == mapped);
    CHECK(fault_book::get().bad_closes() == 0);
    CHECK(open_descriptors() == open);
    CHECK(threads_become(threads));
  }
};

// Refuses each call of `step`, which returns a result, in turn; only `harmless` may be. Whatever it makes
// all the same, `undo` takes; after each attempt `intact` looks. How many of the attempts failed.
template <class Step, class Undo, class Intact>
std::size_t refuse_each(Step&& step, Undo&& undo, Intact&& intact, const std::string& harmless = {}) {
  auto& book = fault_book::get();
  book.arm({});
  auto first = step();
  REQUIRE(first);
  const auto calls = book.trace();
  undo(std::move(*first));
  const holdings before;
  std::size_t failed = 0;
  const auto attempt = [&](fault armed, const known_call* known) {
    CAPTURE(armed.nth, calls[armed.nth - 1], armed.reason);
    const std::size_t times = armed.times;
    const int reason = armed.reason;
    book.arm(std::move(armed));
    auto made = step();
    CHECK(book.refused() == times);
    book.arm({});
    if (made) {
      CHECK(known == nullptr);
      undo(std::move(*made));
    } else if (known != nullptr) {
      ++failed;
      CHECK(made.error().code.value() == reason);
      CHECK(made.error().operation == known->operation);
    }
    before.check();
    intact();
    return made.has_value();
  };
  for (std::size_t n = 1; n <= calls.size(); ++n) {
    const std::string& call = calls[n - 1];
    if (may_fail(call) || call == harmless) {
      attempt({.reason = EIO, .nth = n}, nullptr);
      continue;
    }
    const known_call* const known = find_call(call);
    CAPTURE(call);
    REQUIRE(known != nullptr);
    for (const int reason : known->reasons) attempt({.reason = reason, .nth = n}, known);
    // A signal is no reason to fail. Some of the calls are never interrupted.
    if (!never_interrupted(call)) CHECK(attempt({.reason = EINTR, .nth = n, .times = 2}, nullptr));
  }
  return failed;
}

// A device of two pairs, and its way through the hands of this process. The second pair is out of
// service, with frames in its tx ring.
struct hand_over_bed {
  static constexpr std::uint32_t waiting = 3;
  netns& ns;
  backend_kind backend;
  basic_device_bed<faulty_device> bed;
  std::uint32_t fed = 0;  // frames from the kernel
  std::uint32_t came = 0;

  static basic_device_bed<faulty_device> open(netns& ns, backend_kind backend) {
    fault_book::get().reset();
    const auto pool =
        basic_buffer_pool<control_sys>::make({.buffers = 1024, .memory = {.shareable = true}}).value();
    faulty_device::config config;
    config.name = "vkt%d";
    config.netns = path_of(ns);
    config.backend = backend;
    config.wanted.offloads = wanted_offloads::all(want::off);
    config.wanted.queue_pairs = 2;
    config.wanted.queue_size = 128;
    return {ns, pool, faulty_device::open(std::move(config), pool).value()};
  }
  hand_over_bed(netns& where, backend_kind kind)
      : ns(where), backend(kind), bed(open(where, kind)) {
    REQUIRE(bed.it.set_enabled(1, false));
    for (std::uint32_t i = 0; i < waiting; ++i) REQUIRE(bed.send(1, numbered_frame(i, 100)));
  }

  void feed() { REQUIRE(bed.wire.send(numbered_frame(fed++, 100)) == 0); }
  // All that the kernel was fed with, in order.
  void collect() {
    while (came != fed) {
      std::optional<tap_wire::received> got;
      REQUIRE(eventually([&] { return (got = bed.receive(0)).has_value(); }));
      CHECK(number_of(got->frame) == came++);
    }
    CHECK_FALSE(bed.receive(0));
  }
  void works() {
    feed();
    collect();
    CHECK(bed.to_kernel(0, 2, 500) == "");
    CHECK_FALSE(bed.it.enabled(1));
    CHECK(bed.it.tx_waiting(1) == waiting);
  }

  faulty_suspended suspend() {
    auto made = bed.it.suspend().value();
    bed.pool.reset();
    made.stopped.reset();
    return made;
  }
  result<faulty_device> resume(faulty_suspended& from) {
    return faulty_device::resume(std::move(from), {.backend = backend});
  }
  void take(faulty_device made) {
    bed.it = std::move(made);
    bed.pool = bed.it.shared_source();
  }

  // Nothing was lost or came twice; nothing is left of it.
  void end() {
    works();
    REQUIRE(bed.it.set_enabled(1, true));
    for (std::uint32_t i = 0; i < waiting; ++i) {
      std::int64_t number = -1;
      CHECK(eventually([&] { return (number = bed.wire.next_number()) != -1; }));
      CHECK(number == i);
    }
    CHECK(bed.to_kernel(1, 20, 500) == "");
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
    bed.pool.reset();
    CHECK(fault_book::get().clean());
  }
};

}  // namespace

TEST_CASE("hand-over faults: a device that cannot be suspended goes on") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    hand_over_bed it(*ns, backend);
    CAPTURE(it.bed.it.backend());
    const auto failed = refuse_each(
        [&] {
          it.feed();
          return it.bed.it.suspend();
        },
        [&](faulty_suspended made) {
          it.bed.pool.reset();
          it.take(it.resume(made).value());
        },
        [&] { it.works(); }, ioctl_text("ioctl", vhost_abi::net_set_backend));
    CHECK(failed >= 12);
    it.end();
  }
}

TEST_CASE("hand-over faults: vhost-net that does not let go of a ring is closed at once") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  hand_over_bed it(*ns, backend_kind::vhost);
  for (const std::size_t nth : {1u, 2u}) {
    fault_book::get().arm({.reason = EFAULT, .nth = nth, .call = "ioctl",
                           .request = vhost_abi::net_set_backend});
    auto made = it.bed.it.suspend().value();
    CHECK(fault_book::get().refused() == 1);
    fault_book::get().arm({});
    CHECK(made.stopped == nullptr);
    it.bed.pool.reset();
    it.feed();
    it.take(it.resume(made).value());
    it.works();
  }
  it.end();
}

TEST_CASE("hand-over faults: what does not come through a socket stays where it is") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET}) {
    hand_over_bed it(*ns, backend_kind::worker);
    auto suspended = it.suspend();
    const auto failed = refuse_each(
        [&]() -> result<faulty_suspended> {
          int ends[2];
          REQUIRE(::socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, ends) == 0);
          const fd mine(ends[0]);
          const fd theirs(ends[1]);
          if (auto sent = suspended.send(mine.get()); !sent) return fail(std::move(sent.error()));
          return faulty_suspended::receive(theirs.get());
        },
        [&](faulty_suspended came) {
          CHECK(came.fds.size() == suspended.fds.size());
          CHECK(encode(came.state) == encode(suspended.state));
        },
        [&] { CHECK(suspended.fds.size() == 12); });
    CHECK(failed >= 12);
    it.take(it.resume(suspended).value());
    it.end();
  }
}

TEST_CASE("hand-over faults: what cannot be resumed can be resumed once more") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    hand_over_bed it(*ns, backend);
    CAPTURE(it.bed.it.backend());
    auto suspended = it.suspend();
    const auto failed = refuse_each(
        [&] {
          it.feed();
          return it.resume(suspended);
        },
        [&](faulty_device made) {
          it.take(std::move(made));
          it.works();
          suspended = it.suspend();
        },
        [&] { CHECK(suspended.fds.size() == 12); });
    CHECK(failed > 100);
    it.take(it.resume(suspended).value());
    it.end();
  }
}
