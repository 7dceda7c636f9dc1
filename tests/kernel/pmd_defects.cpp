// SPDX-License-Identifier: BSD-3-Clause
#include <sched.h>

#include <algorithm>

#include "support/flow_frame.hpp"
#include "support/packets.hpp"
#include "support/pmd_port.hpp"
#include "support/skip.hpp"
#include "vkring/dpdk/pmd.hpp"

// What is wrong with DPDK's own driver for this path, virtio_user over vhost-net (22.11 to 26.07), and
// is not with net_vkring.

using namespace vkring;
using namespace vkring::test;

RTE_INIT(note_home_cpus) { pmd::note_home_cpus(); }
static constinit rte_vdev_driver driver = pmd::driver();
RTE_PMD_REGISTER_VDEV(net_vkring, driver);

namespace {

const std::string backend = "backend=" + backend_here();

port_setup with_queues(std::size_t most, std::size_t rx, std::size_t tx) {
  port_setup setup;
  setup.arguments = backend + ",queues=" + std::to_string(most);
  setup.rx_sizes.assign(rx, 256);
  setup.tx_sizes.assign(tx, 256);
  return setup;
}

std::size_t interfaces(const netns& ns) {
  return ns.run([] {
             std::ifstream file("/proc/thread-self/net/dev");
             std::size_t lines = 0;
             for (std::string line; std::getline(file, line);) ++lines;
             return lines - 2;  // the heading
           })
      .value();
}

}  // namespace

TEST_CASE("pmd defects: frames of several buffers keep their length where buffers are used in order") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  for (const char* in_order : {"", ",in_order=1", ",in_order=0"}) {
    CAPTURE(in_order);
    port_setup setup;
    // vhost-net offers it since Linux 6.17, and before that cannot be asked to.
    if (in_order == std::string(",in_order=1") && backend_here() == "vhost-net") {
      auto opened = vhost_net::open();
      REQUIRE(opened);
      REQUIRE(opened->set_owner());
      if (!opened->features().value().contains(feature::in_order)) continue;
    }
    setup.arguments = backend + in_order;
    setup.conf.rxmode.offloads = RTE_ETH_RX_OFFLOAD_SCATTER;
    setup.conf.rxmode.mtu = 9000;
    pmd_port port(*ns, *pool, setup);
    tap_wire wire(*ns, port.interface().index);
    for (std::uint32_t i = 0; i != 300; ++i) {
      const auto frame = numbered_frame(i, i % 2 == 0 ? 8042 : 60 + i * 20);
      REQUIRE(wire.send(frame) == 0);
      ::rte_mbuf* const got = port.receive();
      REQUIRE(got != nullptr);
      REQUIRE(got->pkt_len == frame.size());
      REQUIRE(content_of(*got) == frame);
      ::rte_pktmbuf_free(got);
    }
  }
}

TEST_CASE("pmd defects: no flow is lost with fewer queues than there could be") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(4095);
  struct {
    std::uint16_t rx, tx;
  } const rows[] = {{1, 1}, {1, 4}, {4, 4}, {4, 1}, {2, 3}};
  for (const auto& each : rows) {
    CAPTURE(each.rx, each.tx);
    pmd_port port(*ns, *pool, with_queues(4, each.rx, each.tx));
    tap_wire wire(*ns, port.interface().index, ipv4);
    for (std::uint16_t flow = 0; flow != 64; ++flow) {
      CAPTURE(flow);
      constexpr std::uint32_t frames = 40;
      for (std::uint32_t i = 0; i != frames; ++i) REQUIRE(wire.send(flow_frame(flow, i)) == 0);
      std::size_t received = 0;
      CHECK(eventually([&] {
        for (std::uint16_t i = 0; i != each.rx; ++i) received += port.receive_all(i);
        return received == frames;
      }));
    }
  }
}

TEST_CASE("pmd defects: the threads that serve a port are not on the CPUs of the lcores") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  if (CPU_COUNT(&pmd::home_cpus) < 2) return skip("has one CPU");
  cpu_set_t before;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  const cpu_set_t lcore = ::rte_lcore_cpuset(::rte_get_main_lcore());
  REQUIRE(::sched_setaffinity(0, sizeof lcore, &lcore) == 0);  // as the EAL has it
  const auto were = tasks();
  {
    pmd_port port(*ns, *pool, with_queues(2, 2, 2));
    std::size_t serving = 0;
    // A thread that opened something in the namespace may be listed for a moment still.
    CHECK(eventually([&] {
      serving = 0;
      for (const std::string& task : tasks()) {
        if (std::find(were.begin(), were.end(), task) != were.end()) continue;
        cpu_set_t may;
        if (::sched_getaffinity(std::stoi(task), sizeof may, &may) != 0) continue;  // is gone
        ++serving;
        CPU_AND(&may, &may, &lcore);
        if (CPU_COUNT(&may) != 0) return false;
      }
      return true;
    }));
    // Threads of vhost-net are listed here since Linux 6.4.
    if (backend_here() == "worker") CHECK(serving != 0);
  }
  CHECK(::sched_setaffinity(0, sizeof before, &before) == 0);
}

