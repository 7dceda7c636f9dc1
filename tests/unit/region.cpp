// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/memory/region.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <string>
#include <utility>

#include "support/faulty_sys.hpp"
#include "support/madvise.hpp"
#include "support/skip.hpp"

namespace {

using vkring::page_kind;
using vkring::region;
using vkring::region_options;
using vkring::test::fault_book;
using vkring::test::faulty_sys;
using faulty_region = vkring::basic_region<faulty_sys>;

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

TEST_CASE("region: whole pages, zero, writable") {
  const bool shareable = GENERATE(false, true);
  const bool populate = GENERATE(false, true);
  auto made = region::make(page + 1, {.shareable = shareable, .populate = populate}).value();
  REQUIRE(made.bytes().size() == 2 * page);
  CHECK(all_zero(made.bytes()));
  std::fill(made.bytes().begin(), made.bytes().end(), std::byte{0x5a});
  CHECK(made.backing() == page_kind::normal);
  CHECK(made.fallback_reason().empty());
  CHECK((made.fd() >= 0) == shareable);
}

TEST_CASE("region: moves leave nothing behind and unmap once") {
  fault_book::get().reset();
  {
    auto a = faulty_region::make(page).value();
    auto b = faulty_region::make(2 * page, {.shareable = true}).value();
    CHECK(fault_book::get().mapped_bytes() == 3 * page);
    a = std::move(b);
    CHECK(fault_book::get().mapped_bytes() == 2 * page);
    CHECK(a.bytes().size() == 2 * page);
    auto c = std::move(a);
    CHECK(a.bytes().empty());  // NOLINT: the state after a move is documented
    CHECK(a.fd() == -1);
    CHECK(c.fd() >= 0);
  }
  CHECK(fault_book::get().clean());
}

TEST_CASE("region: sizes that cannot be") {
  CHECK(region::make(0).error().code == std::errc::invalid_argument);
  CHECK(region::make(~std::size_t{0}).error().code == std::errc::not_enough_memory);
  CHECK(region::make(~std::size_t{0} / 2 + 1).error().code == std::errc::not_enough_memory);
}

TEST_CASE("region: a memfd is the same memory in whoever maps it, and cannot be cut") {
  auto mine = region::make(3 * page, {.shareable = true}).value();
  auto sent = vkring::fd(::dup(mine.fd()));
  CHECK(::ftruncate(sent.get(), 0) == -1);
  CHECK(::ftruncate(sent.get(), static_cast<off_t>(16 * page)) == -1);
  auto theirs = region::from_fd(std::move(sent), 3 * page).value();
  REQUIRE(theirs.bytes().size() == 3 * page);
  CHECK(theirs.bytes().data() != mine.bytes().data());
  mine.bytes()[2 * page] = std::byte{7};
  CHECK(theirs.bytes()[2 * page] == std::byte{7});
}

TEST_CASE("region: what a received descriptor is checked for") {
  SECTION("size") {
    auto mine = region::make(page, {.shareable = true}).value();
    const auto refused = region::from_fd(vkring::fd(::dup(mine.fd())), page + 1);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == std::errc::invalid_argument);
    CHECK(refused.error().hint ==
          "has " + std::to_string(page) + " bytes, needs " + std::to_string(page + 1));
  }
  SECTION("a sealable memfd is sealed here") {
    vkring::fd open_end(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(::ftruncate(open_end.get(), static_cast<off_t>(page)) == 0);
    auto mapped = region::from_fd(vkring::fd(::dup(open_end.get())), page).value();
    CHECK(::ftruncate(open_end.get(), 0) == -1);
  }
  SECTION("an empty one") {
    CHECK(region::from_fd(vkring::fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)), 0)
              .error()
              .code == std::errc::invalid_argument);
  }
  SECTION("one that cannot be sealed could be cut") {
    vkring::fd loose(::memfd_create("test", MFD_CLOEXEC));
    REQUIRE(::ftruncate(loose.get(), static_cast<off_t>(page)) == 0);
    const auto refused = region::from_fd(std::move(loose), page);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().operation == "F_ADD_SEALS");
    CHECK(refused.error().code == std::errc::operation_not_permitted);
    CHECK_FALSE(refused.error().hint.empty());
  }
  SECTION("something else, or nothing") {
    CHECK(region::from_fd(vkring::fd(::open("/dev/null", O_RDWR)), 1).error().code ==
          std::errc::invalid_argument);
    CHECK(region::from_fd(vkring::fd(), 1).error().code == std::errc::bad_file_descriptor);
  }
}

