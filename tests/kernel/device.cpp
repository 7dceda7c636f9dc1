// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/device.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/faulty_sys.hpp"
#include "support/skip.hpp"

// What a device can be asked to be, what it says about itself, and how it refuses.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

// Of small buffers, to have it quickly; more of them than the usual ring holds.
std::shared_ptr<buffer_pool> small_pool() {
  return buffer_pool::make({.buffers = 600, .buffer_size = 2048}).value();
}

device_config in(const netns& ns) {
  device_config config;
  config.netns = path_of(ns);
  return config;
}

std::string refusal(device_config config, std::shared_ptr<buffer_pool> pool = small_pool()) {
  const auto opened = device::open(std::move(config), std::move(pool));
  return opened ? "opened " + opened->name() : opened.error().message();
}

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

// What `ip` says inside a namespace.
std::string ip(const netns& where, const std::string& arguments) {
  const std::string command = "nsenter --net=/proc/" + std::to_string(::getpid()) + "/fd/" +
                              std::to_string(where.fd()) + " ip " + arguments;
  std::string said;
  std::FILE* const out = ::popen(command.c_str(), "re");
  char part[512];
  while (out != nullptr && std::fgets(part, sizeof part, out) != nullptr) said += part;
  if (out != nullptr) ::pclose(out);
  return said;
}

const feature_decision& decision(const offload_plan& plan, std::string_view feature) {
  for (const feature_decision& each : plan.report) {
    if (each.feature == feature) return each;
  }
  static const feature_decision none;
  FAIL("no line for " << feature);
  return none;
}

// A namespace with a name, for as long as the test runs.
struct named_netns {
  std::string name = "vkt" + std::to_string(::getpid());
  bool made = std::system(("ip netns add " + name + " 2>/dev/null").c_str()) == 0;
  named_netns() = default;
  named_netns(const named_netns&) = delete;
  named_netns& operator=(const named_netns&) = delete;
  ~named_netns() {
    if (made) static_cast<void>(std::system(("ip netns del " + name).c_str()));
  }
};

}  // namespace

TEST_CASE("device: names, and one interface however many queues") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = small_pool();
  const auto open = [&](std::string name, std::uint16_t pairs) {
    device_config config = in(*ns);
    config.name = std::move(name);
    config.wanted.queue_pairs = pairs;
    config.wanted.queue_size = 16;
    return device::open(std::move(config), pool).value();
  };
  const auto first = open("vk%d", 4);
  CHECK(first.name() == "vk0");
  CHECK(first.queue_pairs() == 4);
  CHECK(interfaces(*ns) == 1);
  CHECK(decision(first.plan(), "mq").taken);
  const auto second = open("vk%d", 1);
  CHECK(second.name() == "vk1");
  CHECK(decision(second.plan(), "mq").reason == "the tap is not IFF_MULTI_QUEUE");
  CHECK(open("fifteen-letters", 1).name() == "fifteen-letters");
  CHECK(interfaces(*ns) == 2);
  CHECK(second.index() != first.index());
  const bool here = vhost_net::open().has_value();
  CHECK(second.backend() == (here ? "vhost-net" : "worker"));
  CHECK(second.backend_reason() ==
        (here ? std::string("it works here") : vhost_net::open().error().message()));
  CHECK(second.plan().queue_pairs == 1);
}

TEST_CASE("device: a single queue pair of a multi-queue interface") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto other =
      tap::open({.name = "several", .multi_queue = true, .netns_fd = ns->fd()}).value();
  device_config config = in(*ns);
  config.name = "several";
  CHECK(refusal(std::move(config)) ==
        "TUNSETIFF several: Invalid argument (it exists as multi-queue: open it with multi_queue)");
  config = in(*ns);
  config.name = "several";
  config.wanted.mq = want::required;
  CHECK(refusal(std::move(config)) == "opened several");
}

