// SPDX-License-Identifier: BSD-3-Clause
#include <sched.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"

// A device whose far end is the kernel's vhost-net.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

// The number after `key` in a file of /proc about a thread, in whatever base.
std::string status_of(pid_t thread, const std::string& key) {
  std::ifstream status("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(key + ":\t", 0) == 0) return line.substr(key.size() + 2);
  }
  return {};
}

std::vector<pid_t> all_vhost_threads() {
  std::vector<pid_t> all;
  for (const bool of_kernel : {false, true}) {
    for (const pid_t each : vhost_threads(of_kernel).value()) all.push_back(each);
  }
  return all;
}

// Tells the kernel of the rings' memory only, not of the buffers', until it remembers.
struct forgetful_sys : posix {
  static inline bool forget = false;
  static inline int device = -1;
  static inline std::vector<std::byte> table;

  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    if (request != vhost_abi::set_mem_table || !forget) {
      return posix::ioctl(fd, request, argument);
    }
    vhost_abi::memory_head head;
    std::memcpy(&head, argument, sizeof head);
    device = fd;
    table.resize(sizeof head + head.count * sizeof(vhost_abi::memory_region));
    std::memcpy(table.data(), argument, table.size());
    const vhost_abi::memory_head first{1};
    std::memcpy(argument, &first, sizeof first);
    return posix::ioctl(fd, request, argument);
  }
  static bool remember() {
    forget = false;
    return posix::ioctl(device, vhost_abi::set_mem_table, table.data()) == 0;
  }
};
using forgetful_device = basic_device<split, buffer_pool, forgetful_sys>;

// Remembers how long each ring is to look for work, by the ring's index.
struct listening_sys : posix {
  static inline std::map<std::uint32_t, std::uint32_t> microseconds;

  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    if (request == vhost_abi::set_vring_busyloop_timeout) {
      const auto& state = *static_cast<const vhost_abi::vring_state*>(argument);
      microseconds[state.index] = state.number;
    }
    return posix::ioctl(fd, request, argument);
  }
};

// Remembers what the last TAP was opened with.
struct noting_sys : posix {
  static inline std::uint16_t flags = 0;

  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    if (request == tun_abi::tunsetiff) flags = static_cast<tun_abi::ifreq*>(argument)->flags;
    return posix::ioctl(fd, request, argument);
  }
};
using noting_device = basic_device<split, buffer_pool, noting_sys>;

}  // namespace

TEST_CASE("vhost-net device: every combination of ring features carries frames both ways") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (unsigned options = 0; options < 16; ++options) {
    CAPTURE(options);
    device_config config = vhost_config();
    const auto ask = [&](unsigned bit) {
      return (options & bit) != 0 ? want::preferred : want::off;
    };
    config.wanted.event_idx = ask(1);
    config.wanted.indirect = ask(2);
    config.wanted.mergeable = ask(4);
    config.wanted.in_order = ask(8);
    config.wanted.queue_size = (options & 1) != 0 ? 64 : 256;
    device_bed bed(*ns, std::move(config));
    CHECK(bed.it.backend() == "vhost-net");
    CHECK(bed.it.plan().event_idx == ((options & 1) != 0));
    CHECK(bed.to_kernel(0, 1000, 1400) == "");
    CHECK(bed.to_kernel(0, 100, 1400, 400) == "");  // in several buffers
    CHECK(bed.from_kernel(1000, 1400) == "");
    CHECK(bed.it.health()[0].good());
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
  }
  CHECK(all_vhost_threads().empty());
}

TEST_CASE("vhost-net device: rings of any size, and several queue pairs") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const std::uint16_t size : {std::uint16_t{2}, std::uint16_t{16}, std::uint16_t{1024}}) {
    CAPTURE(size);
    device_config config = vhost_config(4);
    config.wanted.queue_size = size;
    device_bed bed(*ns, std::move(config), {.buffers = 16384});
    for (const std::size_t pair : {0u, 1u, 2u, 3u}) CHECK(bed.to_kernel(pair, 300, 1400) == "");
    CHECK(bed.from_kernel(300, 1400) == "");
    for (const queue_health& each : bed.it.health()) CHECK(each.good());
  }
}

TEST_CASE("vhost-net device: what was sent before it closes arrives") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (int round = 0; round < 10; ++round) {
    CAPTURE(round);
    device_config config = vhost_config();
    config.persist = true;
    device_bed bed(*ns, std::move(config));
    auto control = net_link::open(bed.it.name(), *ns).value();
    constexpr std::uint32_t count = 200;
    for (std::uint32_t i = 0; i < count; ++i) REQUIRE(bed.send(0, numbered_frame(i, 100)));
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
    for (std::uint32_t i = 0; i < count; ++i) REQUIRE(bed.wire.next_number() == i);
    REQUIRE(control.remove());
  }
}

