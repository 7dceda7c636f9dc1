// SPDX-License-Identifier: BSD-3-Clause

// A host in forty lines: opens tap0, and whoever the kernel looks for in 10.9.0.0/24 answers its ping.
//
//   tap_ping [ANSWERS]     ends after so many; without an argument, never

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <utility>
#include <vkring/device.hpp>

// Turns an ARP request or an ICMP echo request into its answer; false for any other frame.
static bool answer(std::span<std::byte> frame) {
  constexpr std::array<std::byte, 6> our_mac{std::byte{2}, {}, {}, {}, {}, std::byte{9}};
  const auto is = [&](std::size_t at, unsigned value) { return frame[at] == std::byte(value); };
  std::byte* const f = frame.data();
  if (frame.size() < 42 || !is(12, 0x08)) return false;
  std::copy_n(f + 6, 6, f);  // back to the sender
  std::copy_n(our_mac.data(), 6, f + 6);
  if (is(13, 0x06) && is(21, 1)) {  // ARP request: this address has our MAC
    f[21] = std::byte{2};
    std::copy_n(f + 22, 6, f + 32);
    std::copy_n(our_mac.data(), 6, f + 22);
    std::swap_ranges(f + 28, f + 32, f + 38);
    return true;
  }
  if (!is(13, 0x00) || !is(14, 0x45) || !is(23, 1) || !is(34, 8)) return false;
  std::swap_ranges(f + 26, f + 30, f + 30);  // ICMP echo request: the same as an echo reply
  f[34] = std::byte{0};
  const std::uint32_t sum = vkring::load_big<std::uint16_t>(f + 36) + 0x0800u;
  vkring::store_big(f + 36, static_cast<std::uint16_t>(sum + (sum >> 16)));
  return true;
}

int main(int argc, char** argv) {
  const long limit = argc > 1 ? std::atol(argv[1]) : -1;

  vkring::device_config config;
  config.name = "tap0";
  config.addresses = {vkring::parse_ip_prefix("10.9.0.1/24").value()};
  auto pool = vkring::buffer_pool::make().value();
  auto tap = vkring::device::open(std::move(config), pool).value();
  std::printf("%s is up: ping 10.9.0.2\n", tap.name().c_str());
  std::fflush(stdout);

  std::array<vkring::frame, 32> frames;
  long answers = 0;
  while (answers != limit) {
    tap.wait(std::chrono::seconds(1));
    const auto received = std::span(frames).first(tap.rx(0).receive(frames));
    for (vkring::frame& frame : received) {
      if (answers == limit || !answer(frame.contiguous())) continue;
      vkring::forward(frame);  // a received frame goes out again as it is: no copy
      answers += static_cast<long>(tap.tx(0).send({&frame, 1}));
    }
    tap.rx(0).recycle(received);
  }
  std::printf("%ld answers\n", answers);
}
