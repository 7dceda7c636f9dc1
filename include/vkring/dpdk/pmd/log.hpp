// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_LOG_HPP
#define VKRING_DPDK_PMD_LOG_HPP

// What the driver says, in DPDK's log, and how its errors become DPDK's.

#include <rte_log.h>
#include <vkring/core/error.hpp>

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

namespace vkring::inline v0::pmd {

/// Says a line about a port, as `pmd.net.vkring`. From any thread.
inline void say(std::uint32_t level, std::string_view port, const std::string& line) {
  static const int type = ::rte_log_register_type_and_pick_level("pmd.net.vkring", RTE_LOG_NOTICE);
  if (type < 0) return;
  ::rte_log(level, static_cast<std::uint32_t>(type), "%s: %s\n", std::string(port).c_str(),
            line.c_str());
}

/// What an operation of a driver answers: 0, or a negative errno after the reason has been logged.
template <class T>
int answer(std::string_view port, const result<T>& done) {
  if (done) return 0;
  say(RTE_LOG_ERR, port, done.error().message());
  const int reason = done.error().code.value();
  return reason > 0 ? -reason : -EIO;
}

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_LOG_HPP
