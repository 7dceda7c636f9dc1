// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_IN_PIECES_HPP
#define VKRING_TESTS_SUPPORT_IN_PIECES_HPP

// A frame in several buffers.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "vkring/memory/buffer_pool.hpp"
#include "vkring/memory/frame.hpp"

namespace vkring::test {

/// A frame with that content in as many buffers as it takes, of which none has more than `piece`
/// bytes; an empty one when there are too few. They come out of `from.allocate`.
template <class Frame = frame, class From>
Frame in_pieces(From& from, std::span<const std::byte> content, std::size_t piece = SIZE_MAX) {
  Frame whole;
  do {
    Frame part;
    if (from.allocate(std::span(&part, 1)) != 1) return {};
    const auto here = std::min({content.size(), piece, std::size_t{part.capacity()}});
    part.resize(static_cast<std::uint32_t>(here));
    std::copy_n(content.begin(), here, part.contiguous().begin());
    content = content.subspan(here);
    if (whole) {
      whole.append(std::move(part));
    } else {
      whole = std::move(part);
    }
  } while (!content.empty());
  return whole;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_IN_PIECES_HPP
