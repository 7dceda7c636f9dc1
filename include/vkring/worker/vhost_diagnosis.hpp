// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_VHOST_DIAGNOSIS_HPP
#define VKRING_WORKER_VHOST_DIAGNOSIS_HPP

// What vhost-net stumbled over: it signals an eventfd, and says nothing more.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vkring/kernel/vhost_net.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/ring/concepts.hpp>
#include <vkring/ring/fault.hpp>
#include <vkring/ring/shared.hpp>
#include <vkring/ring/split.hpp>

namespace vkring::inline v0 {

/// Looks for the first chain of a ring that vhost-net cannot go on with: walks those that it has not
/// returned, by the rules of vkring's own device side, and changes nothing. A frame to send that is
/// shorter than `header_bytes` is such a one: vhost-net tries it again for ever.
///
/// `ring_fault::device_error` when they are all in order by now, or when what is wrong is none of the
/// ring's: memory of the table that is no longer mapped. Its value is the head of the oldest of them,
/// which is the one that vhost-net did not get past. Allocation: some, for the walk.
template <class Layout>
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
