// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_KERNEL_VERSION_HPP
#define VKRING_KERNEL_KERNEL_VERSION_HPP

// Which Linux this is.

#include <sys/utsname.h>

#include <charconv>
#include <compare>
#include <string_view>
#include <vkring/core/error.hpp>
#include <vkring/kernel/sys.hpp>

namespace vkring::inline v0 {

/// The first two numbers of a kernel's release.
struct kernel_version {
  unsigned major = 0;  ///< 6 in 6.12.3
  unsigned minor = 0;  ///< 12 in 6.12.3
  friend auto operator<=>(const kernel_version&, const kernel_version&) = default;
};

/// The numbers at the beginning of a kernel's release, `6.12` of `6.12.117+deb13-amd64`.
[[nodiscard]] inline kernel_version parse_kernel_version(std::string_view release) noexcept {
  kernel_version version;
  const char* const end = release.data() + release.size();
  const auto first = std::from_chars(release.data(), end, version.major);
  if (first.ec == std::errc{} && first.ptr != end && *first.ptr == '.') {
    std::from_chars(first.ptr + 1, end, version.minor);
  }
  return version;
}

/// That of the running kernel; 0.0 if it does not tell.
template <class Sys = posix>
[[nodiscard]] kernel_version running_kernel() noexcept {
  utsname about{};
  return Sys::uname(&about) == 0 ? parse_kernel_version(about.release) : kernel_version{};
}

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_KERNEL_VERSION_HPP
