// SPDX-License-Identifier: BSD-3-Clause
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/relay.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"

// A device that one process hands to another one, under traffic and otherwise; over the worker, and over
// vhost-net where there is one.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

const pool_options shared_pool{.buffers = 2048, .memory = {.shareable = true}};

device_config plain_config(backend_kind backend, std::uint16_t pairs = 1) {
  device_config config;
  config.backend = backend;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  return config;
}

// A device that is handed to nobody but this process.
template <class Layout>
struct own_layout_bed : layout_bed<Layout> {
  own_layout_bed(netns& where, device_config config, const pool_options& buffers = shared_pool)
      : layout_bed<Layout>(where, std::move(config), buffers) {}

  void resume(suspended_device&& from, const resume_options& how = {}) {
    this->pool.reset();
    this->it = basic_device<Layout>::resume(std::move(from), how).value();
    this->pool = this->it.shared_source();
  }
};
using own_bed = own_layout_bed<split>;

}  // namespace

TEMPLATE_TEST_CASE(
    "hand-over: to and fro under traffic, nothing is lost or comes twice, whatever was negotiated", "",
    split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  struct row {
    bool event_idx, indirect, in_order, mergeable;
    std::uint16_t pairs;
    std::uint32_t queue_size;
  };
  // Every two options meet in each of their four combinations.
  const row rows[] = {
      {true, true, false, true, 1, 256},  {false, false, false, false, 2, 64},
      {true, false, true, false, 2, 256}, {false, true, true, true, 2, 64},
      {true, false, false, true, 2, 64},  {false, true, false, false, 1, 256},
      {true, true, true, false, 1, 64},   {false, false, true, true, 1, 256},
  };
  for (const backend_kind backend : backends<TestType>()) {
    for (const row& each : rows) {
      CAPTURE(backend, each.event_idx, each.indirect, each.in_order, each.mergeable, each.pairs);
      const auto ask = [](bool on) { return on ? want::preferred : want::off; };
      relay_options options;
      options.config = plain_config(backend, each.pairs);
      options.config.wanted.event_idx = ask(each.event_idx);
      options.config.wanted.indirect = ask(each.indirect);
      options.config.wanted.in_order = ask(each.in_order);
      options.config.wanted.mergeable = ask(each.mergeable);
      options.config.wanted.queue_size = each.queue_size;
      options.resume.backend = backend;
      options.pool.buffer_size = each.mergeable ? 512 : 2048;
      options.piece = 400;
      const relay_report report = run_relay<basic_device<TestType>>(*ns, std::move(options));
      CHECK(report.wrong == "");
      CHECK(report.longest_gap.count() > 0);
    }
  }
}

