// SPDX-License-Identifier: BSD-3-Clause
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/flow_frame.hpp"
#include "support/packets.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"
#include "vkring/memory/buffer_arena.hpp"

// What DPDK's virtio-user (22.11 to 26.07) gets wrong on the same kernel interfaces, one test for
// each: here it is right.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

// What a program says in a namespace.
std::string said_in(const netns& where, const std::string& command) {
  std::string said;
  std::FILE* const out = ::popen(("nsenter --net=/proc/" + std::to_string(::getpid()) + "/fd/" +
                                  std::to_string(where.fd()) + " " + command)
                                     .c_str(),
                                 "re");
  char part[512];
  while (out != nullptr && std::fgets(part, sizeof part, out) != nullptr) said += part;
  if (out != nullptr) ::pclose(out);
  return said;
}

std::string refusal(const netns& ns, device_config config) {
  const auto opened =
      device::open(device_bed::in(ns, std::move(config)), buffer_pool::make().value());
  return opened ? "opened" : opened.error().message();
}

}  // namespace

TEST_CASE("virtio-user defects: in-order use does not damage frames over several buffers") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = vhost_config();
  config.wanted.in_order = want::preferred;  // kernels since 6.18 have it
  config.wanted.mergeable = want::required;
  config.wanted.mtu_bytes = 9000;
  config.wanted.offloads.csum = config.wanted.offloads.tso4 = want::required;
  device_bed bed(*ns, std::move(config), {}, ipv4, true);
  CHECK(bed.it.plan().in_order == bed.it.plan().backend_features.contains(feature::in_order));
  random_source source(1);
  for (int i = 0; i < 200; ++i) {
    CAPTURE(i);
    // A datagram of four buffers, one of one, and a segment as the kernel's TCP makes them.
    const std::array<packet_recipe, 3> recipes = {{{.tcp = false, .payload = 8000},
                                                   {.tcp = false, .payload = 100},
                                                   {.tcp = true, .payload = 60'000}}};
    for (const packet_recipe& recipe : recipes) {
      const built_packet packet = build(recipe, source);
      const virtio_net_hdr header =
          header_for(recipe, packet, recipe.tcp ? std::uint16_t{1448} : std::uint16_t{0});
      REQUIRE(bed.wire.send(packet.frame, header) == 0);
      std::optional<tap_wire::received> got;
      REQUIRE(eventually([&] { return (got = bed.receive(0)).has_value(); }));
      REQUIRE(got->frame.size() == packet.frame.size());
      REQUIRE(got->frame == packet.frame);
      REQUIRE(got->header.gso_size == header.gso_size);
    }
  }
  CHECK(bed.it.health()[0].good());
}

TEST_CASE("virtio-user defects: no flow dies in a queue pair that is off, whichever are on") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  constexpr std::size_t pairs = 4;
  constexpr std::uint32_t flows = 64;
  constexpr std::uint32_t frames = flows * 5;
  device_bed bed(*ns, vhost_config(pairs), {}, ipv4);
  for (unsigned subset = 1; subset < 1u << pairs; ++subset) {
    CAPTURE(subset);
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      REQUIRE(bed.it.set_enabled(pair, (subset >> pair & 1) != 0));
    }
    std::set<std::uint32_t> came;
    const auto look = [&] {
      for (std::size_t pair = 0; pair < pairs; ++pair) {
        while (const auto got = bed.receive(pair)) came.insert(flow_number(got->frame));
      }
    };
    for (std::uint32_t i = 0; i < frames; ++i) {
      REQUIRE(bed.wire.send(flow_frame(static_cast<std::uint16_t>(i % flows), i)) == 0);
    }
    CHECK(eventually([&] { return look(), came.size() == frames; }));
  }
}

TEST_CASE("virtio-user defects: vhost-net's threads run where they are told, not where the caller does") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  ::cpu_set_t all;
  REQUIRE(::sched_getaffinity(0, sizeof all, &all) == 0);
  if (CPU_COUNT(&all) < 2) return skip("one CPU only");
  ::cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  REQUIRE(::sched_setaffinity(0, sizeof first, &first) == 0);
  device_config config = vhost_config(2);
  config.vhost.cpus = {1, 0};
  {
    device_bed bed(*ns, std::move(config));
    for (const std::size_t pair : {0u, 1u}) {
      ::cpu_set_t its;
      REQUIRE(::sched_getaffinity(bed.it.vhost_thread(pair), sizeof its, &its) == 0);
      CHECK(CPU_COUNT(&its) == 1);
      CHECK(CPU_ISSET(1 - pair, &its));
      CHECK(bed.to_kernel(pair, 50, 500) == "");
    }
  }
  CHECK(::sched_setaffinity(0, sizeof all, &all) == 0);
}

