// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_INVARIANT_HPP
#define VKRING_TESTS_RING_INVARIANT_HPP

// What a test does that runs without Catch2, under a fuzzer for instance, when something is wrong.

#include <cstdio>
#include <cstdlib>

namespace vkring::test {

/// Prints `what` and aborts unless it holds: how a fuzzer learns of a finding.
inline void invariant(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken invariant: %s\n", what);
  std::abort();
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_INVARIANT_HPP
