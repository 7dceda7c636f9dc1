// SPDX-License-Identifier: BSD-3-Clause

// The rival of vkring-fwd: a bare loop that reads frames from one TAP and writes them to the other,
// with the checksum and segmentation offloads that the kernel has, so that large frames cross whole.
//
//   tap_bridge [--threads 2] NETNS ADDRESS/LENGTH NETNS ADDRESS/LENGTH
//
// Makes an interface `tap0` in each namespace, prints "ready", and runs until a signal ends it. One
// thread serves both directions, or one each.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netns.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/net/header.hpp>
#include <vkring/net/tun_offload.hpp>

namespace {

using namespace vkring;

constexpr std::size_t largest = 65562 + header_size;

result<tap> make_port(const std::string& where, std::string_view address) {
  auto space = netns::open(where);
  if (!space) return fail(std::move(space.error()));
  auto made = tap::open({.name = "tap0", .netns_fd = space->fd()});
  if (!made) return made;
  const auto able = made->probe_offloads();
  if (!able) return fail(able.error());
  // Those in tunnels need a longer header.
  const std::uint32_t offloads = *able & ~(tun_offload::udp_tunnel | tun_offload::udp_tunnel_csum);
  if (auto set = made->set_offloads(offloads); !set) return fail(std::move(set.error()));
  auto link = net_link::open("tap0", *space);
  if (!link) return fail(std::move(link.error()));
  const auto prefix = parse_ip_prefix(address);
  if (!prefix) return fail(std::errc::invalid_argument, "address", address, "needs ADDRESS/LENGTH");
  if (auto set = link->add_address(*prefix); !set) return fail(std::move(set.error()));
  if (auto set = link->set_up(true); !set) return fail(std::move(set.error()));
  return made;
}

// Moves what is there, a few frames before the other direction's turn.
bool move(int from, int to, std::vector<char>& buffer) {
  for (int i = 0; i < 64; ++i) {
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got <= 0) return i != 0;
    // A TAP without room, which no queue length of this rival's makes likely: the frame is dropped.
    if (::write(to, buffer.data(), static_cast<std::size_t>(got)) != got) continue;
  }
  return true;
}

void serve(std::vector<std::pair<int, int>> directions) {
  std::vector<char> buffer(largest);
  std::vector<pollfd> set;
  for (const auto& [from, to] : directions) set.push_back({from, POLLIN, 0});
  for (;;) {
    bool busy = false;
    for (const auto& [from, to] : directions) busy = move(from, to, buffer) || busy;
    if (!busy) ::poll(set.data(), set.size(), -1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool two = argc == 7 && std::strcmp(argv[1], "--threads") == 0 && argv[2][0] == '2';
  if (!two && argc != 5) {
    std::fputs("usage: tap_bridge [--threads 2] NETNS ADDRESS/LENGTH NETNS ADDRESS/LENGTH\n",
               stderr);
    return 2;
  }
  char** const ports = argv + (two ? 3 : 1);
  const auto a = make_port(ports[0], ports[1]);
  const auto b = make_port(ports[2], ports[3]);
  for (const auto* each : {&a, &b}) {
    if (*each) continue;
    std::fprintf(stderr, "tap_bridge: %s\n", each->error().message().c_str());
    return 1;
  }
  std::puts("ready");
  std::fflush(stdout);
  if (two) {
    std::thread([&] { serve({{b->fd(), a->fd()}}); }).detach();
    serve({{a->fd(), b->fd()}});
  }
  serve({{a->fd(), b->fd()}, {b->fd(), a->fd()}});
}
