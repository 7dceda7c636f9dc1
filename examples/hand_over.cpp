// SPDX-License-Identifier: BSD-3-Clause

// Two processes that hand an interface to each other while the kernel sends frames to it.
//
//   hand_over [TIMES]     ends after so many times; 4 without an argument

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vkring/device.hpp>

#include "arguments.hpp"

// Receives what comes for a while, and gives all of it back.
static void serve(vkring::device& tap) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  std::array<vkring::frame, 32> frames;
  while (std::chrono::steady_clock::now() < until) {
    tap.wait(std::chrono::milliseconds(10));
    tap.rx(0).receive(frames);
    tap.rx(0).recycle(frames);
  }
}

int main(int argc, char** argv) {
  const long times = number_of(argc, argv, 1, 4);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
  const pid_t other = ::fork();  // before there is a device: each process has its own
  if (other < 0) return 1;
  const int socket = ends[other == 0 ? 1 : 0];
  ::close(ends[other == 0 ? 0 : 1]);

  std::optional<vkring::device> tap;
  if (other != 0) {
    vkring::device_config config;
    config.addresses = {vkring::parse_ip_prefix("10.9.0.1/24").value()};
    vkring::pool_options options;
    options.memory.shareable = true;  // the other process has to see the buffers
    auto pool = vkring::buffer_pool::make(options).value();
    tap = vkring::device::open(std::move(config), pool).value();
  }
  for (long turn = other == 0 ? 1 : 0; turn <= times; turn += 2) {
    if (!tap) {
      auto came = vkring::suspended_device::receive(socket).value();
      tap = vkring::device::resume(std::move(came)).value();
      std::printf("%s: nobody served it for %lld us; %llu frames so far\n", tap->name().c_str(),
                  static_cast<long long>(tap->gap().count() / 1000),
                  static_cast<unsigned long long>(tap->rx_statistics(0).packets));
      std::fflush(stdout);
    }
    serve(*tap);
    if (turn == times) break;
    auto suspended = tap->suspend().value();
    tap.reset();
    suspended.send(socket).value();
  }
  if (other != 0) ::waitpid(other, nullptr, 0);
}
