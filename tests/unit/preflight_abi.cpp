// SPDX-License-Identifier: BSD-3-Clause

// kernel/preflight.hpp against the installed kernel headers, which preflight_abi.c includes.

#include <array>
#include <catch2/catch.hpp>

#include "vkring/kernel/preflight.hpp"

extern "C" const std::array<unsigned long, 5> uapi_preflight_values;

TEST_CASE("features, capabilities and structures of the preflight are the kernel's") {
  namespace own = vkring::detail;
  const std::array<unsigned long, 5> values = {
      own::vhost_version_1,           own::capability_header{}.version, own::cap_net_admin,
      sizeof(own::capability_header), sizeof(own::capability_words),
  };
  CHECK(values == uapi_preflight_values);
}