TEST_CASE("device: MAC, MTU and addresses are set, and told") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  device_config config = in(*ns);
  config.name = "vkset";
  config.mac = mac_address{0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
  config.wanted.mtu_bytes = 4000;
  config.addresses = {parse_ip_prefix("192.168.77.1/24").value(),
                      parse_ip_prefix("fd00:77::1/64").value()};
  auto it = device::open(std::move(config), small_pool()).value();
  CHECK(it.mac().value() == mac_address{0x02, 0x11, 0x22, 0x33, 0x44, 0x55});
  const link_state state = it.link().value();
  CHECK(state.mtu == 4000);
  CHECK(state.up);
  CHECK(state.mac == it.mac().value());
  CHECK(it.plan().mtu == 4000);
  const std::string addresses = ip(*ns, "-br addr show dev vkset");
  CHECK(addresses.find("192.168.77.1/24") != addresses.npos);
  CHECK(addresses.find("fd00:77::1/64") != addresses.npos);
  CHECK(it.add_address(parse_ip_prefix("192.168.78.1/24").value()));
  CHECK(ip(*ns, "-br addr show dev vkset").find("192.168.78.1/24") != std::string::npos);
}

TEST_CASE("device: it may stay down") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = in(*ns);
  config.up = false;
  auto it = device::open(std::move(config), small_pool()).value();
  CHECK_FALSE(it.link().value().up);
  CHECK(it.set_up(true));
  CHECK(it.link().value().up);
}

TEST_CASE("device: in a namespace by its name") {
  const named_netns ns;
  if (!ns.made) return skip("may not make named network namespaces");
  device_config config;
  config.netns = ns.name;
  auto it = device::open(std::move(config), small_pool()).value();
  CHECK(interfaces(netns::open(ns.name).value()) == 1);
  CHECK(it.link().value().up);
  config = {};
  config.netns = ns.name + "x";
  CHECK(refusal(std::move(config)) == "open /run/netns/" + ns.name +
                                          "x: No such file or directory (`ip netns list` shows "
                                          "the names, `ip netns add` makes one)");
}

TEST_CASE("device: a persistent interface outlives it, and a failure leaves none behind") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto persistent = [&] {
    device_config config = in(*ns);
    config.name = "vkstay";
    config.persist = true;
    config.owner = 65534;
    return config;
  };
  // Refused late: by the negotiation, the MTU, the threads.
  device_config config = persistent();
  config.wanted.packed = want::required;
  CHECK(refusal(std::move(config)) != "opened vkstay");
  CHECK(interfaces(*ns) == 0);
  config = persistent();
  config.wanted.mtu_bytes = 67;
  CHECK(refusal(std::move(config)) ==
        "negotiate mtu=67: Invalid argument (the tap takes 68 to 65521)");
  CHECK(interfaces(*ns) == 0);
  config = persistent();
  config.backend = backend_kind::worker;
  config.worker.cpus = {4095};
  CHECK(refusal(std::move(config)) ==
        "pthread_create worker 0 on CPU 4095: Invalid argument (needs a CPU that this process may "
        "run on: taskset -p shows them)");
  CHECK(interfaces(*ns) == 0);

  CHECK(refusal(persistent()) == "opened vkstay");
  CHECK(interfaces(*ns) == 1);
  CHECK(ip(*ns, "-d link show vkstay").find("persist on user ") != std::string::npos);
  CHECK(net_link::open("vkstay", *ns).value().remove());
}

TEST_CASE("device: queues that somebody else opened, in another namespace") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const std::uint16_t pairs : {std::uint16_t{1}, std::uint16_t{3}}) {
    const auto queues = tap::open_queues({.name = "vkgiven", .netns_fd = ns->fd()}, pairs).value();
    device_config config;
    config.wanted.queue_pairs = pairs;
    config.wanted.queue_size = 64;
    for (const tap& each : queues) {
      config.queue_fds.emplace_back(::fcntl(each.fd(), F_DUPFD_CLOEXEC, 0));
    }
    const auto pool = small_pool();
    device_bed bed(*ns, pool, device::open(std::move(config), pool).value());
    CHECK(bed.it.name() == "vkgiven");
    CHECK(bed.it.queue_pairs() == pairs);
    CHECK(bed.it.link().value().up);
    CHECK(bed.to_kernel(pairs - 1u, 50, 1000) == "");
    CHECK(bed.from_kernel(50, 1000) == "");
  }
  device_config config;
  config.wanted.queue_pairs = 2;
  config.queue_fds.emplace_back(::dup(0));
  CHECK(refusal(std::move(config)) ==
        "open 1 queue fds: Invalid argument (one for each of the 2 queue pairs)");
  config = {};
  config.queue_fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
  const std::string number = std::to_string(config.queue_fds[0].get());
  CHECK(refusal(std::move(config)).rfind("TUNGETIFF fd " + number, 0) == 0);
}