TEST_CASE("vhost-net device: the stack takes its frames in batches, and the worker's as they come") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : {backend_kind::vhost, backend_kind::worker}) {
    // Below a limit a batch could never be completed.
    for (const bool limited : {false, true}) {
      CAPTURE(backend, limited);
      noting_device::config config;
      config.backend = backend;
      config.name = "vkt%d";
      config.netns = path_of(*ns);
      if (limited) config.limit = send_limit(4096);
      const auto pool = buffer_pool::make().value();
      basic_device_bed<noting_device> bed(*ns, pool,
                                          noting_device::open(std::move(config), pool).value());
      CHECK(((noting_sys::flags & tun_abi::iff_napi) != 0) ==
            (backend == backend_kind::vhost && !limited));
      CHECK(bed.to_kernel(0, 1000, 1400) == "");
    }
  }
}

TEST_CASE("vhost-net device: its thread is found, pinned and scheduled") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = vhost_config(2);
  config.vhost.cpus = {1, 0};
  config.vhost.schedule = thread_schedule{SCHED_RR, 7};
  config.vhost.busyloop = {.rx = 30us, .tx = 50us};
  device_bed bed(*ns, std::move(config));
  for (const std::size_t pair : {0u, 1u}) {
    const pid_t thread = bed.it.vhost_thread(pair);
    REQUIRE(thread > 0);
    CHECK(status_of(thread, "Name").rfind("vhost-", 0) == 0);
    CHECK(status_of(thread, "Cpus_allowed_list") == (pair == 0 ? "1" : "0"));
    CHECK(::sched_getscheduler(thread) == SCHED_RR);
    CHECK(bed.to_kernel(pair, 100, 1000) == "");
  }
  CHECK(bed.it.vhost_thread(0) != bed.it.vhost_thread(1));
  CHECK(bed.from_kernel(100, 1000) == "");

  device_config elsewhere = device_bed::in(*ns, vhost_config());
  elsewhere.vhost.cpus = {4095};
  const auto refused = device::open(std::move(elsewhere), buffer_pool::make().value());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message().find("on CPU 4095: Invalid argument (needs a CPU that exists") !=
        std::string::npos);
  device_config impossible = device_bed::in(*ns, vhost_config());
  impossible.vhost.schedule = thread_schedule{SCHED_FIFO, 0};
  CHECK_FALSE(device::open(std::move(impossible), buffer_pool::make().value()));
}

TEST_CASE("vhost-net device: each ring looks for work as long as it is told") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const std::pair<vhost_busyloop, std::map<std::uint32_t, std::uint32_t>> cases[] = {
      {{}, {}},
      {{.rx = 70us}, {{0, 70}}},
      {{.tx = 40us}, {{1, 40}}},
      {{.rx = 20us, .tx = 1000us}, {{0, 20}, {1, 1000}}}};
  for (const auto& [asked, set] : cases) {
    listening_sys::microseconds.clear();
    basic_device_config<listening_sys> config;
    config.backend = backend_kind::vhost;
    config.wanted.offloads = wanted_offloads::all(want::off);
    config.vhost.busyloop = asked;
    config.name = "vkt%d";
    config.netns = path_of(*ns);
    const auto pool = buffer_pool::make().value();
    basic_device_bed<basic_device<split, buffer_pool, listening_sys>> bed(
        *ns, pool,
        basic_device<split, buffer_pool, listening_sys>::open(std::move(config), pool).value());
    CHECK(listening_sys::microseconds == set);
    CHECK(bed.to_kernel(0, 200, 1000) == "");
    CHECK(bed.from_kernel(200, 1000) == "");
  }
}

TEST_CASE("vhost-net device: kernel thread or task, where the kernel has the switch") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const bool has_switch = vhost_net::open().value().owner_mode().has_value();
  for (const auto mode : {vhost_owner_mode::kthread, vhost_owner_mode::task}) {
    device_config config = device_bed::in(*ns, vhost_config());
    config.vhost.owner_mode = mode;
    const auto pool = buffer_pool::make().value();
    auto opened = device::open(std::move(config), pool);
    if (!has_switch) {
      REQUIRE_FALSE(opened);
      CHECK(opened.error().code.value() == ENOTSUP);
      continue;
    }
    REQUIRE(opened);
    REQUIRE(opened->vhost_thread(0) > 0);
    const bool is_mine = status_of(opened->vhost_thread(0), "Tgid") == std::to_string(::getpid());
    CHECK(is_mine == (mode == vhost_owner_mode::task));
    device_bed bed{*ns, pool, std::move(*opened)};
    CHECK(bed.to_kernel(0, 100, 1000) == "");
  }
}

