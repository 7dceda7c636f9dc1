// SPDX-License-Identifier: BSD-3-Clause
#include <vkring/dpdk/pmd.hpp>

// The driver net_vkring as a plugin of an EAL: `-d /path/to/net_vkring.so`. See docs/dpdk.md.

RTE_INIT(note_home_cpus) { vkring::pmd::note_home_cpus(); }

static constinit rte_vdev_driver driver = vkring::pmd::driver();
RTE_PMD_REGISTER_VDEV(net_vkring, driver);