TEST_CASE("device: frames go from one to another on the same pool, without a copy") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make().value();
  const auto open = [&](bool mergeable) {
    device_config config = in(*ns);
    config.wanted.mergeable = mergeable ? want::required : want::off;
    config.wanted.offloads = wanted_offloads::all(want::off);
    return device::open(std::move(config), pool).value();
  };
  for (const bool mergeable : {true, false}) {
    auto from = open(mergeable);
    auto to = open(false);
    // 4000 bytes in two buffers, with mergeable ones.
    const std::size_t longest = mergeable ? 4000 : 1514;
    if (mergeable) {
      REQUIRE(from.set_mtu(4000));
      REQUIRE(to.set_mtu(4000));
    }
    tap_wire in_wire(*ns, from.index());
    tap_wire out_wire(*ns, to.index());
    for (std::uint32_t i = 0; i < 300; ++i) {
      const std::size_t size = i % 3 == 0 ? longest : 100 + i;
      REQUIRE(in_wire.send(numbered_frame(i, size)) == 0);
      frame burst[1];
      REQUIRE(eventually([&] { return from.rx(0).receive(burst) == 1; }));
      std::vector<const std::byte*> before;
      burst[0].for_each_segment([&](auto part) { before.push_back(part.data()); });
      CHECK(before.size() == (size > 2048 ? 2 : 1));
      for (const std::byte* const each : before) {
        const auto bytes = pool->regions()[0];
        CHECK((each >= bytes.host && each < bytes.host + bytes.size));
      }
      forward(std::span<frame>(burst));
      REQUIRE(to.tx(0).send(burst) == 1);
      std::int64_t out = -1;
      REQUIRE(eventually([&] { return (out = out_wire.next_number()) != -1; }));
      CHECK(out == i);
    }
    CHECK(to.tx_statistics(0).packets == 300);
    CHECK(from.rx_statistics(0).packets == 300);
  }
  CHECK(pool->available() == pool->size());
}

TEST_CASE("device: what was negotiated, and why not the rest") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config = in(*ns);
  config.wanted.mergeable = want::off;
  config.wanted.in_order = want::required;
  config.backend = backend_kind::worker;
  const auto it = device::open(std::move(config), small_pool()).value();
  const offload_plan& plan = it.plan();
  CHECK(plan.in_order);
  CHECK(decision(plan, "in-order").offered_by == "worker");
  CHECK(decision(plan, "version-1").taken);
  CHECK(decision(plan, "mergeable").reason == "not wanted");
  CHECK(decision(plan, "packed").reason == "not wanted");
  CHECK(decision(plan, "tso4-tx").taken);
  CHECK_FALSE(decision(plan, "tso4-rx").taken);
  CHECK(decision(plan, "tso4-rx").reason.find("that is not mergeable") != std::string::npos);
  CHECK(plan.tx.tso4);
  CHECK_FALSE(plan.rx.tso4);

  // A pool that could never hold a large frame.
  const auto few = buffer_pool::make({.buffers = 20}).value();
  config = in(*ns);
  const auto small = device::open(std::move(config), few).value();
  CHECK(decision(small.plan(), "tso4-rx").reason.find("do not fit into a ring of") !=
        std::string::npos);
}

TEST_CASE("device: packed rings are the worker's, and vhost-net has none") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  using packed_rings = basic_device<packed>;
  device_config config = in(*ns);
  config.wanted.queue_size = 100;
  const auto it = packed_rings::open(std::move(config), small_pool()).value();
  CHECK(it.backend() == "worker");
  const std::string why =
      "it offers no packed ring in any Linux kernel: leave the device to the worker";
  CHECK(it.backend_reason() == "open backend=vhost-net: Operation not supported (" + why + ')');
  CHECK(decision(it.plan(), "packed").text() == "packed: taken, offered by worker");
  CHECK(to_text(it.inspect_tx(0)).rfind("packed ring of 100, driver side", 0) == 0);
  config = in(*ns);
  config.backend = backend_kind::vhost;
  CHECK(packed_rings::open(std::move(config), small_pool()).error().hint == why);
}

