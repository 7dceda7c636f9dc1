// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/tap.hpp"

#include <netinet/in.h>
#include <sys/utsname.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/bpf.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"

// What an open queue can be asked and told: each ioctl, its refusals, and its effect on frames.

using namespace vkring;
using test::load_constant;
using test::no_bpf;
using test::private_netns;
using test::skip;

namespace {

constexpr const char* no_netns = "may not make network namespaces";
constexpr unsigned long siocgifflags = 0x8913;
constexpr unsigned long siocsifflags = 0x8914;
constexpr unsigned up = 0x1;
constexpr unsigned running = 0x40;

unsigned interface_flags(const netns& ns, const std::string& name, unsigned also = 0) {
  return ns
      .run([&]() -> unsigned {
        const fd socket(::socket(AF_UNIX, SOCK_DGRAM, 0));
        tun_abi::ifreq request;
        name.copy(request.name, sizeof request.name - 1);
        ::ioctl(socket.get(), siocgifflags, &request);
        if (also != 0) {
          request.flags = static_cast<std::uint16_t>(request.flags | also);
          ::ioctl(socket.get(), siocsifflags, &request);
        }
        return request.flags;
      })
      .value();
}

using frame_bytes = std::array<std::uint8_t, 60>;

frame_bytes frame_to(const mac_address& destination, std::uint8_t mark) {
  frame_bytes frame{};
  std::copy(destination.begin(), destination.end(), frame.begin());
  frame[6] = 0x02;
  frame[12] = 0x88;  // EtherType for local experiments
  frame[13] = 0xb5;
  frame[14] = mark;
  return frame;
}

// Hands a frame to the interface, as the kernel's stack would.
bool transmit(const netns& ns, const tap& on, const frame_bytes& frame) {
  const fd socket(ns.run([] { return ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); }).value());
  struct {  // struct sockaddr_ll
    std::uint16_t family = AF_PACKET;
    std::uint16_t protocol = 0;
    int index = 0;
    std::uint8_t rest[12] = {};
  } to;
  to.index = static_cast<int>(on.index().value());
  return ::sendto(socket.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&to),
                  sizeof to) > 0;
}

// The mark of the next frame of our EtherType on a queue; -1 if there is none. What the kernel
// sends on its own (IPv6 router solicitations) is passed over.
int next_mark(const tap& queue) {
  std::array<std::uint8_t, 2048> buffer;
  for (ssize_t got; (got = ::read(queue.fd(), buffer.data(), buffer.size())) > 0;) {
    const auto* const frame = buffer.data() + queue.header_size().value();
    if (frame[12] == 0x88 && frame[13] == 0xb5) return frame[14];
  }
  return -1;
}

// 602 for 6.2.
int kernel_release() {
  utsname about{};
  ::uname(&about);
  int major_number = 0;
  int minor_number = 0;
  std::sscanf(about.release, "%d.%d", &major_number, &minor_number);
  return 100 * major_number + minor_number;
}

constexpr mac_address broadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

}  // namespace

TEST_CASE("tap: header size") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  for (const int bytes : {10, 12, 24}) {
    CHECK(tap.set_header_size(bytes));
    CHECK(tap.header_size().value() == bytes);
  }
  for (const int bytes : {9, 0, -1}) {
    CHECK(tap.set_header_size(bytes).error().message() ==
          "TUNSETVNETHDRSZ tap0: Invalid argument (a header has 10, 12 or 24 bytes)");
  }
  CHECK(tap.header_size().value() == 24);
}

