// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_QUEUE_BED_HPP
#define VKRING_TESTS_SUPPORT_QUEUE_BED_HPP

// A tx or rx queue with the memory it needs, and a lawful device on the other side of its ring.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ring/arena.hpp"
#include "vkring/memory/buffer_pool.hpp"
#include "vkring/memory/table.hpp"
#include "vkring/queue/rx_queue.hpp"
#include "vkring/queue/tx_queue.hpp"
#include "vkring/ring/split.hpp"

namespace vkring::test {

using bytes = std::vector<std::byte>;

/// `size` bytes that no other seed gives.
inline bytes pattern(std::uint32_t seed, std::size_t size) {
  bytes made(size);
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::byte& each : made) {
    state = state * 1664525u + 1013904223u;
    each = static_cast<std::byte>(state >> 24);
  }
  return made;
}

template <class Frame>
bytes content_of(const Frame& frame) {
  bytes all;
  frame.for_each_segment(
      [&](std::span<std::byte> part) { all.insert(all.end(), part.begin(), part.end()); });
  return all;
}

/// Fills a frame of one buffer.
template <class Frame>
void fill(Frame& frame, const bytes& content) {
  REQUIRE(frame.resize(static_cast<std::uint32_t>(content.size())));
  std::copy(content.begin(), content.end(), frame.contiguous().begin());
}

/// Bytes that wait for a partial TCP checksum, and what the header of such a frame says.
inline virtio_net_hdr partial_checksum() {
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.csum_start = 34;
  header.csum_offset = 16;
  return header;
}
inline virtio_net_hdr tso4() {
  virtio_net_hdr header = partial_checksum();
  header.gso_type = gso::tcpv4;
  header.hdr_len = 54;
  header.gso_size = 100;
  return header;
}
inline constexpr frame_offloads all_offloads{true, true, true, true, true, true, true};

/// How a queue and its ring are to be.
struct bed_options {
  ring_options ring{.size = 8};
  std::uint16_t table_entries = 0;
  frame_rules rules{};
};

/// Calls `visit(options)` for a ring of `size` entries with each mix of what may be negotiated, the
/// indices being about to wrap.
template <class Visit>
void for_each_mix(std::uint16_t size, Visit&& visit) {
  for (int mix = 0; mix < 8; ++mix) {
    bed_options options;
    options.ring.size = size;
    options.ring.event_idx = (mix & 1) != 0;
    options.ring.in_order = (mix & 2) != 0;
    options.ring.start = ring_index(65530);
    options.rules.header_size = (mix & 4) != 0 ? tunnel_header_size : header_size;
    options.rules.offloads = all_offloads;
    CAPTURE(options.ring.event_idx, options.ring.in_order, options.rules.header_size);
    visit(options);
  }
}

/// Counts the kicks.
struct kick_counter {
  int* count;
  void operator()() const noexcept { ++*count; }
};

/// A ring, the memory that both sides share, and the device's side of it.
template <class Layout>
class basic_ring_bed {
 public:
  using ring_words = typename Layout::ring_type;
  using device_type = virtqueue<Layout, device_side, table_cursor>;

  basic_ring_bed(std::span<const guest_region> regions, bed_options chosen)
      : options(chosen),
        memory(ring_words::bytes(options.ring.size)),
        tables(std::max<std::size_t>(
            16, indirect_tables::bytes(options.ring.size, options.table_entries))),
        ring(ring_words::place(memory.bytes(), options.ring.size)) {
    options.ring.indirect = options.table_entries != 0;
    for (const guest_region& each : regions) {
      table.add_at(each.guest, {each.host, each.size}).value();
    }
    tables_address = table.add(tables.bytes()).value();
    options.rules.memory = &table;
  }
  basic_ring_bed(const basic_ring_bed&) = delete;
  basic_ring_bed& operator=(const basic_ring_bed&) = delete;

  [[nodiscard]] indirect_tables driver_tables() const {
    return {tables.data(), tables_address, options.table_entries};
  }
  [[nodiscard]] device_type make_device() const {
    return {ring, options.ring, table_cursor(table)};
  }

  bed_options options;
  guarded_memory memory;
  guarded_memory tables;
  std::uint64_t tables_address = 0;
  ring_words ring;
  memory_table table;
  int kicks = 0;
};
using ring_bed = basic_ring_bed<split>;

/// What a device finds in a tx queue.
struct sent_frame {
  std::uint16_t head;
  virtio_net_hdr header;
  bytes raw_header;
  bytes payload;
  std::size_t pieces;
};

template <class Source = buffer_pool, class Access = direct>
class tx_bed : public ring_bed {
 public:
  using ring_type = virtqueue<split, driver_side, tx_token, Access>;
  using queue_type = tx_queue<ring_type, Source, kick_counter>;
  using frame = basic_frame<Source>;

  explicit tx_bed(Source& source, const bed_options& chosen = {})
      : ring_bed(source.regions(), chosen),
        queue(ring_type(ring, options.ring, driver_tables()), source, options.rules,
              kick_counter{&kicks}),
        device(make_device()) {}

  /// A frame with that payload, from the queue's own stock.
  frame make(const bytes& payload, const virtio_net_hdr& header = {}) {
    frame made;
    REQUIRE(queue.allocate({&made, 1}) == 1);
    fill(made, payload);
    made.set_header(header);
    return made;
  }
  /// A frame of one buffer for each size, with different content.
  frame make_chain(std::uint32_t seed, std::initializer_list<std::size_t> sizes) {
    frame whole;
    for (const std::size_t size : sizes) {
      frame part = make(pattern(seed++, size));
      if (!whole) {
        whole = std::move(part);
      } else {
        REQUIRE(whole.append(std::move(part)));
      }
    }
    return whole;
  }
  [[nodiscard]] std::uint64_t drops(drop_reason reason) const {
    return queue.counters().drops[static_cast<std::size_t>(reason)].value();
  }
  /// Whether the queue consumed the frame.
  bool send(frame& one) { return queue.send({&one, 1}) == 1; }
  bool send(frame&& one) { return send(one); }