TEST_CASE("vhost-net device: what it stumbles over is told, and mended") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make().value();
  for (const want event_idx : {want::preferred, want::off}) {
    forgetful_sys::forget = true;
    forgetful_device::config config;
    config.backend = backend_kind::vhost;
    config.wanted.offloads = wanted_offloads::all(want::off);
    config.wanted.event_idx = event_idx;
    config.name = "vkt%d";
    config.netns = path_of(*ns);
    basic_device_bed<forgetful_device> bed(
        *ns, pool, forgetful_device::open(std::move(config), pool).value());
    CHECK(bed.it.health()[0].good());
    CHECK_FALSE(is_readable(bed.it.error_fd()));

    for (std::uint32_t i = 0; i < 10; ++i) REQUIRE(bed.send(0, numbered_frame(i, 100)));
    CHECK(bed.it.wait(10s));
    CHECK(wait_readable(bed.it.error_fd()));
    const queue_health told = bed.it.health()[0];
    CHECK(told.tx_device.fault == ring_fault::device_error);
    CHECK(told.tx_device.position == 0);
    CHECK_FALSE(told.good());
    CHECK(to_text(told) ==
          "queue pair 0, tx: descriptor 0: device_error, value 0x0, says the device");
    CHECK(eventually([&] { return bed.it.health(1ms)[0].stalled; }));
    CHECK(eventually([&] { return !bed.it.wait(1ms); }));
    CHECK_FALSE(is_readable(bed.it.error_fd()));
    // Frames from the kernel find no buffers that it may write to.
    REQUIRE(bed.wire.send(numbered_frame(10, 100)) == 0);
    CHECK(wait_readable(bed.it.error_fd()));
    CHECK(eventually([&] { return bed.it.health()[0].rx_device.fault == ring_fault::device_error; }));

    REQUIRE(forgetful_sys::remember());
    REQUIRE(bed.it.recover(0));
    for (std::uint32_t i = 0; i < 10; ++i) {
      std::int64_t got = -1;
      CHECK(eventually([&] { return (got = bed.wire.next_number()) != -1; }));
      CHECK(got == i);
    }
    CHECK(eventually([&] { return bed.receive(0).has_value(); }));
    CHECK(eventually([&] { return bed.it.health(1ms)[0].good(); }));
    CHECK(bed.to_kernel(0, 100, 1000) == "");
    CHECK(bed.from_kernel(100, 1000) == "");
  }
  device_config other = device_bed::in(*ns, {});
  other.backend = backend_kind::worker;
  auto worker = device::open(std::move(other), pool).value();
  CHECK(worker.recover(0).error().code == std::errc::not_supported);
}

TEST_CASE("vhost-net device: the interface is deleted under traffic, or while nothing happens") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const bool busy : {true, false}) {
    CAPTURE(busy);
    device_bed bed(*ns, vhost_config(2));
    auto control = net_link::open(bed.it.name(), *ns).value();
    if (busy) {
      for (std::uint32_t i = 0; i < 500; ++i) {
        REQUIRE(bed.send(i % 2, numbered_frame(i, 500)));
        static_cast<void>(bed.wire.send(numbered_frame(i, 500)));
        while (bed.receive(0) || bed.receive(1)) {
        }
      }
    }
    static_cast<void>(bed.it.health());
    REQUIRE(control.remove());
    CHECK(wait_readable(bed.it.error_fd()));
    while (bed.receive(0) || bed.receive(1)) {
    }
    CHECK(bed.it.wait(10s));
    const auto all = bed.it.health();
    CHECK((all[0].interface_gone && all[1].interface_gone));
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
  }
}

TEST_CASE("vhost-net device: what only the worker can do goes to the worker, and is said") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  if (vhost_net::open().value().features().value().contains(feature::in_order)) return;
  device_config config = device_bed::in(*ns, {});
  config.wanted.in_order = want::required;
  const auto it = device::open(std::move(config), buffer_pool::make().value()).value();
  CHECK(it.backend() == "worker");
  CHECK(it.backend_reason() ==
        "with vhost-net: negotiate in-order: Operation not supported (vhost-net offers no "
        "in-order use)");
  config = device_bed::in(*ns, vhost_config());
  config.wanted.in_order = want::required;
  CHECK_FALSE(device::open(std::move(config), buffer_pool::make().value()));
}
