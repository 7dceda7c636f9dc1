// SPDX-License-Identifier: BSD-3-Clause
#include <sys/resource.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/child.hpp"
#include "support/count_allocations.hpp"
#include "support/device_bed.hpp"
#include "support/skip.hpp"

// What happens to a device: its interface goes down or away, its process is killed or forks, its
// peer stops or lies; and what it costs while nothing happens.

using namespace vkring;
using namespace vkring::test;

namespace {

using namespace std::chrono_literals;

device_config plain_config(std::uint16_t pairs = 1) {
  device_config config;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  return config;
}
device_config worker_config(std::uint16_t pairs = 1) {
  device_config config = plain_config(pairs);
  config.backend = backend_kind::worker;
  return config;
}

// Sends `count` frames that nobody looks at.
template <class Device>
void send_blindly(Device& device, std::size_t pair, std::size_t count) {
  while (count != 0) {
    frame burst[16];
    const std::size_t n = device.tx(pair).allocate({burst, std::min<std::size_t>(count, 16)});
    for (std::size_t i = 0; i < n; ++i) {
      burst[i].resize(100);
      std::memset(burst[i].contiguous().data(), 0x02, 100);
    }
    count -= device.tx(pair).send({burst, n});
  }
}

// What became of the frames that the worker took from the tx ring of a pair.
std::uint64_t tx_outcomes(const worker_counters& counters) {
  return counters.tx_frames.value() + counters.tx_failed.value() + counters.tx_link_down.value() +
         counters.tx_refused.value();
}

// The interface of a device, by a socket of its own.
template <class Device>
net_link control_of(const netns& ns, const Device& device) {
  return net_link::open(device.name(), ns).value();
}

// A peer that does what a test says.
struct staged_sys : posix {
  static inline std::atomic<bool> hold_writes = false;
  static inline std::atomic<bool> cut_reads = false;

  // Frames; an eventfd takes eight bytes.
  static ssize_t write(int fd, const void* from, std::size_t size) noexcept {
    while (size > 8 && hold_writes.load()) ::sched_yield();
    return posix::write(fd, from, size);
  }
  static ssize_t readv(int fd, const iovec* pieces, int count) noexcept {
    const ssize_t got = posix::readv(fd, pieces, count);
    return got > 0 && cut_reads.load() ? 5 : got;
  }
};
template <class Layout = split>
using staged_device = basic_device<Layout, buffer_pool, staged_sys>;

template <class Layout = split>
staged_device<Layout> staged(const netns& ns, std::shared_ptr<buffer_pool> pool) {
  typename staged_device<Layout>::config config;
  config.backend = backend_kind::worker;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.netns = path_of(ns);
  return staged_device<Layout>::open(std::move(config), std::move(pool)).value();
}

}  // namespace

TEST_CASE("device: the interface is deleted under traffic") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const std::size_t threads : {1u, 2u}) {
    device_config config = worker_config(2);
    config.worker.threads = threads;
    device_bed bed(*ns, std::move(config));
    auto control = control_of(*ns, bed.it);
    bed.wire.use_queueing_discipline();
    std::thread load([&] {
      const frame_bytes frame = numbered_frame(1, 500);
      for (int reason = 0; reason == 0 || reason == ENOBUFS;) reason = bed.wire.send(frame);
    });
    std::uint64_t sent = 0;
    const auto traffic = [&] {
      send_blindly(bed.it, 0, 64);
      sent += 64;
      while (bed.receive(0) || bed.receive(1)) {
      }
    };
    for (int i = 0; i < 20; ++i) traffic();
    REQUIRE(control.remove());
    for (int i = 0; i < 20; ++i) traffic();
    load.join();

    CHECK(bed.it.wait(10s));
    const auto gone = [&] {
      const auto all = bed.it.health();
      return all[0].interface_gone && all[1].interface_gone;
    };
    CHECK(eventually(gone));
    const worker_counters& counters = *bed.it.worker_statistics(0);
    CHECK(eventually([&] { return tx_outcomes(counters) == sent; }));
    const std::uint64_t failed = counters.tx_failed.value();
    send_blindly(bed.it, 0, 1000);
    CHECK(eventually([&] { return counters.tx_failed.value() == failed + 1000; }));
    CHECK(others_fall_asleep(bed.it.error_fd()));
    CHECK(bed.it.link().error().code.value() == ENODEV);
    bed.it.close();
    CHECK(bed.pool->available() == bed.pool->size());
  }
}

