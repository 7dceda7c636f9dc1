// SPDX-License-Identifier: BSD-3-Clause
#include "driver_memory.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vduse_net {

using vkring::fail;
using vkring::result;

namespace {

// The kernel counts lent pages as locked, and makes no exception for root.
void raise_locked_limit(std::size_t least) noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur >= least) return;
  limit.rlim_cur = least;
  limit.rlim_max = std::max(limit.rlim_max, limit.rlim_cur);
  // Where that may not be done, lending says so.
  static_cast<void>(::setrlimit(RLIMIT_MEMLOCK, &limit));
}

}  // namespace

result<std::byte*> driver_memory::ring_part(std::uint64_t address, std::size_t bytes,
                                            std::size_t alignment) {
  std::byte* found = nullptr;
  for (const mapped_range& each : rings_) {
    if (found == nullptr) found = each.at(address, bytes);
  }
  if (found == nullptr) {
    vduse_iotlb_entry entry;
    auto file = device_->file_at(address, entry);
    if (!file) return fail(std::move(file.error()));
    auto range = mapped_range::map(file->get(), entry);
    if (!range) return fail(std::move(range.error()));
    found = range->at(address, bytes);
    rings_.push_back(std::move(*range));
  }
  if (found == nullptr) {
    return fail(EFAULT, "ring", hex(address), "the driver has not so much memory there");
  }
  if (reinterpret_cast<std::uintptr_t>(found) % alignment != 0) {
    return fail(EINVAL, "ring", hex(address), "the driver has not aligned it");
  }
  return found;
}

result<vkring::memory_table> driver_memory::buffers() {
  const auto about = device_->lowest_range();
  if (!about) return fail(about.error());
  if (about->start != 0 || (about->capability & VDUSE_IOVA_CAP_UMEM) == 0) {
    return fail(ENOTSUP, "VDUSE_IOTLB_GET_INFO", hex(about->start),
                "the driver is none of this kernel's own: bind virtio_vdpa instead of vhost_vdpa");
  }
  auto pages = vkring::region::make(about->last + 1);
  if (!pages) return fail(std::move(pages.error()));
  raise_locked_limit(pages->bytes().size());
  if (auto done = device_->lend(*pages); !done) return fail(std::move(done.error()));
  lent_.emplace(std::move(*pages));
  vkring::memory_table table;
  if (auto added = table.add_at(0, lent_->bytes()); !added) return fail(std::move(added.error()));
  return table;
}

}  // namespace vduse_net
