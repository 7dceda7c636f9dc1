// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_MEMPOOL_SOURCE_HPP
#define VKRING_DPDK_MEMPOOL_SOURCE_HPP

// A DPDK packet pool as a source of buffers.

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <vkring/core/error.hpp>
#include <vkring/dpdk/memory.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/queue/queues_of.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vkring::inline v0 {

namespace detail {

// Takes as many objects as there are, at best all at once.
inline std::size_t take_mbufs(::rte_mempool& pool, std::span<::rte_mbuf*> out) noexcept {
  std::size_t done = 0;
  for (std::size_t step = out.size(); step != 0;) {
    auto** const to = reinterpret_cast<void**>(out.data() + done);
    if (::rte_mempool_get_bulk(&pool, to, static_cast<unsigned>(step)) == 0) [[likely]] {
      done += step;
      step = std::min(step, out.size() - done);
    } else {
      step /= 2;
    }
  }
  return done;
}

}  // namespace detail

/// The mbufs of a packet pool as buffers. A `buffer_source`; the pool stays the application's.
///
/// The payload of a buffer starts at RTE_PKTMBUF_HEADROOM, the virtio-net header lies in the
/// headroom before it. Guest addresses are pointers: mbufs of any other pool in the EAL's memory
/// can be sent, too. Where it is fast the payload is on a cache line boundary: with a private size
/// that is a multiple of 64.
///
/// A device on a source of this kind has `mbuf_tx_queue`s and `mbuf_rx_queue`s: include
/// dpdk/mbuf.hpp. `link` is kept in a dynamic field of the mbufs, for frames (memory/frame.hpp)
/// alone. With several pools, each queue pair of a device has its own, for which `of_pair` is the
/// source. Thread-safety: `take` and `put` from any thread, unless the pool was made for one
/// producer or one consumer. Threads that are no lcores get along without the pool's caches.
/// Allocation: in `make` only.
class mempool_source {
 public:
  using handle = ::rte_mbuf*;  ///< an mbuf
  /// So the low six bits of an address are free.
  static constexpr std::size_t handle_alignment = 64;

  /// Errors: EINVAL (no packet pool, or not enough room behind the headroom for an Ethernet header
  /// and a line of payload); what rte_mbuf_dynfield_register returns; those of `mbuf_memory`.
  static result<std::shared_ptr<mempool_source>> make(::rte_mempool* pool) {
    return make({&pool, 1});
  }
  /// The same with a pool for each queue pair, the same one for several or not; pairs beyond the
  /// last have the first. As buffers count as many bytes as the smallest have.
  static result<std::shared_ptr<mempool_source>> make(std::span<::rte_mempool* const> pools) {
    if (pools.empty()) {
      return fail(std::errc::invalid_argument, "mempool_source", "pools", "needs a packet pool");
    }
    std::uint32_t room = UINT16_MAX;
    for (::rte_mempool* const pool : pools) {
      if (auto good = check(pool); !good) return fail(std::move(good.error()));
      room = std::min<std::uint32_t>(room, ::rte_pktmbuf_data_room_size(pool));
    }
    constexpr ::rte_mbuf_dynfield field{"vkring_dynfield_link", sizeof(buffer_link<handle>),
                                        alignof(buffer_link<handle>), 0};
    const int offset = ::rte_mbuf_dynfield_register(&field);
    if (offset < 0) {
      return fail(rte_errno, "rte_mbuf_dynfield_register", field.name,
                  "needs 16 free bytes among the dynamic fields of mbufs");
    }
    auto memory = mbuf_memory(pools);
    if (!memory) return fail(std::move(memory.error()));
    const auto shared = std::make_shared<const memory_table>(std::move(*memory));
    const auto source_on = [&](::rte_mempool& pool) {
      return std::make_shared<mempool_source>(pool, shared, offset, room - RTE_PKTMBUF_HEADROOM);
    };
    auto made = source_on(*pools.front());
    for (::rte_mempool* const pool : pools.subspan(1)) made->others_.push_back(source_on(*pool));
    return made;
  }
  /// For make_shared; `make` is the way in.
  mempool_source(::rte_mempool& pool, std::shared_ptr<const memory_table> memory, int link_offset,
                 std::uint32_t capacity) noexcept
      : pool_(&pool),
        memory_(std::move(memory)),
        link_offset_(link_offset),
        capacity_(capacity) {}
  mempool_source(const mempool_source&) = delete;  // queues point to it
  mempool_source& operator=(const mempool_source&) = delete;

