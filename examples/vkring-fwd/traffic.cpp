// SPDX-License-Identifier: BSD-3-Clause
#include "traffic.hpp"

#include <array>
#include <cstring>
#include <vkring/core/endian.hpp>
#include <vkring/net/checksum.hpp>

namespace fwd {

std::vector<std::byte> udp_frame(std::size_t size, const vkring::mac_address& to) {
  using vkring::store_big;
  constexpr std::size_t ip_at = 14;
  constexpr std::size_t udp_at = ip_at + 20;
  constexpr std::uint8_t udp = 17;
  constexpr vkring::mac_address from = {0x02, 0x76, 0x6b, 0x72, 0x6e, 0x67};
  std::vector<std::byte> frame(size);
  std::byte* const ip = frame.data() + ip_at;
  std::byte* const l4 = frame.data() + udp_at;
  std::memcpy(frame.data(), to.data(), to.size());
  std::memcpy(frame.data() + 6, from.data(), from.size());
  store_big(frame.data() + 12, std::uint16_t{0x0800});

  ip[0] = std::byte{0x45};
  store_big(ip + 2, static_cast<std::uint16_t>(size - ip_at));
  ip[8] = std::byte{64};  // hops
  ip[9] = std::byte{udp};
  store_big(ip + 12, std::uint32_t{0xc000'0201});  // 192.0.2.1
  store_big(ip + 16, std::uint32_t{0xc000'0202});  // 192.0.2.2
  vkring::internet_sum sum;
  sum.add(std::span<const std::byte>(ip, l4));
  store_big(ip + 10, sum.checksum());

  const auto udp_size = static_cast<std::uint16_t>(size - udp_at);
  store_big(l4, std::uint16_t{9});  // discard
  store_big(l4 + 2, std::uint16_t{9});
  store_big(l4 + 4, udp_size);
  store_big(l4 + 6, vkring::pseudo_header(std::span<const std::byte, 4>(ip + 12, 4),
                                          std::span<const std::byte, 4>(ip + 16, 4), udp, udp_size)
                        .sum());
  (void)vkring::complete_checksum(frame, udp_at, 6);
  return frame;
}

void swap_addresses(vkring::frame& frame) noexcept {
  constexpr std::size_t size = std::tuple_size_v<vkring::mac_address>;
  bool first = true;
  frame.for_each_segment([&](std::span<std::byte> segment) {
    if (std::exchange(first, false) && segment.size() >= 2 * size) {
      std::swap_ranges(segment.begin(), segment.begin() + size, segment.begin() + size);
    }
  });
}

}  // namespace fwd
