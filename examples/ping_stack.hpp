// SPDX-License-Identifier: BSD-3-Clause
#ifndef PING_STACK_HPP
#define PING_STACK_HPP

// The smallest IP stack in user space, as the programs have it that show how to wait: it answers the kernel's
// ping to every address in 10.8.0.0/24 but the kernel's own.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <utility>
#include <vkring/device.hpp>

// What a stack does with a packet: true if there is an answer, which takes its place.
inline bool handle(std::span<std::byte> packet) {
  const auto is = [&](std::size_t at, unsigned value) { return packet[at] == std::byte(value); };
  std::byte* const p = packet.data();
  if (packet.size() < 28 || !is(0, 0x45) || !is(9, 1) || !is(20, 8)) return false;
  std::swap_ranges(p + 12, p + 16, p + 16);  // an ICMP echo request becomes its reply
  p[20] = std::byte{0};
  const std::uint32_t sum = vkring::load_big<std::uint16_t>(p + 22) + 0x0800u;
  vkring::store_big(p + 22, static_cast<std::uint16_t>(sum + (sum >> 16)));
  return true;
}

// That stack on tun0. Who calls `turn`, and when, is for the program to say.
class ping_stack {
 public:
  explicit ping_stack(std::uint16_t queue_pairs = 1) : ping_stack(new_tun(queue_pairs)) {}
  explicit ping_stack(vkring::device_config config)
      : tun_(vkring::device::open(std::move(config), vkring::buffer_pool::make().value()).value()) {
    std::printf("%s is up: ping 10.8.0.2\n", tun_.name().c_str());
    std::fflush(stdout);
  }
  ~ping_stack() { std::printf("%ld answers\n", answers_); }
  ping_stack(const ping_stack&) = delete;
  ping_stack& operator=(const ping_stack&) = delete;

  // Handles what has come to a queue pair, a burst at most. False: nothing had come.
  bool turn(std::size_t pair) {
    std::array<vkring::frame, 32> packets;
    const auto received = std::span(packets).first(tun_.rx(pair).receive(packets));
    for (vkring::frame& packet : received) {
      if (!handle(packet.contiguous())) continue;
      vkring::forward(packet);
      answers_ += static_cast<long>(tun_.tx(pair).send({&packet, 1}));
    }
    tun_.rx(pair).recycle(received);
    if (received.empty()) tun_.tx(pair).reclaim();  // there is time for it
    return !received.empty();
  }

  // Whether all is well; says what is not.
  bool good() {
    for (const vkring::queue_health& each : tun_.health()) {
      if (each.good()) continue;
      std::fprintf(stderr, "%s\n", vkring::to_text(each).c_str());
      return false;
    }
    return true;
  }

  [[nodiscard]] vkring::device& tun() noexcept { return tun_; }
  // Whether there were so many answers; never if `limit` is negative.
  [[nodiscard]] bool done(long limit) const noexcept { return limit >= 0 && answers_ >= limit; }

 private:
  static vkring::device_config new_tun(std::uint16_t queue_pairs) {
    vkring::device_config config;
    config.name = "tun0";
    config.mode = vkring::tap_mode::tun;
    config.addresses = {vkring::parse_ip_prefix("10.8.0.1/24").value()};
    config.wanted.queue_pairs = queue_pairs;
    return config;
  }

  vkring::device tun_;
  long answers_ = 0;
};

#endif  // PING_STACK_HPP
