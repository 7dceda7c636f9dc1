// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_MAC_HPP
#define VKRING_NET_MAC_HPP

// Ethernet addresses and their usual text form.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vkring::inline v0 {

/// An Ethernet address in the order of transmission.
using mac_address = std::array<std::uint8_t, 6>;

/// True for group addresses, which no interface can have.
[[nodiscard]] constexpr bool is_multicast(const mac_address& mac) noexcept {
  return (mac[0] & 1) != 0;
}

/// `02:00:5e:10:00:01`, in lower case. Allocation: the text.
[[nodiscard]] inline std::string mac_text(const mac_address& mac) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const std::uint8_t octet : mac) {
    if (!text.empty()) text += ':';
    text += digits[octet >> 4];
    text += digits[octet & 15];
  }
  return text;
}

/// The reverse: exactly six pairs of hexadecimal digits with colons between them, or nothing.
[[nodiscard]] constexpr std::optional<mac_address> parse_mac(std::string_view text) noexcept {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  mac_address mac{};
  if (text.size() != 3 * mac.size() - 1) return std::nullopt;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    if (i > 0 && text[3 * i - 1] != ':') return std::nullopt;
    const int high = digit(text[3 * i]);
    const int low = digit(text[3 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    mac[i] = static_cast<std::uint8_t>(16 * high + low);
  }
  return mac;
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_MAC_HPP
