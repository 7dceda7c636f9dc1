// SPDX-License-Identifier: BSD-3-Clause

// vkring-fwd under a flood of large datagrams, which take more buffers than it has: none of its ways
// to wait leaves a queue without buffers for ever.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "support/child.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

std::string path_of(const netns& where) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(where.fd());
}

bool reaches(const netns& from, const std::string& address, const char* options) {
  return std::system(("nsenter --net=" + path_of(from) + " ping -q " + options + " " + address +
                      " >/dev/null 2>&1")
                         .c_str()) == 0;
}

// Datagrams of 60,000 bytes, to be segmented by whoever has to, as fast as the kernel takes them.
std::size_t flood(const netns& from, const char* address, std::chrono::nanoseconds time) {
  return from
      .run([&] {
        constexpr int udp_segment = 103;
        constexpr int segment = 1400;
        const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
        ::setsockopt(s, IPPROTO_UDP, udp_segment, &segment, sizeof segment);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(9);
        ::inet_pton(AF_INET, address, &to.sin_addr);
        const std::vector<char> data(60'000);
        std::size_t sent = 0;
        const auto end = std::chrono::steady_clock::now() + time;
        while (std::chrono::steady_clock::now() < end) {
          const auto done = ::sendto(s, data.data(), data.size(), 0,
                                     reinterpret_cast<const sockaddr*>(&to), sizeof to);
          sent += done > 0 ? 1 : 0;
        }
        ::close(s);
        return sent;
      })
      .value();
}

}  // namespace

TEST_CASE("vkring-fwd: a flood of large datagrams is survived, however it waits") {
  auto here = private_netns();
  auto there = private_netns();
  if (!here || !there) return skip("may not make network namespaces");
  for (const std::string wait : {"poll", "interrupt", "adaptive"}) {
    CAPTURE(wait);
    const std::string one = "tap:name=tap0,netns=" + path_of(*here) + ",ip=10.9.4.1/24";
    const std::string two = "tap:name=tap0,netns=" + path_of(*there) + ",ip=10.9.4.2/24";
    child forwarder([&](auto) {
      ::execl(VKRING_PROGRAMS_DIR "/vkring-fwd", "vkring-fwd", "--wait", wait.c_str(), "--port",
              one.c_str(), "--port", two.c_str(), nullptr);
    });
    bool is_up = false;
    for (int i = 0; i < 50 && !is_up; ++i) {
      is_up = reaches(*here, "10.9.4.2", "-c 1 -W 1");
      if (!is_up) std::this_thread::sleep_for(50ms);
    }
    REQUIRE(is_up);
    CHECK(flood(*here, "10.9.4.2", 1500ms) > 100);
    // The queues are full now; each ping waits until they are not.
    CHECK(reaches(*here, "10.9.4.2", "-c 3 -i 0.1 -W 5"));
    CHECK(reaches(*there, "10.9.4.1", "-c 3 -i 0.1 -W 5"));
  }
}
