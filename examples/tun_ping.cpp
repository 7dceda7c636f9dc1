// SPDX-License-Identifier: BSD-3-Clause

// The smallest IP stack in user space: opens tun0, whose frames are IP packets, and answers the kernel's
// ping to every address in 10.8.0.0/24 but the kernel's own.
//
//   tun_ping [ANSWERS]     ends after so many; without an argument, never

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>
#include <vkring/device.hpp>

#include "arguments.hpp"
#include "ping_stack.hpp"  // handle

int main(int argc, char** argv) {
  const long limit = number_of(argc, argv, 1, -1);

  vkring::device_config config;
  config.name = "tun0";
  config.mode = vkring::tap_mode::tun;
  config.addresses = {vkring::parse_ip_prefix("10.8.0.1/24").value()};
  auto pool = vkring::buffer_pool::make().value();
  auto tun = vkring::device::open(std::move(config), pool).value();
  std::printf("%s is up: ping 10.8.0.2\n", tun.name().c_str());
  std::fflush(stdout);

  std::array<vkring::frame, 32> packets;
  long answers = 0;
  while (answers != limit) {
    tun.wait(std::chrono::seconds(1));
    const auto received = std::span(packets).first(tun.rx(0).receive(packets));
    for (vkring::frame& packet : received) {
      if (answers == limit || !handle(packet.contiguous())) continue;
      vkring::forward(packet);
      answers += static_cast<long>(tun.tx(0).send({&packet, 1}));
    }
    tun.rx(0).recycle(received);
  }
  std::printf("%ld answers\n", answers);
}
