// SPDX-License-Identifier: BSD-3-Clause
#include <rte_ip.h>

#include <map>

#include "support/packets.hpp"
#include "support/pmd_port.hpp"
#include "support/skip.hpp"
#include "vkring/dpdk/pmd.hpp"

// What an application can ask of a port of net_vkring beside sending and receiving, and what comes of
// it at the kernel's end.

using namespace vkring;
using namespace vkring::test;

static constinit rte_vdev_driver driver = pmd::driver();
RTE_PMD_REGISTER_VDEV(net_vkring, driver);

namespace {

bool is_up(const pmd_port& port) {
  ::rte_eth_link now{};
  CHECK(::rte_eth_link_get_nowait(port.id(), &now) == 0);
  return now.link_status == RTE_ETH_LINK_UP;
}

std::map<std::string, std::uint64_t> extended_statistics(const pmd_port& port) {
  const int count = ::rte_eth_xstats_get_names(port.id(), nullptr, 0);
  REQUIRE(count > 0);
  std::vector<::rte_eth_xstat_name> names(static_cast<std::size_t>(count));
  std::vector<::rte_eth_xstat> values(names.size());
  const auto size = static_cast<unsigned>(count);
  REQUIRE(::rte_eth_xstats_get_names(port.id(), names.data(), size) == count);
  REQUIRE(::rte_eth_xstats_get(port.id(), values.data(), size) == count);
  std::map<std::string, std::uint64_t> all;
  for (std::size_t i = 0; i != names.size(); ++i) all.emplace(names[i].name, values[i].value);
  CHECK(all.size() == names.size());
  return all;
}

}  // namespace

TEST_CASE("pmd port: set down and up it takes the carrier along") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  pmd_port port(*ns, *pool);
  for (int round = 0; round != 3; ++round) {
    CHECK(is_up(port));
    CHECK(port.interface().carrier);
    REQUIRE(::rte_eth_dev_set_link_down(port.id()) == 0);
    CHECK_FALSE(is_up(port));
    CHECK_FALSE(port.interface().carrier);
    REQUIRE(::rte_eth_dev_set_link_up(port.id()) == 0);
  }
  // It stays down over a stop and a start.
  REQUIRE(::rte_eth_dev_set_link_down(port.id()) == 0);
  REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
  REQUIRE(::rte_eth_dev_start(port.id()) == 0);
  CHECK_FALSE(port.interface().carrier);
  REQUIRE(::rte_eth_dev_set_link_up(port.id()) == 0);
  CHECK(is_up(port));
  tap_wire wire(*ns, port.interface().index);
  REQUIRE(wire.send(numbered_frame(1, 100)) == 0);
  ::rte_mbuf* const got = port.receive();
  REQUIRE(got != nullptr);
  CHECK(content_of(*got) == numbered_frame(1, 100));
  ::rte_pktmbuf_free(got);
}

TEST_CASE("pmd port: MAC and MTU are those of the interface") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  port_setup setup;
  setup.conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SCATTER;
  pmd_port port(*ns, *pool, setup);
  const auto mac_of_port = [&] {
    ::rte_ether_addr has{};
    CHECK(::rte_eth_macaddr_get(port.id(), &has) == 0);
    mac_address mac;
    std::copy(std::begin(has.addr_bytes), std::end(has.addr_bytes), mac.begin());
    return mac;
  };
  const auto first = mac_of_port();
  CHECK(port.interface().mac == first);
  ::rte_ether_addr other{{0x02, 0, 0, 0, 0, 9}};
  REQUIRE(::rte_eth_dev_default_mac_addr_set(port.id(), &other) == 0);
  const mac_address chosen{0x02, 0, 0, 0, 0, 9};
  CHECK(port.interface().mac == chosen);
  for (const std::uint16_t mtu : std::initializer_list<std::uint16_t>{1400, 9000, 1500}) {
    REQUIRE(::rte_eth_dev_set_mtu(port.id(), mtu) == 0);
    CHECK(port.interface().mtu == mtu);
  }
  CHECK(::rte_eth_dev_set_mtu(port.id(), 65535) != 0);
  // Neither of them changes when the port is started once more.
  REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
  REQUIRE(::rte_eth_dev_start(port.id()) == 0);
  CHECK(mac_of_port() == chosen);
  CHECK(port.interface().mac == chosen);
  CHECK(port.interface().mtu == 1500);
}

