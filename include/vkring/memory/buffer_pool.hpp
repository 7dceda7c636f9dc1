// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_BUFFER_POOL_HPP
#define VKRING_MEMORY_BUFFER_POOL_HPP

// A pool of equal buffers in memory of its own.

#include <memory>
#include <string>
#include <utility>
#include <vkring/core/error.hpp>
#include <vkring/memory/buffer_arena.hpp>
#include <vkring/memory/region.hpp>

namespace vkring::inline v0 {

/// What a pool is to be.
struct pool_options {
  std::uint32_t buffers = 4096;      ///< how many, 1 at least
  std::uint32_t buffer_size = 2048;  ///< bytes of payload; rounded up to cache lines
  region_options memory{};           ///< huge pages, sharing; see memory/region.hpp
  /// The guest address of the first buffer: the same on every device that shares the pool, and
  /// apart from what other sources of these devices use.
  std::uint64_t guest_base = std::uint64_t{1} << 32;
};

/// Buffers for one or more devices, in a region of their own. A `buffer_source`.
///
/// Shared: frames and devices point to it, so it is handed out as `std::shared_ptr` and stays where
/// it is. Every frame has to be gone before the last owner lets go.
/// Thread-safety: see `buffer_arena`. A pool is not inherited by a forked child.
template <class Sys = posix>
class basic_buffer_pool : private basic_region<Sys>, public buffer_arena {
 public:
  using descriptor = basic_fd<Sys>;  ///< what `shareable_source` takes the memory as

  /// Maps the memory and cuts it into buffers.
  /// Errors: EINVAL (no buffers, empty ones, or more than 1 GiB in one), those of `basic_region::make`.
  static result<std::shared_ptr<basic_buffer_pool>> make(const pool_options& options = {}) {
    if (options.buffers == 0) {
      return fail(std::errc::invalid_argument, "buffer_pool", "buffers=0", "needs at least one");
    }
    if (options.buffer_size == 0 || options.buffer_size > max_buffer_size) {
      return fail(std::errc::invalid_argument, "buffer_pool",
                  "buffer-size=" + std::to_string(options.buffer_size),
                  "from 1 to " + std::to_string(max_buffer_size));
    }
    auto memory =
        basic_region<Sys>::make(bytes(options.buffers, options.buffer_size), options.memory);
    if (!memory) return fail(std::move(memory.error()));
    return std::make_shared<basic_buffer_pool>(std::move(*memory), options);
  }

  /// A pool in the memory of another one, of which `memfd` is, in another process perhaps. All buffers
  /// are free: see `keep_out`. Errors: EINVAL (no such shape, or the memory is too small for it),
  /// those of `basic_region::from_fd`.
  static result<std::shared_ptr<basic_buffer_pool>> from_fd(basic_fd<Sys> memfd,
                                                            const source_shape& shape) {
    if (shape.buffers == 0 || shape.capacity == 0 || shape.capacity > max_buffer_size) {
      return fail(std::errc::invalid_argument, "buffer_pool",
                  std::to_string(shape.buffers) + " buffers of " + std::to_string(shape.capacity),
                  "no pool has that shape");
    }
    auto memory =
        basic_region<Sys>::from_fd(std::move(memfd), bytes(shape.buffers, shape.capacity));
    if (!memory) return fail(std::move(memory.error()));
    pool_options options;
    options.buffers = shape.buffers;
    options.buffer_size = shape.capacity;
    options.guest_base = shape.guest;
    return std::make_shared<basic_buffer_pool>(std::move(*memory), options);
  }

  /// The memory below the buffers: its pages, its memfd.
  [[nodiscard]] const basic_region<Sys>& memory() const noexcept { return *this; }
  /// What another process maps; -1 where the memory is private.
  [[nodiscard]] int memfd() const noexcept { return memory().fd(); }

  /// For make_shared; `make` is the way in.
  basic_buffer_pool(basic_region<Sys> memory, const pool_options& options)
      : basic_region<Sys>(std::move(memory)),
        buffer_arena(basic_region<Sys>::bytes().first(
                         buffer_arena::bytes(options.buffers, options.buffer_size)),
                     options.buffer_size, options.guest_base) {}

 private:
  using buffer_arena::bytes;
  static constexpr std::uint32_t max_buffer_size = std::uint32_t{1} << 30;
};

using buffer_pool = basic_buffer_pool<>;
static_assert(shareable_source<buffer_pool>);

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_BUFFER_POOL_HPP
