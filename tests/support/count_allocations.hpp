// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_COUNT_ALLOCATIONS_HPP
#define VKRING_TESTS_SUPPORT_COUNT_ALLOCATIONS_HPP

// Replaces operator new in the program that includes it, in one of its files, and counts the calls.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace vkring::test {

/// Allocations by all threads so far.
inline std::atomic<std::size_t> allocations = 0;

namespace detail {

[[gnu::noinline]] inline void* counted(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* const memory =
      std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  return memory;
}
[[gnu::noinline]] inline void release(void* memory) { std::free(memory); }

inline constexpr std::size_t usual_alignment = alignof(std::max_align_t);

}  // namespace detail

}  // namespace vkring::test

// The array forms lead to these. They may not be inline.
void* operator new(std::size_t size) {
  return vkring::test::detail::counted(size, vkring::test::detail::usual_alignment);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return vkring::test::detail::counted(size, vkring::test::detail::usual_alignment);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return vkring::test::detail::counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { vkring::test::detail::release(memory); }
void operator delete(void* memory, std::size_t) noexcept { vkring::test::detail::release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept {
  vkring::test::detail::release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  vkring::test::detail::release(memory);
}

#endif  // VKRING_TESTS_SUPPORT_COUNT_ALLOCATIONS_HPP
