// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/link.hpp"

#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "support/faulty_sys.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"

namespace {

using vkring::link_event;
using vkring::link_events;
using vkring::link_state;
using vkring::net_link;
using vkring::netns;
using vkring::parse_ip_prefix;
using vkring::test::fault_book;
using vkring::test::faulty_sys;
using vkring::test::skip;
using vkring::test::wait_readable;

constexpr short tap = 0x1002;  // IFF_TAP | IFF_NO_PI
constexpr short tun = 0x1001;  // IFF_TUN | IFF_NO_PI

// An interface in a namespace of its own; gone with the last of its descriptors.
struct fixture {
  std::optional<netns> where = vkring::test::private_netns();
  vkring::fd device;

  bool make(const char* name = "tap0", short kind = tap) {
    if (!where) return false;
    device = vkring::fd(where->run([&] { return attach(name, kind); }).value());
    return static_cast<bool>(device);
  }
  [[nodiscard]] net_link opened(const char* name = "tap0") const {
    return net_link::open(name, *where).value();
  }
  // A file of /proc/net as that namespace has it.
  [[nodiscard]] std::string net_file(const std::string& name) const {
    return where
        ->run([&] {
          std::stringstream text;
          text << std::ifstream("/proc/thread-self/net/" + name).rdbuf();
          return text.str();
        })
        .value();
  }

  static int attach(const char* name, short kind) {
    struct {
      std::array<char, 16> name{};
      short flags;
      std::array<char, 22> rest{};
    } request{{}, kind, {}};
    std::string_view(name).copy(request.name.data(), 15);
    const int opened = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (opened < 0 || ::ioctl(opened, 0x400454ca, &request) == 0) return opened;
    ::close(opened);
    return -1;
  }
};

constexpr std::string_view no_tap = "may not make a TAP in a network namespace";

// Reads events until one satisfies `wanted`; nothing when none does in time.
template <class Wanted>
std::optional<link_event> await(link_events& events, Wanted&& wanted) {
  for (;;) {
    auto event = events.read_event().value();
    if (event && wanted(*event)) return event;
    if (!event && !wait_readable(events.fd())) return std::nullopt;
  }
}

}  // namespace

TEST_CASE("link: settings are what the kernel then reports") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  net_link tap0 = f.opened();
  CHECK(tap0.index() > 0);
  const link_state before = tap0.read().value();
  CHECK(before.index == tap0.index());
  CHECK(before.name == "tap0");
  CHECK_FALSE(before.up);
  CHECK(before.mtu == 1500);

  const vkring::mac_address mac{2, 0, 0x5e, 0x10, 0, 1};
  REQUIRE(tap0.set_mac(mac));
  REQUIRE(tap0.set_mtu(9000));
  REQUIRE(tap0.set_tx_queue_length(77));
  REQUIRE(tap0.set_up(true));
  const link_state after = tap0.read().value();
  CHECK(after.mac == mac);
  CHECK(after.mtu == 9000);
  CHECK(after.tx_queue_length == 77);
  CHECK(after.up);
  CHECK((after.flags & 1) == 1);
  REQUIRE(tap0.set_up(false));
  CHECK_FALSE(tap0.read().value().up);
}

TEST_CASE("link: a TUN interface has no MAC") {
  fixture f;
  if (!f.make("tun0", tun)) return skip(no_tap);
  net_link tun0 = f.opened("tun0");
  CHECK_FALSE(tun0.read().value().mac);
  CHECK_FALSE(tun0.set_mac({2, 0, 0, 0, 0, 1}));
}

TEST_CASE("link: addresses with their networks, once or twice, and gone again") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  net_link tap0 = f.opened();
  REQUIRE(tap0.set_up(true));
  const auto v4 = parse_ip_prefix("192.168.7.1/24").value();
  const auto v6 = parse_ip_prefix("fd00:7::1/64").value();
  REQUIRE(tap0.add_address(v4));
  CHECK(tap0.add_address(v4));
  CHECK_THAT(f.net_file("fib_trie"),
             Catch::Contains("192.168.7.1") && Catch::Contains("192.168.7.0/24"));
  const bool has_v6 = !f.net_file("if_inet6").empty();
  if (has_v6) {
    REQUIRE(tap0.add_address(v6));
    CHECK(tap0.add_address(v6));
    CHECK_THAT(f.net_file("if_inet6"), Catch::Contains("fd000007000000000000000000000001 " + [&] {
                 char index[8];
                 std::snprintf(index, sizeof index, "%02x", tap0.index());
                 return std::string(index);
               }() + " 40 "));
    CHECK(tap0.remove_address(v6));
    CHECK_THAT(f.net_file("if_inet6"), !Catch::Contains("fd000007"));
  }
  CHECK(tap0.remove_address(v4));
  CHECK_THAT(f.net_file("fib_trie"), !Catch::Contains("192.168.7.1"));
  const auto again = tap0.remove_address(v4);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == std::errc::address_not_available);
  CHECK_THAT(again.error().message(), Catch::StartsWith("remove address 192.168.7.1/24 tap0: "));
}

