// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/pmd/statistics.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <string>

// What a port of the DPDK driver counts, over several devices, and by which names.

using namespace vkring;
using pmd::pair_counts;

namespace {

struct counted_pair {
  queue_counters rx;
  queue_counters tx;
  worker_counters far;

  [[nodiscard]] pair_counts now(bool with_worker = true) const {
    return pair_counts(rx, tx, with_worker ? &far : nullptr);
  }
};

std::uint64_t by_name(const pair_counts& counts, const std::string& name) {
  for (std::size_t i = 0; i != pair_counts::size; ++i) {
    if (pair_counts::name(i) == name) return counts[i];
  }
  FAIL("no number is called " << name);
  return 0;
}

}  // namespace

TEST_CASE("pmd statistics: each number has a name of its own, short enough for ethdev") {
  std::set<std::string> names;
  for (std::size_t i = 0; i != pair_counts::size; ++i) {
    const std::string name = pair_counts::name(i);
    CAPTURE(name);
    CHECK(name.size() < 64);
    CHECK(names.insert(name).second);
  }
}

TEST_CASE("pmd statistics: numbers are where their names say") {
  counted_pair it;
  it.rx.frames.add(3);
  it.rx.drop(drop_reason::too_short);
  it.tx.kicks.add(5);
  it.tx.drop(header_fault::unknown_flags);
  it.far.sleeps.add(7);
  const pair_counts counts = it.now();
  CHECK(by_name(counts, "rx_packets") == 3);
  CHECK(by_name(counts, "rx_drop_too_short") == 1);
  CHECK(by_name(counts, "tx_kicks") == 5);
  CHECK(by_name(counts, "tx_drop_" + std::string(name(header_fault::unknown_flags))) == 1);
  CHECK(by_name(counts, "worker_sleeps") == 7);
  CHECK(by_name(it.now(false), "worker_sleeps") == 0);
}

TEST_CASE("pmd statistics: what the worker could not pass on is an error, in both directions") {
  counted_pair it;
  it.rx.frames.add(10);
  it.rx.bytes.add(1000);
  it.rx.starved.add(2);
  it.rx.drop(drop_reason::too_short);
  it.far.rx_too_long.add(3);
  const pmd::traffic rx = it.now().received();
  CHECK(rx.packets == 10);
  CHECK(rx.bytes == 1000);
  CHECK(rx.errors == 4);
  CHECK(rx.starved == 2);

  it.tx.frames.add(20);
  it.tx.drop(drop_reason::unreachable);
  it.far.tx_link_down.add(4);
  it.far.tx_refused.add(1);
  const pmd::traffic tx = it.now().sent();
  CHECK(tx.packets == 15);
  CHECK(tx.errors == 6);
}

TEST_CASE("pmd statistics: a port goes on counting from device to device, and forgets when asked") {
  pmd::port_counts port(2);
  {
    counted_pair first;
    first.rx.frames.add(5);
    CHECK(port.total(1, first.now()).received().packets == 5);
    port.keep(1, first.now());
  }
  CHECK(port.total(1, {}).received().packets == 5);
  counted_pair second;
  second.rx.frames.add(2);
  CHECK(port.total(1, second.now()).received().packets == 7);
  CHECK(port.total(0, {}).received().packets == 0);
  port.forget(1, second.now());
  CHECK(port.total(1, second.now()).received().packets == 0);
  second.rx.frames.add(1);
  CHECK(port.total(1, second.now()).received().packets == 1);
}
