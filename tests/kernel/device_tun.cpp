// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <climits>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support/device_bed.hpp"
#include "support/packets.hpp"
#include "support/skip.hpp"
#include "vkring/device.hpp"

// A device on a TUN: IP packets without an Ethernet header, exchanged with sockets of the kernel.

using namespace vkring;
using namespace vkring::test;

namespace {

// What `packet_recipe` writes: the application's end first.
constexpr std::uint16_t their_port = 0x1234;
constexpr std::uint16_t our_port = 0x0050;
constexpr std::size_t mtu = 1500;

std::vector<backend_kind> backends() {
  std::vector all = {backend_kind::worker};
  if (vhost_net::open()) all.push_back(backend_kind::vhost);
  return all;
}

device_config tun_config(backend_kind backend) {
  device_config config;
  config.mode = tap_mode::tun;
  config.backend = backend;
  for (const char* each :
       {"192.168.1.1/24", "10.20.30.40/32", "2027:2e35:3c43:4a51::1/64",
        "9097:9ea5:acb3:bac1:c8cf:d6dd:e4eb:f2f9/128"}) {
    config.addresses.push_back(parse_ip_prefix(each).value());
  }
  return config;
}

std::string reason_of(const offload_plan& plan, const std::string& feature) {
  for (const feature_decision& each : plan.report) {
    if (each.feature == feature) return each.taken ? "taken" : each.reason;
  }
  return "no line";
}

// A socket of the kernel's stack at the addresses that packets are built for.
class kernel_socket {
 public:
  kernel_socket(const netns& ns, bool v6, int type, int buffer = 32 << 20) : v6_(v6) {
    socket_ = fd(ns.run([&] {
                     return ::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                   }).value());
    ::setsockopt(fd_(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    const int yes = 1;
    ::setsockopt(fd_(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (v6) ::setsockopt(fd_(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
    // An address of IPv6 is not there at once.
    with_address(our_port, v6 ? "9097:9ea5:acb3:bac1:c8cf:d6dd:e4eb:f2f9" : "10.20.30.40",
                 [&](const sockaddr* at, socklen_t size) {
                   return eventually([&] { return ::bind(fd_(), at, size) == 0; }) ? 0 : -1;
                 });
  }
  explicit kernel_socket(int accepted) : socket_(accepted) {}

  void listen() { REQUIRE(::listen(fd_(), 4) == 0); }
  std::optional<kernel_socket> accept() {
    const int got = ::accept4(fd_(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return got < 0 ? std::nullopt : std::optional<kernel_socket>(got);
  }
  // Connects a UDP socket to the application's end; each `gso_size` bytes become a datagram.
  void connect(int gso_size) {
    with_address(their_port, v6_ ? "2027:2e35:3c43:4a51:585f:666d:747b:8289" : "192.168.1.2",
                 [&](const sockaddr* at, socklen_t size) { return ::connect(fd_(), at, size); });
    REQUIRE(::setsockopt(fd_(), IPPROTO_UDP, UDP_SEGMENT, &gso_size, sizeof gso_size) == 0);
  }
  ssize_t send(std::span<const std::byte> data) {
    return ::send(fd_(), data.data(), data.size(), MSG_NOSIGNAL);
  }
  // A datagram, or what is there of a stream; nothing when nothing is.
  bytes receive() {
    bytes buffer(70'000);
    const auto got = ::recv(fd_(), buffer.data(), buffer.size(), 0);
    buffer.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return buffer;
  }

 private:
  [[nodiscard]] int fd_() const { return socket_.get(); }
  template <class Use>
  void with_address(std::uint16_t port, const char* text, Use&& use) {
    sockaddr_in6 six{};
    sockaddr_in four{};
    six.sin6_family = AF_INET6;
    four.sin_family = AF_INET;
    six.sin6_port = four.sin_port = big(port);
    ::inet_pton(v6_ ? AF_INET6 : AF_INET, text,
                v6_ ? static_cast<void*>(&six.sin6_addr) : static_cast<void*>(&four.sin_addr));
    const auto* const at = v6_ ? reinterpret_cast<const sockaddr*>(&six)
                               : reinterpret_cast<const sockaddr*>(&four);
    REQUIRE(use(at, static_cast<socklen_t>(v6_ ? sizeof six : sizeof four)) == 0);
  }

  bool v6_ = false;
  fd socket_;
};

packet_recipe packet(bool v6, bool tcp, std::size_t payload) {
  packet_recipe recipe;
  recipe.ethernet = false;
  recipe.v6 = v6;
  recipe.tcp = tcp;
  recipe.payload = payload;
  return recipe;
}

// Has another CPU work off what comes in through the interface, if there is one: only then is anything
// under way when the next frame comes.
bool received_elsewhere(const netns& ns, const std::string& name) {
  const auto done = ns.run([&] {
    if (::unshare(CLONE_NEWNS) != 0) return false;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    if (::mount("sysfs", "/sys", "sysfs", 0, nullptr) != 0) return false;  // of this namespace
    std::ofstream mask("/sys/class/net/" + name + "/queues/rx-0/rps_cpus");
    mask << "3" << std::flush;
    return mask.good();
  });
  return done && *done;
}

// Datagrams that found no room in a socket.
std::uint64_t udp_overruns(const netns& ns) {
  return ns
      .run([] {
        std::ifstream table("/proc/thread-self/net/snmp");
        std::uint64_t found = 0;
        for (std::string line; std::getline(table, line);) {
          std::istringstream words(line);
          std::string word;
          if (!(words >> word) || word != "Udp:") continue;
          // The first such line has the names: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors
          std::array<std::uint64_t, 5> numbers{};
          for (auto& each : numbers) words >> each;
          found = words ? numbers.back() : 0;
        }
        return found;
      })
      .value();
}

bytes tail(const bytes& of, std::size_t from) {
  return {of.begin() + static_cast<std::ptrdiff_t>(from), of.end()};
}

// The next packet from the kernel that is for the application's port, its headers found.
struct incoming {
  tap_wire::received raw;
  packet_layout at;
};
std::optional<incoming> next_packet(device_bed& bed, bool v6, bool tcp) {
  std::optional<incoming> found;
  static_cast<void>(eventually([&] {
    auto got = bed.receive(0);
    if (!got) return false;
    const packet_layout at = parse_packet(got->frame, got->frame.size(), link_layer::none);
    if (at.fault != packet_fault::none || at.ipv6 != v6) return false;
    if ((at.protocol == ip_protocol::tcp) != tcp) return false;
    if (load_big<std::uint16_t>(got->frame.data() + at.l4 + 2) != their_port) return false;
    found = incoming{std::move(*got), at};
    return true;
  }));
  return found;
}

// Its payload, if every header and checksum in it is right.
bytes payload_of(const incoming& it) {
  CHECK(check_segmentation(it.raw.header, it.raw.frame,
                           std::vector<std::span<const std::byte>>{it.raw.frame},
                           segment_checksum::complete, link_layer::none) == "");
  if ((it.raw.header.flags & header_flag::needs_csum) != 0) {
    CHECK(it.raw.header.csum_start == it.at.l4);
  }
  return {it.raw.frame.begin() + it.at.payload, it.raw.frame.begin() + it.at.end};
}

// The application's end of a TCP connection: as much of it as a loss-free link needs.
class tcp_peer {
 public:
  tcp_peer(device_bed& bed, bool v6, random_source& random) : bed_(bed), v6_(v6), random_(random) {}

  void connect() {
    send({}, 0x02, 0);
    ++next_;
    const auto answer = next_packet(bed_, v6_, true);
    REQUIRE(answer);
    REQUIRE((number_at(answer->raw.frame, answer->at.l4 + 13u, 1) & 0x12) == 0x12);
    expected_ = load_big<std::uint32_t>(answer->raw.frame.data() + answer->at.l4 + 4) + 1;
    send({}, 0x10, 0);
  }
  // Sends bytes and returns them; more than a segment goes as one frame, for the kernel to cut.
  bytes send(std::size_t size, std::uint16_t gso_size) { return send({size}, 0x18, gso_size); }
  // Everything that the kernel sends until there are `size` bytes of it.
  bytes receive(std::size_t size) {
    bytes all;
    while (all.size() < size) {
      const auto got = next_packet(bed_, v6_, true);
      if (!got) break;
      const bytes part = payload_of(*got);
      if (part.empty() ||
          load_big<std::uint32_t>(got->raw.frame.data() + got->at.l4 + 4) != expected_) {
        continue;
      }
      large_ = large_ || got->raw.header.gso_type == (v6_ ? gso::tcpv6 : gso::tcpv4);
      expected_ += static_cast<std::uint32_t>(part.size());
      all.insert(all.end(), part.begin(), part.end());
      send({}, 0x10, 0);
    }
    return all;
  }
  [[nodiscard]] bool had_large_frames() const { return large_; }

 private:
  struct length {
    std::size_t bytes = 0;
  };
  bytes send(length payload, unsigned flags, std::uint16_t gso_size) {
    packet_recipe recipe = packet(v6_, true, payload.bytes);
    recipe.sequence = next_;
    recipe.tcp_flags = flags;
    built_packet made = build(recipe, random_);
    store_big(made.frame.data() + made.l4 + 8, expected_);
    store_big(made.frame.data() + made.l4 + 14, std::uint16_t{0xffff});  // the window
    REQUIRE(bed_.send(0, made.frame, header_for(recipe, made, gso_size)));
    next_ += static_cast<std::uint32_t>(payload.bytes);
    return tail(made.frame, made.payload);
  }

  device_bed& bed_;
  bool v6_;
  random_source& random_;
  std::uint32_t next_ = 1000;
  std::uint32_t expected_ = 0;
  bool large_ = false;
};

}  // namespace

TEST_CASE("device tun: UDP both ways, checksums left open, cut by whoever comes last") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  random_source random(1);
  for (const backend_kind backend : backends()) {
    for (const want mergeable : {want::preferred, want::off}) {
      device_config config = tun_config(backend);
      config.wanted.mergeable = mergeable;
      device_bed bed(*ns, std::move(config));
      const offload_plan& plan = bed.it.plan();
      CAPTURE(bed.it.backend(), plan.mergeable);
      CHECK(plan.link == link_layer::none);
      CHECK(plan.tx.csum);
      CHECK(plan.rx.csum);
      for (const bool v6 : {false, true}) {
        CAPTURE(v6);
        const std::size_t room = mtu - (v6 ? 48 : 28);
        kernel_socket socket(*ns, v6, SOCK_DGRAM);
        // Of every size, the shortest first.
        for (std::size_t size = 0; size <= room; size += size < 8 ? 1 : 71) {
          CAPTURE(size);
          const packet_recipe recipe = packet(v6, false, size);
          const built_packet made = build(recipe, random);
          REQUIRE(bed.send(0, made.frame, header_for(recipe, made)));
          bytes got;
          if (size != 0) REQUIRE(eventually([&] { return !(got = socket.receive()).empty(); }));
          REQUIRE(got == tail(made.frame, made.payload));
        }
        if (plan.tx.uso) {
          const packet_recipe recipe = packet(v6, false, 20'000);
          const built_packet made = build(recipe, random);
          REQUIRE(bed.send(0, made.frame, header_for(recipe, made, 1000)));
          bytes all;
          for (int i = 0; i < 20; ++i) {
            bytes part;
            REQUIRE(eventually([&] { return !(part = socket.receive()).empty(); }));
            CHECK(part.size() == 1000);
            all.insert(all.end(), part.begin(), part.end());
          }
          CHECK(all == tail(made.frame, made.payload));
        }
        const bytes sent = random_bytes(random, 20'000);
        socket.connect(1000);
        REQUIRE(socket.send(sent) == 20'000);
        bytes all;
        bool large = false;
        while (all.size() < sent.size()) {
          const auto got = next_packet(bed, v6, false);
          REQUIRE(got);
          large = large || got->raw.header.gso_type == gso::udp_l4;
          const bytes part = payload_of(*got);
          all.insert(all.end(), part.begin(), part.end());
        }
        CHECK(all == sent);
        CHECK(large == plan.rx.uso);
      }
      CHECK(bed.it.health()[0].good());
      CHECK(bed.it.tx_statistics(0).drops.empty());
    }
  }
}

TEST_CASE("device tun: TCP both ways, in frames beyond the MTU") {
  random_source random(2);
  for (const backend_kind backend : backends()) {
    auto ns = private_netns();  // anew: nothing in it knows of an earlier connection
    if (!ns) return skip(no_netns);
    device_bed bed(*ns, tun_config(backend));
    CAPTURE(bed.it.backend());
    CHECK(bed.it.plan().tx.tso4);
    CHECK(bed.it.plan().rx.tso6);
    for (const bool v6 : {false, true}) {
      CAPTURE(v6);
      kernel_socket listening(*ns, v6, SOCK_STREAM);
      listening.listen();
      tcp_peer peer(bed, v6, random);
      peer.connect();
      std::optional<kernel_socket> stream;
      REQUIRE(eventually([&] { return (stream = listening.accept()).has_value(); }));
      const bytes sent = peer.send(20'000, 1000);
      bytes got;
      CHECK(eventually([&] {
        const bytes part = stream->receive();
        got.insert(got.end(), part.begin(), part.end());
        return got.size() >= sent.size();
      }));
      CHECK(got == sent);
      const bytes back = random_bytes(random, 20'000);
      REQUIRE(stream->send(back) == 20'000);
      CHECK(peer.receive(back.size()) == back);
      CHECK(peer.had_large_frames());
    }
  }
}

TEST_CASE("device tun: with a limit on what is under way nothing is lost, however slow the reader") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  random_source random(3);
  for (const backend_kind backend : backends()) {
    for (const std::uint32_t limit : {1u, 4096u}) {
      device_config config = tun_config(backend);
      config.limit = send_limit(limit);
      device_bed bed(*ns, std::move(config));
      CAPTURE(bed.it.backend(), limit);
      static_cast<void>(received_elsewhere(*ns, bed.it.name()));  // it works without, too
      constexpr std::uint32_t count = 2000;
      const packet_recipe recipe = packet(false, false, 500);
      const auto send = [&](std::uint32_t number) {
        built_packet made = build(recipe, random);
        store_big(made.frame.data() + made.payload, number);
        REQUIRE(bed.send(0, made.frame, header_for(recipe, made)));
      };
      {
        kernel_socket socket(*ns, false, SOCK_DGRAM);
        std::uint32_t seen = 0;
        const auto look = [&] {
          for (bytes got; !(got = socket.receive()).empty(); ++seen) {
            REQUIRE(got.size() == recipe.payload);
            REQUIRE(load_big<std::uint32_t>(got.data()) == seen);
          }
          return seen == count;
        };
        for (std::uint32_t i = 0; i < count; ++i) {
          send(i);
          if (i % 256 == 0) look();
        }
        CHECK(eventually(look));
      }
      // Nobody reads: what the socket has no room for is in the kernel's counter.
      kernel_socket socket(*ns, false, SOCK_DGRAM, 16 << 10);
      const std::uint64_t before = udp_overruns(*ns);
      for (std::uint32_t i = 0; i < count; ++i) send(i);
      std::uint64_t seen = 0;
      CHECK(eventually([&] {
        while (!socket.receive().empty()) ++seen;
        return seen + udp_overruns(*ns) - before == count;
      }));
      CHECK(seen < count);
      CHECK(bed.it.tx_statistics(0).drops.empty());
      CHECK(bed.it.health()[0].good());
    }
  }
}

TEST_CASE("device tun: every queue has the limit, and a TAP has none unless it is asked for") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make().value();
  for (const backend_kind backend : backends()) {
    for (const tap_mode mode : {tap_mode::tap, tap_mode::tun}) {
      const int none = mode == tap_mode::tap ? INT_MAX : INT_MAX - 1;
      for (const std::uint32_t limit : {0u, 7000u}) {
        const auto queues = tap::open_queues({.mode = mode, .netns_fd = ns->fd()}, 2).value();
        device_config config;
        config.backend = backend;
        config.mode = mode;
        config.wanted.queue_pairs = 2;
        config.wanted.queue_size = 16;
        if (limit != 0) config.limit = send_limit(limit);
        for (const tap& each : queues) {
          config.queue_fds.emplace_back(::fcntl(each.fd(), F_DUPFD_CLOEXEC, 0));
        }
        const auto opened = device::open(std::move(config), pool).value();
        CAPTURE(opened.backend(), limit, none);
        const int expected = limit == 0 ? none : static_cast<int>(limit);
        for (const tap& each : queues) CHECK(each.sndbuf().value() == expected);
      }
    }
  }
}

TEST_CASE("device tun: what is no IP packet is counted where it ends") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    device_bed bed(*ns, tun_config(backend));
    CAPTURE(bed.it.backend());
    const auto dropped = [&] { return bed.it.link().value().counters.rx_dropped; };
    const std::uint64_t before = dropped();
    for (const unsigned version : {0u, 5u, 15u}) {
      const frame_bytes junk(100, static_cast<std::byte>(version << 4));
      REQUIRE(bed.send(0, junk));
    }
    CHECK(eventually([&] { return dropped() == before + 3; }));
    if (const worker_counters* counters = bed.it.worker_statistics(0)) {
      CHECK(counters->tx_refused.value() == 3);
    }
    for (const std::size_t size : {std::size_t{1}, std::size_t{19}}) {
      REQUIRE(bed.send(0, frame_bytes(size, std::byte{0x45})));
    }
    const auto& drops = bed.it.tx(0).counters().drops;
    CHECK(drops[static_cast<std::size_t>(drop_reason::too_short)].value() == 2);
    CHECK(bed.it.health()[0].good());
  }
}

TEST_CASE("device tun: what a TUN has not is refused, with the reason") {
  auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make().value();
  for (const backend_kind backend : backends()) {
    device_config config = device_bed::in(*ns, tun_config(backend));
    config.mac = mac_address{2, 0, 0, 0, 0, 1};
    const auto with_mac = device::open(std::move(config), pool);
    REQUIRE_FALSE(with_mac);
    CHECK(with_mac.error().message() ==
          "open mac=02:00:00:00:00:01: Invalid argument (a TUN carries IP packets and has no MAC: "
          "leave it out, or open a TAP)");

    config = device_bed::in(*ns, tun_config(backend));
    config.wanted.offloads.udp_tunnel = want::required;
    const auto tunnel = device::open(std::move(config), pool);
    REQUIRE_FALSE(tunnel);
    CHECK(tunnel.error().message() ==
          "negotiate udp-tunnel: Operation not supported (the kernel has it behind an Ethernet "
          "header only)");

    config = tun_config(backend);
    config.wanted.mtu_bytes = 65535;
    device_bed bed(*ns, std::move(config));
    CHECK(bed.it.link().value().mtu == 65535);
    CHECK(bed.it.mac().error().message().find("has no MAC") != std::string::npos);
    CHECK(reason_of(bed.it.plan(), "udp-tunnel") ==
          "the kernel has it behind an Ethernet header only");
  }
}
