// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "support/control_sys.hpp"
#include "support/known_calls.hpp"
#include "support/skip.hpp"
#include "support/tap_wire.hpp"
#include "vkring/device.hpp"

// Each system call of device::open fails once, for each plausible reason: the error names that call
// and reason, and no descriptor, mapping, thread or interface is left behind.

using namespace vkring;
using namespace vkring::test;

namespace {

using faulty_device = basic_device<split, buffer_pool, control_sys>;

std::size_t interfaces(const netns& where) {
  return where
      .run([] {
        std::size_t found = 0;
        std::ifstream all("/proc/thread-self/net/dev");
        for (std::string line; std::getline(all, line);) ++found;
        return found - 3;  // two lines of headings, and lo
      })
      .value();
}

bool vhost_is_here() { return vhost_net::open().has_value(); }

// Opens a device by `config()` with each of its calls refused in turn, `reasons` times at most.
template <class Config>
void refuse_each(const netns& ns, std::size_t reasons, Config&& config,
                 const region_options& memory = {}) {
  const auto pool = buffer_pool::make({.buffers = 600, .memory = memory}).value();
  auto& book = fault_book::get();
  const auto open_and_close = [&](fault armed, std::size_t* calls_of_open) -> result<void> {
    faulty_device::config made = config();
    book.reset(std::move(armed));
    auto opened = faulty_device::open(std::move(made), pool);
    *calls_of_open = book.trace().size();
    if (!opened) return fail(std::move(opened.error()));
    // A persistent interface would stay, as it should.
    if (auto control = net_link::open(opened->name(), ns)) CHECK(control->remove());
    return {};
  };
  std::size_t calls_of_open = 0;
  REQUIRE(open_and_close({}, &calls_of_open));
  REQUIRE(book.clean());
  const auto calls = book.trace();
  const std::size_t threads =
      posix::gettid() == posix::getpid() ? 1 : 2;  // main waits for this one
  std::size_t refused = 0;
  const auto nothing_left = [&] {
    CHECK(book.clean());
    CHECK(threads_become(threads));
    CHECK(interfaces(ns) == 0);
    CHECK(pool->available() == pool->size());
  };
  for (std::size_t n = 0; n < calls_of_open; ++n) {
    CAPTURE(n, calls[n]);
    std::size_t unused = 0;
    if (may_fail(calls[n])) {
      static_cast<void>(open_and_close({.reason = EIO, .nth = n + 1}, &unused));
      nothing_left();
      continue;
    }
    const known_call* const known = find_call(calls[n]);
    REQUIRE(known != nullptr);
    for (std::size_t i = 0; i < std::min(reasons, known->reasons.size()); ++i) {
      const int reason = known->reasons[i];
      CAPTURE(reason);
      const auto made = open_and_close({.reason = reason, .nth = n + 1}, &unused);
      CHECK(book.refused() == 1);
      nothing_left();
      REQUIRE_FALSE(made);
      CHECK(made.error().code.value() == reason);
      CHECK(made.error().operation == known->operation);
      ++refused;
    }
    // A signal is no reason to fail. Some of the calls are never interrupted.
    if (never_interrupted(calls[n])) continue;
    CHECK(open_and_close({.reason = EINTR, .nth = n + 1, .times = 2}, &unused));
    CHECK(book.refused() == 2);
    nothing_left();
  }
  CHECK(refused > 25);
}

}  // namespace

TEST_CASE("device faults: open with everything, in another namespace") {
  const auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  refuse_each(*ns, 100, [&] {
    faulty_device::config config;
    config.name = "vkf%d";
    config.netns = path_of(*ns);
    config.wanted.queue_pairs = 2;
    config.wanted.mtu_bytes = 1400;
    config.mac = mac_address{2, 0, 0, 0, 0, 9};
    config.addresses.push_back(parse_ip_prefix("10.1.1.1/24").value());
    config.owner = 1;
    config.group = 1;
    config.persist = true;
    config.backend = backend_kind::worker;
    config.worker.cpus = {0};
    return config;
  });
}

TEST_CASE("device faults: open where it is") {
  const auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto done = ns->run([&] { refuse_each(*ns, 1, [] {
                            faulty_device::config config;
                            config.backend = backend_kind::worker;
                            return config;
                          }); });
  CHECK(done);
}

TEST_CASE("device faults: open with queues that somebody else opened") {
  const auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  refuse_each(*ns, 1, [&] {
    const auto queues = tap::open_queues({.netns_fd = ns->fd()}, 2).value();
    faulty_device::config config;
    config.wanted.queue_pairs = 2;
    config.backend = backend_kind::worker;
    for (const tap& each : queues) {
      // Made outside the seam: the copy is the caller's, and from then on open's.
      config.queue_fds.emplace_back(::fcntl(each.fd(), F_DUPFD_CLOEXEC, 0));
    }
    return config;
  });
}

TEST_CASE("device faults: open with rings that another process can map") {
  const auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto config = [&] {
    faulty_device::config made;
    made.netns = path_of(*ns);
    made.backend = backend_kind::worker;
    return made;
  };
  refuse_each(*ns, 100, config, {.shareable = true});
}

TEST_CASE("device faults: open with vhost-net") {
  if (!vhost_is_here()) return skip("no /dev/vhost-net");
  const auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto config = [&] {
    faulty_device::config made;
    made.netns = path_of(*ns);
    made.wanted.queue_pairs = 2;
    made.backend = backend_kind::vhost;
    made.vhost.cpus = {0};
    made.vhost.schedule = thread_schedule{SCHED_OTHER, 0};
    made.vhost.busyloop.rx = made.vhost.busyloop.tx = std::chrono::microseconds(10);
    return made;
  };
  refuse_each(*ns, 100, config);
  // With a choice there is the worker.
  auto& book = fault_book::get();
  const auto pool = buffer_pool::make({.buffers = 600}).value();
  for (const fault& armed :
       {fault{.reason = EACCES, .call = "open"}, fault{.reason = EMFILE, .nth = 3, .call = "eventfd"},
        fault{.reason = ENOMEM, .call = "ioctl_value", .request = vhost_abi::set_owner}}) {
    CAPTURE(armed.call);
    faulty_device::config made = config();
    made.backend = backend_kind::automatic;
    book.reset(armed);
    auto opened = faulty_device::open(std::move(made), pool);
    REQUIRE(opened);
    CHECK(book.refused() == 1);
    CHECK(opened->backend() == "worker");
    CHECK_FALSE(opened->backend_reason().empty());
  }
  CHECK(book.clean());
}
