// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_MBUF_HPP
#define VKRING_DPDK_MBUF_HPP

// DPDK's mbufs on the queues of a device, for the target vkring::dpdk. Needs DPDK's public headers
// (Debian: libdpdk-dev) and an initialised EAL; hugepages, ports and drivers are not needed.
//
//     auto pool = vkring::mempool_source::make(packet_pool).value();
//     using device = vkring::basic_device<vkring::split, vkring::mempool_source>;
//     auto tap = device::open(config, pool).value();
//     const std::uint16_t received = tap.rx(0).rx_burst(packets);
//     const std::uint16_t sent = tap.tx(0).tx_burst(packets);

#include <vkring/dpdk/mbuf_rx_queue.hpp>
#include <vkring/dpdk/mbuf_tx_queue.hpp>
#include <vkring/dpdk/memory.hpp>
#include <vkring/dpdk/mempool_source.hpp>
#include <vkring/dpdk/offload_flags.hpp>
#include <vkring/dpdk/prepare.hpp>

#endif  // VKRING_DPDK_MBUF_HPP
