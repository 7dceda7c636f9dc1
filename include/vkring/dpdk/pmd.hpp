// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_HPP
#define VKRING_DPDK_PMD_HPP

// A DPDK driver whose ports are kernel interfaces: `--vdev=net_vkring0,iface=tap0`.
//
// Needs the headers of DPDK's driver SDK, ALLOW_INTERNAL_API and ALLOW_EXPERIMENTAL_API defined, and
// a library that registers it: see examples/dpdk_pmd.

#include <bus_vdev_driver.h>
#include <ethdev_driver.h>
#include <ethdev_vdev.h>
#include <rte_malloc.h>
#include <vkring/dpdk/pmd/devargs.hpp>
#include <vkring/dpdk/pmd/log.hpp>
#include <vkring/dpdk/pmd/operations.hpp>
#include <vkring/dpdk/pmd/port.hpp>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

namespace vkring::inline v0::pmd {

namespace detail {

inline int give_port(::rte_vdev_device& to, std::unique_ptr<instance> made) {
  auto* const mac = static_cast<::rte_ether_addr*>(
      ::rte_zmalloc("net_vkring", sizeof(::rte_ether_addr), alignof(::rte_ether_addr)));
  ::rte_eth_dev* const dev =
      mac == nullptr ? nullptr : ::rte_eth_vdev_allocate(&to, sizeof(instance*));
  if (dev == nullptr) {
    ::rte_free(mac);
    return -ENOMEM;
  }
  const link_state& interface = made->it->at_open();
  if (interface.mac) std::copy(interface.mac->begin(), interface.mac->end(), mac->addr_bytes);
  ::rte_eth_dev_data& data = *dev->data;
  data.mac_addrs = mac;
  data.mtu = mtu_at_open(*made->it);
  data.promiscuous = 1;
  data.all_multicast = 1;
  data.dev_link.link_status = RTE_ETH_LINK_DOWN;
  data.dev_flags |= RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS | RTE_ETH_DEV_INTR_LSC;
  dev->intr_handle = made->lines.handle();
  instance_of(*dev) = made.release();
  dev->dev_ops = &operations;
  ::rte_eth_dev_probing_finish(dev);
  return 0;
}

}  // namespace detail

/// Makes a port. Negative errno with a line in the log that says which argument, and why: bad
/// arguments, an interface or a backend that cannot be had, a secondary process.
inline int probe(::rte_vdev_device* vdev) noexcept {
  const char* const name = ::rte_vdev_device_name(vdev);
  if (::rte_eal_process_type() != RTE_PROC_PRIMARY) {
    return answer<void>(name, fail(std::errc::not_supported, "probe", "--proc-type",
                                   "a port belongs to the primary process"));
  }
  const char* const arguments = ::rte_vdev_device_args(vdev);
  auto options = parse_devargs(arguments == nullptr ? "" : arguments);
  if (!options) return answer(name, options);
  auto lines = interrupts::open(options->netns);
  if (!lines) return answer(name, lines);
  auto made = port::open(std::move(*options));
  if (!made) return answer(name, made);
  return detail::give_port(
      *vdev, std::unique_ptr<instance>(new instance{std::move(*made), std::move(*lines)}));
}

/// Closes the port of a device.
inline int remove(::rte_vdev_device* vdev) noexcept {
  ::rte_eth_dev* const dev = ::rte_eth_dev_allocated(::rte_vdev_device_name(vdev));
  return dev == nullptr ? 0 : ::rte_eth_dev_close(dev->data->port_id);
}

/// What to register as `net_vkring`. Constant: constructors of libraries run before initialisers.
[[nodiscard]] constexpr ::rte_vdev_driver driver() noexcept {
  ::rte_vdev_driver made{};
  made.probe = probe;
  made.remove = remove;
  return made;
}

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_HPP