TEST_CASE("pmd defects: LRO alone and each receive checksum alone do what they are called") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(4095);
  random_source random(11);
  packet_recipe recipe;
  recipe.tcp = true;
  recipe.payload = 14'000;
  const built_packet large = build(recipe, random);
  recipe.payload = 500;
  const built_packet small = build(recipe, random);
  for (const std::uint64_t offload :
       {std::uint64_t{0}, std::uint64_t{RTE_ETH_RX_OFFLOAD_TCP_LRO},
        std::uint64_t{RTE_ETH_RX_OFFLOAD_IPV4_CKSUM}, std::uint64_t{RTE_ETH_RX_OFFLOAD_TCP_CKSUM}}) {
    CAPTURE(offload);
    const bool lro = offload == RTE_ETH_RX_OFFLOAD_TCP_LRO;
    port_setup setup;
    setup.conf.rxmode.offloads = offload;
    setup.conf.rxmode.max_lro_pkt_size = lro ? 65535 : 0;
    pmd_port port(*ns, *pool, setup);
    tap_wire wire(*ns, port.interface().index, 0x0800, true);
    wire.use_queueing_discipline();  // it does what the interface has not offered
    // Until the kernel has heard of the new carrier, the queueing discipline drops.
    ::rte_mbuf* got = nullptr;
    for (int tries = 3; got == nullptr && tries != 0; --tries) {
      REQUIRE(wire.send(small.frame, header_for(recipe, small, 0)) == 0);
      got = port.receive();
    }
    REQUIRE(got != nullptr);
    CHECK(got->pkt_len == small.frame.size());
    const std::uint64_t checksum = got->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    CHECK(checksum == (offload == 0 ? RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN : RTE_MBUF_F_RX_L4_CKSUM_NONE));
    ::rte_pktmbuf_free(got);

    REQUIRE(wire.send(large.frame, header_for(recipe, large, 1400)) == 0);
    for (std::size_t left = lro ? 1 : 10; left != 0; --left) {
      got = port.receive();
      REQUIRE(got != nullptr);
      CHECK(((got->ol_flags & RTE_MBUF_F_RX_LRO) != 0) == lro);
      CHECK(got->pkt_len == (lro ? large.frame.size() : large.frame.size() - 14'000 + 1400));
      ::rte_pktmbuf_free(got);
    }
  }
}

TEST_CASE("pmd defects: a MAC that nobody has chosen stays, whatever is negotiated again") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  pmd_port port(*ns, *pool);
  const auto first = port.interface().mac;
  for (const std::uint64_t offload :
       {std::uint64_t{RTE_ETH_RX_OFFLOAD_TCP_LRO}, std::uint64_t{0},
        std::uint64_t{RTE_ETH_RX_OFFLOAD_TCP_CKSUM}}) {
    REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
    ::rte_eth_conf conf{};
    conf.rxmode.offloads = offload;
    conf.rxmode.max_lro_pkt_size = 65535;
    REQUIRE(::rte_eth_dev_configure(port.id(), 1, 1, &conf) == 0);
    REQUIRE(::rte_eth_rx_queue_setup(port.id(), 0, 256, 0, nullptr, pool.get()) == 0);
    REQUIRE(::rte_eth_tx_queue_setup(port.id(), 0, 256, 0, nullptr) == 0);
    REQUIRE(::rte_eth_dev_start(port.id()) == 0);
    ::rte_ether_addr has{};
    REQUIRE(::rte_eth_macaddr_get(port.id(), &has) == 0);
    CHECK(port.interface().mac == first);
    CHECK(std::equal(first->begin(), first->end(), std::begin(has.addr_bytes)));
  }
}

