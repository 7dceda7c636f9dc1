// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_OPTIONS_HPP
#define VDUSE_NET_OPTIONS_HPP

// The command line.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/net/features.hpp>

namespace vduse_net {

/// What the command line asks for.
struct options {
  std::string name = "vduse0";
  std::string tap = "tap0";
  bool help = false;
  bool packed = false;
  std::uint16_t queue_size = 256;
  bool event_idx = true;
  bool indirect = true;
  bool in_order = false;
  bool mergeable = true;
  bool offloads = true;

  /// What the device offers to the driver.
  [[nodiscard]] vkring::feature_set offered() const noexcept;
};

/// Errors: std::errc::invalid_argument, operation and object being the option and its value.
vkring::result<options> parse(const std::vector<std::string_view>& arguments);

[[nodiscard]] std::string_view help_text() noexcept;

}  // namespace vduse_net

#endif  // VDUSE_NET_OPTIONS_HPP