TEST_CASE("virtio-user defects: the interface offloads what was agreed upon, and nothing else") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  struct row {
    const char* offloads;
    const char* on;
  };
  // The first of them is the recipe for LRO that needs a checksum that nobody asks for.
  for (const char* lacking : {"tso4-rx+tso6-rx", "tso4"}) {
    device_config config = vhost_config();
    config.wanted.offloads = parse_offloads(lacking).value();
    CHECK(refusal(*ns, std::move(config)).find("needs csum") != std::string::npos);
  }
  const std::array features = {"tx-checksum-ip-generic", "tx-tcp-segmentation",
                               "tx-tcp-ecn-segmentation", "tx-tcp6-segmentation",
                               "tx-udp-segmentation"};
  const row rows[] = {{"none", "-----"},
                      {"csum", "c----"},
                      {"csum+tso4", "c4---"},
                      {"csum+tso6", "c--6-"},
                      {"csum+tso4+tso6+ecn", "c4e6-"},
                      {"csum-tx", "-----"},
                      {"csum+tso4+tso6+uso", "c4-6u"}};
  for (const row& each : rows) {
    CAPTURE(each.offloads);
    device_config config = vhost_config();
    config.wanted.offloads = parse_offloads(each.offloads).value();
    auto opened =
        device::open(device_bed::in(*ns, std::move(config)), buffer_pool::make().value());
    if (!opened) {
      // Linux 6.1 has no USO, and says so.
      CHECK(opened.error().message().find("uso") != std::string::npos);
      CHECK(running_kernel<posix>() < kernel_version{6, 2});
      continue;
    }
    const std::string said = said_in(*ns, "ethtool -k " + opened->name());
    for (std::size_t i = 0; i < features.size(); ++i) {
      CAPTURE(features[i]);
      const std::string state = each.on[i] == '-' ? ": off" : ": on";
      CHECK(said.find(features[i] + state) != std::string::npos);
    }
  }
}

TEST_CASE("virtio-user defects: the MAC stays, whether it was given or not") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make().value();
  std::set<std::string> seen;
  for (const char* offloads : {"none", "auto", "csum", "none"}) {
    device_config config = device_bed::in(*ns, vhost_config());
    config.name = "vkstay";
    config.persist = true;
    config.wanted.offloads = parse_offloads(offloads).value();
    auto it = device::open(std::move(config), pool).value();
    seen.insert(mac_text(it.mac().value()));
    CHECK(it.mac().value() == it.link().value().mac);
  }
  CHECK(seen.size() == 1);  // the kernel's choice, made once
  const mac_address mine{2, 0, 0, 0, 0, 7};
  for (int i = 0; i < 3; ++i) {
    device_config config = device_bed::in(*ns, vhost_config());
    config.mac = mine;
    auto it = device::open(std::move(config), pool).value();
    CHECK(it.link().value().mac == mine);
  }
}

TEST_CASE("virtio-user defects: MAC, MTU, carrier and link state are the interface's, both ways") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_bed bed(*ns, vhost_config());
  auto kernel = net_link::open(bed.it.name(), *ns).value();
  auto events = link_events::open(*ns).value();
  // What happened to the interface last, as an application that waits for it sees it.
  const auto told = [&](auto&& is_right) {
    return eventually([&] {
      for (auto event = events.read_event(); event && *event; event = events.read_event()) {
        if ((*event)->state.index == bed.it.index() && is_right((*event)->state)) return true;
      }
      return false;
    });
  };
  const mac_address given{2, 0, 0, 0, 0, 8};
  REQUIRE(bed.it.set_mac(given));
  CHECK(kernel.read().value().mac == given);
  CHECK(bed.it.mac().value() == given);
  const mac_address theirs{2, 0, 0, 0, 0, 9};
  REQUIRE(kernel.set_mac(theirs));
  CHECK(bed.it.mac().value() == theirs);

  REQUIRE(bed.it.set_mtu(1400));
  CHECK(kernel.read().value().mtu == 1400);
  REQUIRE(kernel.set_mtu(1300));
  CHECK(bed.it.link().value().mtu == 1300);
  CHECK(told([](const link_state& now) { return now.mtu == 1300; }));

  CHECK(bed.it.link().value().carrier);
  REQUIRE(bed.it.set_carrier(false));
  CHECK_FALSE(kernel.read().value().carrier);
  CHECK(eventually([&] { return kernel.read().value().operational == oper_state::down; }));
  REQUIRE(bed.it.set_carrier(true));
  CHECK(kernel.read().value().carrier);

  REQUIRE(kernel.set_up(false));
  CHECK_FALSE(bed.it.link().value().up);
  CHECK(told([](const link_state& now) { return !now.up; }));
  REQUIRE(kernel.set_up(true));
  CHECK(bed.it.link().value().up);
  CHECK(told([](const link_state& now) { return now.up; }));
  CHECK(bed.to_kernel(0, 100, 1000) == "");
  CHECK(bed.from_kernel(100, 1000) == "");
}