TEST_CASE("tap: no limit on what is under way, but on a TUN always one") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  CHECK(tap.sndbuf().value() == INT_MAX);
  CHECK(tap.set_sndbuf(1 << 20));
  CHECK(tap.sndbuf().value() == 1 << 20);
  CHECK(tap.set_sndbuf(INT_MAX));
  for (const int bytes : {5, 0, -1}) {
    CHECK(tap.set_sndbuf(bytes).error().message() ==
          "TUNSETSNDBUF tap0: Invalid argument (needs 6 bytes or more)");
  }

  const auto tuns = tap::open_queues({.mode = tap_mode::tun, .netns_fd = ns->fd()}, 2).value();
  for (const auto& tun : tuns) {
    CHECK(tun.sndbuf().value() == INT_MAX - 1);
    CHECK(tun.set_sndbuf(INT_MAX).error().message() ==
          "TUNSETSNDBUF tun0: Invalid argument (a TUN needs a limit below INT_MAX, without one "
          "vhost-net cuts packets)");
  }
  CHECK(tuns[0].set_sndbuf(4096));
  CHECK(tuns[1].sndbuf().value() == 4096);

  CHECK(tuns[0].open_queue().value().sndbuf().value() == 4096);
  CHECK(tap.open_queue().error().code.value() == ENOTSUP);
  const auto limited = tap::open_queues(
      {.limit = send_limit(5000), .netns_fd = ns->fd()}, 3).value();
  for (const auto& each : limited) CHECK(each.sndbuf().value() == 5000);
  const auto vast = tap::open({.limit = send_limit(~0u), .netns_fd = ns->fd()}).value();
  CHECK(vast.sndbuf().value() == INT_MAX - 1);
  const auto tight = tap::open({.limit = send_limit(0), .netns_fd = ns->fd()}).value();
  CHECK(tight.sndbuf().value() == send_limit::least);

  tun_abi::ifreq request;
  request.flags = tun_abi::iff_tun | tun_abi::iff_no_pi | tun_abi::iff_vnet_hdr;
  fd given(ns->run([] { return ::open("/dev/net/tun", O_RDWR); }).value());
  REQUIRE(::ioctl(given.get(), tun_abi::tunsetiff, &request) == 0);
  const auto taken = tap::from_fd(std::move(given), {.mode = tap_mode::tun}).value();
  CHECK(taken.sndbuf().value() == INT_MAX - 1);
}

TEST_CASE("tap: offloads are taken and refused by the kernel's rules") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  const bool uso = kernel_release() >= 602;
  const bool tunnel = kernel_release() >= 617;
  const std::pair<std::uint32_t, bool> cases[] = {
      {0x000, true},  {0x001, true},   {0x002, false},  {0x003, true},   {0x005, true},
      {0x007, true},  {0x009, false},  {0x00b, true},   {0x00d, true},   {0x010, false},
      {0x011, true},  {0x01f, true},   {0x021, false},  {0x041, false},  {0x060, false},
      {0x061, uso},   {0x081, false},  {0x083, tunnel}, {0x0e1, tunnel}, {0x101, false},
      {0x103, false}, {0x183, tunnel}, {0x1ff, tunnel}, {0x200, false},  {0x201, false}};
  for (const auto& [bits, taken] : cases) {
    CAPTURE(bits);
    const auto done = tap.set_offloads(bits);
    CHECK(done.has_value() == taken);
    if (!done) {
      CHECK(done.error().code.value() == EINVAL);
      CHECK(done.error().hint.find("need csum") != std::string::npos);
    }
  }
}

TEST_CASE("tap: probing finds the largest set that the kernel takes") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  const std::uint32_t all = kernel_release() >= 617   ? 0x1ff
                            : kernel_release() >= 602 ? 0x07f
                                                      : 0x01f;
  CHECK(tap.probe_offloads().value() == all);
  CHECK(tap.probe_offloads(~0U).value() == all);
  CHECK(tap.probe_offloads(0).value() == 0);
  CHECK(tap.probe_offloads(0x06).value() == 0);
  CHECK(tap.probe_offloads(0x09).value() == 0x01);
  CHECK(tap.probe_offloads(0x0b).value() == 0x0b);
  CHECK(tap.probe_offloads(0x21).value() == 0x01);
  CHECK(tap.probe_offloads(0x103).value() == 0x03);
}

