// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_ARENA_HPP
#define VKRING_TESTS_RING_ARENA_HPP

// Memory that both sides of a ring under test share, and the address space it is known by.

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <utility>
#include <vector>
#include <vkring/core/access.hpp>

namespace vkring::test {

/// Zeroed memory that ends at a page without access and starts after one: who runs out of it dies.
/// Aligned as far as its size is, to a page at most.
class guarded_memory {
 public:
  guarded_memory() noexcept = default;
  explicit guarded_memory(std::size_t bytes) : bytes_(bytes) {
    const std::size_t inner = (bytes + page - 1) / page * page;
    mapped_ = inner + 2 * page;
    void* const all = ::mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) die();
    base_ = static_cast<std::byte*>(all);
    if (::mprotect(base_ + page, inner, PROT_READ | PROT_WRITE) != 0) die();
    data_ = base_ + page + (inner - bytes);
  }
  guarded_memory(guarded_memory&& other) noexcept { swap(other); }
  guarded_memory& operator=(guarded_memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~guarded_memory() {
    if (base_ != nullptr) ::munmap(base_, mapped_);
  }

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, bytes_}; }

 private:
  static constexpr std::size_t page = 4096;

  [[noreturn]] static void die() {
    std::perror("guarded_memory");
    std::abort();
  }
  void swap(guarded_memory& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
  }

  std::byte* base_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t mapped_ = 0;
};

/// Zeroed memory of this size, the same each time: two that are in use at once differ in `which`.
inline const guarded_memory& reused_memory(int which, std::size_t bytes) {
  static std::map<std::pair<int, std::size_t>, guarded_memory> all;
  guarded_memory& memory = all[{which, bytes}];
  if (memory.size() == 0) memory = guarded_memory(bytes);
  std::fill(memory.bytes().begin(), memory.bytes().end(), std::byte{0});
  return memory;
}

/// Guest addresses, none of which equals its host address.
class address_map {
 public:
  void add(std::uint64_t guest, std::span<std::byte> host, bool writable = true) {
    regions_.push_back({guest, host, writable});
  }

  [[nodiscard]] std::span<std::byte> translate(std::uint64_t address, std::uint64_t length,
                                               memory_access direction) const noexcept {
    for (const region& each : regions_) {
      if (address < each.guest || address - each.guest >= each.host.size()) continue;
      if (direction == memory_access::write && !each.writable) return {};
      const std::span<std::byte> rest =
          each.host.subspan(static_cast<std::size_t>(address - each.guest));
      return rest.first(rest.size() < length ? rest.size() : static_cast<std::size_t>(length));
    }
    return {};
  }

  /// Whether `[at, at + length)` lies in one region; a writable one, if it is to be written.
  [[nodiscard]] bool holds(const void* at, std::size_t length, memory_access direction) const {
    const auto* const first = static_cast<const std::byte*>(at);
    for (const region& each : regions_) {
      const std::byte* const begin = each.host.data();
      if (first < begin || first >= begin + each.host.size()) continue;
      return length <= static_cast<std::size_t>(begin + each.host.size() - first) &&
             (direction == memory_access::read || each.writable);
    }
    return false;
  }

 private:
  struct region {
    std::uint64_t guest;
    std::span<std::byte> host;
    bool writable;
  };
  std::vector<region> regions_;
};

/// The address space of a device side: a map that lives elsewhere.
class mapped_space {
 public:
  explicit mapped_space(const address_map& map) noexcept : map_(&map) {}
  [[nodiscard]] std::span<std::byte> translate(std::uint64_t address, std::uint32_t length,
                                               memory_access direction) const noexcept {
    return map_->translate(address, length, direction);
  }

 private:
  const address_map* map_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_ARENA_HPP
