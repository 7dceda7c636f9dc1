// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/kernel_version.hpp"

#include <catch2/catch.hpp>

#include "support/faulty_sys.hpp"

using namespace vkring;
using vkring::test::fault_book;
using vkring::test::faulty_sys;

TEST_CASE("kernel_version: the running one, 0.0 if it does not tell") {
  CHECK(running_kernel() >= kernel_version{4, 0});
  fault_book::get().reset({.reason = EFAULT, .call = "uname"});
  CHECK(running_kernel<faulty_sys>() == kernel_version{});
  fault_book::get().reset();
}

TEST_CASE("kernel_version: numbers at the beginning, compared as numbers") {
  CHECK(parse_kernel_version("6.12.117+deb13-amd64") == kernel_version{6, 12});
  CHECK(parse_kernel_version("6.1") == kernel_version{6, 1});
  CHECK(parse_kernel_version("7.0-rc1") == kernel_version{7, 0});
  CHECK(parse_kernel_version("10") == kernel_version{10, 0});
  CHECK(parse_kernel_version("") == kernel_version{});
  CHECK(parse_kernel_version("strange") == kernel_version{});
  CHECK(kernel_version{6, 2} < kernel_version{6, 12});
  CHECK(kernel_version{5, 19} < kernel_version{6, 0});
}
