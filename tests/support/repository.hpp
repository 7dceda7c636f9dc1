// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_REPOSITORY_HPP
#define VKRING_TESTS_SUPPORT_REPOSITORY_HPP

// The files of the repository, for tests of what stands in them.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace vkring::test {

inline const std::filesystem::path root = VKRING_SOURCE_DIR;

/// All of a file; nothing if there is none.
inline std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_REPOSITORY_HPP