TEST_CASE("device: the interface is deleted while nothing can be received or sent") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = worker_config();
  config.wanted.queue_size = 4;
  device_bed bed(*ns, std::move(config));
  // The ring has no buffers left, so the worker does not wait for frames.
  for (std::uint32_t i = 0; i < 10; ++i) REQUIRE(bed.wire.send(numbered_frame(i, 500)) == 0);
  CHECK(eventually([&] { return bed.it.worker_statistics(0)->rx_frames.value() == 4; }));
  CHECK(others_fall_asleep(bed.it.error_fd()));
  REQUIRE(control_of(*ns, bed.it).remove());
  CHECK(wait_readable(bed.it.error_fd()));
  CHECK(bed.it.health()[0].interface_gone);
  CHECK(others_fall_asleep(bed.it.rx_call(0).fd()));
}

TEST_CASE("device: the interface goes down under traffic, and up again") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_bed bed(*ns, worker_config());
  const worker_counters& counters = *bed.it.worker_statistics(0);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    CHECK(bed.to_kernel(0, 50, 1000) == "");
    CHECK(bed.from_kernel(50, 1000) == "");
    send_blindly(bed.it, 0, 100);
    REQUIRE(bed.it.set_up(false));
    // The kernel may still be busy with frames from before.
    REQUIRE(eventually([&] {
      return tx_outcomes(counters) == counters.tx_frames.value() + counters.tx_link_down.value();
    }));
    const std::uint64_t before = counters.tx_link_down.value();
    send_blindly(bed.it, 0, 1000);
    CHECK(eventually([&] { return counters.tx_link_down.value() >= before + 1000; }));
    CHECK(others_fall_asleep(bed.it.error_fd()));
    CHECK(bed.it.health()[0].good());
    REQUIRE(bed.it.set_up(true));
  }
  CHECK(bed.to_kernel(0, 50, 1000) == "");
  CHECK(bed.from_kernel(50, 1000) == "");
}