  /// As `buffer_source` has it, by the pool's own cache for an lcore.
  std::size_t take(std::span<handle> out) noexcept { return detail::take_mbufs(*pool_, out); }
  /// Gives back mbufs that nobody else refers to.
  void put(std::span<const handle> in) noexcept {
    ::rte_mempool_put_bulk(pool_, reinterpret_cast<void* const*>(in.data()),
                           static_cast<unsigned>(in.size()));
  }
  /// Free mbufs, those in the caches of lcores included. Slow: it looks at every cache.
  [[nodiscard]] std::size_t available() const noexcept { return ::rte_mempool_avail_count(pool_); }
  /// Mbufs in all pools together.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t all = pool_->populated_size;
    for (std::size_t i = 0; i != others_.size(); ++i) {
      const auto same = [&](const auto& each) { return each->pool_ == others_[i]->pool_; };
      const auto before = others_.begin() + static_cast<std::ptrdiff_t>(i);
      if (others_[i]->pool_ != pool_ && std::none_of(others_.begin(), before, same)) {
        all += others_[i]->pool_->populated_size;
      }
    }
    return all;
  }
  /// Bytes from the payload on.
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
  /// All of `memory()`, each byte at its own address.
  [[nodiscard]] std::span<const guest_region> regions() const noexcept {
    return memory_->regions();
  }
  /// What a device on this source can reach.
  [[nodiscard]] const memory_table& memory() const noexcept { return *memory_; }
  /// The pool that the mbufs of the first queue pair are from.
  [[nodiscard]] ::rte_mempool& pool() const noexcept { return *pool_; }
  /// The source of a queue pair.
  [[nodiscard]] mempool_source& of_pair(std::size_t pair) noexcept {
    return pair == 0 || pair > others_.size() ? *this : *others_[pair - 1];
  }

  /// Maps handles; see `buffer_source`.
  struct handle_mapper {
    std::uint32_t capacity;  ///< bytes from the payload on

    /// Where the buffer lies: at `rte_pktmbuf_reset`'s place.
    [[nodiscard]] mapped_buffer operator()(handle m) const noexcept {
      auto* const payload = static_cast<std::byte*>(m->buf_addr) + RTE_PKTMBUF_HEADROOM;
      return {payload, reinterpret_cast<std::uintptr_t>(payload), capacity, RTE_PKTMBUF_HEADROOM};
    }
  };
  /// Good for as long as the pool.
  [[nodiscard]] handle_mapper mapper() const noexcept { return {capacity_}; }
  /// How the mbuf goes on, in its dynamic field.
  [[nodiscard]] buffer_link<handle>& link(handle m) noexcept {
    return *RTE_MBUF_DYNFIELD(m, link_offset_, buffer_link<handle>*);
  }

  /// Whoever has an mbuf writes to its headroom.
  [[nodiscard]] static bool plain_header(handle) noexcept { return false; }
  /// The same mbuf.
  [[nodiscard]] static handle with_plain_header(handle m, bool) noexcept { return m; }

 private:
  static constexpr std::uint32_t smallest_capacity = 64;

  static result<void> check(::rte_mempool* pool) {
    if (pool == nullptr) {
      return fail(std::errc::invalid_argument, "mempool_source", "pool", "needs a packet pool");
    }
    const std::string_view name = pool->name;
    if (pool->private_data_size < sizeof(::rte_pktmbuf_pool_private)) {
      return fail(std::errc::invalid_argument, "mempool_source", name,
                  "has no mbufs: make it with rte_pktmbuf_pool_create");
    }
    const std::uint32_t room = ::rte_pktmbuf_data_room_size(pool);
    if (room < RTE_PKTMBUF_HEADROOM + smallest_capacity) {
      return fail(std::errc::invalid_argument, "mempool_source", name,
                  "its buffers have " + std::to_string(room) + " bytes, needs " +
                      std::to_string(RTE_PKTMBUF_HEADROOM + smallest_capacity));
    }
    return {};
  }

  ::rte_mempool* pool_;
  std::vector<std::shared_ptr<mempool_source>> others_;  // of the pairs from 1 on
  std::shared_ptr<const memory_table> memory_;
  int link_offset_;
  std::uint32_t capacity_;
};
static_assert(header_reserve <= RTE_PKTMBUF_HEADROOM);
static_assert(buffer_source<mempool_source>);

struct mbuf_token;
template <driver_queue Ring, std::invocable Notify>
class mbuf_tx_queue;
template <driver_queue Ring, std::invocable Notify>
class mbuf_rx_queue;

/// The queues of dpdk/mbuf.hpp.
template <>
struct queues_of<mempool_source> {
  /// @{
  /// What a ring carries with each chain, and the queue on top of it.
  using tx_token_type = mbuf_token;
  using rx_token_type = ::rte_mbuf*;
  template <driver_queue Ring, std::invocable Notify>
  using tx = mbuf_tx_queue<Ring, Notify>;
  template <driver_queue Ring, std::invocable Notify>
  using rx = mbuf_rx_queue<Ring, Notify>;
  /// @}
};

}  // namespace vkring::inline v0

#endif  // VKRING_DPDK_MEMPOOL_SOURCE_HPP
