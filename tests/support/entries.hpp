// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_ENTRIES_HPP
#define VKRING_TESTS_SUPPORT_ENTRIES_HPP

// How much there is of something, by a folder of the kernel's.

#include <cstddef>
#include <filesystem>
#include <iterator>

namespace vkring::test {

inline std::size_t entries(const char* folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}
/// The descriptors of this process, and the one that it takes to count them.
inline std::size_t open_descriptors() { return entries("/proc/self/fd"); }

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_ENTRIES_HPP
