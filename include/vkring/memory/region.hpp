// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_MEMORY_REGION_HPP
#define VKRING_MEMORY_REGION_HPP

// A mapping that rings and buffers lie in: anonymous or a memfd, on normal or on huge pages.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

/// The pages behind a region.
enum class page_kind : std::uint8_t { normal, huge_2m, huge_1g };

/// What a region is to be.
struct region_options {
  page_kind pages = page_kind::normal;  ///< what is wanted; see `required`
  bool required =
      false;  ///< true: without the wanted pages there is no region, rather than smaller ones
  bool shareable = false;  ///< true: a memfd, which another process can map
  bool populate = false;   ///< true: touches all pages now, so that no first use faults
};

namespace detail {

// Linux values that Debian 12's libc headers lack or tie to feature macros.
inline constexpr unsigned mfd_hugetlb = 0x4;
inline constexpr unsigned mfd_noexec_seal = 0x8;  // since 6.3
inline constexpr unsigned huge_size_shift = 26;   // log2 of the page size, in mmap and memfd flags

[[nodiscard]] inline std::size_t page_bytes(page_kind kind) noexcept {
  switch (kind) {
    case page_kind::huge_2m:
      return std::size_t{1} << 21;
    case page_kind::huge_1g:
      return std::size_t{1} << 30;
    case page_kind::normal:
      break;
  }
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

[[nodiscard]] inline page_kind next_smaller(page_kind kind) noexcept {
  return kind == page_kind::huge_1g ? page_kind::huge_2m : page_kind::normal;
}

// The size as the flags of mmap and memfd_create want it; 0 for normal pages.
[[nodiscard]] inline unsigned page_size_flag(page_kind kind) noexcept {
  if (kind == page_kind::normal) return 0;
  return (kind == page_kind::huge_2m ? 21U : 30U) << huge_size_shift;
}

[[nodiscard]] inline std::string pages_hint(page_kind kind, std::size_t bytes, int reason) {
  if (kind == page_kind::normal) {
    return reason == ENOMEM ? "raise the limits on memory (ulimit -v, the cgroup's)" : "";
  }
  const std::string pool = "/sys/kernel/mm/hugepages/hugepages-" +
                           std::to_string(page_bytes(kind) / 1024) + "kB/nr_hugepages";
  if (reason == ENOMEM) {
    return "needs " + std::to_string(bytes / page_bytes(kind)) + " free huge pages: raise " + pool;
  }
  const bool unknown_size = reason == EINVAL || reason == ENODEV || reason == ENOSYS;
  return unknown_size ? "this kernel has no such pages: see " + pool : "";
}

[[nodiscard]] inline std::string_view page_name(page_kind kind) noexcept {
  if (kind == page_kind::huge_2m) return "2 MiB pages";
  return kind == page_kind::huge_1g ? "1 GiB pages" : "normal pages";
}

}  // namespace detail

/// A readable and writable mapping, zero at first.
///
/// Move-only; unmapped by the destructor. A forked child does not inherit it: touching it there is
/// a segmentation fault, instead of a second driver on the same rings.
/// Allocation: the mapping and short strings. Thread-safety: `const` members from any thread.
template <class Sys = posix>
class basic_region {
 public:
  /// Maps at least `size` bytes, rounded up to whole pages.
  ///
  /// Where the wanted pages are not to be had, the next smaller kind is taken and `fallback_reason`
  /// says why; with `options.required` that is an error instead.
  /// Errors: EINVAL (no bytes), ENOMEM, and what mmap, madvise, memfd_create, ftruncate, fcntl
  /// return. The hint tells how to reserve huge pages.
  static result<basic_region> make(std::size_t size, const region_options& options = {}) {
    if (size == 0) return fail(EINVAL, "region", "of 0 bytes", "needs a size");
    std::string reasons;
    for (page_kind kind = options.pages;; kind = detail::next_smaller(kind)) {
      auto made = make_on(kind, size, options);
      if (made) {
        made->fallback_reason_ = std::move(reasons);
        return made;
      }
      if (kind == page_kind::normal || options.required) return made;
      if (!reasons.empty()) reasons += "; ";
      reasons += made.error().message();
    }
  }

  /// Maps the whole of a memfd that another process sent, as shared memory.
  ///
  /// Its size is sealed first: a peer that cut the file later would kill this process with SIGBUS.
  /// Errors: what F_GET_SEALS and F_ADD_SEALS return (EPERM, EINVAL when it is no memfd), EINVAL
  /// (fewer than `needed` bytes, or none), and what fstat, mmap, madvise return. The descriptor is
  /// closed then.
  static result<basic_region> from_fd(basic_fd<Sys> memfd, std::size_t needed) {
    const std::string object = "fd " + std::to_string(memfd.get());
    constexpr std::string_view how_to =
        "the sender must make it by memfd_create with MFD_ALLOW_SEALING, and share it writable";
    const auto seals =
        sys_result(Sys::fcntl(memfd.get(), F_GET_SEALS), "F_GET_SEALS", object, how_to);
    if (!seals) return fail(seals.error());
    // The sender may have sealed the size, and then the seals.
    if ((*seals & F_SEAL_SHRINK) == 0) {
      auto sealed = sys_result(Sys::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK), "F_ADD_SEALS",
                               object, how_to);
      if (!sealed) return fail(std::move(sealed.error()));
    }
    struct ::stat about {};
    if (auto asked = sys_result(Sys::fstat(memfd.get(), &about), "fstat", object); !asked) {
      return fail(std::move(asked.error()));
    }
    const auto size = static_cast<std::uint64_t>(about.st_size);
    if (size == 0 || size < needed) {
      return fail(EINVAL, "region", object,
                  "has " + std::to_string(size) + " bytes, needs " + std::to_string(needed));
    }
    if (size > std::numeric_limits<std::size_t>::max()) return fail(ENOMEM, "mmap", object);
    page_kind kind = page_kind::normal;
    for (const page_kind huge : {page_kind::huge_2m, page_kind::huge_1g}) {
      // A file of huge pages has them as its block size.
      if (static_cast<std::size_t>(about.st_blksize) == detail::page_bytes(huge)) kind = huge;
    }
    return map(std::move(memfd), kind, static_cast<std::size_t>(size), MAP_SHARED, object);
  }

