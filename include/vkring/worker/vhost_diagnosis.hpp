// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_VHOST_DIAGNOSIS_HPP
#define VKRING_WORKER_VHOST_DIAGNOSIS_HPP

// What vhost-net stumbled over: it signals an eventfd, and says nothing more.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/kernel/sys.hpp>
#include <vkring/kernel/vhost_net.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/header.hpp>
#include <vkring/ring/chain.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/fault.hpp>
#include <vkring/ring/shared.hpp>
#include <vkring/ring/split.hpp>

namespace vkring::inline v0 {

namespace detail {

// The frame in a chain to be sent is one that vhost-net tries again for ever, unless its memory cannot be
// read. It counts the header as a part of the frame, and believes a long hdr_len.
template <class Sys>
[[nodiscard]] bool checksum_beyond_end(const device_chain& chain, std::uint64_t bytes) {
  std::array<std::byte, legacy_header_size> head;
  std::size_t got = 0;
  for (const std::span<std::byte> piece : chain.readable) {
    const std::size_t here = std::min(piece.size(), head.size() - got);
    if (here == 0) break;
    const auto read = Sys::read_memory(head.data() + got, piece.data(), here);
    if (error_of(read) != 0 || static_cast<std::size_t>(read) != here) return false;
    got += here;
  }
  if (got != head.size()) return false;
  const virtio_net_hdr header = load_header(head.data(), head.size());
  const std::uint64_t end = std::uint64_t{header.csum_start} + header.csum_offset + 2;
  return (header.flags & header_flag::needs_csum) != 0 && end > header.hdr_len && end > bytes;
}

}  // namespace detail

/// Looks for the first chain of a ring that vhost-net cannot go on with: walks those that it has not
/// returned, by the rules of vkring's own device side, and changes nothing. Frames to send that are
/// shorter than `header_bytes`, or have a checksum beyond their end, are such: vhost-net tries them
/// again for ever.
///
/// `ring_fault::device_error` when they are all in order by now, or when what is wrong is none of the
/// ring's: memory of the table that is no longer mapped. Its value is the head of the oldest of them,
/// which is the one that vhost-net did not get past. Allocation: some, for the walk.
template <class Layout, class Sys = posix>
[[nodiscard]] ring_breach diagnose(const typename Layout::ring_type& ring, ring_options options,
                                   const memory_table& table, vhost_ring which,
                                   std::size_t header_bytes = 1) {
  options.start = ring_index(direct::load(ring.used_index()));
  virtqueue<Layout, device_side, table_cursor> walker(ring, options, table_cursor(table));
  ring_breach found;
  const std::uint16_t position = options.start.value();
  walker.pop(ring.size(), [&](const device_chain& chain) {
    const bool tx = which == vhost_ring::tx;
    const auto& wrong = tx ? chain.writable : chain.readable;
    std::uint64_t bytes = 0;
    for (const auto& piece : tx ? chain.readable : chain.writable) bytes += piece.size();
    if (!wrong.empty()) {
      found = {ring_fault::chain_direction, chain.head, wrong.size()};
    } else if (bytes < (tx ? header_bytes : 1)) {
      found = {ring_fault::buffer_too_small, chain.head, bytes};
    } else if (tx && detail::checksum_beyond_end<Sys>(chain, bytes)) {
      found = {ring_fault::checksum_beyond_end, chain.head, bytes};
    }
    return !found;
  });
  if (!found) found = walker.breach();
  if (found) return found;
  const auto slot = options.start.slot(static_cast<std::uint16_t>(ring.size() - 1));
  return {ring_fault::device_error, position, direct::load(ring.avail_entries()[slot])};
}

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_VHOST_DIAGNOSIS_HPP