TEST_CASE("pmd port: what queues are, and what packets can be") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  for (const bool is_packed : {false, true}) {
    port_setup setup;
    if (is_packed) setup.arguments = "backend=worker,packed_vq=1";
    setup.conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    pmd_port port(*ns, *pool, setup);
    ::rte_eth_rxq_info rx{};
    REQUIRE(::rte_eth_rx_queue_info_get(port.id(), 0, &rx) == 0);
    CHECK(rx.mp == pool.get());
    CHECK(rx.nb_desc == 256);
    CHECK(rx.queue_state == RTE_ETH_QUEUE_STATE_STARTED);
    ::rte_eth_txq_info tx{};
    REQUIRE(::rte_eth_tx_queue_info_get(port.id(), 0, &tx) == 0);
    CHECK(tx.nb_desc == 256);
    CHECK(tx.conf.offloads == RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
    CHECK(::rte_eth_rx_queue_info_get(port.id(), 1, &rx) == -EINVAL);

    ::rte_eth_burst_mode mode{};
    const std::string ring = is_packed ? "packed ring" : "split ring";
    REQUIRE(::rte_eth_rx_burst_mode_get(port.id(), 0, &mode) == 0);
    CHECK(mode.info == ring);
    REQUIRE(::rte_eth_tx_burst_mode_get(port.id(), 0, &mode) == 0);
    CHECK(mode.info == ring);

    std::uint32_t types[8];
    REQUIRE(::rte_eth_dev_get_supported_ptypes(port.id(), RTE_PTYPE_ALL_MASK, types, 8) == 5);
    CHECK(types[0] == RTE_PTYPE_L2_ETHER);
    CHECK(::rte_eth_dev_get_supported_ptypes(port.id(), RTE_PTYPE_L4_MASK, types, 8) == 2);

    CHECK(::rte_eth_promiscuous_get(port.id()) == 1);
    CHECK(::rte_eth_promiscuous_enable(port.id()) == 0);
    CHECK(::rte_eth_promiscuous_disable(port.id()) == -ENOTSUP);
    CHECK(::rte_eth_promiscuous_get(port.id()) == 1);
    CHECK(::rte_eth_allmulticast_get(port.id()) == 1);
    CHECK(::rte_eth_allmulticast_enable(port.id()) == 0);
    CHECK(::rte_eth_allmulticast_disable(port.id()) == -ENOTSUP);
    CHECK(::rte_eth_allmulticast_get(port.id()) == 1);
  }
}

TEST_CASE("pmd port: each queue has a ring of the size that it was set up with") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(4095);
  for (const bool is_packed : {false, true}) {
    port_setup setup;
    setup.arguments = is_packed ? "backend=worker,packed_vq=1" : "backend=" + backend_here();
    setup.arguments += ",queues=3";
    setup.rx_sizes = {64, 512};
    setup.tx_sizes = {1024, 8, 32};
    pmd_port port(*ns, *pool, setup);
    CHECK(::rte_mempool_in_use_count(pool.get()) == 64 + 512 + 64);
    tap_wire wire(*ns, port.interface().index);
    for (std::uint16_t queue = 0; queue != 3; ++queue) {
      CAPTURE(queue);
      ::rte_eth_txq_info info{};
      REQUIRE(::rte_eth_tx_queue_info_get(port.id(), queue, &info) == 0);
      CHECK(info.nb_desc == setup.tx_sizes[queue]);
      CHECK(::rte_eth_tx_descriptor_status(port.id(), queue, info.nb_desc) == -EINVAL);
      for (std::uint32_t i = 0; i != 100; ++i) {
        REQUIRE(port.send(packet_of(*pool, numbered_frame(i, 200)), queue));
        std::int64_t number = -1;
        REQUIRE(eventually([&] { return (number = wire.next_number()) != -1; }));
        REQUIRE(number == i);
      }
    }
    for (std::uint32_t i = 0; i != 1500; ++i) {
      REQUIRE(wire.send(numbered_frame(i, 200)) == 0);
      REQUIRE(eventually([&] { return port.receive_all(0) + port.receive_all(1) == 1; }));
    }
  }
}

TEST_CASE("pmd port: how much lies in a receive ring") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const bool is_packed : {false, true}) {
    const packet_pool pool = make_packet_pool(200);  // not enough for the ring
    port_setup setup;
    if (is_packed) setup.arguments = "backend=worker,packed_vq=1";
    pmd_port port(*ns, *pool, setup);
    tap_wire wire(*ns, port.interface().index);
    const auto status = [&](std::uint16_t at) {
      return ::rte_eth_rx_descriptor_status(port.id(), 0, at);
    };
    CHECK(::rte_eth_rx_queue_count(port.id(), 0) == 0);
    CHECK(status(0) == RTE_ETH_RX_DESC_AVAIL);
    CHECK(status(199) == RTE_ETH_RX_DESC_AVAIL);
    CHECK(status(200) == RTE_ETH_RX_DESC_UNAVAIL);
    CHECK(status(256) == -EINVAL);
    for (std::uint32_t i = 0; i != 5; ++i) REQUIRE(wire.send(numbered_frame(i, 100)) == 0);
    CHECK(eventually([&] { return ::rte_eth_rx_queue_count(port.id(), 0) == 5; }));
    CHECK(status(0) == RTE_ETH_RX_DESC_DONE);
    CHECK(status(4) == RTE_ETH_RX_DESC_DONE);
    CHECK(status(5) == RTE_ETH_RX_DESC_AVAIL);
    ::rte_mbuf* some[3];
    CHECK(::rte_eth_rx_burst(port.id(), 0, some, 3) == 3);
    ::rte_pktmbuf_free_bulk(some, 3);
    CHECK(::rte_eth_rx_queue_count(port.id(), 0) == 2);
    CHECK(status(2) == RTE_ETH_RX_DESC_AVAIL);
    CHECK(port.receive_all() == 2);
  }
}

