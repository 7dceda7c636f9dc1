// SPDX-License-Identifier: BSD-3-Clause
#include <atomic>
#include <catch2/catch.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/device_bed.hpp"
#include "support/skip.hpp"

// A device under the thread sanitizer: every queue has a thread of its own, and one more watches.

using namespace vkring;
using namespace vkring::test;

namespace {

constexpr std::size_t pairs = 2;

// Sends `count` frames, some over two buffers; they all carry `mark`.
template <class Device>
void send_frames(Device& it, std::size_t pair, std::uint32_t count, std::atomic<bool>& failed) {
  frame burst[16];
  for (std::uint32_t sent = 0; sent < count;) {
    std::size_t ready = 0;
    const bool room = eventually([&] {
      ready = it.tx(pair).allocate(burst);
      return ready != 0;
    });
    if (!room) return failed.store(true);
    for (std::size_t i = 0; i < ready; ++i) {
      const frame_bytes data = numbered_frame(sent + static_cast<std::uint32_t>(i), 200);
      burst[i].resize(200);
      std::copy(data.begin(), data.end(), burst[i].contiguous().begin());
    }
    std::size_t n = std::min<std::size_t>(ready, count - sent);
    for (std::size_t done = 0; done != n;) {
      const std::size_t now = it.tx(pair).send({burst + done, n - done});
      done += now;
      if (now == 0) ::sched_yield();
    }
    sent += static_cast<std::uint32_t>(n);
    for (frame& each : burst) each.reset();
  }
}

// Receives until it is told to end; the frames of one queue keep their order.
template <class Device>
void receive_frames(Device& it, std::size_t pair, const std::atomic<bool>& ended,
                    std::atomic<std::uint64_t>& received, std::atomic<bool>& failed) {
  frame burst[16];
  std::int64_t last = -1;
  while (!ended.load()) {
    if (it.rx(pair).enable_call() == notification::safe_to_sleep) {
      pollfd call{it.rx_call(pair).fd(), POLLIN, 0};
      static_cast<void>(::poll(&call, 1, 10));
      if (call.revents != 0) it.rx_call(pair).drain();
    }
    it.rx(pair).disable_call();
    const std::size_t n = it.rx(pair).receive(burst);
    for (std::size_t i = 0; i < n; ++i) {
      const auto number = number_of(burst[i].contiguous());
      if (!number || std::int64_t{*number} <= last) failed = true;
      last = number.value_or(0);
    }
    it.rx(pair).recycle({burst, n});
    received += n;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("worker stress: a thread for each queue, and one that looks at everything", "",
                   split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const bool event_idx : {true, false}) {
    device_config config;
    config.backend = backend_kind::worker;
    config.wanted.offloads = wanted_offloads::all(want::off);
    config.wanted.event_idx = event_idx ? want::required : want::off;
    config.wanted.queue_pairs = pairs;
    config.wanted.queue_size = 64;
    config.worker.threads = event_idx ? 2 : 1;
    layout_bed<TestType> bed(*ns, std::move(config));
    constexpr std::uint32_t frames = 3000;
    std::atomic<bool> failed = false;
    std::atomic<bool> ended = false;
    std::atomic<bool> watched = false;
    std::atomic<std::uint64_t> received = 0;
    std::vector<std::thread> queues;
    std::vector<std::thread> senders;
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      senders.emplace_back([&, pair] { send_frames(bed.it, pair, frames, failed); });
      queues.emplace_back([&, pair] { receive_frames(bed.it, pair, ended, received, failed); });
    }
    std::thread watcher([&] {
      std::uint64_t sum = 0;
      while (!ended.load()) {
        for (const queue_health& each : bed.it.health()) sum += each.good() ? 1 : 0;
        for (std::size_t pair = 0; pair < pairs; ++pair) {
          sum += bed.it.rx_statistics(pair).packets + bed.it.tx_statistics(pair).packets;
          sum += bed.it.worker_statistics(pair)->calls.value();
          sum += bed.it.tx_mode(pair) == ring_mode::fast ? 1 : 0;
          sum += bed.it.rx_mode(pair) == ring_mode::fast ? 1 : 0;
        }
        if (!bed.it.link()) failed = true;
        watched = true;
      }
      if (sum == 0) failed = true;
    });
    // The kernel's end, in this thread.
    std::uint64_t seen = 0;
    for (std::uint32_t i = 0; i < frames; ++i) {
      CHECK(eventually([&] { return i - received.load() < 300; }));
      CHECK(bed.wire.send(numbered_frame(i, 300)) == 0);
      for (std::int64_t n; (n = bed.wire.next_number()) != -1; ++seen) CHECK(n >= 0);
    }
    for (std::thread& each : senders) each.join();
    CHECK(eventually([&] { return received.load() == frames; }));
    CHECK(eventually([&] {
      for (std::int64_t n; (n = bed.wire.next_number()) != -1; ++seen) CHECK(n >= 0);
      return seen == pairs * frames;
    }));
    CHECK(eventually([&] { return watched.load(); }));
    ended = true;
    for (std::thread& each : queues) each.join();
    watcher.join();
    CHECK_FALSE(failed);
    for (const queue_health& each : bed.it.health()) CHECK(each.good());
  }
}

TEST_CASE("worker stress: an interface that goes while its queues are busy and watched") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config;
  config.backend = backend_kind::worker;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  device_bed bed(*ns, std::move(config));
  auto control = net_link::open(bed.it.name(), *ns).value();
  std::atomic<bool> failed = false;
  std::atomic<bool> ended = false;
  std::atomic<std::uint64_t> received = 0;
  std::vector<std::thread> threads;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    threads.emplace_back([&, pair] {
      while (!ended.load()) send_frames(bed.it, pair, 64, failed);
    });
    threads.emplace_back([&, pair] { receive_frames(bed.it, pair, ended, received, failed); });
  }
  for (std::uint32_t i = 0; i < 200; ++i) static_cast<void>(bed.wire.send(numbered_frame(i, 300)));
  CHECK(eventually([&] { return received.load() == 200; }));
  CHECK(control.remove());
  CHECK(eventually([&] {
    const auto all = bed.it.health();
    return all[0].interface_gone && all[1].interface_gone;
  }));
  ended = true;
  for (std::thread& each : threads) each.join();
  CHECK_FALSE(failed);
}