TEST_CASE("pmd defects: a pool that the EAL does not know receives what any other does") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_anonymous_pool();
  pmd_port port(*ns, *pool);
  tap_wire wire(*ns, port.interface().index);
  for (std::uint32_t i = 0; i != 40; ++i) {
    const auto frame = numbered_frame(i, 200);
    REQUIRE(wire.send(frame) == 0);
    ::rte_mbuf* const got = port.receive();
    REQUIRE(got != nullptr);
    CHECK(content_of(*got) == frame);
    REQUIRE(port.send(got));
    std::int64_t number = -1;
    REQUIRE(eventually([&] { return (number = wire.next_number()) != -1; }));
    CHECK(number == i);
  }
}

TEST_CASE("pmd defects: bad arguments are refused and leave nothing behind") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const char* bad : {"iface=foo%d,queues=2", "queues=0", "queues=257", "queue_size=300",
                          "queue_size=65536", "queues=1,queues=1", "colour=red", "server=1", "cq=1",
                          "vectorized=1", "path=/dev/vhost-net,packed_vq=1"}) {
    CAPTURE(bad);
    CHECK(probe_refusal("netns=" + path_of(*ns) + ',' + bad) == EINVAL);
  }
  CHECK(probe_refusal("netns=" + path_of(*ns) + ",path=/dev/no-such-thing") == ENOENT);
  CHECK(interfaces(*ns) == 1);  // lo
}

TEST_CASE("pmd defects: a start that fails says so, and another one can follow") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  pmd_port port(*ns, *pool);
  const auto start_with = [&](std::uint64_t offloads, std::uint32_t mtu, std::uint16_t size) {
    REQUIRE(::rte_eth_dev_stop(port.id()) == 0);
    ::rte_eth_conf conf{};
    conf.rxmode.offloads = offloads;
    conf.rxmode.mtu = mtu;
    conf.rxmode.max_lro_pkt_size = 65535;
    REQUIRE(::rte_eth_dev_configure(port.id(), 1, 1, &conf) == 0);
    REQUIRE(::rte_eth_rx_queue_setup(port.id(), 0, size, 0, nullptr, pool.get()) == 0);
    REQUIRE(::rte_eth_tx_queue_setup(port.id(), 0, size, 0, nullptr) == 0);
    return ::rte_eth_dev_start(port.id());
  };
  // Frames that do not fit into a buffer, and a large one that does not into all of them.
  CHECK(start_with(0, 9000, 256) < 0);
  CHECK_FALSE(port.interface().carrier);
  CHECK(start_with(RTE_ETH_RX_OFFLOAD_TCP_LRO, 1500, 8) < 0);
  CHECK(::rte_mempool_in_use_count(pool.get()) == 0);
  REQUIRE(start_with(RTE_ETH_RX_OFFLOAD_TCP_LRO, 9000, 64) == 0);
  tap_wire wire(*ns, port.interface().index);
  REQUIRE(wire.send(numbered_frame(1, 8000)) == 0);
  ::rte_mbuf* const got = port.receive();
  REQUIRE(got != nullptr);
  CHECK(content_of(*got) == numbered_frame(1, 8000));
  ::rte_pktmbuf_free(got);
}

TEST_CASE("pmd defects: what virtio_user never uses is there to be asked for") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const packet_pool pool = make_packet_pool(2047);
  port_setup setup;
  setup.arguments = backend + ",event_idx=1,busyloop=50,worker_cpus=0";
  {
    pmd_port port(*ns, *pool, setup);
    ::rte_eth_dev_info info{};
    REQUIRE(::rte_eth_dev_info_get(port.id(), &info) == 0);
    setup.conf.txmode.offloads =
        info.tx_offload_capa & (RTE_ETH_TX_OFFLOAD_UDP_TSO | RTE_ETH_TX_OFFLOAD_UDP_CKSUM);
  }
  pmd_port port(*ns, *pool, setup);
  if ((setup.conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_UDP_TSO) == 0) return;  // before Linux 6.2
  tap_wire wire(*ns, port.interface().index, 0x0800, true);
  random_source random(12);
  packet_recipe recipe;
  recipe.tcp = false;
  recipe.payload = 14'000;
  const built_packet built = build(recipe, random);
  ::rte_mbuf* const m = packet_of(*pool, built.frame);
  m->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_UDP_SEG;
  m->l2_len = 14;
  m->l3_len = 20;
  m->l4_len = 8;
  m->tso_segsz = 1400;
  REQUIRE(port.send(m));
  std::optional<tap_wire::received> out;
  REQUIRE(eventually([&] { return (out = wire.receive()).has_value(); }));
  CHECK(out->frame == built.frame);
  CHECK(out->header.gso_size == 1400);
}