TEST_CASE("link: counters, from the kernel's point of view") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  net_link tap0 = f.opened();
  REQUIRE(tap0.set_up(true));
  REQUIRE(tap0.add_address(parse_ip_prefix("192.168.7.1/24").value()));

  std::array<std::uint8_t, 60> frame{};
  std::fill_n(frame.begin(), 6, std::uint8_t{0xff});
  frame[6] = 2;
  REQUIRE(::write(f.device.get(), frame.data(), frame.size()) == 60);
  REQUIRE(::write(f.device.get(), frame.data(), frame.size()) == 60);
  auto counted = tap0.read().value().counters;
  CHECK(counted.rx_packets == 2);
  CHECK(counted.rx_bytes == 2 * 60);
  CHECK(counted.rx_errors == 0);

  // Whatever the kernel sends, its counters follow what is read; an ARP request comes for certain.
  REQUIRE(f.where
              ->run([] {
                const vkring::fd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
                sockaddr_in to{};
                to.sin_family = AF_INET;
                to.sin_port = htons(9);
                to.sin_addr.s_addr = htonl(0xc0a80702);
                return ::sendto(sender.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to),
                                sizeof to) == 1;
              })
              .value());
  REQUIRE(wait_readable(f.device.get()));
  std::array<std::uint8_t, 2048> received{};
  const auto size = ::read(f.device.get(), received.data(), received.size());
  REQUIRE(size > 0);
  counted = tap0.read().value().counters;
  CHECK(counted.tx_packets == 1);
  CHECK(counted.tx_bytes == static_cast<std::uint64_t>(size));
}

TEST_CASE("link: a name that no interface has or can have") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  CHECK(net_link::open("tap1", *f.where).error().message() == "interface tap1: No such device");
  const std::string name =
      GENERATE(as<std::string>(), "", "sixteen-letters-", "a/b", std::string("a\0b", 3));
  CHECK(net_link::open(name, *f.where).error().code == std::errc::invalid_argument);
  CHECK_FALSE(net_link::open("tap0"));  // it is not in the caller's namespace
}

TEST_CASE("link: the kernel's explanation of a refusal is in the hint") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  net_link tap0 = f.opened();
  const auto refused = tap0.set_mtu(20);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().operation == "set mtu 20");
  CHECK(refused.error().code == std::errc::invalid_argument);
  CHECK_THAT(refused.error().hint, Catch::Contains("mtu"));
  CHECK(tap0.set_mac({1, 0, 0, 0, 0, 1}).error().code == std::errc::address_not_available);
  CHECK(tap0.read().value().mtu == 1500);  // the socket still works
}

TEST_CASE("link: without the capability nothing is changed, and the hint says so") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  net_link tap0 = f.opened();
  std::string refusal;
  std::thread([&] {
    struct {
      std::uint32_t version = 0x20080522;
      int pid = 0;
    } header;
    const std::array<std::uint32_t, 6> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) return;
    if (const auto refused = tap0.set_up(true); !refused) refusal = refused.error().message();
  }).join();
  CHECK(refusal ==
        "set up tap0: Operation not permitted (needs CAP_NET_ADMIN in the interface's network "
        "namespace)");
  CHECK(tap0.read());
}

TEST_CASE("link: deleted, by itself or with its last descriptor") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  net_link tap0 = f.opened();
  if (GENERATE(false, true)) {
    REQUIRE(tap0.remove());
  } else {
    REQUIRE(f.device.close());
  }
  CHECK(tap0.read().error().code == std::errc::no_such_device);
  CHECK(tap0.set_up(true).error().message() == "set up tap0: No such device");
}

TEST_CASE("link: over a socket that somebody else opened") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  vkring::fd socket(
      f.where->run([] { return ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0); }).value());
  net_link tap0 = net_link::open("tap0", vkring::netlink(std::move(socket))).value();
  CHECK(tap0.set_mtu(1400));
  CHECK(f.opened().read().value().mtu == 1400);
}

