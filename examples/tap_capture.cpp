// SPDX-License-Identifier: BSD-3-Clause

// Looks at the queues of a device: opens tap0, with every offload, and writes what comes and goes into a
// file for tcpdump and wireshark. What the kernel leaves to the receiver is a comment to each frame.
//
//   tap_capture FILE [FRAMES]     ends after so many; without the number, never
//
// Whatever the kernel sends to 10.9.0.0/24 is sent back as it came: see it twice.

#include <array>
#include <chrono>
#include <cstdio>
#include <span>
#include <utility>
#include <vkring/device.hpp>
#include <vkring/fmt.hpp>  // which pcapng.hpp needs: the build goes by what a program includes

#include "arguments.hpp"
#include "pcapng.hpp"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "tap_capture FILE [FRAMES]: FILE is missing\n");
    return 2;
  }
  const long limit = number_of(argc, argv, 2, -1);

  auto file = pcapng_file::create(argv[1], vkring::link_layer::ethernet).value();
  const std::uint32_t rx = file.add_queue("tap0 rx 0").value();
  const std::uint32_t tx = file.add_queue("tap0 tx 0").value();

  vkring::device_config config;
  config.name = "tap0";
  config.addresses = {vkring::parse_ip_prefix("10.9.0.1/24").value()};
  auto tap = vkring::device::open(std::move(config), vkring::buffer_pool::make().value()).value();
  std::printf("%s is up\n", tap.name().c_str());
  std::fflush(stdout);

  std::array<vkring::frame, 32> frames;
  for (long count = 0; limit < 0 || count < limit;) {
    tap.wait(std::chrono::seconds(1));
    const auto received = std::span(frames).first(tap.rx(0).receive(frames));
    for (vkring::frame& frame : received) {
      file.add(rx, pcapng_file::direction::inbound, frame).value();
      vkring::forward(frame);
      file.add(tx, pcapng_file::direction::outbound, frame).value();
      ++count;
    }
    file.flush().value();
    tap.tx(0).send(received);
    tap.rx(0).recycle(received);
  }
}
