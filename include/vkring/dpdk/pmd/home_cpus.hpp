// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_HOME_CPUS_HPP
#define VKRING_DPDK_PMD_HOME_CPUS_HPP

// Where threads that serve rings may run. They inherit that from the thread that opens a device,
// which the EAL has pinned to the CPU on which it polls.

#include <rte_lcore.h>
#include <sched.h>

#include <cstddef>

namespace vkring::inline v0::pmd {

/// The CPUs of the process before the EAL pinned anything; none if nobody called `note_home_cpus`.
inline constinit ::cpu_set_t home_cpus{};

/// Call it before `rte_eal_init` does: from a constructor of the driver's library.
inline void note_home_cpus() noexcept { ::sched_getaffinity(0, sizeof home_cpus, &home_cpus); }

/// For as long as it lives, the calling thread is where threads that it starts should be: on the
/// CPUs of the process on which no lcore is, or if there are none, on all of them.
class away_from_lcores {
 public:
  away_from_lcores() noexcept {
    if (CPU_COUNT(&home_cpus) == 0 || ::sched_getaffinity(0, sizeof before_, &before_) != 0) return;
    ::cpu_set_t free = home_cpus;
    unsigned lcore = 0;
    RTE_LCORE_FOREACH(lcore) {
      const ::cpu_set_t taken = ::rte_lcore_cpuset(lcore);
      for (std::size_t cpu = 0; cpu != CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &taken)) CPU_CLR(cpu, &free);
      }
    }
    const ::cpu_set_t& wanted = CPU_COUNT(&free) == 0 ? home_cpus : free;
    moved_ = ::sched_setaffinity(0, sizeof wanted, &wanted) == 0;
  }
  away_from_lcores(const away_from_lcores&) = delete;
  away_from_lcores& operator=(const away_from_lcores&) = delete;
  ~away_from_lcores() {
    if (moved_) ::sched_setaffinity(0, sizeof before_, &before_);
  }

 private:
  ::cpu_set_t before_{};
  bool moved_ = false;
};

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_HOME_CPUS_HPP