TEST_CASE("device: what is required and cannot be had is refused, with the reason") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto with = [&](auto&& change) {
    device_config config = in(*ns);
    change(config);
    return refusal(std::move(config));
  };
  CHECK(with([](device_config& c) { c.wanted.packed = want::required; }) ==
        "negotiate packed: Operation not supported (worker offers no packed ring, as this is a "
        "device of split rings)");
  CHECK(with([](device_config& c) {
          c.backend = backend_kind::vhost;
          c.vhost.path = "/dev/vkring-none";
        }) ==
        "open /dev/vkring-none: No such file or directory (load the module with `modprobe "
        "vhost_net`; a container needs --device /dev/vhost-net)");
  CHECK(with([](device_config& c) {
          c.wanted.offloads = wanted_offloads::all(want::off);
          c.wanted.offloads.tso4 = want::required;
        }) == "negotiate tso4: Operation not supported (needs csum)");
  CHECK(with([](device_config& c) {
          c.wanted.offloads.ufo = want::required;
        }).rfind("negotiate ufo: Operation not supported (", 0) == 0);
  const std::string large = with([](device_config& c) {
    c.wanted.mergeable = want::off;
    c.wanted.offloads.tso4.rx = want::required;
  });
  CHECK(large.rfind("negotiate tso4-rx: Operation not supported (frames of 655", 0) == 0);
  CHECK(large.find("do not fit into a buffer of 2060 that is not mergeable)") != large.npos);
  CHECK(interfaces(*ns) == 0);
}

TEST_CASE("device: bad input is refused, with what is allowed") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto with = [&](auto&& change) {
    device_config config = in(*ns);
    change(config);
    return refusal(std::move(config));
  };
  for (const std::uint32_t size : {0u, 3u, 100u, 32769u, 65536u, 0xffff'ffffu}) {
    CHECK(with([&](device_config& c) { c.wanted.queue_size = size; }) ==
          "open queue-size=" + std::to_string(size) +
              ": Invalid argument (a split ring needs a power of two from 1 to 32768)");
  }
  for (const unsigned pairs : {0u, 257u, 65535u}) {
    CHECK(
        with([&](device_config& c) { c.wanted.queue_pairs = static_cast<std::uint16_t>(pairs); }) ==
        "open queues=" + std::to_string(pairs) + ": Invalid argument (from 1 to 256 queue pairs)");
  }
  CHECK(with([](device_config& c) { c.name = "sixteen-letters-"; }) ==
        "TUNSETIFF sixteen-letters-: Invalid argument (a name has at most 15 characters)");
  CHECK(with([](device_config& c) { c.name = "a%s"; }) ==
        "TUNSETIFF a%s: Invalid argument (a name has at most one %d, and no other %)");
  CHECK(with([](device_config& c) { c.name = "lo"; }) ==
        "TUNSETIFF lo: Invalid argument (an interface of that name exists and is no TUN or TAP: "
        "choose another name)");
  CHECK(with([](device_config& c) { c.netns = "/proc/self/status"; }) ==
        "netns /proc/self/status: Invalid argument (not a network namespace)");
  CHECK(with([](device_config& c) {
          c.mac = mac_address{1, 0, 0, 0, 0, 1};
        }).rfind("SIOCSIFHWADDR vkring0: Cannot assign requested address", 0) == 0);
  CHECK(with([](device_config& c) {
          c.wanted.mergeable = want::off;
          c.wanted.mtu_bytes = 9000;
        }).find("an MTU of 9000 needs") != std::string::npos);
  CHECK(refusal(in(*ns), nullptr) == "open source: Invalid argument (needs a source of buffers)");

  const auto tun = tap::open({.name = "atun", .mode = tap_mode::tun, .netns_fd = ns->fd()}).value();
  CHECK(with([](device_config& c) { c.name = "atun"; }) ==
        "TUNSETIFF atun: Invalid argument (it exists as a TUN, not as a TAP: open it as what it "
        "is, or choose another name)");
  const auto busy = tap::open({.name = "busy", .netns_fd = ns->fd()}).value();
  CHECK(with([](device_config& c) { c.name = "busy"; }) ==
        "TUNSETIFF busy: Device or resource busy (its only queue is in use: close the other user, "
        "or make it multi-queue)");
  CHECK(interfaces(*ns) == 2);
}

