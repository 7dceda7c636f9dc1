// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_TABLE_HPP
#define VKRING_MEMORY_TABLE_HPP

// The memory table: which host memory the addresses in descriptors stand for.

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vkring/core/access.hpp"
#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

/// One entry of a memory table: guest addresses `[guest, guest + size)` stand for the bytes at
/// `host`.
struct guest_region {
  std::uint64_t guest;  ///< the first address, as the device knows it
  std::byte* host;      ///< the memory behind it, in this process
  std::uint64_t size;   ///< bytes, never 0 in a table

  /// The longest piece at `address`, at most `length` bytes; empty when the address is elsewhere.
  [[nodiscard]] std::span<std::byte> piece(std::uint64_t address,
                                           std::uint32_t length) const noexcept {
    const std::uint64_t offset = address - guest;  // huge when the address lies below
    if (offset >= size) return {};
    return {host + offset,
            static_cast<std::size_t>(std::min<std::uint64_t>(length, size - offset))};
  }
  /// The guest address of `bytes`, if all of them lie in this region.
  [[nodiscard]] std::optional<std::uint64_t> address_of(
      std::span<const std::byte> bytes) const noexcept {
    // Integers, because comparing pointers into different objects is unspecified.
    const std::uint64_t offset = reinterpret_cast<std::uintptr_t>(bytes.data()) -
                                 std::uint64_t{reinterpret_cast<std::uintptr_t>(host)};
    if (offset >= size || bytes.size() > size - offset) return std::nullopt;
    return guest + offset;
  }
};

/// Guest addresses and the host memory behind them; the AddressSpace of a device side.
///
/// Memory of vkring's own gets addresses from a fixed base upwards, in the order of `add`, so a
/// second process that adds the same regions reads the same descriptors. Foreign memory, whose
/// descriptors somebody else fills with pointers, is its own address (`add_identity`). Regions
/// adjacent in guest and in host memory are one: a buffer may cross from one to the next. Every
/// byte may be read and written, as in the kernel's own table.
///
/// Allocation: in the `add` members only. Thread-safety: filled by one thread; immutable once it is
/// shared, so that any number of threads may then look up. Source: drivers/vhost/vhost.c.
class memory_table {
 public:
  /// Low, to keep the kernel's dirty bitmap (a bit per page from address 0) small; not 0, so that a
  /// descriptor that nobody filled in is refused.
  static constexpr std::uint64_t default_base = 0x1000'0000;
  static constexpr std::uint64_t page = 4096;  ///< what `add` aligns guest addresses to
  /// vhost's default, see `vhost_max_regions`.
  static constexpr std::size_t default_max_regions = 64;

  /// An empty table; `base` is where `add` begins.
  explicit memory_table(std::size_t max_regions = default_max_regions,
                        std::uint64_t base = default_base)
      : max_regions_(max_regions), next_(base) {}

  /// Adds memory at the next free page from the base upwards; returns its guest address.
  /// Errors: as `add_at`. Ask `guest_of` first where the memory may be there already.
  result<std::uint64_t> add(std::span<std::byte> host) {
    std::uint64_t guest = next_;
    for (const guest_region& r : by_guest_) {
      if (guest - r.guest < r.size || r.guest - guest < host.size()) guest = page_after(r);
    }
    if (auto added = add_at(guest, host); !added) return fail(std::move(added.error()));
    next_ = page_after({guest, host.data(), host.size()});
    return guest;
  }

  /// Adds foreign memory, each byte of which has its own pointer as guest address.
  /// Errors: as `add_at`.
  result<void> add_identity(std::span<std::byte> host) {
    return add_at(reinterpret_cast<std::uintptr_t>(host.data()), host);
  }