TEST_CASE("link: events from making to deleting") {
  fixture f;
  if (!f.where) return skip(no_tap);
  link_events events = link_events::open(*f.where).value();
  CHECK_FALSE(events.read_event().value());
  if (!f.make()) return skip(no_tap);

  const auto made = await(events, [](const link_event& e) { return e.state.name == "tap0"; });
  REQUIRE(made);
  CHECK(made->kind == link_event::what::changed);
  CHECK_FALSE(made->state.up);
  const int index = made->state.index;

  net_link tap0 = f.opened();
  CHECK(tap0.index() == index);
  REQUIRE(tap0.set_mtu(1300));
  REQUIRE(tap0.set_up(true));
  const auto running =
      await(events, [&](const link_event& e) { return e.state.index == index && e.state.up; });
  REQUIRE(running);
  CHECK(running->state.carrier);
  CHECK(running->state.mtu == 1300);

  int carrier = 0;
  REQUIRE(::ioctl(f.device.get(), 0x400454e2, &carrier) == 0);  // TUNSETCARRIER
  const auto unplugged = await(
      events, [&](const link_event& e) { return e.state.index == index && !e.state.carrier; });
  REQUIRE(unplugged);
  CHECK(unplugged->state.up);
  CHECK(unplugged->state.operational == vkring::oper_state::down);

  REQUIRE(tap0.set_up(false));
  CHECK(await(events, [&](const link_event& e) { return e.state.index == index && !e.state.up; }));
  REQUIRE(f.device.close());
  const auto removed =
      await(events, [&](const link_event& e) { return e.kind == link_event::what::removed; });
  REQUIRE(removed);
  CHECK(removed->state.index == index);
}

TEST_CASE("link: events that were lost are reported as lost, and the rest still come") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  link_events events = link_events::open(*f.where).value();
  net_link tap0 = f.opened();
  // More than the socket holds.
  for (std::uint32_t i = 0; i < 2000; ++i) REQUIRE(tap0.set_mtu(1280 + i % 2));
  CHECK(await(events, [](const link_event& e) { return e.kind == link_event::what::lost; }));
  REQUIRE(tap0.set_mtu(1500));
  CHECK(await(events, [](const link_event& e) { return e.state.mtu == 1500; }));
}

TEST_CASE("link: each system call, failing") {
  fixture f;
  if (!f.make()) return skip(no_tap);
  const int reason = GENERATE(EPERM, ENOBUFS, EMFILE);
  const auto steps = [&]() -> vkring::result<void> {
    auto where = vkring::basic_netns<faulty_sys>::from_fd(
        vkring::basic_fd<faulty_sys>(faulty_sys::fcntl(f.where->fd(), F_DUPFD_CLOEXEC)));
    if (!where) return vkring::fail(where.error());
    auto tap0 = vkring::basic_link<faulty_sys>::open("tap0", *where);
    if (!tap0) return vkring::fail(tap0.error());
    if (auto set = tap0->set_mtu(1400); !set) return set;
    auto events = vkring::basic_link_events<faulty_sys>::open(*where);
    if (!events) return vkring::fail(events.error());
    return {};
  };
  fault_book::get().reset();
  REQUIRE(steps());
  CHECK(fault_book::get().clean());
  const auto calls = fault_book::get().trace();
  for (std::size_t n = 2; n <= calls.size(); ++n) {
    fault_book::get().reset({reason, n});
    const auto done = steps();
    INFO(n << " " << calls[n - 1]);
    CHECK(fault_book::get().refused() == 1);
    CHECK(fault_book::get().clean());
    // Older kernels lack the socket options, and nobody is told about a close.
    CHECK(done.has_value() == (calls[n - 1] == "setsockopt" || calls[n - 1] == "close"));
  }
  for (const char* const call : {"sendto", "recvfrom"}) {
    fault_book::get().reset({EINTR, 1, call, 0, 2});
    CHECK(steps());
    CHECK(fault_book::get().refused() == 2);
  }
}

TEST_CASE("link events: only that one interface is gone, if that is all one wants to know") {
  fixture f;
  if (!f.make("vk1")) return skip("may not make network namespaces");
  vkring::fd other(f.where->run([] { return fixture::attach("vk2", tap); }).value());
  net_link mine = f.opened("vk1");
  link_events events = link_events::open(*f.where).value();
  REQUIRE(events.only_removal_of(mine.index()));
  while (events.read_event().value()) {
  }
  REQUIRE(f.opened("vk2").set_up(true));
  REQUIRE(mine.set_up(true));
  REQUIRE(mine.set_mtu(1000));
  other = {};
  CHECK_FALSE(events.read_event().value());
  f.device = {};
  CHECK(wait_readable(events.fd()));
  const auto event = events.read_event().value();
  REQUIRE(event);
  CHECK(event->kind == link_event::what::removed);
  CHECK(event->state.name == "vk1");
  CHECK_FALSE(events.read_event().value());
}