TEMPLATE_TEST_CASE(
    "hand-over: frames that are under way in every part of a device come out where it goes on", "",
    split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends<TestType>()) {
    for (unsigned mix = 0; mix < 8; ++mix) {
      CAPTURE(backend, mix);
      const auto ask = [&](unsigned bit) { return (mix & bit) != 0 ? want::preferred : want::off; };
      device_config config = plain_config(backend, 2);
      config.wanted.indirect = ask(1);
      config.wanted.in_order = ask(2);
      config.wanted.mergeable = ask(4);
      config.wanted.queue_size = 64;
      own_layout_bed<TestType> bed(
          *ns, std::move(config), {.buffers = 2048, .buffer_size = 1600, .memory = {.shareable = true}});
      const resume_options how{.backend = backend};

      // Sent and not taken: the pair is out of service, and stays so.
      REQUIRE(bed.it.set_enabled(1, false));
      // The kernel would foretell where in-order chains of several descriptors start.
      const std::size_t piece = (mix & 3) == 2 ? SIZE_MAX : 500;
      for (std::uint32_t i = 0; i < 8; ++i) REQUIRE(bed.send(1, numbered_frame(i, 1400), {}, piece));
      REQUIRE(bed.send(1, numbered_frame(8, 100)));

      // Received and not collected.
      std::uint32_t next = 0;
      std::vector<std::int64_t> last(2, -1);
      std::uint32_t came = 0;
      const auto collect = [&](std::uint32_t up_to) {
        return eventually([&] {
          for (std::size_t pair = 0; pair < 2; ++pair) {
            while (came != up_to) {
              const auto got = bed.receive(pair);
              if (!got) break;
              const std::int64_t number = number_of(got->frame).value_or(0);
              CHECK(number > last[pair]);
              last[pair] = number;
              ++came;
            }
          }
          return came == up_to;
        });
      };
      for (; next < 40; ++next) REQUIRE(bed.wire.send(numbered_frame(next, 300)) == 0);
      REQUIRE(collect(10));

      for (int turn = 0; turn < 3; ++turn) {
        CAPTURE(turn);
        auto suspended = bed.it.suspend();
        REQUIRE(suspended);
        // Comes while nobody serves the rings.
        for (std::uint32_t i = 0; i < 10; ++i, ++next) {
          REQUIRE(bed.wire.send(numbered_frame(next, 300)) == 0);
        }
        bed.resume(std::move(*suspended), how);
        CHECK(bed.it.backend() == (backend == backend_kind::worker ? "worker" : "vhost-net"));
        CHECK_FALSE(bed.it.enabled(1));
        CHECK(bed.it.tx_waiting(1) == 9);
        REQUIRE(collect(came + 10));
      }
      CHECK(collect(next));
      CHECK(bed.wire.next_number() == -1);
      REQUIRE(bed.it.set_enabled(1, true));
      for (std::uint32_t i = 0; i < 9; ++i) {
        std::int64_t number = -1;
        CHECK(eventually([&] { return (number = bed.wire.next_number()) != -1; }));
        CHECK(number == i);
      }
      CHECK(bed.to_kernel(0, 200, 1400, 400) == "");
      CHECK(bed.to_kernel(1, 200, 1400) == "");
      CHECK(bed.it.tx_statistics(1).packets == 209);
      CHECK(bed.it.rx_statistics(0).packets + bed.it.rx_statistics(1).packets == next);
      for (const queue_health& each : bed.it.health()) CHECK(each.good());
      bed.it.close();
      CHECK(bed.pool->available() == bed.pool->size());
    }
  }
}

TEMPLATE_TEST_CASE("hand-over: a frame that waits for more buffers goes along", "", split, packed) {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = plain_config(backend_kind::worker);
  config.wanted.mergeable = want::required;
  config.wanted.queue_size = 8;
  own_layout_bed<TestType> bed(
      *ns, std::move(config), {.buffers = 64, .buffer_size = 512, .memory = {.shareable = true}});
  // Two frames are in three buffers each; two buffers are left for the third.
  for (std::uint32_t i = 0; i < 5; ++i) REQUIRE(bed.wire.send(numbered_frame(i, 1400)) == 0);
  REQUIRE(eventually([&] { return bed.it.worker_statistics(0)->rx_spilled.value() == 1; }));
  const resume_options how{.backend = backend_kind::worker};
  for (int turn = 0; turn < 3; ++turn) {
    auto suspended = bed.it.suspend();
    REQUIRE(suspended);
    CHECK(suspended->state.pairs[0].held.size() == 1412);
    if (std::is_same_v<TestType, split> && vhost_is_here()) {
      const auto refused = basic_device<TestType>::resume(std::move(*suspended), {.backend = backend_kind::vhost});
      REQUIRE_FALSE(refused);
      CHECK(refused.error().hint.find("only a worker can deliver it") != std::string::npos);
    }
    bed.resume(std::move(*suspended), how);
    CHECK(bed.it.worker_statistics(0)->rx_spilled.value() == 1);
  }
  for (std::uint32_t i = 0; i < 5; ++i) {
    std::optional<tap_wire::received> got;
    REQUIRE(eventually([&] { return (got = bed.receive(0)).has_value(); }));
    CHECK(number_of(got->frame) == i);
  }
  CHECK(bed.from_kernel(100, 1400) == "");
}

