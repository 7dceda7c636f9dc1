// SPDX-License-Identifier: BSD-3-Clause
#include "echo.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vkring/core/endian.hpp>
#include <vkring/net/checksum.hpp>
#include <vkring/net/packet.hpp>
#include <vkring/queue/forward.hpp>

namespace fwd {

using vkring::load_big;
using vkring::store_big;

namespace {

using bytes = std::span<std::byte>;

constexpr std::size_t mac_size = 6;
constexpr std::size_t type_at = 12;
constexpr std::size_t arp_at = 14;
constexpr std::size_t arp_end = arp_at + 28;
constexpr std::uint16_t type_arp = 0x0806;
constexpr std::uint8_t icmp = 1;
constexpr std::uint8_t icmp6 = 58;
constexpr std::size_t solicitation_size = 24;
constexpr std::size_t advertisement_size = 32;  // with the option that tells the MAC

bool all_zero(std::span<const std::byte> address) noexcept {
  return std::all_of(address.begin(), address.end(), [](std::byte b) { return b == std::byte{0}; });
}
void swap(bytes frame, std::size_t a, std::size_t b, std::size_t size) noexcept {
  std::swap_ranges(frame.begin() + static_cast<std::ptrdiff_t>(a),
                   frame.begin() + static_cast<std::ptrdiff_t>(a + size),
                   frame.begin() + static_cast<std::ptrdiff_t>(b));
}
void put_mac(bytes frame, std::size_t at, const vkring::mac_address& mac) noexcept {
  std::memcpy(frame.data() + at, mac.data(), mac_size);
}
// Back to the sender, from `mac`.
void turn_round(bytes frame, const vkring::mac_address& mac) noexcept {
  std::memcpy(frame.data(), frame.data() + mac_size, mac_size);
  put_mac(frame, mac_size, mac);
}
bool is_kernels(std::span<const std::byte> address, const echo_host& host) noexcept {
  if (!host.kernel) return false;
  const auto own = std::as_bytes(host.kernel->address());
  return std::equal(address.begin(), address.end(), own.begin(), own.end());
}
// The checksum at `at` after the word `was` that it covers has become `is` (RFC 1624).
void adjust(bytes frame, std::size_t at, std::uint16_t was, std::uint16_t is) noexcept {
  const auto inverted = [](std::uint16_t word) { return static_cast<std::uint16_t>(~word); };
  vkring::internet_sum sum;
  sum.add(inverted(load_big<std::uint16_t>(frame.data() + at)));
  sum.add(inverted(was));
  sum.add(is);
  store_big(frame.data() + at, sum.checksum());
}

bool answer_arp(bytes frame, const echo_host& host) noexcept {
  constexpr std::uint64_t ethernet_ipv4_request = 0x0001'0800'0604'0001;
  constexpr std::size_t sender = arp_at + 8;
  constexpr std::size_t target = arp_at + 18;
  constexpr std::size_t ip = mac_size;  // behind the MAC of each
  if (frame.size() < arp_end) return false;
  if (load_big<std::uint64_t>(frame.data() + arp_at) != ethernet_ipv4_request) return false;
  const auto asker = frame.subspan(sender + ip, 4);
  const auto asked = frame.subspan(target + ip, 4);
  const bool probe = all_zero(asker) || std::equal(asker.begin(), asker.end(), asked.begin());
  if (probe || is_kernels(asked, host)) return false;
  store_big(frame.data() + arp_at + 6, std::uint16_t{2});
  swap(frame, sender, target, mac_size + 4);
  put_mac(frame, sender, host.mac);
  turn_round(frame, host.mac);
  return true;
}

bool answer_icmp(bytes frame, const vkring::packet_layout& at, const echo_host& host) noexcept {
  constexpr std::uint8_t echo_request = 8;
  const bool first = at.fault != vkring::packet_fault::fragment ||
                     (load_big<std::uint16_t>(frame.data() + at.ip + 6) & 0x1fff) == 0;
  if (first) {
    const std::size_t l4 = at.ip + std::size_t{4} * (std::to_integer<unsigned>(frame[at.ip]) & 15);
    if (frame.size() < l4 + 8) return false;
    if (frame[l4] != std::byte{echo_request}) return false;
    const auto was = load_big<std::uint16_t>(frame.data() + l4);
    frame[l4] = std::byte{0};
    adjust(frame, l4 + 2, was, load_big<std::uint16_t>(frame.data() + l4));
  }
  // Swapped addresses leave the checksum of the IP header as it is, and so the other fragments.
  swap(frame, at.ip + 12, at.ip + 16, 4);
  turn_round(frame, host.mac);
  return true;
}

bool answer_echo6(bytes frame, const vkring::packet_layout& at, const echo_host& host) noexcept {
  const auto was = load_big<std::uint16_t>(frame.data() + at.l4);
  frame[at.l4] = std::byte{129};
  adjust(frame, at.l4 + 2, was, load_big<std::uint16_t>(frame.data() + at.l4));
  swap(frame, at.ip + 8, at.ip + 24, 16);
  turn_round(frame, host.mac);
  return true;
}

bool answer_solicitation(vkring::frame& request, const vkring::packet_layout& at,
                         const echo_host& host) noexcept {
  constexpr std::uint16_t link_address_option = 0x0201;
  constexpr std::uint32_t solicited_and_override = 0x6000'0000;
  const auto size = static_cast<std::uint32_t>(at.l4 + advertisement_size);
  bytes frame = request.contiguous();
  if (frame.size() < at.l4 + solicitation_size || at.l4 != at.ip + 40) return false;
  const bool probe = all_zero(frame.subspan(at.ip + 8, 16));
  std::array<std::byte, 16> asked;
  std::copy_n(frame.begin() + at.l4 + 8, asked.size(), asked.begin());
  if (probe || is_kernels(asked, host) || !request.resize(size)) return false;
  frame = request.contiguous();
  std::byte* const ip = frame.data() + at.ip;
  std::byte* const l4 = frame.data() + at.l4;
  store_big(ip + 4, static_cast<std::uint16_t>(advertisement_size));
  std::memcpy(ip + 24, ip + 8, 16);
  std::memcpy(ip + 8, asked.data(), asked.size());
  l4[0] = std::byte{136};
  store_big(l4 + 4, solicited_and_override);
  store_big(l4 + solicitation_size, link_address_option);
  put_mac(frame, at.l4 + solicitation_size + 2, host.mac);
  store_big(l4 + 2, vkring::pseudo_header(std::span<const std::byte, 16>(ip + 8, 16),
                                          std::span<const std::byte, 16>(ip + 24, 16), icmp6,
                                          std::uint32_t{advertisement_size})
                        .sum());
  turn_round(frame, host.mac);
  return vkring::complete_checksum(frame, at.l4, 2);
}

}  // namespace

bool answer(vkring::frame& request, const echo_host& host) noexcept {
  // All that is read and changed is in the headers, which lie in the first buffer.
  bytes head;
  request.for_each_segment([&](bytes segment) {
    if (head.empty()) head = segment;
  });
  if (head.size() < arp_at) return false;
  bool answered = false;
  if (load_big<std::uint16_t>(head.data() + type_at) == type_arp) {
    answered = answer_arp(head, host);
  } else if (std::memcmp(head.data(), host.mac.data(), mac_size) == 0 ||
             (head[0] & std::byte{1}) != std::byte{0}) {
    const bool to_us = (head[0] & std::byte{1}) == std::byte{0};
    const vkring::packet_layout at = vkring::parse_packet(head, request.size());
    if (!at.ipv6 && at.protocol == icmp && to_us) {
      answered = answer_icmp(head, at, host);
    } else if (at.ipv6 && at.protocol == icmp6 && at.l4 != 0 && head.size() >= at.l4 + 8u) {
      const auto type = std::to_integer<unsigned>(head[at.l4]);
      if (type == 128 && to_us) answered = answer_echo6(head, at, host);
      if (type == 135) answered = answer_solicitation(request, at, host);
    }
  }
  if (answered) vkring::forward(request);
  return answered;
}

}  // namespace fwd