TEST_CASE("pmd port: what was sent is given back when it is asked for") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const bool is_packed : {false, true}) {
    const packet_pool pool = make_packet_pool();
    port_setup setup;
    if (is_packed) setup.arguments = "backend=worker,packed_vq=1";
    pmd_port port(*ns, *pool, setup);
    tap_wire wire(*ns, port.interface().index);
    const unsigned posted = ::rte_mempool_in_use_count(pool.get());
    CHECK(::rte_eth_tx_done_cleanup(port.id(), 0, 0) == 0);
    for (std::uint32_t i = 0; i != 10; ++i) {
      REQUIRE(port.send(packet_of(*pool, numbered_frame(i, 100))));
    }
    CHECK(::rte_mempool_in_use_count(pool.get()) == posted + 10);
    int done = 0;
    CHECK(eventually([&] {
      const int now = ::rte_eth_tx_done_cleanup(port.id(), 0, 0);
      CHECK(now >= 0);
      return (done += now) == 10;
    }));
    CHECK(::rte_mempool_in_use_count(pool.get()) == posted);
    CHECK(::rte_eth_tx_descriptor_status(port.id(), 0, 0) == RTE_ETH_TX_DESC_DONE);
    CHECK(::rte_eth_tx_descriptor_status(port.id(), 0, 255) == RTE_ETH_TX_DESC_DONE);
    CHECK(::rte_eth_tx_descriptor_status(port.id(), 0, 256) == -EINVAL);
  }
}

TEST_CASE("pmd port: packets are prepared as the kernel wants them, or refused before they are sent") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  port_setup setup;
  setup.arguments += ",offloads=csum+tso4+tso6";
  setup.conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                               RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_TSO;
  pmd_port port(*ns, *pool, setup);
  tap_wire wire(*ns, port.interface().index, 0x0800, true);
  random_source random(5);
  packet_recipe recipe;
  recipe.tcp = true;
  recipe.payload = 5000;
  const built_packet built = build(recipe, random);
  const auto segmented = [&] {
    ::rte_mbuf* const m = packet_of(*pool, built.frame);
    m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_TCP_SEG;
    m->l2_len = 14;
    m->l3_len = 20;
    m->l4_len = 20;
    m->tso_segsz = 1400;
    return m;
  };
  ::rte_mbuf* packets[] = {segmented(), segmented(), segmented()};
  packets[1]->ol_flags |= RTE_MBUF_F_TX_MACSEC;
  CHECK(::rte_eth_tx_prepare(port.id(), 0, packets, 3) == 1);
  CHECK(rte_errno == ENOTSUP);
  packets[1]->ol_flags &= ~RTE_MBUF_F_TX_MACSEC;
  packets[2]->tso_segsz = 0;
  CHECK(::rte_eth_tx_prepare(port.id(), 0, packets + 1, 2) == 1);
  CHECK(rte_errno == EINVAL);
  packets[2]->tso_segsz = 1400;
  REQUIRE(::rte_eth_tx_prepare(port.id(), 0, packets + 2, 1) == 1);
  ::rte_mbuf* not_agreed_on = segmented();
  not_agreed_on->ol_flags ^= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG;
  CHECK(::rte_eth_tx_prepare(port.id(), 0, &not_agreed_on, 1) == 0);
  CHECK(rte_errno == ENOTSUP);
  ::rte_pktmbuf_free(not_agreed_on);
  for (::rte_mbuf* const each : packets) {
    REQUIRE(port.send(each));
    std::optional<tap_wire::received> out;
    REQUIRE(eventually([&] { return (out = wire.receive()).has_value(); }));
    CHECK(out->frame == built.frame);
    CHECK(out->header.gso_size == 1400);
  }
}