  /// The device takes up to `max` frames and holds on to them.
  std::vector<sent_frame> take(std::uint16_t max = 32768) {
    std::vector<sent_frame> all;
    device.pop(max, [&](const device_chain& chain) {
      CHECK(chain.writable.empty());
      bytes flat;
      for (const std::span<std::byte> piece : chain.readable) {
        flat.insert(flat.end(), piece.begin(), piece.end());
      }
      const std::uint32_t header_size = options.rules.header_size;
      REQUIRE(flat.size() >= header_size);
      const auto payload = flat.begin() + header_size;
      all.push_back({chain.head,
                     load_header(flat.data(), header_size),
                     {flat.begin(), payload},
                     {payload, flat.end()},
                     chain.readable.size()});
    });
    REQUIRE_FALSE(device.breach());
    return all;
  }
  void give_back(std::span<const sent_frame> done) {
    for (const sent_frame& each : done) device.push_used(each.head, 0);
    device.publish();
  }
  /// The device takes frames and is done with them.
  std::vector<sent_frame> serve(std::uint16_t max = 32768) {
    std::vector<sent_frame> all = take(max);
    give_back(all);
    return all;
  }

  queue_type queue;
  device_type device;
};

template <class Source = buffer_pool, class Access = direct>
class rx_bed : public ring_bed {
 public:
  using ring_type = virtqueue<split, driver_side, typename Source::handle, Access>;
  using queue_type = rx_queue<ring_type, Source, kick_counter>;
  using frame = basic_frame<Source>;

  explicit rx_bed(Source& source, const bed_options& chosen = {})
      : ring_bed(source.regions(), chosen),
        queue(ring_type(ring, options.ring, {}, queue_type::max_written(source, options.rules)),
              source, options.rules, kick_counter{&kicks}),
        device(make_device()) {
    queue.refill();
  }

  /// One buffer that the device took out of the ring.
  struct taken {
    std::uint16_t head;
    std::span<std::byte> bytes;
  };
  taken take() {
    taken one{};
    REQUIRE(device.pop(1, [&](const device_chain& chain) {
      REQUIRE(chain.readable.empty());
      REQUIRE(chain.writable.size() == 1);
      one = {chain.head, chain.writable.front()};
    }) == 1);
    return one;
  }

  /// The device puts a frame into the ring, unpublished, over as many buffers as it needs and as the
  /// queue was told of: it says so in num_buffers, or says `claimed`. Each buffer but the last is
  /// filled up to `fill_up` bytes.
  void deliver(const bytes& payload, virtio_net_hdr header = {}, int claimed = -1,
               std::size_t fill_up = SIZE_MAX) {
    const std::uint32_t header_size = options.rules.header_size;
    const taken first = take();
    std::size_t done = std::min({payload.size(), first.bytes.size() - header_size, fill_up});
    std::copy_n(payload.data(), done, first.bytes.data() + header_size);
    device.push_used(first.head, header_size + static_cast<std::uint32_t>(done));
    header.num_buffers = 1;
    while (done != payload.size()) {
      const taken next = take();
      const std::size_t part = std::min({payload.size() - done, next.bytes.size(), fill_up});
      std::copy_n(payload.data() + done, part, next.bytes.data());
      device.push_used(next.head, static_cast<std::uint32_t>(part));
      done += part;
      ++header.num_buffers;
    }
    if (claimed >= 0) header.num_buffers = static_cast<std::uint16_t>(claimed);
    store_header(first.bytes.data(), header_size, header);
  }
  void publish() { device.publish(); }

  /// Receives at most `max` frames.
  std::vector<frame> receive(std::size_t max = 32) {
    std::vector<frame> all(max);
    all.resize(queue.receive(all));
    return all;
  }

  queue_type queue;
  device_type device;
};

/// A pool of `buffers` buffers.
inline std::shared_ptr<buffer_pool> make_pool(std::uint32_t buffers = 64, std::uint32_t size = 256,
                                              std::uint64_t guest_base = std::uint64_t{1} << 32) {
  pool_options options;
  options.buffers = buffers;
  options.buffer_size = size;
  options.guest_base = guest_base;
  return buffer_pool::make(options).value();
}

/// All buffers of a source are free, each is so once, and what is known about headers is true unless
/// a device was free to write to them. Takes them all for good.
template <class Source>
void check_all_back(Source& source, bool lawful_device = true) {
  CHECK(source.available() == source.size());
  std::vector<typename Source::handle> all(source.size() + 1);
  all.resize(source.take(all));
  REQUIRE(all.size() == source.size());
  std::vector<std::uintptr_t> payloads;
  bool plain_is_zero = true;
  for (const auto each : all) {
    const auto handle = Source::with_plain_header(each, false);
    payloads.push_back(handle.bits);
    if (!Source::plain_header(each)) continue;
    const std::byte* const payload = source.mapper()(handle).payload;
    plain_is_zero = plain_is_zero && std::all_of(payload - header_reserve, payload,
                                                 [](std::byte b) { return b == std::byte{0}; });
  }
  CHECK((plain_is_zero || !lawful_device));
  std::sort(payloads.begin(), payloads.end());
  CHECK(std::adjacent_find(payloads.begin(), payloads.end()) == payloads.end());
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_QUEUE_BED_HPP
