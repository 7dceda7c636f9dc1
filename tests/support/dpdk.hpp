// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_DPDK_HPP
#define VKRING_TESTS_SUPPORT_DPDK_HPP

// DPDK in a test: an EAL on ordinary memory without devices, packet pools, packets in pieces.

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace vkring::test {

/// Starts the EAL of this process, once.
inline void start_eal() {
  static const bool started = [] {
    cpu_set_t before;
    ::sched_getaffinity(0, sizeof before, &before);
    std::vector<std::string> words = {"test", "--no-huge", "--no-pci", "--no-telemetry",
                                      "--no-shconf"};
    words.insert(words.end(), {"-m", "256", "--log-level", "lib.*:error"});
    words.insert(words.end(), {"--lcores", "0@" + std::to_string(::sched_getcpu())});
    std::vector<char*> arguments;
    for (std::string& each : words) arguments.push_back(each.data());
    const bool good = ::rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) >= 0;
    // It pins the calling thread, whose children would all be there, too.
    ::sched_setaffinity(0, sizeof before, &before);
    return good;
  }();
  if (!started) {
    std::fputs("the EAL does not start\n", stderr);
    std::exit(1);
  }
}

struct pool_closer {
  void operator()(::rte_mempool* pool) const { ::rte_mempool_free(pool); }
};
using packet_pool = std::unique_ptr<::rte_mempool, pool_closer>;

inline std::string next_pool_name() {
  static int count = 0;
  return "pool" + std::to_string(count++);
}
/// A pool of `count` mbufs with `capacity` bytes behind the headroom each.
inline packet_pool make_packet_pool(unsigned count = 1023, std::uint16_t capacity = 2048,
                                    unsigned cache = 0) {
  start_eal();
  return packet_pool(::rte_pktmbuf_pool_create(
      next_pool_name().c_str(), count, cache, 0,
      static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + capacity), SOCKET_ID_ANY));
}

/// A pool of 1023 mbufs with 2048 bytes each, in memory that the EAL does not know of.
inline packet_pool make_anonymous_pool() {
  start_eal();
  constexpr unsigned count = 1023;
  packet_pool pool(::rte_mempool_create_empty(
      next_pool_name().c_str(), count, sizeof(::rte_mbuf) + RTE_PKTMBUF_HEADROOM + 2048, 0,
      sizeof(::rte_pktmbuf_pool_private), SOCKET_ID_ANY, 0));
  ::rte_pktmbuf_pool_init(pool.get(), nullptr);
  if (::rte_mempool_populate_anon(pool.get()) != static_cast<int>(count)) std::abort();
  ::rte_mempool_obj_iter(pool.get(), ::rte_pktmbuf_init, nullptr);
  return pool;
}

/// A packet with that content, cut into mbufs of at most `piece` bytes.
inline ::rte_mbuf* packet_of(::rte_mempool& pool, std::span<const std::byte> content,
                             std::size_t piece = 2048) {
  ::rte_mbuf* whole = nullptr;
  do {
    ::rte_mbuf* const part = ::rte_pktmbuf_alloc(&pool);
    if (part == nullptr) std::abort();
    const std::size_t here = std::min(content.size(), piece);
    std::memcpy(::rte_pktmbuf_append(part, static_cast<std::uint16_t>(here)), content.data(), here);
    content = content.subspan(here);
    if (whole == nullptr) {
      whole = part;
    } else if (::rte_pktmbuf_chain(whole, part) != 0) {
      std::abort();
    }
  } while (!content.empty());
  return whole;
}
inline std::vector<std::byte> content_of(const ::rte_mbuf& packet) {
  std::vector<std::byte> all(packet.pkt_len);
  const void* const at = ::rte_pktmbuf_read(&packet, 0, packet.pkt_len, all.data());
  if (at != nullptr && at != all.data()) std::memcpy(all.data(), at, all.size());
  return all;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_DPDK_HPP
