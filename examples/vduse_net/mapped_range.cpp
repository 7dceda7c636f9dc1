// SPDX-License-Identifier: BSD-3-Clause
#include "mapped_range.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <charconv>
#include <vkring/kernel/sys.hpp>

namespace vduse_net {

using vkring::fail;
using vkring::posix;
using vkring::result;
using vkring::sys_result;

namespace {

constexpr int madv_populate_write = 23;  // since Linux 5.14, newer than the C library's headers

}  // namespace

std::string hex(std::uint64_t address) {
  char digits[16];
  return "0x" + std::string(digits, std::to_chars(digits, digits + sizeof digits, address, 16).ptr);
}

result<mapped_range> mapped_range::map(int file, const vduse_iotlb_entry& entry) {
  // The whole address space counts as none here, as its size does not fit.
  const std::uint64_t size = entry.last - entry.start + 1;
  if (entry.last < entry.start || size == 0 || size > most_bytes) {
    return fail(EFAULT, "map", hex(entry.start), "no ring lies in a range of that size");
  }
  if (entry.perm != VDUSE_ACCESS_RW) {
    return fail(EFAULT, "map", hex(entry.start), "a ring is for both sides to write");
  }
  void* const at = posix::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                               static_cast<off_t>(entry.offset));
  if (auto mapped = sys_result(at, "mmap", hex(entry.start)); !mapped) {
    return fail(std::move(mapped.error()));
  }
  mapped_range made(entry.start, {static_cast<std::byte*>(at), size});
  // A page that is not there would be a SIGBUS later, in the middle of the work.
  auto all = sys_result(posix::madvise(at, size, madv_populate_write), "madvise", hex(entry.start),
                        "the driver's memory has pages that are not there");
  if (!all) return fail(std::move(all.error()));
  return made;
}

mapped_range::~mapped_range() {
  if (!bytes_.empty()) posix::munmap(bytes_.data(), bytes_.size());
}

}  // namespace vduse_net
