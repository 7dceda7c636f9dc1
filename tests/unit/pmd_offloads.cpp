// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/pmd/offloads.hpp"

#include <catch2/catch.hpp>

// What a port of the DPDK driver offers, and what it asks of a device for what was turned on.

using namespace vkring;
using namespace vkring::pmd;

TEST_CASE("pmd offloads: everything is offered that the interface can do") {
  const wanted_offloads most;
  const std::uint64_t rx = rx_capabilities(most, want::preferred, tun_offload::all);
  CHECK(rx == (RTE_ETH_RX_OFFLOAD_SCATTER | rx_checksums | RTE_ETH_RX_OFFLOAD_TCP_LRO));
  const std::uint64_t tx = tx_capabilities(most, tun_offload::all);
  CHECK((tx & tx_l4_checksums) == tx_l4_checksums);
  CHECK((tx & tx_tunnels) == tx_tunnels);
  CHECK((tx & RTE_ETH_TX_OFFLOAD_UDP_TSO) != 0);
  // Linux before 6.2
  const std::uint32_t old = tun_offload::csum | tun_offload::tso4 | tun_offload::tso6;
  CHECK((tx_capabilities(most, old) & (RTE_ETH_TX_OFFLOAD_UDP_TSO | tx_tunnels)) == 0);
}

TEST_CASE("pmd offloads: nothing is offered that the arguments exclude") {
  const wanted_offloads none = wanted_offloads::all(want::off);
  CHECK(rx_capabilities(none, want::off, tun_offload::all) == 0);
  CHECK((tx_capabilities(none, tun_offload::all) &
         (tx_l4_checksums | RTE_ETH_TX_OFFLOAD_TCP_TSO | tx_tunnels)) == 0);
}

TEST_CASE("pmd offloads: nothing comes in that was not turned on") {
  const wanted_offloads asked = wanted_for({}, 0, 0);
  for (const auto& each : detail::offload_words) {
    CAPTURE(each.word);
    CHECK((asked.*each.wanted).rx == want::off);
  }
  CHECK(asked.tso4.tx == want::preferred);
}

TEST_CASE("pmd offloads: LRO alone brings the checksums that it needs") {
  const wanted_offloads asked = wanted_for({}, RTE_ETH_RX_OFFLOAD_TCP_LRO, 0);
  CHECK(asked.csum.rx == want::required);
  CHECK(asked.tso4.rx == want::required);
  CHECK(asked.tso6.rx == want::required);
  CHECK(asked.uso.rx == want::off);
}

TEST_CASE("pmd offloads: what was turned on is required") {
  CHECK(wanted_for({}, RTE_ETH_RX_OFFLOAD_IPV4_CKSUM, 0).csum.rx == want::required);
  CHECK(wanted_for({}, RTE_ETH_RX_OFFLOAD_IPV4_CKSUM, 0).tso4.rx == want::off);
  CHECK(wanted_for({}, 0, RTE_ETH_TX_OFFLOAD_TCP_CKSUM).csum.tx == want::required);
  CHECK(wanted_for({}, 0, RTE_ETH_TX_OFFLOAD_TCP_TSO).tso6.tx == want::required);
  CHECK(wanted_for({}, 0, RTE_ETH_TX_OFFLOAD_GENEVE_TNL_TSO).udp_tunnel.tx == want::required);
}
