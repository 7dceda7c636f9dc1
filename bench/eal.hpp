// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_EAL_HPP
#define VKRING_BENCH_EAL_HPP

// DPDK's environment for a benchmark: no hugepages, no devices but those that it makes itself, no
// files that another DPDK program might look for.

#include <rte_eal.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace bench {

/// Starts the EAL, or ends the program. `more`: options of the EAL.
inline void start_eal(const char* program, const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {program, "--no-huge", "--no-pci", "-m", "64", "--no-telemetry",
                                    "--no-shconf", "--log-level", "lib.*:error"};
  words.insert(words.end(), more.begin(), more.end());
  std::vector<char*> arguments;
  for (std::string& each : words) arguments.push_back(each.data());
  if (::rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0) {
    std::fprintf(stderr, "%s: the EAL does not start\n", program);
    std::exit(1);
  }
}

}  // namespace bench

#endif  // VKRING_BENCH_EAL_HPP
