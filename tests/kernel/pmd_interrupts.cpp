// SPDX-License-Identifier: BSD-3-Clause
#include <rte_epoll.h>

#include <array>
#include <atomic>

#include "support/flow_frame.hpp"
#include "support/pmd_port.hpp"
#include "support/skip.hpp"
#include "vkring/dpdk/pmd.hpp"

// Who sleeps for a port of net_vkring is woken: for a receive queue, and for the link.

using namespace vkring;
using namespace vkring::test;

static constinit rte_vdev_driver driver = pmd::driver();
RTE_PMD_REGISTER_VDEV(net_vkring, driver);

namespace {

port_setup with_rx_interrupts(const std::string& arguments, std::size_t queues) {
  port_setup setup;
  setup.arguments = arguments + ",queues=" + std::to_string(queues);
  setup.conf.intr_conf.rxq = 1;
  setup.rx_sizes.assign(queues, 256);
  setup.tx_sizes.assign(queues, 256);
  return setup;
}

/// The next queue that calls; -1 if none does.
int wait_for_call() {
  constexpr int milliseconds = 10'000;
  ::rte_epoll_event event{};
  if (::rte_epoll_wait(RTE_EPOLL_PER_THREAD, &event, 1, milliseconds) != 1) return -1;
  return static_cast<int>(reinterpret_cast<std::uintptr_t>(event.epdata.data));
}

}  // namespace

TEST_CASE("pmd interrupts: a receive queue calls, whether the packet comes before or after the wish") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  for (const std::string& arguments :
       {"backend=" + backend_here(), std::string("backend=worker,packed_vq=1"),
        "event_idx=0,backend=" + backend_here()}) {
    CAPTURE(arguments);
    pmd_port port(*ns, *pool, with_rx_interrupts(arguments, 1));
    tap_wire wire(*ns, port.interface().index);
    REQUIRE(::rte_eth_dev_rx_intr_ctl_q(port.id(), 0, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_ADD,
                                        nullptr) == 0);
    for (std::uint32_t round = 0; round != 50; ++round) {
      CAPTURE(round);
      const bool early = round % 2 == 0;
      const auto frame = numbered_frame(round, 100);
      if (early) {
        REQUIRE(wire.send(frame) == 0);
        REQUIRE(eventually([&] { return ::rte_eth_rx_queue_count(port.id(), 0) == 1; }));
      }
      REQUIRE(::rte_eth_dev_rx_intr_enable(port.id(), 0) == 0);
      if (!early) REQUIRE(wire.send(frame) == 0);
      // It may call for what was there before, too.
      std::size_t received = 0;
      while (received == 0) {
        REQUIRE(wait_for_call() == 0);
        received = port.receive_all();
        if (received == 0) REQUIRE(::rte_eth_dev_rx_intr_enable(port.id(), 0) == 0);
      }
      CHECK(received == 1);
      REQUIRE(::rte_eth_dev_rx_intr_disable(port.id(), 0) == 0);
    }
    CHECK(::rte_eth_dev_rx_intr_ctl_q(port.id(), 0, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_DEL,
                                      nullptr) == 0);
  }
}

TEST_CASE("pmd interrupts: each of several queues calls for itself, also after a stop and a start") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(4095);
  constexpr std::uint16_t queues = 4;
  pmd_port port(*ns, *pool, with_rx_interrupts("backend=" + backend_here(), queues));
  for (int start = 0; start != 3; ++start) {
    for (std::uint16_t i = 0; i != queues; ++i) {
      REQUIRE(::rte_eth_dev_rx_intr_ctl_q(port.id(), i, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_ADD,
                                          reinterpret_cast<void*>(std::uintptr_t{i})) == 0);
      REQUIRE(::rte_eth_dev_rx_intr_enable(port.id(), i) == 0);
    }
    tap_wire wire(*ns, port.interface().index, ipv4);
    constexpr std::size_t flows = 64;
    for (std::uint16_t flow = 0; flow != flows; ++flow) REQUIRE(wire.send(flow_frame(flow, 0)) == 0);
    std::array<std::size_t, queues> received{};
    for (std::size_t all = 0; all != flows;) {
      const int queue = wait_for_call();
      REQUIRE(queue >= 0);
      const auto index = static_cast<std::uint16_t>(queue);
      const std::size_t got = port.receive_all(index);
      received.at(index) += got;
      all += got;
      REQUIRE(::rte_eth_dev_rx_intr_enable(port.id(), index) == 0);
    }
    for (const std::size_t each : received) CHECK(each != 0);
    for (std::uint16_t i = 0; i != queues; ++i) {
      CHECK(::rte_eth_dev_rx_intr_ctl_q(port.id(), i, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_DEL,
                                        nullptr) == 0);
    }
    REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
    REQUIRE(::rte_eth_dev_start(port.id()) == 0);
  }
}

