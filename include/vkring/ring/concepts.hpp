// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_RING_CONCEPTS_HPP
#define VKRING_RING_CONCEPTS_HPP

// What every ring layout offers, so that queues, tests and benchmarks are written once.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vkring/core/access.hpp>
#include <vkring/ring/chain.hpp>
#include <vkring/ring/fault.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/shared.hpp>

namespace vkring::inline v0 {

/// One side of a virtqueue.
///
/// `Layout` is `split` or `packed`. On the `driver_side`, `Other` is the token that comes back with
/// each used chain; on the `device_side` it is the address space that descriptors are looked up in.
/// `Access` performs all accesses to shared memory (ring/shared.hpp).
///
/// Thread-safety: one thread at a time for each object. The two sides of one ring run freely in two
/// threads, processes or in user space and the kernel.
template <class Layout, class Side, class Other, class Access = direct>
class virtqueue;

/// What travels with a chain through the driver side, kept in private memory.
template <class T>
concept ring_token = std::is_trivially_copyable_v<T> && sizeof(T) <= 8;

// Version 14 takes the requirements of a concept apart.
// clang-format off

/// Turns guest addresses into memory: the longest contiguous piece at `address`, `length` bytes at
/// most; an empty span refuses the access. Callers loop.
template <class T>
concept address_space =
    requires(T& space, std::uint64_t address, std::uint32_t length, memory_access direction) {
  { space.translate(address, length, direction) } noexcept -> std::same_as<std::span<std::byte>>;
};

/// The driver side: makes buffers available and takes them back.
///
/// The `_burst` functions are the hot path. They do the plain part of the work and return how much of
/// it they did; what is left is for the function without `_burst`, one chain at a time.
template <class Q>
concept driver_queue = requires(Q& q, const Q& c, std::span<const chain_buffer> chain,
                                typename Q::token_type token, std::uint16_t n, ring_fault fault) {
  requires ring_token<typename Q::token_type>;
  { c.size() } noexcept -> std::same_as<std::uint16_t>;
  { c.room() } noexcept -> std::same_as<std::uint16_t>;
  { c.max_chain() } noexcept -> std::same_as<std::uint16_t>;
  { c.has_room(std::size_t{1}) } noexcept -> std::same_as<bool>;
  { c.in_flight() } noexcept -> std::same_as<std::uint16_t>;
  { c.mode() } noexcept -> std::same_as<ring_mode>;
  { c.general_entries() } noexcept -> std::same_as<std::uint64_t>;
  { c.breach() } noexcept -> std::same_as<ring_breach>;
  // Chains added, published and reclaimed, modulo 65536; and the descriptor of one, less than a ring
  // away, where chains have one descriptor each.
  { c.avail_position() } noexcept -> std::same_as<ring_index>;
  { c.published_position() } noexcept -> std::same_as<ring_index>;
  { c.used_position() } noexcept -> std::same_as<ring_index>;
  { c.slot_of(c.avail_position()) } noexcept -> std::same_as<std::uint16_t>;
  { q.try_add(chain, token) } noexcept -> std::same_as<bool>;
  { q.template add_burst<true>(
      n, [](burst_buffer<typename Q::token_type>&, std::size_t) { return true; },
      std::uint32_t{}) } noexcept -> std::same_as<std::uint16_t>;
  { q.template add_bound<true>(n, [](std::uint64_t&, std::size_t) { return true; }) } noexcept
      -> std::same_as<std::uint16_t>;
  { q.template add_again<true>(n, std::uint32_t{}) } noexcept -> std::same_as<std::uint16_t>;
  { q.publish() } noexcept;
  { q.kick_needed() } noexcept -> std::same_as<bool>;
  { q.used_pending(n) } noexcept -> std::same_as<std::uint16_t>;
  { q.used_at_most(n) } noexcept -> std::same_as<std::uint16_t>;
  { q.reclaim_burst(n, [](std::size_t, typename Q::token_type) { return true; }) } noexcept
      -> std::same_as<std::uint16_t>;
  { q.reclaim_burst(n, [](std::size_t, typename Q::token_type, std::uint32_t) { return true; },
                    std::uint32_t{}) } noexcept -> std::same_as<std::uint16_t>;
  { q.reclaim(n, [](typename Q::token_type, std::uint32_t) {}) } noexcept
      -> std::same_as<std::uint16_t>;
  { q.enable_call() } noexcept -> std::same_as<notification>;
  { q.enable_call(n) } noexcept -> std::same_as<notification>;
  { q.disable_call() } noexcept;
  { q.abandon([](typename Q::token_type) {}) } noexcept;
  { q.break_queue(fault, c.used_position(), std::uint64_t{}) } noexcept;
};

/// The device side: takes available chains and returns them as used.
template <class Q>
concept device_queue = requires(Q& q, const Q& c, std::uint16_t n, std::uint32_t written,
                                ring_fault fault) {
  { c.size() } noexcept -> std::same_as<std::uint16_t>;
  { c.breach() } noexcept -> std::same_as<ring_breach>;
  { q.avail(n) } noexcept -> std::same_as<std::uint16_t>;
  { q.avail_at_most(n) } noexcept -> std::same_as<std::uint16_t>;
  { q.pop_burst(n, [](std::size_t, std::uint16_t, std::span<std::byte>, bool) {}) } noexcept
      -> std::same_as<std::uint16_t>;
  { q.pop(n, [](const device_chain&) {}) } noexcept -> std::same_as<std::uint16_t>;
  { q.unpop(n) } noexcept;
  { q.push_burst(n, [](used_element&, std::size_t) {}) } noexcept;
  { q.push_used(n, written) } noexcept;
  { q.push_used_batch(n, written, n) } noexcept;
  { q.publish() } noexcept;
  { q.call_needed() } noexcept -> std::same_as<bool>;
  { q.enable_kick() } noexcept -> std::same_as<notification>;
  { q.disable_kick() } noexcept;
  { q.break_queue(fault, n, std::uint64_t{}) } noexcept;
};

// clang-format on

}  // namespace vkring::inline v0

#endif  // VKRING_RING_CONCEPTS_HPP
