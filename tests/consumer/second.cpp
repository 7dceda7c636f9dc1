// SPDX-License-Identifier: BSD-3-Clause
#include <vkring/vkring.hpp>

#ifdef CONSUMER_USES_URING
#include <vkring/io_uring.hpp>
#endif
#ifdef CONSUMER_USES_FMT
#include <vkring/fmt.hpp>
#endif
#ifdef CONSUMER_USES_PMD
#include <vkring/dpdk/pmd.hpp>
#elif defined CONSUMER_USES_DPDK
#include <vkring/dpdk/mbuf.hpp>
#endif

int errors_seen_by_second(const vkring::error& met);
int errors_seen_by_second(const vkring::error& met) {
  return met.message() == "consume vkring: Operation not supported" ? 1 : 0;
}