TEST_CASE("hand-over: not while the application holds frames, and then nothing has happened") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    own_bed bed(*ns, plain_config(backend, 2));
    for (std::uint32_t i = 0; i < 3; ++i) REQUIRE(bed.wire.send(numbered_frame(i, 100)) == 0);
    std::vector<frame> held(5);
    std::size_t count = 0;
    REQUIRE(eventually([&] {
      for (const std::size_t pair : {0u, 1u}) {
        count += bed.it.rx(pair).receive(std::span(held).subspan(count, 3 - count));
      }
      return count == 3;
    }));
    REQUIRE(bed.it.tx(0).allocate(std::span(held).subspan(3)) == 2);
    auto refused = bed.it.suspend();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == std::errc::device_or_resource_busy);
    CHECK(refused.error().message() ==
          "suspend " + bed.it.name() +
              ": Device or resource busy (5 buffers are out: frames that the application holds, and other "
              "devices on the same source, have to give them back first)");
    CHECK(bed.to_kernel(0, 100, 1000) == "");
    CHECK(bed.from_kernel(100, 1000) == "");
    held.resize(1);
    CHECK(bed.it.suspend().error().hint.rfind("1 buffers are out", 0) == 0);
    held.clear();
    auto suspended = bed.it.suspend();
    REQUIRE(suspended);
    CHECK(bed.pool->available() == 0);
    bed.resume(std::move(*suspended), {.backend = backend});
    CHECK(bed.to_kernel(1, 100, 1000) == "");
    CHECK(bed.from_kernel(100, 1000) == "");
  }
}

TEST_CASE("hand-over: a receiver that is killed has taken nothing, unless it had begun") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    for (const bool begun : {false, true}) {
      CAPTURE(backend, begun);
      own_bed bed(*ns, plain_config(backend));
      CHECK(bed.to_kernel(0, 50, 1000) == "");
      int ends[2];
      REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
      const fd mine(ends[0]);
      const fd theirs(ends[1]);
      child taker([&](auto&& say) {
        auto came = suspended_device::receive(theirs.get()).value();
        std::optional<device> it;
        if (begun) it = device::resume(std::move(came), {.backend = backend}).value();
        say("here");
        for (;;) ::pause();
      });
      auto suspended = bed.it.suspend().value();
      REQUIRE(suspended.send(mine.get()));
      CHECK(taker.hear() == "here");
      REQUIRE(bed.wire.send(numbered_frame(7, 100)) == 0);
      taker.kill();
      if (begun) {
        const auto refused = device::resume(std::move(suspended), {.backend = backend});
        REQUIRE_FALSE(refused);
        CHECK(refused.error().hint == "somebody else has taken it up with the same state");
        CHECK_FALSE(suspended.fds.empty());
        continue;
      }
      bed.resume(std::move(suspended), {.backend = backend});
      CHECK(suspended.fds.empty());
      std::optional<tap_wire::received> got;
      CHECK(eventually([&] { return (got = bed.receive(0)).has_value(); }));
      CHECK(number_of(got->frame) == 7);
      CHECK(bed.to_kernel(0, 50, 1000) == "");
      CHECK(bed.from_kernel(50, 1000) == "");
    }
  }
}

TEST_CASE("hand-over: from one backend to the other, and counters that go on") {
  if (!vhost_net::open()) return skip("no /dev/vhost-net");
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  own_bed bed(*ns, plain_config(backend_kind::worker));
  for (int turn = 0; turn < 4; ++turn) {
    CHECK(bed.to_kernel(0, 100, 1000) == "");
    CHECK(bed.from_kernel(100, 1000) == "");
    if (turn % 2 == 0) {
      CHECK(bed.it.worker_statistics(0)->rx_frames.value() == static_cast<std::uint64_t>(turn / 2 + 1) * 100);
    }
    CHECK(bed.it.tx_statistics(0).packets == static_cast<std::uint64_t>(turn + 1) * 100);
    auto suspended = bed.it.suspend().value();
    bed.resume(std::move(suspended),
               {.backend = turn % 2 == 0 ? backend_kind::vhost : backend_kind::worker});
    CHECK(bed.it.gap().count() > 0);
  }
  // With the choice, what was agreed on decides.
  auto suspended = bed.it.suspend().value();
  bed.resume(std::move(suspended));
  CHECK(bed.it.backend() == "vhost-net");
}