TEST_CASE("virtio-user defects: any memory works once the device knows it, and no other does") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  constexpr std::size_t bytes = 4 << 20;
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  {
    const auto mine = std::make_shared<registered_memory>(
        std::span(static_cast<std::byte*>(at), bytes), 2048, std::uint64_t{1} << 36);
    auto it = basic_device<split, registered_memory>::open(
                  device_bed::in(*ns, vhost_config()), mine)
                  .value();
    tap_wire wire(*ns, it.index());
    for (std::uint32_t i = 0; i < 100; ++i) {
      basic_frame<registered_memory> one;
      const frame_bytes content = numbered_frame(i, 500);
      REQUIRE(it.tx(0).allocate({&one, 1}) == 1);
      REQUIRE(one.resize(500));
      std::copy(content.begin(), content.end(), one.contiguous().begin());
      REQUIRE(eventually([&] { return it.tx(0).send({&one, 1}) == 1; }));
      std::int64_t number = -1;
      REQUIRE(eventually([&] { return (number = wire.next_number()) != -1; }));
      REQUIRE(number == i);
      REQUIRE(wire.send(content) == 0);
      REQUIRE(eventually([&] { return it.rx(0).receive({&one, 1}) == 1; }));
      REQUIRE(number_of(one.contiguous()) == i);
      it.rx(0).recycle({&one, 1});
    }
    const frame_bytes elsewhere = numbered_frame(1, 500);
    const segment part{reinterpret_cast<std::uintptr_t>(elsewhere.data()), 500};
    CHECK(it.tx(0).send({&part, 1}, {}, 1));
    REQUIRE(it.tx_statistics(0).drops.size() == 1);
    CHECK(it.tx_statistics(0).drops[0].reason == "unreachable");
    CHECK(it.health()[0].good());
  }
  ::munmap(at, bytes);
}

TEST_CASE("virtio-user defects: a %d with several queues is one interface, and no queue is none") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = device_bed::in(*ns, vhost_config(2));
  config.name = "foo%d";
  const auto it = device::open(std::move(config), buffer_pool::make().value()).value();
  CHECK(it.name() == "foo0");
  CHECK(it.queue_pairs() == 2);
  CHECK(said_in(*ns, "ip -o link show").find("foo1") == std::string::npos);
  CHECK(refusal(*ns, vhost_config(0)) ==
        "open queues=0: Invalid argument (from 1 to 256 queue pairs)");
}

TEST_CASE("virtio-user defects: events, error reports and busy polling are there") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = vhost_config();
  config.wanted.event_idx = want::required;
  config.vhost.busyloop = {50us, 50us};
  device_bed bed(*ns, std::move(config));
  CHECK(bed.it.plan().event_idx);
  CHECK_FALSE(is_readable(bed.it.error_fd()));
  CHECK(bed.to_kernel(0, 100, 1000) == "");
}

TEST_CASE("virtio-user defects: a program that is started gets no descriptor of the device") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  // What a shell hands on, line by line.
  const auto inherited = [] {
    std::set<std::string> found;
    std::FILE* const out = ::popen("ls -l /proc/self/fd", "re");
    char line[512];
    while (out != nullptr && std::fgets(line, sizeof line, out) != nullptr) found.insert(line);
    if (out != nullptr) ::pclose(out);
    return found;
  };
  const device_bed bed(*ns, vhost_config(2));
  for (const std::string& each : inherited()) {
    CAPTURE(each);
    CHECK(each.find("vhost-net") == std::string::npos);
    CHECK(each.find("/net/tun") == std::string::npos);
    CHECK(each.find("event") == std::string::npos);
    CHECK(each.find("memfd") == std::string::npos);
  }
}

TEST_CASE("virtio-user defects: a start that fails is an error, and leaves nothing") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = vhost_config();
  config.vhost.path = "/dev/null";
  CHECK(refusal(*ns, std::move(config)) == "VHOST_GET_FEATURES /dev/null: Invalid argument (it is no vhost device)");
  config = vhost_config();
  config.vhost.path = "/dev/vkring-none";
  CHECK(refusal(*ns, std::move(config)).find("No such file or directory") != std::string::npos);
  config = vhost_config();
  config.wanted.queue_size = 100;
  CHECK(refusal(*ns, std::move(config)).find("power of two") != std::string::npos);
  CHECK(said_in(*ns, "ip -o link show").find("vkt") == std::string::npos);
}