TEST_CASE("pmd port: statistics by name, which outlive a stop and are forgotten when asked") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  port_setup setup;
  setup.arguments = "backend=worker,queues=2";
  setup.rx_sizes = setup.tx_sizes = {256, 256};
  pmd_port port(*ns, *pool, setup);
  tap_wire wire(*ns, port.interface().index);
  for (std::uint16_t queue = 0; queue != 2; ++queue) {
    REQUIRE(port.send(packet_of(*pool, numbered_frame(queue, 100)), queue));
    CHECK(eventually([&] { return wire.next_number() == queue; }));
  }
  ::rte_mbuf* const runt = packet_of(*pool, numbered_frame(1, 14));
  REQUIRE(::rte_pktmbuf_trim(runt, 4) == 0);
  REQUIRE(port.send(runt));
  const auto check = [&](std::uint64_t sent, std::uint64_t dropped) {
    auto all = extended_statistics(port);
    CHECK(all.at("tx_good_packets") == sent);
    CHECK(all.at("tx_packets") == sent);
    CHECK(all.at("tx_bytes") == sent * 100);
    CHECK(all.at("tx_drop_too_short") == dropped);
    CHECK(all.at("tx_errors") == dropped);
    CHECK(all.at("worker_tx_frames") == sent);
    CHECK(all.at("tx_q0_packets") == sent / 2);
    CHECK(all.at("tx_q1_packets") == sent / 2);
    std::uint64_t id = 0;
    std::uint64_t value = 0;
    REQUIRE(::rte_eth_xstats_get_id_by_name(port.id(), "tx_drop_too_short", &id) == 0);
    REQUIRE(::rte_eth_xstats_get_by_id(port.id(), &id, &value, 1) == 1);
    CHECK(value == dropped);
    ::rte_eth_stats stats{};
    REQUIRE(::rte_eth_stats_get(port.id(), &stats) == 0);
    CHECK(stats.opackets == sent);
    CHECK(stats.oerrors == dropped);
  };
  check(2, 1);
  REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
  check(2, 1);
  REQUIRE(::rte_eth_dev_start(port.id()) == 0);
  check(2, 1);
  REQUIRE(::rte_eth_xstats_reset(port.id()) == 0);
  check(0, 0);
}

TEST_CASE("pmd port: a start with a queue that was not set up is refused, and says so") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  port_setup setup;
  setup.arguments += ",queues=2";
  pmd_port port(*ns, *pool, setup);
  REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
  REQUIRE(::rte_eth_dev_configure(port.id(), 2, 2, &setup.conf) == 0);
  CHECK(::rte_eth_dev_start(port.id()) == -EINVAL);
  REQUIRE(::rte_eth_rx_queue_setup(port.id(), 1, 256, 0, nullptr, pool.get()) == 0);
  CHECK(::rte_eth_dev_start(port.id()) == -EINVAL);
  REQUIRE(::rte_eth_tx_queue_setup(port.id(), 1, 256, 0, nullptr) == 0);
  CHECK(::rte_eth_dev_start(port.id()) == 0);
}

TEST_CASE("pmd port: without its interface it has no link, and stops all the same") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  pmd_port port(*ns, *pool);
  CHECK(is_up(port));
  REQUIRE(net_link::open("tap0", *ns).value().remove());
  CHECK_FALSE(is_up(port));
  CHECK(::rte_eth_dev_stop(port.id()) == 0);
  CHECK(::rte_eth_dev_start(port.id()) != 0);
}

TEST_CASE("pmd port: the MTU of an interface that was there is the port's") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  tap_options how;
  how.name = "tap0";
  how.netns_fd = ns->fd();
  how.persist = true;
  REQUIRE(tap::open(how));
  REQUIRE(basic_link<>::open("tap0", *ns).value().set_mtu(9000));
  port_setup setup;
  setup.conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SCATTER;
  pmd_port port(*ns, *pool, setup);
  std::uint16_t mtu = 0;
  REQUIRE(::rte_eth_dev_get_mtu(port.id(), &mtu) == 0);
  CHECK(mtu == 9000);
  CHECK(port.interface().mtu == 9000);
}

TEST_CASE("pmd port: an MTU that needs several buffers for a packet is refused where they are not wanted") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  pmd_port port(*ns, *pool);
  CHECK(::rte_eth_dev_set_mtu(port.id(), 9000) == -EINVAL);
  CHECK(port.interface().mtu == 1500);
  CHECK(::rte_eth_dev_set_mtu(port.id(), 1400) == 0);
}

TEST_CASE("pmd port: what a queue cannot be asked for is refused") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool();
  pmd_port port(*ns, *pool);
  REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
  ::rte_eth_rxconf rx{};
  rx.rx_deferred_start = 1;
  CHECK(::rte_eth_rx_queue_setup(port.id(), 0, 256, 0, &rx, pool.get()) == -ENOTSUP);
  ::rte_eth_txconf tx{};
  tx.tx_deferred_start = 1;
  CHECK(::rte_eth_tx_queue_setup(port.id(), 0, 256, 0, &tx) == -ENOTSUP);
  ::rte_eth_conf conf{};
  conf.lpbk_mode = 1;
  CHECK(::rte_eth_dev_configure(port.id(), 1, 1, &conf) == -ENOTSUP);
}
