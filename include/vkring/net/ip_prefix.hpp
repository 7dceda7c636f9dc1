// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_IP_PREFIX_HPP
#define VKRING_NET_IP_PREFIX_HPP

// IP addresses with the length of their network prefix, and their usual text form.

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace vkring::inline v0 {

/// An IPv4 or IPv6 address of an interface and the network that it is in.
struct ip_prefix {
  /// Of the Internet Protocol.
  enum class version : std::uint8_t { v4, v6 };

  version family = version::v4;           ///< IPv4 or IPv6
  std::uint8_t length = 0;                ///< bits, at most 32 or 128
  std::array<std::uint8_t, 16> octets{};  ///< in the order of transmission; the first 4 for IPv4

  /// 4 or 16 octets.
  [[nodiscard]] constexpr std::span<const std::uint8_t> address() const noexcept {
    return std::span(octets).first(family == version::v4 ? 4U : 16U);
  }
  friend bool operator==(const ip_prefix&, const ip_prefix&) = default;
};

/// `192.168.1.1/24`, `fd00::1/64`. Allocation: the text.
[[nodiscard]] inline std::string ip_text(const ip_prefix& prefix) {
  char text[INET6_ADDRSTRLEN] = "";
  const int family = prefix.family == ip_prefix::version::v4 ? AF_INET : AF_INET6;
  (void)::inet_ntop(family, prefix.octets.data(), text, sizeof text);
  return std::string(text) + '/' + std::to_string(prefix.length);
}

/// The reverse: an address, a slash and the length in decimal, or nothing. The length is not
/// optional, since what a missing one stands for differs between programs.
[[nodiscard]] inline std::optional<ip_prefix> parse_ip_prefix(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == text.npos || text.find('\0') != text.npos) return std::nullopt;
  const std::string address(text.substr(0, slash));
  const std::string_view length = text.substr(slash + 1);

  ip_prefix prefix;
  if (::inet_pton(AF_INET, address.c_str(), prefix.octets.data()) != 1) {
    prefix.family = ip_prefix::version::v6;
    if (::inet_pton(AF_INET6, address.c_str(), prefix.octets.data()) != 1) return std::nullopt;
  }
  const char* const end = length.data() + length.size();
  const auto parsed = std::from_chars(length.data(), end, prefix.length);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  if (prefix.length > 8 * prefix.address().size()) return std::nullopt;
  return prefix;
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_IP_PREFIX_HPP