  /// Adds memory at a guest address of the caller's choice.
  ///
  /// Errors, the table being unchanged: EINVAL (no bytes, null), EOVERFLOW (it would wrap around),
  /// EADDRINUSE (guest or host addresses that are in the table already), E2BIG (too many regions).
  result<void> add_at(std::uint64_t guest, std::span<std::byte> host) {
    const guest_region added{guest, host.data(), host.size()};
    if (host.data() == nullptr || host.empty()) {
      return refuse(EINVAL, added, "a region needs at least one byte");
    }
    const std::uint64_t last = added.size - 1;
    const std::uint64_t host_at = host_address(added);
    if (guest + last < guest || host_at + last < host_at) {
      return refuse(EOVERFLOW, added, "a region ends at or below 2^64");
    }

    const auto after =
        std::upper_bound(by_guest_.begin(), by_guest_.end(), guest,
                         [](std::uint64_t g, const guest_region& r) { return g < r.guest; });
    const bool has_before = after != by_guest_.begin();
    const bool has_after = after != by_guest_.end();
    // Neighbours by guest address suffice for the guest side; host addresses follow no order here.
    if ((has_before && guest - std::prev(after)->guest < std::prev(after)->size) ||
        (has_after && after->guest - guest < added.size)) {
      return refuse(EADDRINUSE, added, "guest addresses overlap a region of the table");
    }
    for (const guest_region& r : by_guest_) {
      if (host_at - host_address(r) < r.size || host_address(r) - host_at < added.size) {
        return refuse(EADDRINUSE, added, "this memory is in the table already");
      }
    }

    const bool joins_before = has_before && adjacent(*std::prev(after), added);
    const bool joins_after = has_after && adjacent(added, *after);
    if (!joins_before && !joins_after && by_guest_.size() >= max_regions_) {
      return refuse(E2BIG, added,
                    "at most " + std::to_string(max_regions_) +
                        " regions: use fewer and larger ones, or raise max_mem_regions of vhost");
    }
    if (joins_before && joins_after) {
      std::prev(after)->size += added.size + after->size;
      by_guest_.erase(after);
    } else if (joins_before) {
      std::prev(after)->size += added.size;
    } else if (joins_after) {
      *after = {guest, added.host, added.size + after->size};
    } else {
      by_guest_.insert(after, added);
    }
    by_host_ = by_guest_;
    std::sort(by_host_.begin(), by_host_.end(), [](const guest_region& a, const guest_region& b) {
      return host_address(a) < host_address(b);
    });
    return {};
  }

  /// The regions by ascending guest address, coalesced: what VHOST_SET_MEM_TABLE is to be given.
  [[nodiscard]] std::span<const guest_region> regions() const noexcept { return by_guest_; }

  /// The longest contiguous piece of host memory at `guest`, at most `length` bytes; empty when the
  /// address is not in the table. Callers loop over pieces. For the hot path see `table_cursor`.
  [[nodiscard]] std::span<std::byte> translate(std::uint64_t guest, std::uint32_t length,
                                               memory_access) const noexcept {
    if (by_guest_.empty()) return {};
    return nearest_guest(guest).piece(guest, length);
  }

  /// The guest address of `host`, if all of its bytes lie in one region.
  [[nodiscard]] std::optional<std::uint64_t> guest_of(
      std::span<const std::byte> host) const noexcept {
    if (by_host_.empty()) return std::nullopt;
    return nearest_host(host.data()).address_of(host);
  }

 private:
  friend class table_cursor;

  // The first page behind a region; at the top of the address space the last byte, where nothing fits.
  static std::uint64_t page_after(const guest_region& r) noexcept {
    const std::uint64_t last_page = (r.guest + (r.size - 1)) / page;
    return last_page == ~std::uint64_t{0} / page ? ~std::uint64_t{0} : (last_page + 1) * page;
  }

  static std::uint64_t host_address(const guest_region& r) noexcept {
    return reinterpret_cast<std::uintptr_t>(r.host);
  }

  // `low` lies below `high` in guest memory and does not overlap it, so its end cannot have
  // wrapped.
  static bool adjacent(const guest_region& low, const guest_region& high) noexcept {
    return low.guest + low.size == high.guest && host_address(low) + low.size == host_address(high);
  }

  static tl::unexpected<error> refuse(int reason, const guest_region& r, std::string_view hint) {
    char where[96];
    std::snprintf(where, sizeof where, "guest=%#llx host=%#llx size=%#llx",
                  static_cast<unsigned long long>(r.guest),
                  static_cast<unsigned long long>(host_address(r)),
                  static_cast<unsigned long long>(r.size));
    return fail(reason, "memory_table", where, hint);
  }