TEST_CASE("device: without /dev/net/tun") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  using faulty_device = basic_device<split, buffer_pool, faulty_sys>;
  faulty_device::config config;
  config.backend = backend_kind::worker;
  config.netns = path_of(*ns);
  fault_book::get().reset({.reason = ENOENT, .nth = 2, .call = "open"});
  const auto opened = faulty_device::open(std::move(config), small_pool());
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message() ==
        "open /dev/net/tun: No such file or directory (load the module with `modprobe tun`, then "
        "if need be `mknod /dev/net/tun c 10 200`; a container needs --device /dev/net/tun)");
  CHECK(fault_book::get().clean());
  fault_book::get().reset();
}

TEST_CASE("device: without any capability") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  // Made ready by somebody with more rights.
  mac_address mac;
  {
    const auto ready =
        tap::open({.name = "vkready", .owner = 65534, .persist = true, .netns_fd = ns->fd()});
    mac = ready.value().mac().value();
  }
  auto control = net_link::open("vkready", *ns).value();
  REQUIRE(control.set_up(true));
  REQUIRE(control.set_mtu(1400));

  const auto as_nobody = [&](auto&& make) {
    child other([&](auto&& say) {
      if (::setns(ns->fd(), CLONE_NEWNET) != 0 || !own_tun_node(0666) || !become(65534, 65534)) {
        return say("no rights to give away");
      }
      say(make());
    });
    return other.hear_all();
  };
  const std::string refused = as_nobody([] { return refusal({}); });
  if (refused == "no rights to give away") return skip("is not root");
  CHECK(refused ==
        "TUNSETIFF vkring%d: Operation not permitted (needs CAP_NET_ADMIN, or a persistent "
        "TAP that you own)");
  // What is set already needs no right to set it.
  CHECK(as_nobody([&] {
          device_config config;
          config.name = "vkready";
          config.wanted.mtu_bytes = 1400;
          config.mac = mac;
          auto it = device::open(std::move(config), small_pool());
          if (!it) return it.error().message();
          frame one;
          if (it->tx(0).allocate({&one, 1}) != 1) return std::string("no buffer");
          one.resize(60);
          if (it->tx(0).send({&one, 1}) != 1) return std::string("not sent");
          return eventually([&] { return it->tx(0).reclaim(), it->tx(0).ring().in_flight() == 0; })
                     ? it->name()
                     : std::string("not served");
        }) == "vkready");
  CHECK(as_nobody([&] {
          device_config config;
          config.name = "vkready";
          config.wanted.mtu_bytes = 1300;
          return refusal(std::move(config));
        }).rfind("set mtu 1300 vkready: Operation not permitted", 0) == 0);
  CHECK(control.remove());
}

TEST_CASE("device: an rx ring without buffers is told of, and nobody sleeps for long over it") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  device_config config;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_size = 16;
  device_bed bed(*ns, std::move(config), {.buffers = 64});
  std::array<buffer_handle, 64> rest;
  const std::size_t hoarded = bed.pool->take(rest);
  std::array<frame, 64> held;
  std::size_t count = 0;
  for (std::uint8_t i = 0; !bed.it.starved(0) && i < 100; ++i) {
    REQUIRE(bed.wire.send(numbered_frame(i, 60)) == 0);
    if (!bed.it.wait(10s)) break;
    count += bed.it.rx(0).receive(std::span(held).subspan(count));
  }
  CHECK(bed.it.starved(0));
  CHECK(count == 64 - hoarded);
  CHECK(bed.it.wait(-1ns));  // for ever, but not now
  bed.it.rx(0).recycle(held);
  CHECK(bed.it.rx(0).enable_call() == notification::safe_to_sleep);
  CHECK_FALSE(bed.it.starved(0));
  CHECK(eventually([&] { return !bed.it.wait(5ms); }));
  bed.pool->put(std::span(rest).first(hoarded));

  REQUIRE(bed.send(0, numbered_frame(0, 60)));
  CHECK(eventually(
      [&] { return bed.it.tx(0).reclaim(), bed.it.tx(0).ring().in_flight() == 0; }));
  CHECK(bed.it.tx_statistics(0).bytes == 60);
}