TEST_CASE("tap: the MAC is read and set, and a TUN has none") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  CHECK_FALSE(is_multicast(tap.mac().value()));
  const mac_address mine{0x02, 0x00, 0x5e, 0x10, 0x20, 0x30};
  CHECK(tap.set_mac(mine));
  CHECK(tap.mac().value() == mine);
  for (const mac_address& bad : {broadcast, mac_address{0x01, 0, 0x5e, 0, 0, 1}, mac_address{}}) {
    CHECK(tap.set_mac(bad).error().message() ==
          "SIOCSIFHWADDR tap0: Cannot assign requested address (needs an individual address: "
          "first octet even, not all zeros)");
  }
  CHECK(tap.mac().value() == mine);

  const auto tun = tap::open({.mode = tap_mode::tun, .netns_fd = ns->fd()}).value();
  const std::string none =
      " tun0: Operation not supported (a TUN carries IP packets and has no MAC)";
  CHECK(tun.mac().error().message() == "SIOCGIFHWADDR" + none);
  CHECK(tun.set_mac(mine).error().message() == "SIOCSIFHWADDR" + none);
}

TEST_CASE("tap: queues are detached and attached again") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto queues = tap::open_queues({.netns_fd = ns->fd()}, 2).value();
  const std::string attached =
      "TUNSETQUEUE tap0: Invalid argument (needs a queue that is detached)";
  const std::string detached =
      "TUNSETQUEUE tap0: Invalid argument (needs a multi-queue interface and a queue that is "
      "attached)";
  CHECK(queues[1].attach_queue().error().message() == attached);
  CHECK(queues[1].detach_queue());
  CHECK(queues[1].status().value().has(tun_abi::iff_detach_queue));
  CHECK(queues[1].detach_queue().error().message() == detached);

  // Without it, each flow goes to the queue that is left.
  interface_flags(*ns, "tap0", up);
  for (std::uint8_t mark = 1; mark <= 16; ++mark) {
    const mac_address flow{0x02, mark, mark, 0, 0, mark};
    REQUIRE(transmit(*ns, queues[0], frame_to(flow, mark)));
    CHECK(next_mark(queues[0]) == mark);
  }
  CHECK(queues[1].attach_queue());
  CHECK_FALSE(queues[1].status().value().has(tun_abi::iff_detach_queue));

  const auto single = tap::open({.name = "single", .netns_fd = ns->fd()}).value();
  CHECK(single.detach_queue().error().operation == "TUNSETQUEUE");
}

TEST_CASE("tap: a BPF program chooses the queue, and another one drops frames") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const fd to_second = load_constant(1);
  const fd drop = load_constant(0);
  if (!to_second || !drop) return skip(no_bpf);
  const auto queues = tap::open_queues({.netns_fd = ns->fd()}, 2).value();
  interface_flags(*ns, "tap0", up);

  CHECK(queues[0].set_steering(to_second.get()));
  for (std::uint8_t mark = 1; mark <= 16; ++mark) {
    const mac_address flow{0x02, mark, mark, 0, 0, mark};
    REQUIRE(transmit(*ns, queues[0], frame_to(flow, mark)));
    CHECK(next_mark(queues[0]) == -1);
    CHECK(next_mark(queues[1]) == mark);
  }
  CHECK(queues[0].set_filter(drop.get()));
  static_cast<void>(transmit(*ns, queues[0], frame_to(broadcast, 17)));
  CHECK(next_mark(queues[1]) == -1);
  CHECK(queues[0].set_filter(-1));
  REQUIRE(transmit(*ns, queues[0], frame_to(broadcast, 18)));
  CHECK(next_mark(queues[1]) == 18);
  CHECK(queues[0].set_steering(-1));

  const std::string wrong =
      " tap0: Invalid argument (needs the descriptor of a BPF program of type SOCKET_FILTER)";
  CHECK(queues[0].set_steering(queues[0].fd()).error().message() == "TUNSETSTEERINGEBPF" + wrong);
  CHECK(queues[0].set_filter(queues[0].fd()).error().message() == "TUNSETFILTEREBPF" + wrong);
}