TEST_CASE("hand-over: in-order chains of several descriptors are none of vhost-net's") {
  if (!vhost_net::open()) return skip("no /dev/vhost-net");
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    device_config config = plain_config(backend, 2);
    config.wanted.in_order = want::preferred;
    config.wanted.indirect = want::off;
    own_bed bed(*ns, std::move(config));
    const bool offered = vhost_net::open().value().features().value().contains(feature::in_order);
    if (!bed.it.plan().in_order) continue;  // vhost-net before Linux 6.18
    REQUIRE(bed.it.set_enabled(1, false));
    for (std::uint32_t i = 0; i < 5; ++i) REQUIRE(bed.send(1, numbered_frame(i, 1400), {}, 500));
    REQUIRE(bed.it.tx_mode(1) == ring_mode::general);
    auto suspended = bed.it.suspend().value();
    const std::string reason =
        offered ? "in-order chains of several descriptors are in flight: it would look for them elsewhere"
                : "vhost-net has no in_order, which was agreed on";
    const auto refused = device::resume(std::move(suspended), {.backend = backend_kind::vhost});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message() ==
          "resume " + suspended.state.name + ": Operation not supported (" + reason + ")");
    // With the choice it is the worker, and that delivers them.
    bed.resume(std::move(suspended));
    CHECK(bed.it.backend() == "worker");
    CHECK(bed.it.backend_reason() == "with vhost-net: " + reason);
    REQUIRE(bed.it.set_enabled(1, true));
    for (std::uint32_t i = 0; i < 5; ++i) {
      std::int64_t number = -1;
      CHECK(eventually([&] { return (number = bed.wire.next_number()) != -1; }));
      CHECK(number == i);
    }
    // Once these are through, nothing is against vhost-net any more.
    suspended = bed.it.suspend().value();
    bed.resume(std::move(suspended), {.backend = offered ? backend_kind::vhost : backend_kind::automatic});
    CHECK(bed.it.backend() == (offered ? "vhost-net" : "worker"));
    CHECK(bed.to_kernel(0, 50, 1000) == "");
    CHECK(bed.from_kernel(50, 1000) == "");
  }
}

TEST_CASE("hand-over: more descriptors than one message carries") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = plain_config(backend_kind::worker, 64);
  config.wanted.queue_size = 16;
  config.worker.threads = 1;
  own_bed bed(*ns, std::move(config), {.buffers = 8192, .memory = {.shareable = true}});
  auto suspended = bed.it.suspend().value();
  REQUIRE(suspended.fds.size() == 2 + 64 * 5);
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const fd mine(ends[0]);
  const fd theirs(ends[1]);
  std::thread sender([&] { CHECK(suspended.send(mine.get())); });
  auto came = suspended_device::receive(theirs.get());
  sender.join();
  REQUIRE(came);
  CHECK(came->fds.size() == suspended.fds.size());
  resume_options how{.backend = backend_kind::worker};
  how.worker.threads = 1;
  bed.resume(std::move(*came), how);
  CHECK(bed.to_kernel(63, 100, 1000) == "");
  CHECK(bed.from_kernel(100, 1000) == "");
}

