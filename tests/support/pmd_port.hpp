// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_PMD_PORT_HPP
#define VKRING_TESTS_SUPPORT_PMD_PORT_HPP

// A port of net_vkring in a test, which calls it as applications do: by ethdev's public functions.

#include <rte_bus_vdev.h>
#include <rte_ethdev.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/dpdk.hpp"
#include "support/tap_wire.hpp"
#include "vkring/dpdk/pmd.hpp"
#include "vkring/kernel/link.hpp"

namespace vkring::test {

/// The backend that a port is to have here, the kernel's where it can be had.
inline std::string backend_here() {
  return ::access("/dev/vhost-net", F_OK) == 0 ? "vhost-net" : "worker";
}

/// What an application says to a port before it starts it.
struct port_setup {
  std::string arguments = "backend=" + backend_here();
  ::rte_eth_conf conf = {};
  std::vector<std::uint16_t> rx_sizes = {256};  ///< a queue each, of so many descriptors
  std::vector<std::uint16_t> tx_sizes = {256};
};

/// The errno with which a device is refused; 0, and it is gone again, if it is not.
inline int probe_refusal(const std::string& arguments) {
  start_eal();
  const int refused = ::rte_vdev_init("net_vkring9", arguments.c_str());
  if (refused == 0) ::rte_vdev_uninit("net_vkring9");
  return -refused;
}

/// A started port on an interface `tap0` of a namespace, until the end of its life.
class pmd_port {
 public:
  pmd_port(const netns& ns, ::rte_mempool& pool, const port_setup& setup = {},
           std::string name = "net_vkring0")
      : name_(std::move(name)) {
    const std::string arguments = "iface=tap0,netns=" + path_of(ns) + ',' + setup.arguments;
    REQUIRE(::rte_vdev_init(name_.c_str(), arguments.c_str()) == 0);
    REQUIRE(::rte_eth_dev_get_port_by_name(name_.c_str(), &id_) == 0);
    const auto rx_queues = static_cast<std::uint16_t>(setup.rx_sizes.size());
    const auto tx_queues = static_cast<std::uint16_t>(setup.tx_sizes.size());
    REQUIRE(::rte_eth_dev_configure(id_, rx_queues, tx_queues, &setup.conf) == 0);
    for (std::uint16_t i = 0; i != rx_queues; ++i) {
      REQUIRE(::rte_eth_rx_queue_setup(id_, i, setup.rx_sizes[i], 0, nullptr, &pool) == 0);
    }
    for (std::uint16_t i = 0; i != tx_queues; ++i) {
      REQUIRE(::rte_eth_tx_queue_setup(id_, i, setup.tx_sizes[i], 0, nullptr) == 0);
    }
    REQUIRE(::rte_eth_dev_start(id_) == 0);
    link_.emplace(basic_link<>::open("tap0", ns).value());
    REQUIRE(link_->set_up(true));
  }
  pmd_port(const pmd_port&) = delete;
  pmd_port& operator=(const pmd_port&) = delete;
  ~pmd_port() {
    ::rte_eth_dev_stop(id_);
    ::rte_vdev_uninit(name_.c_str());
  }

  [[nodiscard]] std::uint16_t id() const { return id_; }
  /// The interface as the kernel sees it.
  [[nodiscard]] link_state interface() { return link_->read().value(); }

  bool send(::rte_mbuf* m, std::uint16_t queue = 0) {
    return eventually([&] { return ::rte_eth_tx_burst(id_, queue, &m, 1) == 1; });
  }
  /// The next packet, which the caller frees; null when none comes.
  ::rte_mbuf* receive(std::uint16_t queue = 0) {
    ::rte_mbuf* got = nullptr;
    eventually([&] { return ::rte_eth_rx_burst(id_, queue, &got, 1) == 1; });
    return got;
  }
  /// All that is there now, freed.
  std::size_t receive_all(std::uint16_t queue = 0) {
    ::rte_mbuf* some[32];
    std::size_t all = 0;
    for (std::uint16_t got = 1; got != 0; all += got) {
      got = ::rte_eth_rx_burst(id_, queue, some, 32);
      ::rte_pktmbuf_free_bulk(some, got);
    }
    return all;
  }

 private:
  std::string name_;
  std::uint16_t id_ = 0;
  std::optional<basic_link<>> link_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_PMD_PORT_HPP