TEST_CASE("pmd interrupts: with fewer receive than transmit queues there are none") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(1023);
  pmd_port port(*ns, *pool, with_rx_interrupts("backend=worker", 2));
  REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
  ::rte_eth_conf conf{};
  conf.intr_conf.rxq = 1;
  CHECK(::rte_eth_dev_configure(port.id(), 1, 2, &conf) == -ENOTSUP);
}

TEST_CASE("pmd interrupts: the link tells of itself when the kernel's end goes down and up") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(1023);
  port_setup setup;
  setup.conf.intr_conf.lsc = 1;
  pmd_port port(*ns, *pool, setup);
  std::atomic<int> told = 0;
  const auto note = [](std::uint16_t, ::rte_eth_event_type, void* count, void*) {
    ++*static_cast<std::atomic<int>*>(count);
    return 0;
  };
  REQUIRE(::rte_eth_dev_callback_register(port.id(), RTE_ETH_EVENT_INTR_LSC, note, &told) == 0);
  auto link = basic_link<>::open("tap0", *ns).value();
  const auto status = [&] {
    ::rte_eth_link now{};
    CHECK(::rte_eth_link_get_nowait(port.id(), &now) == 0);
    return now.link_status;
  };
  REQUIRE(eventually([&] { return status() == RTE_ETH_LINK_UP; }));
  for (int round = 0; round != 10; ++round) {
    for (const bool up : {false, true}) {
      const int before = told;
      REQUIRE(link.set_up(up));
      CHECK(eventually([&] { return told != before; }));
      CHECK(status() == (up ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN));
    }
  }
  CHECK(::rte_eth_dev_callback_unregister(port.id(), RTE_ETH_EVENT_INTR_LSC, note, &told) == 0);
}

TEST_CASE("pmd interrupts: after a stop, queues are free to be waited for anew") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(1023);
  pmd_port port(*ns, *pool, with_rx_interrupts("backend=" + backend_here(), 1));
  for (int start = 0; start != 3; ++start) {
    CAPTURE(start);
    REQUIRE(::rte_eth_dev_rx_intr_ctl_q(port.id(), 0, RTE_EPOLL_PER_THREAD, RTE_INTR_EVENT_ADD,
                                        nullptr) == 0);
    tap_wire wire(*ns, port.interface().index);
    REQUIRE(::rte_eth_dev_rx_intr_enable(port.id(), 0) == 0);
    REQUIRE(wire.send(numbered_frame(1, 100)) == 0);
    CHECK(wait_for_call() == 0);
    CHECK(eventually([&] { return port.receive_all() == 1; }));
    REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
    REQUIRE(::rte_eth_dev_start(port.id()) == 0);
  }
}

TEST_CASE("pmd interrupts: whoever is told of the link may stop the port there") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(1023);
  port_setup setup;
  setup.conf.intr_conf.lsc = 1;
  pmd_port port(*ns, *pool, setup);
  auto link = basic_link<>::open("tap0", *ns).value();
  std::atomic<int> stopped = 0;
  const auto stop = [](std::uint16_t id, ::rte_eth_event_type, void* count, void*) {
    ::rte_eth_link now{};
    const bool down = ::rte_eth_link_get_nowait(id, &now) == 0 && now.link_status == RTE_ETH_LINK_DOWN;
    if (down && ::rte_eth_dev_stop(id) == 0) ++*static_cast<std::atomic<int>*>(count);
    return 0;
  };
  ::rte_eth_link now{};
  REQUIRE(eventually([&] {
    return ::rte_eth_link_get_nowait(port.id(), &now) == 0 && now.link_status == RTE_ETH_LINK_UP;
  }));
  REQUIRE(::rte_eth_dev_callback_register(port.id(), RTE_ETH_EVENT_INTR_LSC, stop, &stopped) == 0);
  for (int round = 1; round != 4; ++round) {
    REQUIRE(link.set_up(false));
    REQUIRE(eventually([&] { return stopped == round; }));
    REQUIRE(link.set_up(true));
    REQUIRE(::rte_eth_dev_start(port.id()) == 0);
    REQUIRE(eventually([&] {
      return ::rte_eth_link_get_nowait(port.id(), &now) == 0 && now.link_status == RTE_ETH_LINK_UP;
    }));
  }
  // The callback must not be running any more when its argument goes.
  while (::rte_eth_dev_callback_unregister(port.id(), RTE_ETH_EVENT_INTR_LSC, stop, &stopped) ==
         -EAGAIN) {
  }
}