TEST_CASE("tap: a filter by address") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  interface_flags(*ns, "tap0", up);
  const mac_address mine{0x02, 0, 0, 0, 0, 1};
  const mac_address other{0x02, 0, 0, 0, 0, 2};
  const mac_address group{0x01, 0, 0x5e, 0, 0, 1};
  const auto passes = [&](const mac_address& to, std::uint8_t mark) {
    static_cast<void>(transmit(*ns, tap, frame_to(to, mark)));
    return next_mark(tap) == mark;
  };
  CHECK(passes(other, 1));
  const mac_address wanted[] = {mine, broadcast};
  CHECK(tap.set_tx_filter(wanted).value() == 2);
  CHECK(passes(mine, 2));
  CHECK(passes(broadcast, 3));
  CHECK_FALSE(passes(other, 4));
  CHECK_FALSE(passes(group, 5));
  CHECK(tap.set_tx_filter(wanted, true).value() == 2);
  CHECK(passes(group, 6));
  CHECK_FALSE(passes(other, 7));
  CHECK(tap.set_tx_filter({}).value() == 0);
  CHECK(passes(other, 8));

  std::vector<mac_address> many(9, other);
  for (std::uint8_t i = 0; i < many.size(); ++i) many[i][4] = i;
  CHECK(tap.set_tx_filter(many).value() == 0);
  CHECK(passes(mine, 9));
  many.resize(257);
  CHECK(tap.set_tx_filter(many).error().message() ==
        "TUNSETTXFILTER tap0: Argument list too long (takes at most 256 addresses)");

  const auto tun = tap::open({.mode = tap_mode::tun, .netns_fd = ns->fd()}).value();
  CHECK(tun.set_tx_filter(wanted).error().message() ==
        "TUNSETTXFILTER tun0: Invalid argument (only a TAP has addresses to filter by)");
}

TEST_CASE("tap: carrier") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  interface_flags(*ns, "tap0", up);
  // The stack is told by a work item, so its flag follows a little later.
  const auto becomes = [&](unsigned wanted) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while ((interface_flags(*ns, "tap0") & running) != wanted) {
      if (std::chrono::steady_clock::now() > until) return false;
    }
    return true;
  };
  CHECK(becomes(running));
  CHECK(tap.set_carrier(false));
  CHECK(becomes(0));
  CHECK(tap.set_carrier(true));
  CHECK(becomes(running));
  if (kernel_release() < 600) return;
  const auto dark = tap::open({.name = "dark", .carrier = false, .netns_fd = ns->fd()}).value();
  CHECK((interface_flags(*ns, "dark", up) & running) == 0);
}

TEST_CASE("tap: byte order of the header") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  const auto is_little = [&] {
    int value = -1;
    ::ioctl(tap.fd(), tun_abi::tungetvnetle, &value);
    return value != 0;
  };
  CHECK(tap.set_little_endian(true));
  CHECK(is_little());
  CHECK(tap.set_little_endian(false));
  CHECK_FALSE(is_little());
}

TEST_CASE("tap: owner, group and persistence") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  CHECK(tap.set_owner(1));
  CHECK(tap.set_group(1));
  CHECK(tap.set_persist(true));
  CHECK(tap.status().value().has(tun_abi::iff_persist));
  CHECK(tap.set_persist(false));
  CHECK_FALSE(tap.status().value().has(tun_abi::iff_persist));
  CHECK(tap.set_owner(static_cast<uid_t>(-1)).error().hint.find("user id") != std::string::npos);
  CHECK(tap.set_group(static_cast<gid_t>(-1)).error().hint.find("group id") != std::string::npos);
}

TEST_CASE("tap: an interface that was deleted says so, whatever it is asked") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tap = tap::open({.netns_fd = ns->fd()}).value();
  const std::string inside = "nsenter --net=/proc/" + std::to_string(::getpid()) + "/fd/" +
                             std::to_string(ns->fd()) + " ip link del tap0";
  REQUIRE(std::system(inside.c_str()) == 0);
  const auto gone = [](const auto& answer) {
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code.value() == EBADFD);
    CHECK(answer.error().object == "tap0");
    return answer.error().hint == "no interface is attached to it: perhaps it was deleted";
  };
  CHECK(gone(tap.status()));
  CHECK(gone(tap.index()));
  CHECK(gone(tap.open_queue()));
  CHECK(gone(tap.mac()));
  CHECK(gone(tap.header_size()));
  CHECK(gone(tap.set_header_size(12)));
  CHECK(gone(tap.set_offloads(0)));
  CHECK(gone(tap.probe_offloads()));
  CHECK(gone(tap.set_carrier(true)));
  CHECK(gone(tap.set_persist(true)));
  CHECK(gone(tap.netns()));
}