TEST_CASE("region: a forked child does not inherit it") {
  if (!vkring::test::madvise_is_real()) return vkring::test::skip("madvise does not reach the kernel");
  auto made = region::make(page, {.shareable = GENERATE(false, true)}).value();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    // Asked of the kernel rather than by a fault, which sanitizers would report at length.
    unsigned char resident = 0;
    const bool gone =
        ::mincore(made.bytes().data(), made.bytes().size(), &resident) == -1 && errno == ENOMEM;
    ::_exit(gone ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("region: huge pages, or a reported fallback") {
  const page_kind wanted = GENERATE(page_kind::huge_2m, page_kind::huge_1g);
  const bool shareable = GENERATE(false, true);
  auto made = region::make(page, {.pages = wanted, .shareable = shareable}).value();
  CHECK(made.fallback_reason().empty() == (made.backing() == wanted));
  CHECK(made.bytes().size() % page == 0);
  made.bytes()[0] = std::byte{1};
  const auto required = region::make(page, {.pages = wanted, .required = true});
  if (required) {
    CHECK(required->backing() == wanted);
    CHECK(required->bytes().size() % (std::size_t{1} << 21) == 0);
  } else {
    CHECK_THAT(required.error().hint, Catch::Contains("/sys/kernel/mm/hugepages/hugepages-"));
  }
}

TEST_CASE("region: the fallback goes one kind down at a time and tells each reason") {
  const bool shareable = GENERATE(false, true);
  const std::string call = shareable ? "memfd_create" : "mmap";
  const region_options options{.pages = page_kind::huge_1g, .shareable = shareable};
  fault_book::get().reset({ENOMEM, 1, call, 0, 2});
  {
    const auto made = faulty_region::make(page, options).value();
    CHECK(made.backing() == page_kind::normal);
    CHECK(made.bytes().size() == page);
    CHECK(made.fallback_reason() ==
          call + " " + std::to_string(page) +
              " bytes on 1 GiB pages: Cannot allocate memory (needs 1 free huge pages: raise "
              "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages); " +
              call + " " + std::to_string(page) +
              " bytes on 2 MiB pages: Cannot allocate memory (needs 1 free huge pages: raise "
              "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages)");
  }
  CHECK(fault_book::get().clean());

  region_options required = options;
  required.required = true;
  fault_book::get().reset({ENOMEM, 1, call});
  CHECK(faulty_region::make(page, required).error().code == std::errc::not_enough_memory);
  CHECK(fault_book::get().refused() == 1);
  CHECK(fault_book::get().clean());
}

TEST_CASE("region: each call that can fail, failing") {
  const region_options options{.shareable = GENERATE(false, true),
                               .populate = GENERATE(false, true)};
  const int reason = GENERATE(ENOMEM, EPERM, EINVAL, EMFILE);
  fault_book::get().reset();
  REQUIRE(faulty_region::make(page, options));
  const std::size_t calls = fault_book::get().trace().size();
  REQUIRE(calls >= 3);
  for (std::size_t n = 1; n <= calls; ++n) {
    fault_book::get().reset({reason, n});
    const bool made = [&] {
      const auto tried = faulty_region::make(page, options);
      if (!tried) CHECK(tried.error().code.value() == reason);
      return tried.has_value();
    }();
    REQUIRE(fault_book::get().refused() == 1);
    CHECK(fault_book::get().clean());
    const std::string call = fault_book::get().trace()[n - 1];
    // Clean-up has nobody to tell; an unknown flag of memfd_create is left out.
    const bool harmless =
        call == "munmap" || call == "close" || (reason == EINVAL && call == "memfd_create");
    CHECK(made == harmless);
  }
  fault_book::get().reset({EINTR, 1, "ftruncate"});
  CHECK(faulty_region::make(page, options));
}

TEST_CASE("region: each call on a received descriptor, failing") {
  auto& book = fault_book::get();
  for (const bool sealed : {true, false}) {
    std::size_t refused = 0;
    for (std::size_t n = 1; n <= 8; ++n) {
      CAPTURE(sealed, n);
      vkring::fd memfd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
      REQUIRE(::ftruncate(memfd.get(), static_cast<off_t>(page)) == 0);
      if (sealed) REQUIRE(::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
      book.reset({EIO, n});
      {
        const auto mapped =
            faulty_region::from_fd(vkring::basic_fd<faulty_sys>(memfd.release()), page);
        if (!mapped) {
          ++refused;
          CHECK(mapped.error().code == std::errc::io_error);
        }
      }
      CHECK(book.clean());
    }
    CHECK(refused == (sealed ? 4 : 5));  // the seals, fstat, mmap, madvise
  }
}
