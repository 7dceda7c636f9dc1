// SPDX-License-Identifier: BSD-3-Clause

// The smallest IP stack in user space: opens tun0, whose frames are IP packets, and answers the kernel's
// ping to every address in 10.8.0.0/24 but the kernel's own.
//
//   tun_ping [ANSWERS]     ends after so many; without an argument, never

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>
#include <vkring/device.hpp>

// What a stack does with a packet: true if there is an answer, which takes its place.
static bool handle(std::span<std::byte> packet) {
  const auto is = [&](std::size_t at, unsigned value) { return packet[at] == std::byte(value); };
  std::byte* const p = packet.data();
  if (packet.size() < 28 || !is(0, 0x45) || !is(9, 1) || !is(20, 8)) return false;
  std::swap_ranges(p + 12, p + 16, p + 16);  // an ICMP echo request becomes its reply
  p[20] = std::byte{0};
  const std::uint32_t sum = vkring::load_big<std::uint16_t>(p + 22) + 0x0800u;
  vkring::store_big(p + 22, static_cast<std::uint16_t>(sum + (sum >> 16)));
  return true;
}

int main(int argc, char** argv) {
  const long limit = argc > 1 ? std::atol(argv[1]) : -1;

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
