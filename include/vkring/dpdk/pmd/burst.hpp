// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_BURST_HPP
#define VKRING_DPDK_PMD_BURST_HPP

// The queues of a port as ethdev knows them, and the functions that it calls with them.

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <vkring/device.hpp>
#include <vkring/dpdk/mbuf.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vkring::inline v0::pmd {

template <class Layout>
using device_of = basic_device<Layout, mempool_source>;  ///< what a port that is started has

/// A receive queue. With more transmit than receive queues, the kernel sends through all pairs all
/// the same, so a receive queue takes what comes to several.
struct rx_queue {
  ::rte_mempool* pool = nullptr;  ///< null: not set up
  std::uint16_t size = 0;         ///< descriptors
  std::vector<void*> pairs;  ///< while started: each an `rx_type` of the port's device
  std::size_t next = 0;      ///< the pair to look at first, so that none starves

  /// The receive queue of a pair; `Layout` is the device's.
  template <class Layout>
  [[nodiscard]] typename device_of<Layout>::rx_type& pair(std::size_t i) const noexcept {
    return *static_cast<typename device_of<Layout>::rx_type*>(pairs[i]);
  }
};

/// A transmit queue.
struct tx_queue {
  std::uint16_t size = 0;  ///< 0: not set up
  bool is_packed = false;  ///< tells the layout of the device
  void* pair = nullptr;  ///< while started: a `tx_type` of the port's device

  /// The transmit queue of the pair; `Layout` is the device's.
  template <class Layout>
  [[nodiscard]] typename device_of<Layout>::tx_type& it() const noexcept {
    return *static_cast<typename device_of<Layout>::tx_type*>(pair);
  }
};

/// @{
/// For the function pointers of an ethdev: `queue` is a `rx_queue` or a `tx_queue`.
template <class Layout>
std::uint16_t rx_burst(void* queue, ::rte_mbuf** packets, std::uint16_t count) noexcept {
  auto& from = *static_cast<rx_queue*>(queue);
  const std::size_t pairs = from.pairs.size();
  if (pairs == 1) [[likely]]
    return from.pair<Layout>(0).rx_burst({packets, count});
  std::uint16_t received = 0;
  for (std::size_t left = pairs; left != 0 && received != count; --left) {
    const std::span rest(packets + received, static_cast<std::size_t>(count - received));
    received = static_cast<std::uint16_t>(received + from.pair<Layout>(from.next).rx_burst(rest));
    from.next = from.next + 1 == pairs ? 0 : from.next + 1;
  }
  return received;
}

template <class Layout>
std::uint16_t tx_burst(void* queue, ::rte_mbuf** packets, std::uint16_t count) noexcept {
  return static_cast<tx_queue*>(queue)->it<Layout>().tx_burst({packets, count});
}

template <class Layout>
std::uint16_t tx_prepare(void* queue, ::rte_mbuf** packets, std::uint16_t count) noexcept {
  return prepare({packets, count},
                 static_cast<tx_queue*>(queue)->it<Layout>().rules().offloads);
}
/// @}

/// How many buffers the device has filled that were not received yet. `Number` is unsigned until
/// DPDK 25.11, and an int afterwards.
template <class Layout, class Number>
Number rx_queue_count(void* queue) noexcept {
  const auto& from = *static_cast<rx_queue*>(queue);
  std::uint32_t all = 0;
  for (std::size_t i = 0; i != from.pairs.size(); ++i) all += from.pair<Layout>(i).pending();
  return static_cast<Number>(all);
}
/// Counted from the next buffer to be received.
template <class Layout>
int rx_descriptor_status(void* queue, std::uint16_t offset) noexcept {
  const auto& from = *static_cast<rx_queue*>(queue);
  if (offset >= from.size) return -EINVAL;
  std::uint32_t posted = 0;
  for (std::size_t i = 0; i != from.pairs.size(); ++i) {
    posted += from.pair<Layout>(i).ring().in_flight();
  }
  if (offset < rx_queue_count<Layout, std::uint32_t>(queue)) return RTE_ETH_RX_DESC_DONE;
  return offset < posted ? RTE_ETH_RX_DESC_AVAIL : RTE_ETH_RX_DESC_UNAVAIL;
}

/// How many packets the device has not read yet.
template <class Layout>
int tx_queue_count(void* queue) noexcept {
  auto& to = static_cast<tx_queue*>(queue)->it<Layout>();
  return to.ring().in_flight() - to.reclaimable();
}
/// Counted from the next one to be sent: those that are free come first.
template <class Layout>
int tx_descriptor_status(void* queue, std::uint16_t offset) noexcept {
  const auto& to = *static_cast<tx_queue*>(queue);
  if (offset >= to.size) return -EINVAL;
  return offset < to.size - tx_queue_count<Layout>(queue) ? RTE_ETH_TX_DESC_DONE
                                                          : RTE_ETH_TX_DESC_FULL;
}

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_BURST_HPP
