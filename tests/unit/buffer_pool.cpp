// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/memory/buffer_pool.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <string>
#include <vector>

#include "support/faulty_sys.hpp"

using vkring::buffer_handle;
using vkring::buffer_pool;
using vkring::pool_options;
using vkring::test::fault_book;
using vkring::test::faulty_sys;
using faulty_pool = vkring::basic_buffer_pool<faulty_sys>;

static_assert(vkring::buffer_source<buffer_pool>);

TEST_CASE("pool: the buffers that were asked for, at the addresses that were asked for") {
  pool_options options;
  options.buffers = 100;
  options.buffer_size = 1500;
  options.guest_base = 0x55'0000'0000;
  options.memory.shareable = true;
  const auto pool = buffer_pool::make(options).value();
  CHECK(pool->size() == 100);
  CHECK(pool->capacity() == 1536);
  CHECK(pool->memory().fd() >= 0);
  REQUIRE(pool->regions().size() == 1);
  CHECK(pool->regions()[0].guest == options.guest_base);
  CHECK(pool->regions()[0].host == pool->memory().bytes().data());
  CHECK(pool->regions()[0].size <= pool->memory().bytes().size());

  std::vector<buffer_handle> all(101);
  REQUIRE(pool->take(all) == 100);
  for (std::size_t i = 0; i < 100; ++i) {
    const auto buffer = pool->mapper()(all[i]);
    std::fill_n(buffer.payload - buffer.headroom, buffer.headroom + buffer.capacity, std::byte{1});
  }
  CHECK(pool->take(all) == 0);
  pool->put(std::span(all).first(100));
  CHECK(pool->available() == 100);
}

TEST_CASE("pool: the defaults hold a full-sized frame") {
  const auto pool = buffer_pool::make().value();
  CHECK(pool->size() == 4096);
  CHECK(pool->capacity() == 2048);
}

TEST_CASE("pool: what no pool can be is refused with the reason") {
  pool_options options;
  options.buffers = 0;
  CHECK(buffer_pool::make(options).error().message() ==
        "buffer_pool buffers=0: Invalid argument (needs at least one)");
  options.buffers = 1;
  options.buffer_size = 0;
  CHECK(buffer_pool::make(options).error().message() ==
        "buffer_pool buffer-size=0: Invalid argument (from 1 to 1073741824)");
  options.buffer_size = (1u << 30) + 1;
  CHECK(buffer_pool::make(options).error().code == std::errc::invalid_argument);
  options.buffer_size = 0xffffffff;
  CHECK(buffer_pool::make(options).error().code == std::errc::invalid_argument);
}

TEST_CASE("pool: no memory, no pool, and nothing left behind") {
  auto& book = fault_book::get();
  for (const bool shareable : {false, true}) {
    pool_options options;
    options.memory.shareable = shareable;
    book.reset();
    auto whole = faulty_pool::make(options);
    REQUIRE(whole);
    const std::size_t calls = book.trace().size();
    whole->reset();
    CHECK(book.clean());
    for (std::size_t nth = 1; nth <= calls; ++nth) {
      CAPTURE(shareable, nth);
      book.reset({ENOMEM, nth});
      const auto made = faulty_pool::make(options);
      CHECK(book.refused() == 1);
      // Some calls fail for older kernels and have a second try.
      if (!made) CHECK(made.error().code.value() == ENOMEM);
      CHECK((made || book.clean()));
    }
  }
}

TEST_CASE("pool: lives until its last owner lets go") {
  fault_book::get().reset();
  auto pool = faulty_pool::make({}).value();
  const auto other = pool;
  pool.reset();
  buffer_handle h;
  REQUIRE(other->take({&h, 1}) == 1);
  *other->mapper()(h).payload = std::byte{1};
  CHECK(fault_book::get().mapped_bytes() != 0);
}