TEST_CASE("device: waiting for frames, for errors, for the time to pass, for a signal") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_bed bed(*ns, plain_config(2));
  CHECK_FALSE(bed.it.wait(0ns));
  CHECK_FALSE(bed.it.wait(20ms));

  std::thread later([&] { static_cast<void>(bed.wire.send(numbered_frame(1, 100))); });
  CHECK(bed.it.wait(-1ns));
  later.join();
  // What is there already needs no call.
  REQUIRE(eventually([&] { return bed.it.wait(0ns); }));
  CHECK(bed.it.wait(-1ns));
  CHECK((bed.receive(0).has_value() || bed.receive(1).has_value()));

  SECTION("a signal") {
    struct sigaction quiet {};
    quiet.sa_handler = [](int) {};
    struct sigaction before {};
    ::sigaction(SIGUSR1, &quiet, &before);
    const pthread_t waiting = ::pthread_self();
    std::atomic<bool> over = false;
    std::thread poke([&] {
      while (!over.load()) ::pthread_kill(waiting, SIGUSR1), ::sched_yield();
    });
    // A call that was under way may come first. No check before the last signal: it would cut off
    // what a failing one prints.
    const bool interrupted = eventually([&] { return !bed.it.wait(-1ns); });
    over = true;
    poke.join();
    CHECK(interrupted);
    ::sigaction(SIGUSR1, &before, nullptr);
  }
  SECTION("an error") {
    auto control = control_of(*ns, bed.it);
    std::thread remover([&] { CHECK(control.remove()); });
    CHECK(bed.it.wait(-1ns));
    remover.join();
    CHECK(eventually([&] { return bed.it.health()[0].interface_gone; }));
  }
  SECTION("an event loop of one's own") {
    for (std::uint32_t i = 1; i < 100; ++i) {
      auto& rx = bed.it.rx(0);
      auto& other = bed.it.rx(1);
      REQUIRE(bed.wire.send(numbered_frame(i, 100)) == 0);
      std::optional<tap_wire::received> got;
      while (!got) {
        if (rx.enable_call() == notification::safe_to_sleep &&
            other.enable_call() == notification::safe_to_sleep) {
          pollfd set[] = {{bed.it.rx_call(0).fd(), POLLIN, 0}, {bed.it.rx_call(1).fd(), POLLIN, 0}};
          REQUIRE(::poll(set, 2, 10'000) > 0);
          for (const std::size_t pair : {0u, 1u}) {
            if (set[pair].revents != 0) bed.it.rx_call(pair).drain();
          }
        }
        rx.disable_call();
        other.disable_call();
        got = bed.receive(0);
        if (!got) got = bed.receive(1);
      }
      CHECK(number_of(got->frame) == i);
    }
  }
}

TEMPLATE_TEST_CASE("device: a worker that stops is told of, and so is that it goes on", "", split,
                   packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  auto it = staged<TestType>(*ns, buffer_pool::make().value());
  staged_sys::hold_writes = true;
  send_blindly(it, 0, 10);
  CHECK_FALSE(it.health(1ms)[0].stalled);
  CHECK(eventually([&] { return it.health(1ms)[0].stalled; }));
  CHECK_FALSE(it.health(1h)[0].stalled);
  CHECK_FALSE(it.health(1ms)[0].good());
  staged_sys::hold_writes = false;
  CHECK(eventually([&] { return it.health(1ms)[0].good(); }));
  CHECK(eventually([&] { return it.worker_statistics(0)->tx_frames.value() == 10; }));
  CHECK(it.health(0ms)[0].good());
}

TEMPLATE_TEST_CASE("device: what the worker does wrong breaks that queue, and is told of once", "",
                   split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  auto it = staged<TestType>(*ns, buffer_pool::make().value());
  tap_wire wire(*ns, it.index());
  staged_sys::cut_reads = true;
  REQUIRE(wire.send(numbered_frame(1, 100)) == 0);
  CHECK(it.wait(10s));
  frame got;
  CHECK(it.rx(0).receive({&got, 1}) == 0);
  staged_sys::cut_reads = false;
  CHECK(it.wait(10s));
  CHECK(it.health()[0].rx.fault == ring_fault::used_length);
  CHECK_FALSE(it.health()[0].good());
  CHECK_FALSE(it.health()[0].rx_device);
  CHECK(eventually([&] { return !it.wait(0ns); }));
  send_blindly(it, 0, 10);
  CHECK(eventually([&] { return it.worker_statistics(0)->tx_frames.value() == 10; }));
}

TEST_CASE("device: a process is killed under load and starts again on its persistent interface") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    child killed([&](auto&& say) {
      device_config config = plain_config(2);
      config.name = "vkpersist";
      config.netns = path_of(*ns);
      config.persist = true;
      auto it = device::open(std::move(config), buffer_pool::make().value()).value();
      tap_wire wire(*ns, it.index());
      const frame_bytes frame = numbered_frame(1, 1000);
      for (std::uint64_t turn = 0;; ++turn) {
        send_blindly(it, turn % 2, 32);
        static_cast<void>(wire.send(frame));
        if (turn == 200) say("busy");
      }
    });
    REQUIRE(killed.hear() == "busy");
    killed.kill();

    device_config config = plain_config(2);
    config.name = "vkpersist";
    config.netns = path_of(*ns);
    const auto pool = buffer_pool::make().value();
    auto opened = device::open(std::move(config), pool);
    REQUIRE(opened);
    CHECK(opened->name() == "vkpersist");
    device_bed bed{*ns, pool, std::move(*opened)};
    CHECK(bed.to_kernel(0, 100, 1000) == "");
    CHECK(bed.to_kernel(1, 100, 1000) == "");
    CHECK(bed.from_kernel(100, 1000) == "");
    CHECK(bed.it.health()[0].good());
    bed.it.close();
    // It outlived its second device too, until somebody deletes it.
    auto control = net_link::open("vkpersist", *ns);
    REQUIRE(control);
    CHECK(control->read().value().up);
    if (round == 2) CHECK(control->remove());
  }
}

TEST_CASE("device: a forked child is told no, and does no harm") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_bed bed(*ns, plain_config());
  CHECK(bed.to_kernel(0, 50, 100) == "");
  child other([&](auto&& say) {
    say(bed.it.link().error().message() + '\n');
    say(bed.it.mac().error().message() + '\n');
    say(bed.it.set_up(false).error().message() + '\n');
    say(bed.it.set_mtu(1000).error().message() + '\n');
    bed.it.close();
    say("closed\n");
  });
  const std::string refused = "device " + bed.it.name() +
                              ": Operation not permitted (it belongs to the process that opened "
                              "it: a forked child opens its own)\n";
  CHECK(other.hear_all() == refused + refused + refused + refused + "closed\n");
  CHECK(other.wait() == 0);
  CHECK(bed.to_kernel(0, 50, 100) == "");
  CHECK(bed.from_kernel(50, 100) == "");
  CHECK(bed.it.link().value().up);
}

