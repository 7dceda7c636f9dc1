// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_MADVISE_HPP
#define VKRING_TESTS_SUPPORT_MADVISE_HPP

#include <sys/mman.h>

namespace vkring::test {

/// Whether advice on memory reaches the kernel. qemu-user keeps it to itself and says that all is well,
/// even of advice that does not exist.
inline bool madvise_is_real() {
  constexpr int no_such_advice = 12345;
  return ::madvise(nullptr, 0, no_such_advice) != 0;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_MADVISE_HPP