TEST_CASE("hand-over: descriptors and memory that are not what they should be") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  own_bed bed(*ns, plain_config(backend_kind::worker));
  const tap stranger = tap::open({.name = "vks%d", .netns_fd = ns->fd()}).value();
  auto suspended = bed.it.suspend().value();
  const auto region_of = [](std::size_t size) {
    const auto made = region::make(size, {.shareable = true}).value();
    return ::fcntl(made.fd(), F_DUPFD_CLOEXEC, 0);
  };
  const auto unsealed = [](std::size_t size) {
    const int made = ::memfd_create("test", MFD_CLOEXEC);  // may not be sealed
    CHECK(::ftruncate(made, static_cast<off_t>(size)) == 0);
    return made;
  };
  struct swap {
    std::size_t at;
    int with;
    const char* operation;
    const char* hint;
  };
  int pipes[2];
  REQUIRE(::pipe2(pipes, O_CLOEXEC) == 0);
  const swap swaps[] = {
      {0, region_of(4096), "region", "has 4096 bytes, needs"},
      {0, ::dup(pipes[0]), "F_GET_SEALS", "the sender must make it by memfd_create"},
      {1, region_of(1 << 20), "region", "has 1048576 bytes, needs"},
      {1, unsealed(64 << 20), "F_ADD_SEALS", "the sender must make it by memfd_create"},
      {1, ::eventfd(0, EFD_CLOEXEC), "F_GET_SEALS", "the sender must make it by memfd_create"},
      {2, ::eventfd(0, EFD_CLOEXEC), "TUNGETIFF", "it is no descriptor of /dev/net/tun"},
      {2, ::fcntl(stranger.fd(), F_DUPFD_CLOEXEC, 0), "resume", ", another interface"},
      {2, ::open("/dev/net/tun", O_RDWR | O_CLOEXEC), "TUNGETIFF", "no interface is attached to it"},
      {3, ::dup(pipes[1]), "eventfd", "it is no eventfd"},
      {6, ::open("/dev/zero", O_RDWR | O_CLOEXEC), "eventfd", "it is no eventfd"},
      {4, -1, "fcntl(F_DUPFD_CLOEXEC)", ""},
  };
  for (const swap& each : swaps) {
    CAPTURE(each.at, each.operation, each.hint);
    fd wrong(each.with);
    std::swap(suspended.fds[each.at], wrong);
    const auto refused = device::resume(std::move(suspended), {.backend = backend_kind::worker});
    REQUIRE_FALSE(refused);
    CAPTURE(refused.error().message());
    CHECK(refused.error().operation == each.operation);
    CHECK(refused.error().hint.find(each.hint) != std::string::npos);
    std::swap(suspended.fds[each.at], wrong);
  }
  ::close(pipes[0]);
  ::close(pipes[1]);
  // A state that does not go with the memory.
  auto& ring = suspended.state.pairs[0].tx.ring;
  ring.used += 1;
  CHECK(device::resume(std::move(suspended), {}).error().hint == "the ring shows another avail index");
  ring.used += 0xffff;
  suspended.state.source.buffers *= 2;
  CHECK(device::resume(std::move(suspended), {}).error().operation == "region");
  suspended.state.source.buffers /= 2;
  // None of that has done any harm.
  bed.resume(std::move(suspended), {.backend = backend_kind::worker});
  CHECK(bed.to_kernel(0, 100, 1000) == "");
  CHECK(bed.from_kernel(100, 1000) == "");
}

TEST_CASE("hand-over: what cannot be handed over is told") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  own_bed bed(*ns, plain_config(backend_kind::worker), {.buffers = 1024});
  CHECK(bed.it.suspend().error().hint ==
        "its source is private memory: make the pool with memory.shareable");
  CHECK(bed.to_kernel(0, 50, 1000) == "");

  own_bed other(*ns, plain_config(backend_kind::worker));
  // Memory of the application's own: a buffer of another pool would do, but is not in the table.
  frame one;
  REQUIRE(other.it.tx(0).allocate({&one, 1}) == 1);
  const segment piece{shared_pool.guest_base, 60};
  REQUIRE(other.it.tx(0).send(std::span(&piece, 1), {}, 5));
  one.reset();
  CHECK(other.it.suspend().error().hint.rfind("1 sends of segments are not collected", 0) == 0);
  std::uint64_t token = 0;
  REQUIRE(eventually([&] { return other.it.tx(0).finished({&token, 1}) == 1; }));
  CHECK(token == 5);
  auto suspended = other.it.suspend();
  REQUIRE(suspended);

  child forked([&](auto&& say) { say(bed.it.suspend().error().message()); });
  CHECK(forked.hear_all().find("it belongs to the process that opened it") != std::string::npos);
}

TEST_CASE("hand-over: the interface and nothing else outlives a device that nobody takes up") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const bool persist : {false, true}) {
    device_config config = plain_config(backend_kind::worker);
    config.persist = persist;
    own_bed bed(*ns, std::move(config));
    auto control = net_link::open(bed.it.name(), *ns).value();
    {
      const auto suspended = bed.it.suspend().value();
      CHECK(control.read());
    }
    CHECK(control.read().has_value() == persist);
    if (persist) CHECK(control.remove());
  }
}
