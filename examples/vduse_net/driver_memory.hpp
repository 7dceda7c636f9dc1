// SPDX-License-Identifier: BSD-3-Clause
#ifndef VDUSE_NET_DRIVER_MEMORY_HPP
#define VDUSE_NET_DRIVER_MEMORY_HPP

// What the driver's addresses stand for.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/table.hpp>

#include "mapped_range.hpp"
#include "vduse_device.hpp"

namespace vduse_net {

/// The memory that a driver shares with the device: its rings, where it has them, and the pages
/// that the kernel copies frames into and out of, which are ours and lent to it.
///
/// So no address that the driver may come up with leads to memory that is not there: rings are
/// refused unless every page is, and buffers outside the lent pages are in no table.
/// Thread-safety: one thread. It and what it gave away are gone with it; the device outlives it.
class driver_memory {
 public:
  explicit driver_memory(const vduse_device& device) noexcept : device_(&device) {}
  driver_memory(const driver_memory&) = delete;
  driver_memory& operator=(const driver_memory&) = delete;
  ~driver_memory() {
    if (lent_) device_->take_back(*lent_);
  }

  /// A part of a ring: `bytes` at `address`, and on an address of this process that is a multiple
  /// of `alignment`.
  /// Errors: EINVAL, EFAULT for what cannot be one; what the ioctl and mmap return.
  vkring::result<std::byte*> ring_part(std::uint64_t address, std::size_t bytes,
                                       std::size_t alignment);

  /// The table of all buffers. Not before the driver has one: the kernel does not know of them
  /// earlier. Errors: those of `vduse_device::lend`.
  vkring::result<vkring::memory_table> buffers();

 private:
  const vduse_device* device_;
  std::vector<mapped_range> rings_;
  std::optional<vkring::region> lent_;
};

}  // namespace vduse_net

#endif  // VDUSE_NET_DRIVER_MEMORY_HPP
