// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_SLOT_BED_HPP
#define VKRING_TESTS_SUPPORT_SLOT_BED_HPP

// Slot queues for tests.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <span>
#include <vector>

#include "support/queue_bed.hpp"
#include "vkring/queue/slots.hpp"

namespace vkring::test {

using slot_ring = virtqueue<split, driver_side, slot_frame*>;

/// A slot queue with the memory it needs, and a lawful device on the other side of its ring.
struct slot_tx_bed : ring_bed {
  using queue_type = slot_tx<slot_ring, buffer_pool, kick_counter>;

  explicit slot_tx_bed(buffer_pool& pool, const bed_options& chosen = {})
      : ring_bed(pool.regions(), chosen),
        queue(queue_type::make({ring, options.ring}, pool, options.rules, {&kicks}).value()),
        device(make_device()) {}

  /// What the device finds in the next frame; it holds on to the buffer.
  struct taken {
    std::uint16_t head;
    bytes raw_header;
    bytes payload;
  };
  std::vector<taken> take(std::uint16_t max = 32768) {
    std::vector<taken> all;
    device.pop(max, [&](const device_chain& chain) {
      REQUIRE(chain.writable.empty());
      REQUIRE(chain.readable.size() == 1);
      const auto start = chain.readable[0].begin();
      const auto payload = start + options.rules.header_size;
      all.push_back({chain.head, {start, payload}, {payload, chain.readable[0].end()}});
    });
    REQUIRE_FALSE(device.breach());
    return all;
  }
  void give_back(const std::vector<taken>& done) {
    for (const taken& each : done) device.push_used(each.head, 0);
    device.publish();
  }
  [[nodiscard]] virtio_net_hdr header(const taken& one) const {
    return load_header(one.raw_header.data(), options.rules.header_size);
  }

  queue_type queue;
  device_type device;
};

struct slot_rx_bed : ring_bed {
  using queue_type = slot_rx<slot_ring, buffer_pool, kick_counter>;

  explicit slot_rx_bed(buffer_pool& pool, const bed_options& chosen = {})
      : ring_bed(pool.regions(), chosen),
        queue(
            queue_type::make({ring, options.ring, {}, queue_type::max_written(pool, options.rules)},
                             pool, options.rules, {&kicks})
                .value()),
        device(make_device()) {}

  /// Takes a buffer out of the ring and writes a frame to it. Returns its head.
  std::uint16_t write(const bytes& payload, const virtio_net_hdr& header = {}) {
    std::uint16_t head = 0;
    REQUIRE(device.pop(1, [&](const device_chain& chain) {
      REQUIRE(chain.readable.empty());
      REQUIRE(chain.writable.size() == 1);
      const std::span<std::byte> buffer = chain.writable.front();
      store_header(buffer.data(), options.rules.header_size, header);
      std::copy(payload.begin(), payload.end(), buffer.data() + options.rules.header_size);
      head = chain.head;
    }) == 1);
    return head;
  }
  void push(std::uint16_t head, std::size_t payload_size) {
    device.push_used(head, options.rules.header_size + static_cast<std::uint32_t>(payload_size));
  }
  void deliver(const bytes& payload, const virtio_net_hdr& header = {}) {
    push(write(payload, header), payload.size());
  }

  queue_type queue;
  device_type device;
};

inline void fill(slot_frame& frame, const bytes& content, const virtio_net_hdr& header = {}) {
  REQUIRE(frame.resize(static_cast<std::uint32_t>(content.size())));
  std::copy(content.begin(), content.end(), frame.payload().begin());
  frame.set_header(header);
}
inline bytes content_of(const slot_frame& frame) {
  return {frame.payload().begin(), frame.payload().end()};
}

/// All that a descriptor says of where its buffer is.
inline std::vector<std::uint64_t> addresses(const ring_bed& bed) {
  std::vector<std::uint64_t> all;
  for (std::uint16_t i = 0; i < bed.options.ring.size; ++i) {
    all.push_back(bed.ring.descriptors()[i].address);
  }
  return all;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_SLOT_BED_HPP
