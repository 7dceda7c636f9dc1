// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_SHAREABLE_SOURCE_HPP
#define VKRING_MEMORY_SHAREABLE_SOURCE_HPP

// Sources of buffers that another process can take over.

#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/memory/buffer_source.hpp>

namespace vkring::inline v0 {

/// What a source of equal buffers in one memfd looks like from outside.
struct source_shape {
  std::uint32_t buffers = 0;   ///< how many
  std::uint32_t capacity = 0;  ///< bytes of payload in each
  std::uint64_t guest = 0;     ///< guest address of the memory
};

/// A source whose buffers have numbers from 0 to `size() - 1`, in memory that another process can map.
///
/// `memfd()` is that memory, -1 where it happens to be private. `from_fd` makes a source of the
/// same shape from it, with all buffers free, and closes it on failure. `keep_out` takes those out
/// of the free ones whose bits are set: somebody holds them already.
template <class S>
concept shareable_source =
    buffer_source<S> && requires(S& source, const S& constant, typename S::handle handle,
                                 std::uint32_t number, const std::vector<bool>& busy,
                                 typename S::descriptor memfd, const source_shape& shape) {
  { constant.number_of(handle) }
  noexcept->std::same_as<std::uint32_t>;
  { constant.handle_of(number) }
  noexcept->std::same_as<typename S::handle>;
  { constant.available() }
  noexcept->std::same_as<std::size_t>;
  { constant.shape() }
  noexcept->std::same_as<source_shape>;
  { constant.memfd() }
  noexcept->std::same_as<int>;
  { S::from_fd(std::move(memfd), shape) } -> std::same_as<result<std::shared_ptr<S>>>;
  source.keep_out(busy);
};

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_SHAREABLE_SOURCE_HPP