  // The last region that starts at or below a key, or the first one. Halving without branches:
  // which way a look-up goes is for the sender of the frame to choose, so no predictor could learn
  // it.
  template <class KeyOf>
  static const guest_region& nearest(const std::vector<guest_region>& sorted, std::uint64_t key,
                                     KeyOf key_of) noexcept {
    const guest_region* at = sorted.data();
    for (std::size_t left = sorted.size(); left > 1;) {
      const std::size_t half = left / 2;
      at += key_of(at[half]) <= key ? half : 0;
      left -= half;
    }
    return *at;
  }
  const guest_region& nearest_guest(std::uint64_t guest) const noexcept {
    return nearest(by_guest_, guest, [](const guest_region& r) { return r.guest; });
  }
  const guest_region& nearest_host(const std::byte* host) const noexcept {
    return nearest(by_host_, reinterpret_cast<std::uintptr_t>(host), host_address);
  }

  std::vector<guest_region> by_guest_;
  std::vector<guest_region> by_host_;
  std::size_t max_regions_;
  std::uint64_t next_;
};

/// A memory table as one queue sees it: remembers the region of the last look-up.
///
/// A queue's buffers mostly lie in one region, so a look-up is a subtraction, a comparison and an
/// addition; any other goes through the table. Refers to the table, which must outlive it and must
/// get no more regions. Thread-safety: one thread; each queue has its own.
class table_cursor {
 public:
  /// Begins with the lowest region, if there is one.
  explicit table_cursor(const memory_table& table) noexcept : table_(&table) {
    if (!table.by_guest_.empty()) last_ = table.by_guest_.front();
  }

  /// As `memory_table::translate`.
  [[nodiscard, gnu::always_inline]] std::span<std::byte> translate(std::uint64_t guest,
                                                                   std::uint32_t length,
                                                                   memory_access) noexcept {
    const std::uint64_t offset = guest - last_.guest;  // huge when the address lies below
    const std::uint64_t end = offset + length;         // then beyond the size, or wrapped
    if (end >= length && end <= last_.size) [[likely]] {
      return {last_.host + offset, length};
    }
    return in_other_region(guest, length);
  }

  /// The region of the last look-up: a copy of it can stay in registers through a burst.
  [[nodiscard]] const guest_region& last() const noexcept { return last_; }

  /// As `memory_table::guest_of`.
  [[nodiscard]] std::optional<std::uint64_t> guest_of(std::span<const std::byte> host) noexcept {
    if (const auto found = last_.address_of(host)) [[likely]]
      return found;
    return in_other_region(host);
  }

 private:
  // Not inlined: the common case then needs no stack frame.
  [[gnu::noinline]] std::span<std::byte> in_other_region(std::uint64_t guest,
                                                         std::uint32_t length) noexcept {
    if (table_->by_guest_.empty()) return {};
    last_ = table_->nearest_guest(guest);
    return last_.piece(guest, length);
  }
  [[gnu::noinline]] std::optional<std::uint64_t> in_other_region(
      std::span<const std::byte> host) noexcept {
    if (table_->by_host_.empty()) return std::nullopt;
    const guest_region& found = table_->nearest_host(host.data());
    const auto guest = found.address_of(host);
    if (guest) last_ = found;
    return guest;
  }

  const memory_table* table_;
  guest_region last_{0, nullptr, 0};
};

/// How many regions the vhost module takes: its max_mem_regions, or the default of 64 where the
/// module is not loaded.
template <class Sys = posix>
[[nodiscard]] std::size_t vhost_max_regions() noexcept {
  const basic_fd<Sys> parameter(retry_interrupted(
      [] { return Sys::open("/sys/module/vhost/parameters/max_mem_regions", O_RDONLY); }));
  char text[16];
  const auto size =
      retry_interrupted([&] { return Sys::read(parameter.get(), text, sizeof text); });
  std::size_t limit = 0;
  if (size > 0) std::from_chars(text, text + size, limit);
  return limit > 0 ? limit : memory_table::default_max_regions;
}

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_TABLE_HPP
