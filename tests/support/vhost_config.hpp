// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_VHOST_CONFIG_HPP
#define VKRING_TESTS_SUPPORT_VHOST_CONFIG_HPP

// Whether there is a vhost-net here, and a device on it.

#include <cstdint>
#include <type_traits>
#include <vector>

#include "vkring/device.hpp"

namespace vkring::test {

inline constexpr const char* no_vhost = "no /dev/vhost-net";

inline bool vhost_is_here() { return vhost_net::open().has_value(); }

/// A device on vhost-net, or an error, without offloads.
inline device_config vhost_config(std::uint16_t pairs = 1) {
  device_config config;
  config.backend = backend_kind::vhost;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  return config;
}

/// The backends that work here with rings of a layout.
template <class Layout = split>
std::vector<backend_kind> backends() {
  std::vector all = {backend_kind::worker};
  if (std::is_same_v<Layout, split> && vhost_is_here()) all.push_back(backend_kind::vhost);
  return all;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_VHOST_CONFIG_HPP
