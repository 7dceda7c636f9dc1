// SPDX-License-Identifier: BSD-3-Clause
#ifndef LWIP_OPTIONS_HPP
#define LWIP_OPTIONS_HPP

// The command line.

#include <string>
#include <string_view>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/worker/device_config.hpp>

#include "tap_netif.hpp"

namespace lwip_example {

/// What the command line asks for.
struct options {
  std::string file;
  bool own_netif = true;  ///< this example's interface; else lwIP's
  offloads offload = offloads::tso;
  vkring::backend_kind backend = vkring::backend_kind::automatic;
  bool help = false;
};

/// Errors: std::errc::invalid_argument, operation and object being the option and its value.
vkring::result<options> parse(const std::vector<std::string_view>& arguments);

[[nodiscard]] std::string_view help_text() noexcept;

}  // namespace lwip_example

#endif  // LWIP_OPTIONS_HPP
