// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_MAPPED_RANGE_HPP
#define VDUSE_NET_MAPPED_RANGE_HPP

// A range of the driver's addresses, and the memory behind it.

#include <linux/vduse.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vkring/core/error.hpp>

namespace vduse_net {

/// `0x1000`
[[nodiscard]] std::string hex(std::uint64_t address);

/// Memory of the driver's that both sides write, mapped into this process.
///
/// Every page of it is there, and stays: what the kernel says of it is not believed before that was
/// tried. Move-only; unmapped by the destructor.
class mapped_range {
 public:
  /// Far more than the largest ring has.
  static constexpr std::uint64_t most_bytes = std::uint64_t{64} << 20;

  /// Maps what `entry` says of `file`, as VDUSE_IOTLB_GET_FD has filled it in.
  /// Errors: EFAULT when it ends before it begins, is longer than `most_bytes`, is not for both
  /// sides, or has pages that cannot be had; what mmap returns.
  static vkring::result<mapped_range> map(int file, const vduse_iotlb_entry& entry);

  mapped_range(mapped_range&& other) noexcept
      : start_(other.start_), bytes_(std::exchange(other.bytes_, {})) {}
  mapped_range& operator=(mapped_range&&) = delete;
  ~mapped_range();

  /// `size` bytes at `address`; null unless all of them are in this range.
  [[nodiscard]] std::byte* at(std::uint64_t address, std::size_t size) const noexcept {
    const std::uint64_t offset = address - start_;  // huge when the address lies below
    const bool inside = offset < bytes_.size() && size <= bytes_.size() - offset;
    return inside ? bytes_.data() + offset : nullptr;
  }

 private:
  mapped_range(std::uint64_t start, std::span<std::byte> bytes) noexcept
      : start_(start), bytes_(bytes) {}

  std::uint64_t start_;
  std::span<std::byte> bytes_;
};

}  // namespace vduse_net

#endif  // VDUSE_NET_MAPPED_RANGE_HPP
