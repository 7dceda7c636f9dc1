// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_FLOW_FRAME_HPP
#define VKRING_TESTS_SUPPORT_FLOW_FRAME_HPP

// Frames that the kernel sees as flows.

#include <cstddef>
#include <cstdint>

#include "support/tap_wire.hpp"
#include "vkring/core/endian.hpp"

namespace vkring::test {

inline constexpr std::uint16_t ipv4 = 0x0800;

/// A UDP datagram of flow `flow`, whose last four bytes are a number.
inline frame_bytes flow_frame(std::uint16_t flow, std::uint32_t number) {
  frame_bytes made(14 + 20 + 8 + 18);
  made[0] = made[6] = std::byte{0x02};
  store_big(made.data() + 12, ipv4);
  made[14] = std::byte{0x45};
  store_big(made.data() + 16, static_cast<std::uint16_t>(made.size() - 14));
  made[22] = std::byte{64};
  made[23] = std::byte{17};
  store_big(made.data() + 26, std::uint32_t{0x0a000001});
  store_big(made.data() + 30, std::uint32_t{0x0a000002});
  store_big(made.data() + 34, static_cast<std::uint16_t>(10000 + flow * 7));
  store_big(made.data() + 36, std::uint16_t{9});
  store_big(made.data() + 38, static_cast<std::uint16_t>(made.size() - 34));
  store_big(made.data() + made.size() - 4, number);
  return made;
}
/// The number of such a frame.
inline std::uint32_t flow_number(const frame_bytes& frame) {
  return load_big<std::uint32_t>(frame.data() + frame.size() - 4);
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_FLOW_FRAME_HPP
