// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/sys.hpp"

#include <catch2/catch.hpp>
#include <string>

#include "support/faulty_sys.hpp"

using vkring::error_of;
using vkring::posix;
using vkring::retry_interrupted;
using vkring::sys_result;
using vkring::test::fault_book;
using vkring::test::faulty_sys;

TEST_CASE("sys: errno is read after a failure only") {
  errno = EBUSY;
  CHECK(error_of(0) == 0);
  CHECK(error_of(ssize_t{7}) == 0);
  CHECK(error_of(-2) == 0);
  CHECK(error_of(-1) == EBUSY);
  CHECK(error_of(ssize_t{-1}) == EBUSY);
  void* const nothing = nullptr;
  CHECK(error_of(nothing) == 0);
  CHECK(error_of(MAP_FAILED) == EBUSY);
}

TEST_CASE("sys: a result has what the call returned, or operation, object and hint") {
  CHECK(sys_result(42, "answer").value() == 42);

  errno = ENOENT;
  const auto text = sys_result(-1, "open", "/nowhere", "make it");
  CHECK(text.error().code.value() == ENOENT);
  CHECK(text.error().message() == "open /nowhere: No such file or directory (make it)");

  errno = ENOENT;
  CHECK(sys_result(-1, "open", "/nowhere").error().message() ==
        "open /nowhere: No such file or directory");

  errno = EACCES;
  const auto asked = [](int reason) { return reason == EACCES ? "ask" : "no"; };
  CHECK(sys_result(MAP_FAILED, "mmap", "region", asked).error().message() ==
        "mmap region: Permission denied (ask)");
}

TEST_CASE("sys: a hint may be for one reason only") {
  constexpr vkring::hint_for hint{EPERM, "needs more rights"};
  CHECK(hint(EPERM) == "needs more rights");
  CHECK(hint(ENOMEM).empty());
  CHECK(vkring::hint_for{}(EPERM).empty());
}

TEST_CASE("sys: an interrupted call is repeated, with EINTR injected twice") {
  fault_book::get().reset({.reason = EINTR, .call = "open", .times = 2});
  const int fd = retry_interrupted([] { return faulty_sys::open("/dev/null", O_RDONLY); });
  CHECK(fd >= 0);
  CHECK(fault_book::get().refused() == 2);
  CHECK(fault_book::get().trace().size() == 3);
  CHECK(faulty_sys::close(fd) == 0);

  fault_book::get().reset({.reason = EIO, .call = "open"});
  CHECK(retry_interrupted([] { return faulty_sys::open("/dev/null", O_RDONLY); }) == -1);
  CHECK(errno == EIO);
  CHECK(fault_book::get().trace().size() == 1);
}

TEST_CASE("sys: every call that makes a descriptor makes it close-on-exec") {
  const int made[] = {
      posix::open("/dev/null", O_RDONLY),
      posix::eventfd(0, 0),
      posix::memfd_create("test", 0),
      posix::socket(AF_UNIX, SOCK_DGRAM, 0),
  };
  for (const int fd : made) {
    CAPTURE(fd);
    REQUIRE(fd >= 0);
    CHECK(posix::fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(posix::close(fd) == 0);
  }
}

TEST_CASE("faulty_sys: refuses the n-th call, and that one only") {
  struct ::stat about {};
  fault_book::get().reset({.reason = ENOMEM, .nth = 2});
  CHECK(faulty_sys::stat("/", &about) == 0);
  CHECK(faulty_sys::stat("/", &about) == -1);
  CHECK(errno == ENOMEM);
  CHECK(faulty_sys::stat("/", &about) == 0);
  CHECK(fault_book::get().trace() == std::vector<std::string>(3, "stat /"));
}

TEST_CASE("faulty_sys: the book finds what leaks") {
  auto& book = fault_book::get();
  book.reset();
  const int fd = faulty_sys::open("/dev/null", O_RDONLY);
  CHECK(book.open_descriptors() == 1);
  const int copy = faulty_sys::fcntl(fd, F_DUPFD_CLOEXEC);
  CHECK(book.open_descriptors() == 2);
  CHECK_FALSE(book.clean());
  faulty_sys::close(copy);
  faulty_sys::close(fd);
  CHECK(book.clean());
  faulty_sys::close(fd);
  CHECK(book.bad_closes() == 1);
  CHECK_FALSE(book.clean());

  book.reset();
  void* const page = faulty_sys::mmap(nullptr, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK_FALSE(book.clean());
  faulty_sys::munmap(page, 1);
  CHECK(book.clean());
}
