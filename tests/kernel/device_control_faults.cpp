// SPDX-License-Identifier: BSD-3-Clause
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "support/device_bed.hpp"
#include "support/faulty_sys.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"

// System calls of a device that is in use fail: the error names the call, and the device is as it was
// before.

using namespace vkring;
using namespace vkring::test;

namespace {

using faulty_device = basic_device<split, buffer_pool, faulty_sys>;
using faulty_bed = basic_device_bed<faulty_device>;

faulty_bed open_two_pairs(netns& ns, backend_kind backend) {
  const auto pool = buffer_pool::make({.buffers = 2000}).value();
  faulty_device::config config;
  config.backend = backend;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = 2;
  config.name = "vkt%d";
  config.netns = path_of(ns);
  fault_book::get().reset();
  return {ns, pool, faulty_device::open(std::move(config), pool).value()};
}

std::string operation_of(const result<void>& done) { return done ? "done" : done.error().operation; }

}  // namespace

TEST_CASE("device control faults: a queue pair that cannot be stopped or started stays what it was") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  auto& book = fault_book::get();
  for (const backend_kind backend : backends()) {
    auto bed = open_two_pairs(*ns, backend);
    CAPTURE(bed.it.backend());
    const auto carries_all = [&] {
      return bed.to_kernel(0, 20, 500) + bed.from_kernel(40, 500) +
             (bed.it.enabled(1) ? bed.to_kernel(1, 20, 500) : "");
    };
    // Tries with each fault, then without.
    const auto refused_first = [&](bool on, const std::vector<fault>& faults, const char* operation) {
      for (const fault& each : faults) {
        CAPTURE(each.nth, each.reason, on);
        book.arm(each);
        const auto done = bed.it.set_enabled(1, on);
        CHECK(book.refused() == 1);
        book.arm({});
        CHECK(operation_of(done) == operation);
        if (!done) CHECK(done.error().code.value() == each.reason);
        CHECK(bed.it.enabled(1) != on);
        CHECK(carries_all() == "");
      }
    };
    const auto tun = [](int reason) {
      return fault{.reason = reason, .nth = 1, .call = "ioctl", .request = tun_abi::tunsetqueue};
    };
    const auto bind = [](int reason, std::size_t nth) {
      return fault{
          .reason = reason, .nth = nth, .call = "ioctl", .request = vhost_abi::net_set_backend};
    };
    for (int round = 0; round < 3; ++round) {
      refused_first(false, {tun(EINVAL), tun(EBADFD), tun(ENOMEM)}, "TUNSETQUEUE");
      if (backend == backend_kind::vhost) {
        refused_first(false, {bind(EFAULT, 1), bind(EFAULT, 2)}, "VHOST_NET_SET_BACKEND");
      }
      REQUIRE(bed.it.set_enabled(1, false));
      CHECK(carries_all() == "");
      refused_first(true, {tun(EINVAL), tun(E2BIG), tun(ENOMEM)}, "TUNSETQUEUE");
      if (backend == backend_kind::vhost) {
        refused_first(true, {bind(EFAULT, 1), bind(ENOMEM, 1), bind(EFAULT, 2), bind(ENOMEM, 2)},
                      "VHOST_NET_SET_BACKEND");
      }
      REQUIRE(bed.it.set_enabled(1, true));
      CHECK(carries_all() == "");
    }
    // A signal is no reason to fail.
    for (const bool on : {false, true}) {
      book.arm({.reason = EINTR, .nth = 1, .call = "ioctl", .times = 2});
      CHECK(bed.it.set_enabled(1, on));
      CHECK(book.refused() == 2);
    }
    book.arm({});
    CHECK(carries_all() == "");
    for (const queue_health& each : bed.it.health(std::chrono::nanoseconds(0))) CHECK(each.good());
    bed.it.close();
    CHECK(book.clean());
    CHECK(bed.pool->available() == bed.pool->size());
  }
}

TEST_CASE("device control faults: recovery and health without a system call that works") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  auto& book = fault_book::get();
  auto bed = open_two_pairs(*ns, backend_kind::vhost);
  for (const char* call : {"write", "read", "ppoll", "epoll_pwait2", "epoll_wait", "recvfrom"}) {
    CAPTURE(call);
    book.arm({.reason = EIO, .nth = 1, .call = call, .times = 1000});
    CHECK(bed.it.recover(0));
    for (const queue_health& each : bed.it.health(std::chrono::nanoseconds(0))) CHECK(each.good());
    book.arm({});
  }
  CHECK(bed.to_kernel(0, 100, 500) == "");
  CHECK(bed.from_kernel(100, 500) == "");
}

TEST_CASE("device control faults: whatever call fails while it closes, nothing is left") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  auto& book = fault_book::get();
  for (const char* call : {"ioctl", "ioctl_value", "write", "read", "ppoll", "close"}) {
    CAPTURE(call);
    auto bed = open_two_pairs(*ns, backend_kind::vhost);
    CHECK(bed.to_kernel(0, 20, 500) == "");
    book.arm({.reason = EIO, .nth = 1, .call = call, .times = 100'000});
    bed.it.close();
    book.arm({});
    CHECK(book.clean());
    CHECK(bed.pool->available() == bed.pool->size());
  }
}