  /// @{
  /// Leaves `other` without memory; what this region had is unmapped.
  basic_region(basic_region&& other) noexcept
      : memfd_(std::move(other.memfd_)),
        bytes_(std::exchange(other.bytes_, {})),
        fallback_reason_(std::move(other.fallback_reason_)),
        backing_(other.backing_) {}
  basic_region& operator=(basic_region&& other) noexcept {
    basic_region old(std::move(*this));
    memfd_ = std::move(other.memfd_);
    bytes_ = std::exchange(other.bytes_, {});
    fallback_reason_ = std::move(other.fallback_reason_);
    backing_ = other.backing_;
    return *this;
  }
  /// @}
  ~basic_region() {
    if (!bytes_.empty()) (void)Sys::munmap(bytes_.data(), bytes_.size());
  }

  /// The memory; empty after a move.
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// The memfd to send to another process; -1 where the region is not shareable.
  [[nodiscard]] int fd() const noexcept { return memfd_.get(); }
  /// The pages it lies on.
  [[nodiscard]] page_kind backing() const noexcept { return backing_; }
  /// Why it is not on the pages that were wanted; empty if it is.
  [[nodiscard]] const std::string& fallback_reason() const noexcept { return fallback_reason_; }

 private:
  basic_region(basic_fd<Sys> memfd, page_kind backing, std::span<std::byte> bytes) noexcept
      : memfd_(std::move(memfd)), bytes_(bytes), backing_(backing) {}

  static result<basic_region> make_on(page_kind kind, std::size_t size,
                                      const region_options& options) {
    const std::size_t page = detail::page_bytes(kind);
    const std::string object =
        std::to_string(size) + " bytes on " + std::string(detail::page_name(kind));
    if (size > std::numeric_limits<std::size_t>::max() - page) {
      return fail(ENOMEM, "region", object, "no address space is that large");
    }
    const std::size_t rounded = (size + page - 1) / page * page;
    const int populate = options.populate ? MAP_POPULATE : 0;
    const bool huge = kind != page_kind::normal;
    if (!options.shareable) {
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | populate | (huge ? MAP_HUGETLB : 0) |
                        static_cast<int>(detail::page_size_flag(kind));
      return map({}, kind, rounded, flags, object);
    }

    const unsigned flags =
        MFD_ALLOW_SEALING | (huge ? detail::mfd_hugetlb : 0U) | detail::page_size_flag(kind);
    // Hosts with vm.memfd_noexec=2 insist on the flag, kernels before 6.3 do not know it.
    int returned = Sys::memfd_create("vkring", flags | detail::mfd_noexec_seal);
    if (error_of(returned) == EINVAL) returned = Sys::memfd_create("vkring", flags);
    auto memfd = basic_fd<Sys>::adopt(sys_result(returned, "memfd_create", object, [&](int reason) {
      return detail::pages_hint(kind, rounded, reason);
    }));
    if (!memfd) return fail(std::move(memfd.error()));
    auto sized = sys_result(retry_interrupted([&] {
                              return Sys::ftruncate(memfd->get(), static_cast<off_t>(rounded));
                            }),
                            "ftruncate", object);
    if (sized) {
      sized = sys_result(
          Sys::fcntl(memfd->get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
          "F_ADD_SEALS", object);
    }
    if (!sized) return fail(std::move(sized.error()));
    return map(std::move(*memfd), kind, rounded, MAP_SHARED | populate, object);
  }

  static result<basic_region> map(basic_fd<Sys> memfd, page_kind kind, std::size_t size, int flags,
                                  std::string_view object) {
    const auto hint = [&](int reason) { return detail::pages_hint(kind, size, reason); };
    auto at = sys_result(Sys::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, memfd.get(), 0),
                         "mmap", object, hint);
    if (!at) return fail(std::move(at.error()));
    basic_region made(std::move(memfd), kind, {static_cast<std::byte*>(*at), size});
    if (auto kept = sys_result(Sys::madvise(*at, size, MADV_DONTFORK), "MADV_DONTFORK", object);
        !kept) {
      return fail(std::move(kept.error()));
    }
    return made;
  }

  basic_fd<Sys> memfd_;
  std::span<std::byte> bytes_;
  std::string fallback_reason_;
  page_kind backing_ = page_kind::normal;
};

using region = basic_region<>;

}  // namespace vkring::inline v0

#endif  // VKRING_MEMORY_REGION_HPP
