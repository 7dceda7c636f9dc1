// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_CORE_PREFETCH_HPP
#define VKRING_CORE_PREFETCH_HPP

// Cache lines that are asked for before they are needed.

namespace vkring::inline v0 {

/// Asks for the cache line at `at`, to be written: other CPUs' copies of it go away in the meantime. A
/// hint, which touches nothing; any address will do.
[[gnu::always_inline]] inline void prefetch_to_write(const void* at) noexcept {
#if defined(__x86_64__)
  // The built-in asks for a copy to be read, unless it is told of CPUs that have this instruction. To
  // those that have not, it does nothing.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(at)));
#else
  __builtin_prefetch(at, 1);
#endif
}

}  // namespace vkring::inline v0

#endif  // VKRING_CORE_PREFETCH_HPP