TEST_CASE("device: no descriptor survives exec") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make().value();
  const auto open_now = [] {
    std::map<int, bool> found;
    for (int i = 0; i < 1024; ++i) {
      const int flags = ::fcntl(i, F_GETFD);
      if (flags != -1) found[i] = (flags & FD_CLOEXEC) != 0;
    }
    return found;
  };
  const auto before = open_now();
  device_config config = worker_config(2);
  config.netns = path_of(*ns);
  auto it = device::open(std::move(config), pool).value();
  std::size_t made = 0;
  for (const auto& [descriptor, closes] : open_now()) {
    if (before.count(descriptor) != 0) continue;
    CAPTURE(descriptor);
    CHECK(closes);
    ++made;
  }
  // Two TAP queues, four events each, the link, the errors, two sets to wait for, the ends of two threads.
  CHECK(made == 2 + 8 + 6);
  it.close();
  CHECK(open_now() == before);
}

TEST_CASE("device: nothing is allocated once it is open") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config;
  config.wanted.queue_pairs = 2;
  config.wanted.offloads.udp_tunnel = config.wanted.offloads.udp_tunnel_csum = want::off;
  device_bed bed(*ns, std::move(config));
  frame burst[32];
  const frame_bytes large = numbered_frame(1, 1400);
  const auto count = [&] {
    const std::size_t before = allocations.load();
    for (std::size_t turn = 0; turn < 300; ++turn) {
      const std::size_t pair = turn % 2;
      const std::size_t n = bed.it.tx(pair).allocate(burst);
      for (std::size_t i = 0; i < n; ++i) burst[i].resize(60 + static_cast<std::uint32_t>(i));
      if (n > 2) burst[0].append(std::move(burst[1]));
      static_cast<void>(bed.it.tx(pair).send({burst, n}));
      static_cast<void>(bed.wire.send(large));
      static_cast<void>(bed.it.wait(turn % 16 == 0 ? 1ms : 0ms));
      bed.it.tx(pair).reclaim();
      const std::size_t got = bed.it.rx(pair).receive(burst);
      bed.it.rx(pair).recycle({burst, got});
      static_cast<void>(bed.it.tx_mode(pair));
    }
    return allocations.load() - before;
  };
  CHECK(count() == 0);
  CHECK(bed.it.tx_statistics(0).packets != 0);
  CHECK(bed.it.rx_statistics(0).packets + bed.it.rx_statistics(1).packets != 0);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VKRING_TEST_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define VKRING_TEST_MEMORY 0
#endif
#endif
#ifndef VKRING_TEST_MEMORY
#define VKRING_TEST_MEMORY 1
#endif

#if VKRING_TEST_MEMORY
TEST_CASE("device: what it needs of memory besides the pool and the rings") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  // In a child, where nothing has been allocated and freed before.
  child fresh([&](auto&& say) {
    // Mappings that a child does not inherit are pools and rings.
    const auto anonymous = [] {
      std::uint64_t all = 0;
      std::uint64_t here = 0;
      std::ifstream maps("/proc/self/smaps");
      for (std::string line; std::getline(maps, line);) {
        if (line.rfind("Anonymous:", 0) == 0) here = std::stoull(line.substr(10));
        if (line.rfind("VmFlags:", 0) == 0 && line.find(" dc") == line.npos) all += here;
      }
      return all;
    };
    device_config config;
    config.netns = path_of(*ns);
    const auto pool = buffer_pool::make().value();
    const std::uint64_t before = anonymous();
    auto it = device::open(std::move(config), pool).value();
    const std::uint64_t after = anonymous();
    send_blindly(it, 0, 1000);
    say(std::to_string(after - before) + " " + std::to_string(anonymous() - before));
  });
  const std::string kib = fresh.hear_all();
  CAPTURE(kib);
  REQUIRE(fresh.wait() == 0);
  std::size_t second = 0;
  CHECK(std::stoull(kib, &second) <= 512);
  CHECK(std::stoull(kib.substr(second)) <= 512);
}
#endif
