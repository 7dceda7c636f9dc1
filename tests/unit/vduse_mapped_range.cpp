// SPDX-License-Identifier: BSD-3-Clause

// What vduse_net takes for memory of a driver's rings. A program is no library, so its sources are
// part of this test.
#include "../../examples/vduse_net/mapped_range.cpp"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>

#include "support/madvise.hpp"
#include "support/skip.hpp"

namespace {

using vduse_net::mapped_range;

const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
constexpr std::uint64_t start = 0x10'0000;

// A file of so many bytes, as the kernel would hand it over.
vkring::fd file_of(std::uint64_t bytes) {
  vkring::fd made(vkring::posix::memfd_create("ring", 0));
  REQUIRE(vkring::posix::ftruncate(made.get(), static_cast<off_t>(bytes)) == 0);
  return made;
}
vduse_iotlb_entry entry_of(std::uint64_t bytes) {
  return {0, start, start + bytes - 1, VDUSE_ACCESS_RW};
}
std::string complaint(const vkring::fd& file, const vduse_iotlb_entry& entry) {
  const auto done = mapped_range::map(file.get(), entry);
  return done ? "no complaint" : done.error().message();
}

}  // namespace

TEST_CASE("vduse mapped range: each byte of it is found, and none beside it") {
  const vkring::fd file = file_of(3 * page);
  auto entry = entry_of(2 * page);
  entry.offset = page;
  auto mapped = mapped_range::map(file.get(), entry);
  REQUIRE(mapped);
  const mapped_range range = std::move(*mapped);

  std::byte* const first = range.at(start, 2 * page);
  REQUIRE(first != nullptr);
  CHECK(range.at(start + 2 * page - 1, 1) == first + 2 * page - 1);
  *first = std::byte{0x5a};
  std::byte there{};
  REQUIRE(::pread(file.get(), &there, 1, static_cast<off_t>(page)) == 1);
  CHECK(there == std::byte{0x5a});

  CHECK(range.at(start - 1, 1) == nullptr);
  CHECK(range.at(start, 2 * page + 1) == nullptr);
  CHECK(range.at(start + 2 * page, 1) == nullptr);
  CHECK(range.at(start + 2 * page - 1, 2) == nullptr);
  CHECK(range.at(start + 1, ~std::size_t{0}) == nullptr);
  CHECK(range.at(0, 1) == nullptr);
  CHECK(range.at(~std::uint64_t{0}, 1) == nullptr);
}

TEST_CASE("vduse mapped range: what cannot hold a ring is refused by name") {
  if (!vkring::test::madvise_is_real()) return vkring::test::skip("madvise does not reach the kernel");
  const vkring::fd file = file_of(page);

  CHECK(complaint(file, entry_of(2 * page)) ==
        "madvise 0x100000: Bad address (the driver's memory has pages that are not there)");
  for (const int perm : {VDUSE_ACCESS_RO, VDUSE_ACCESS_WO, 0}) {
    auto entry = entry_of(page);
    entry.perm = static_cast<std::uint8_t>(perm);
    CHECK(complaint(file, entry) ==
          "map 0x100000: Bad address (a ring is for both sides to write)");
  }
  const std::string no_such_size = "no ring lies in a range of that size)";
  CHECK(complaint(file, entry_of(mapped_range::most_bytes + page)) ==
        "map 0x100000: Bad address (" + no_such_size);
  auto backwards = entry_of(page);
  backwards.last = backwards.start - 1;
  CHECK(complaint(file, backwards) == "map 0x100000: Bad address (" + no_such_size);
  CHECK(complaint(file, {0, 0, ~std::uint64_t{0}, VDUSE_ACCESS_RW}) ==
        "map 0x0: Bad address (" + no_such_size);
  auto skew = entry_of(page);
  skew.offset = 1;
  CHECK(complaint(file, skew) == "mmap 0x100000: Invalid argument");
  CHECK(complaint(vkring::fd(), entry_of(page)) == "mmap 0x100000: Bad file descriptor");
}
