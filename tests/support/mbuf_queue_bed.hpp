// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_MBUF_QUEUE_BED_HPP
#define VKRING_TESTS_SUPPORT_MBUF_QUEUE_BED_HPP

// Queues of mbufs against a scripted device.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "support/dpdk.hpp"
#include "support/queue_bed.hpp"
#include "vkring/dpdk/mbuf.hpp"

namespace vkring::test {

/// A transmit queue of mbufs.
template <class Layout>
struct basic_mbuf_tx_bed : basic_ring_bed<Layout> {
  using base = basic_ring_bed<Layout>;
  using base::options;
  using ring_type = virtqueue<Layout, driver_side, mbuf_token>;

  basic_mbuf_tx_bed(mempool_source& source, const bed_options& chosen = {})
      : base(source.regions(), chosen),
        queue(ring_type(this->ring, options.ring, this->driver_tables()), source, options.rules,
              kick_counter{&this->kicks}),
        device(this->make_device()) {}

  bool send(::rte_mbuf* m) { return queue.tx_burst({&m, 1}) == 1; }
  std::uint64_t drops(drop_reason reason) const {
    return queue.counters().drops[static_cast<std::size_t>(reason)].value();
  }
  std::uint64_t drops(header_fault fault) const {
    return queue.counters().drops[index_of(fault)].value();
  }

  struct sent {
    virtio_net_hdr header;
    bytes payload;
    std::size_t pieces;
  };
  /// The device takes what there is and is done with it.
  std::vector<sent> serve() {
    std::vector<sent> all;
    std::vector<std::uint16_t> heads;
    device.pop(32768, [&](const device_chain& chain) {
      bytes flat;
      for (const std::span<std::byte> piece : chain.readable) {
        flat.insert(flat.end(), piece.begin(), piece.end());
      }
      const std::uint32_t size = options.rules.header_size;
      REQUIRE(flat.size() >= size);
      all.push_back({load_header(flat.data(), size),
                     {flat.begin() + size, flat.end()},
                     chain.readable.size()});
      heads.push_back(chain.head);
    });
    REQUIRE_FALSE(device.breach());
    for (const std::uint16_t head : heads) device.push_used(head, 0);
    device.publish();
    return all;
  }

  mbuf_tx_queue<ring_type, kick_counter> queue;
  typename base::device_type device;
};
using mbuf_tx_bed = basic_mbuf_tx_bed<split>;

/// A receive queue of mbufs, full of buffers.
template <class Layout>
struct basic_mbuf_rx_bed : basic_ring_bed<Layout> {
  using base = basic_ring_bed<Layout>;
  using base::options;
  using ring_type = virtqueue<Layout, driver_side, ::rte_mbuf*>;
  using queue_type = mbuf_rx_queue<ring_type, kick_counter>;

  basic_mbuf_rx_bed(mempool_source& source, const bed_options& chosen = {})
      : base(source.regions(), chosen),
        queue(ring_type(this->ring, options.ring, {},
                        queue_type::max_written(source, options.rules)),
              source, options.rules, kick_counter{&this->kicks}),
        device(this->make_device()) {
    queue.refill();
  }

  /// The device puts a frame into as many buffers as it needs, and says so or `claimed`.
  void deliver(const bytes& payload, virtio_net_hdr header = {}, int claimed = -1,
               std::uint32_t add_to_length = 0) {
    const std::uint32_t header_bytes = options.rules.header_size;
    std::byte* first = nullptr;
    std::size_t done = 0;
    header.num_buffers = 0;
    do {
      REQUIRE(device.pop(1, [&](const device_chain& chain) {
        REQUIRE(chain.writable.size() == 1);
        const std::span<std::byte> all = chain.writable.front();
        const std::size_t skip = first == nullptr ? header_bytes : 0;
        const std::size_t here = std::min(payload.size() - done, all.size() - skip);
        std::copy_n(payload.data() + done, here, all.data() + skip);
        if (first == nullptr) first = all.data();
        done += here;
        device.push_used(chain.head,
                         static_cast<std::uint32_t>(skip + here) + add_to_length);
        ++header.num_buffers;
      }) == 1);
    } while (done != payload.size());
    if (claimed >= 0) header.num_buffers = static_cast<std::uint16_t>(claimed);
    store_header(first, header_bytes, header);
    device.publish();
  }
  std::vector<::rte_mbuf*> receive(std::size_t max = 32) {
    std::vector<::rte_mbuf*> all(max);
    all.resize(queue.rx_burst(all));
    return all;
  }
  std::uint64_t drops(header_fault fault) const {
    return queue.counters().drops[index_of(fault)].value();
  }

  queue_type queue;
  typename base::device_type device;
};
using mbuf_rx_bed = basic_mbuf_rx_bed<split>;

/// A packet pool, and the source on it.
struct pool_bed {
  packet_pool pool;
  std::shared_ptr<mempool_source> source;

  explicit pool_bed(unsigned count = 255, std::uint16_t capacity = 256)
      : pool(make_packet_pool(count, capacity)), source(mempool_source::make(pool.get()).value()) {}
  [[nodiscard]] bool all_back() const {
    return ::rte_mempool_avail_count(pool.get()) == pool->populated_size;
  }
};

/// Each mbuf of the pool is as `rte_mbuf_raw_alloc` wants it.
inline void check_pristine(::rte_mempool& pool) {
  ::rte_mempool_obj_iter(
      &pool,
      [](::rte_mempool*, void*, void* object, unsigned) {
        const auto* const m = static_cast<::rte_mbuf*>(object);
        if (::rte_mbuf_refcnt_read(m) != 1 || m->next != nullptr || m->nb_segs != 1) {
          FAIL_CHECK("an mbuf that is not as it should be in a pool");
        }
      },
      nullptr);
}

inline bed_options with_tables(std::uint16_t size = 8) {
  bed_options options;
  options.ring.size = size;
  options.table_entries = 8;
  options.rules.offloads = all_offloads;
  return options;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_MBUF_QUEUE_BED_HPP