TEST_CASE("worker stress: a driver that breaks its ring is read about meanwhile") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const tap queue = tap::open({.netns_fd = ns->fd()}).value();
  std::vector<std::byte> memory(2 * split_ring::bytes(16) + 256);
  auto* const aligned = reinterpret_cast<std::byte*>(
      (reinterpret_cast<std::uintptr_t>(memory.data()) + 127) / 128 * 128);
  const auto tx = split_ring::place({aligned, split_ring::bytes(16)}, 16);
  const auto rx = split_ring::place({aligned + split_ring::bytes(16), split_ring::bytes(16)}, 16);
  const event_fd events[5] = {event_fd::create().value(), event_fd::create().value(),
                              event_fd::create().value(), event_fd::create().value(),
                              event_fd::create().value()};
  worker_queue<split> served;
  served.tx = tx;
  served.rx = rx;
  served.options.size = 16;
  served.tap = queue.fd();
  served.tx_kick = events[0].fd();
  served.rx_kick = events[1].fd();
  served.tx_call = events[2].fd();
  served.rx_call = events[3].fd();
  served.error = events[4].fd();
  const auto worker = tap_worker::start({served}, memory_table()).value();
  std::atomic<int> found = 0;
  std::thread watcher([&] {
    while (found.load() != 2) {
      found = (worker->health(0).tx_breach().fault == ring_fault::head_range ? 1 : 0) +
              (worker->health(0).rx_breach().fault == ring_fault::head_range ? 1 : 0);
    }
  });
  for (const auto& [ring, kick] : {std::pair(tx, 0), std::pair(rx, 1)}) {
    direct::store(ring.avail_entries()[0], std::uint16_t{16});
    direct::publish_avail(ring.avail_index(), std::uint16_t{1});
    events[kick].signal();
  }
  CHECK(eventually([&] { return found.load() == 2; }));
  found = 2;
  watcher.join();
}
