// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_VERSIONS_HPP
#define VKRING_DPDK_PMD_VERSIONS_HPP

// Where the driver interface differs between DPDK 22.11 and later ones, and the differences alone.
//
// An operation whose signature has changed is a template here: the type of the pointer that it is
// assigned to chooses. A library is for one DPDK nonetheless, that of its headers: the structures
// have another layout in each.

#include <ethdev_driver.h>
#include <vkring/dpdk/pmd/statistics.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace vkring::inline v0::pmd {

/// Adds what a pair has counted to the queues that it belongs to, as far as there is room for them.
///
/// `Queues` is `rte_eth_stats` until 25.11, and afterwards a structure of its own, which may be
/// missing.
template <class Queues>
void add_queue(Queues* all, std::size_t rx_queue, std::size_t tx_queue, const traffic& rx,
               const traffic& tx) noexcept {
  if (all == nullptr) return;
  if (rx_queue < std::size(all->q_ipackets)) {
    all->q_ipackets[rx_queue] += rx.packets;
    all->q_ibytes[rx_queue] += rx.bytes;
    all->q_errors[rx_queue] += rx.errors;
  }
  if (tx_queue < std::size(all->q_opackets)) {
    all->q_opackets[tx_queue] += tx.packets;
    all->q_obytes[tx_queue] += tx.bytes;
  }
}

/// `dev_supported_ptypes_get`, of which the last entry is RTE_PTYPE_UNKNOWN: until 24.03 that is the
/// end of the list, afterwards its length is asked for.
template <const auto& Types, class... Length>
const std::uint32_t* packet_types(::rte_eth_dev*, Length*... length) noexcept {
  ((*length = std::size(Types) - 1), ...);
  return std::data(Types);
}

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_VERSIONS_HPP
