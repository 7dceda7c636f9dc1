// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_MEMORY_HPP
#define VKRING_DPDK_MEMORY_HPP

// The memory that mbufs lie in, as a device has to know it.

#include <rte_mbuf.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <vkring/core/error.hpp>
#include <vkring/memory/table.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace vkring::inline v0 {

namespace detail {

// Host memory, as a set of pages.
class page_set {
 public:
  // Everything that is added is widened to whole pages, which are mapped as a whole, too.
  void add(const void* at, std::size_t bytes) {
    if (bytes == 0) return;
    const auto first = reinterpret_cast<std::uintptr_t>(at) / memory_table::page;
    const auto last = (reinterpret_cast<std::uintptr_t>(at) + (bytes - 1)) / memory_table::page;
    // The buffers of a pool come one after the other.
    if (!runs_.empty() && first >= runs_.back().first && first <= runs_.back().second + 1) {
      runs_.back().second = std::max(runs_.back().second, last);
    } else {
      runs_.emplace_back(first, last);
    }
  }

  // As a table in which each byte is its own address.
  [[nodiscard]] result<memory_table> table() {
    memory_table made(std::numeric_limits<std::size_t>::max());
    std::sort(runs_.begin(), runs_.end());
    for (auto each = runs_.begin(); each != runs_.end();) {
      auto [first, last] = *each;
      while (++each != runs_.end() && each->first <= last + 1) last = std::max(last, each->second);
      auto* const at = reinterpret_cast<std::byte*>(first * memory_table::page);
      auto added = made.add_identity({at, (last - first + 1) * memory_table::page});
      if (!added) return fail(std::move(added.error()));
    }
    return made;
  }

 private:
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs_;  // first and last page
};

// What the buffers of a pool lie in.
inline void add_pool(page_set& pages, ::rte_mempool& pool) {
  const auto add_chunk = [](::rte_mempool*, void* to, ::rte_mempool_memhdr* chunk, unsigned) {
    static_cast<page_set*>(to)->add(chunk->addr, chunk->len);
  };
  ::rte_mempool_mem_iter(&pool, add_chunk, &pages);
  if ((::rte_pktmbuf_priv_flags(&pool) & RTE_PKTMBUF_POOL_F_PINNED_EXT_BUF) != 0) {
    const auto add_buffer = [](::rte_mempool*, void* to, void* object, unsigned) {
      const auto* const m = static_cast<::rte_mbuf*>(object);
      static_cast<page_set*>(to)->add(m->buf_addr, m->buf_len);
    };
    ::rte_mempool_obj_iter(&pool, add_buffer, &pages);
  }
}

}  // namespace detail

/// All memory that the EAL knows of, external heaps and what was given to `rte_extmem_register`
/// included, and that of `pools`, wherever it came from: populated from anonymous memory or from the
/// application's own, or with its data in pinned external buffers. Each byte is its own guest
/// address.
///
/// What the EAL has only reserved is part of it, so that memory that is plugged in later is, too.
/// Call it again for what is registered with the EAL or populated later.
/// Errors: those of `memory_table`. Allocation: the lists.
[[nodiscard]] inline result<memory_table> mbuf_memory(std::span<::rte_mempool* const> pools) {
  detail::page_set pages;
  const auto add_list = [](const ::rte_memseg_list* list, void* to) {
    static_cast<detail::page_set*>(to)->add(list->base_va, list->len);
    return 0;
  };
  ::rte_memseg_list_walk(add_list, &pages);
  for (::rte_mempool* const pool : pools) detail::add_pool(pages, *pool);
  return pages.table();
}

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_MEMORY_HPP
