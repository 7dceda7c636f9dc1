// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/memory/frame.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <utility>
#include <vector>

using vkring::buffer_handle;
using vkring::buffer_pool;
using vkring::frame;
using vkring::pool_options;
using vkring::virtio_net_hdr;
namespace header_flag = vkring::header_flag;

static_assert(!std::is_copy_constructible_v<frame> && !std::is_copy_assignable_v<frame>);
static_assert(std::is_nothrow_move_constructible_v<frame>);
static_assert(std::is_nothrow_move_assignable_v<frame>);

namespace {

std::shared_ptr<buffer_pool> make_pool(std::uint32_t buffers = 8) {
  pool_options options;
  options.buffers = buffers;
  options.buffer_size = 64;
  return buffer_pool::make(options).value();
}

frame make(buffer_pool& pool, std::uint32_t size = 0, std::byte content = {}) {
  buffer_handle h;
  REQUIRE(pool.take({&h, 1}) == 1);
  frame made(pool, h);
  REQUIRE(made.resize(size));
  std::fill(made.contiguous().begin(), made.contiguous().end(), content);
  return made;
}

frame make_of(buffer_pool& pool, std::initializer_list<std::uint32_t> sizes) {
  frame all;
  std::byte content{1};
  for (const std::uint32_t size : sizes) {
    frame part = make(pool, size, content);
    if (!all) {
      all = std::move(part);
    } else {
      REQUIRE(all.append(std::move(part)));
    }
    content = static_cast<std::byte>(std::to_integer<int>(content) + 1);
  }
  return all;
}

std::vector<std::byte> content_of(const frame& f) {
  std::vector<std::byte> all;
  f.for_each_segment(
      [&](std::span<std::byte> part) { all.insert(all.end(), part.begin(), part.end()); });
  return all;
}

virtio_net_hdr partial() {
  virtio_net_hdr header;
  header.flags = header_flag::needs_csum;
  header.csum_start = 34;
  header.csum_offset = 16;
  return header;
}

}  // namespace

TEST_CASE("frame: an empty one owns nothing and says so") {
  frame empty;
  CHECK_FALSE(empty);
  CHECK(empty.source() == nullptr);
  CHECK(empty.size() == 0);
  CHECK(empty.buffers() == 0);
  CHECK(empty.capacity() == 0);
  CHECK(empty.contiguous().empty());
  CHECK(empty.segments({}) == 0);
  CHECK(empty.header() == virtio_net_hdr{});
  CHECK_FALSE(empty.resize(0));
  empty.reset();
  frame other = std::move(empty);
  empty = std::move(other);
  CHECK_FALSE(empty);
}

TEST_CASE("frame: one buffer") {
  const auto pool = make_pool();
  frame f = make(*pool);
  CHECK(f);
  CHECK(f.source() == pool.get());
  CHECK(f.buffers() == 1);
  CHECK(f.size() == 0);
  CHECK(f.contiguous().empty());
  CHECK(f.capacity() == pool->capacity());

  CHECK(f.resize(f.capacity()));
  CHECK_FALSE(f.resize(f.capacity() + 1));
  CHECK_FALSE(f.resize(0xffffffff));
  CHECK(f.size() == f.capacity());
  CHECK(f.resize(20));
  REQUIRE(f.contiguous().size() == 20);
  std::array<std::span<std::byte>, 2> segments;
  CHECK(f.segments(segments) == 1);
  CHECK(segments[0].data() == f.contiguous().data());
  CHECK(segments[0].size() == 20);
}

TEST_CASE("frame: gives its buffer back once, whatever way it goes") {
  const auto pool = make_pool(4);
  {
    frame a = make(*pool, 10);
    CHECK(pool->available() == 3);
    frame b = std::move(a);
    CHECK_FALSE(a);  // NOLINT: the state after a move is documented
    CHECK(a.size() == 0);
    CHECK(b.size() == 10);
    CHECK(pool->available() == 3);
    frame c = make(*pool, 20);
    CHECK(pool->available() == 2);
    c = std::move(b);
    CHECK(pool->available() == 3);
    CHECK(c.size() == 10);
    frame& same = c;
    c = std::move(same);
    CHECK(c.size() == 10);
    CHECK(pool->available() == 3);
    c.reset();
    CHECK(pool->available() == 4);
    c.reset();
    CHECK_FALSE(c);
    a = make(*pool, 5);
  }
  CHECK(pool->available() == 4);
}

TEST_CASE("frame: several buffers") {
  const auto pool = make_pool();
  frame f = make_of(*pool, {10, 0, 64, 3});
  CHECK(f.buffers() == 4);
  CHECK(f.size() == 77);
  CHECK(f.contiguous().empty());
  CHECK(f.capacity() == pool->capacity());
  CHECK_FALSE(f.resize(5));
  CHECK(f.size() == 77);

  std::vector<std::byte> expected(10, std::byte{1});
  expected.insert(expected.end(), 64, std::byte{3});
  expected.insert(expected.end(), 3, std::byte{4});
  CHECK(content_of(f) == expected);
  std::array<std::span<std::byte>, 3> segments;
  CHECK(f.segments(segments) == 4);  // more than fit
  CHECK(segments[0].size() == 10);
  CHECK(segments[1].empty());
  CHECK(segments[2].size() == 64);

  frame moved = std::move(f);
  CHECK(content_of(moved) == expected);
  CHECK(pool->available() == 4);
  moved.reset();
  CHECK(pool->available() == 8);
}

TEST_CASE("frame: append joins frames of any number of buffers, and the first one's header stays") {
  const auto pool = make_pool();
  frame head = make_of(*pool, {1, 2});
  frame tail = make_of(*pool, {3, 4, 5});
  head.set_header(partial());
  virtio_net_hdr other = partial();
  other.csum_start = 54;
  tail.set_header(other);
  REQUIRE(head.append(std::move(tail)));
  CHECK_FALSE(tail);  // NOLINT: the state after a move is documented
  CHECK(head.buffers() == 5);
  CHECK(head.size() == 15);
  CHECK(head.header() == partial());
  CHECK(content_of(head).size() == 15);
  CHECK(pool->available() == 3);
  head.reset();
  CHECK(pool->available() == 8);
}

TEST_CASE("frame: an append that cannot be changes nothing") {
  const auto pool = make_pool();
  const auto other_pool = make_pool();
  frame f = make(*pool, 10);
  frame empty;
  frame foreign = make(*other_pool, 10);
  CHECK_FALSE(f.append(std::move(empty)));
  CHECK_FALSE(empty.append(std::move(f)));
  CHECK_FALSE(empty.append(frame()));
  CHECK_FALSE(f.append(std::move(foreign)));
  CHECK(foreign.size() == 10);
  frame& same = f;
  CHECK_FALSE(f.append(std::move(same)));
  CHECK(f.buffers() == 1);
  CHECK(f.size() == 10);
  CHECK(pool->available() == 7);
}

TEST_CASE("frame: no more bytes than its size can count") {
  // Nobody looks at the bytes, so there need not be any.
  constexpr std::uint32_t giant = 1u << 30;
  const std::size_t size = vkring::registered_memory::bytes(5, giant);
  vkring::registered_memory source({reinterpret_cast<std::byte*>(std::uintptr_t{1} << 40), size},
                                   giant, 0);
  using giant_frame = vkring::basic_frame<vkring::registered_memory>;
  std::array<buffer_handle, 5> handles;
  REQUIRE(source.take(handles) == 5);
  giant_frame f(source, handles[0]);
  REQUIRE(f.resize(giant));
  for (std::size_t i = 1; i < 4; ++i) {
    giant_frame part(source, handles[i]);
    REQUIRE(part.resize(i == 3 ? giant - 1 : giant));
    REQUIRE(f.append(std::move(part)));
  }
  CHECK(f.size() == 0xffffffff);
  giant_frame one(source, handles[4]);
  CHECK(one.resize(1));
  CHECK_FALSE(f.append(std::move(one)));
  CHECK(one.resize(0));
  CHECK(f.append(std::move(one)));
  CHECK(f.buffers() == 5);
  f.reset();
  CHECK(source.available() == 5);
}

TEST_CASE("frame: the header is what was set, and travels with the frame") {
  const auto pool = make_pool();
  frame f = make(*pool, 60);
  CHECK(f.header() == virtio_net_hdr{});
  f.set_header(partial());
  CHECK(f.header() == partial());
  CHECK(f.resize(40));
  CHECK(f.header() == partial());
  frame moved = std::move(f);
  CHECK(moved.header() == partial());
  f = std::move(moved);
  CHECK(f.header() == partial());
  f.set_header({});
  CHECK(f.header() == virtio_net_hdr{});
  CHECK(f.size() == 40);
  // What says nothing to the other side is not kept.
  virtio_net_hdr nothing;
  nothing.num_buffers = 3;
  nothing.csum_offset = 6;
  f.set_header(nothing);
  CHECK(f.header() == virtio_net_hdr{});

  f.set_header(partial());
  f = make(*pool, 10);
  CHECK(f.header() == virtio_net_hdr{});
}

TEST_CASE("frame: what is known about the header in memory goes back with the buffer") {
  const auto pool = make_pool(2);
  std::array<buffer_handle, 2> two;
  REQUIRE(pool->take(two) == 2);
  const auto as = [&](std::size_t i, bool plain) {
    return frame(*pool, buffer_pool::with_plain_header(two[i], plain));
  };
  const auto comes_back = [&] {
    buffer_handle h;
    REQUIRE(pool->take({&h, 1}) == 1);
    return buffer_pool::plain_header(h);
  };
  for (const bool plain : {false, true}) {
    CAPTURE(plain);
    frame f = as(0, plain);
    CHECK(f.size() == 0);
    CHECK(f.buffers() == 1);
    CHECK(f.resize(30));
    CHECK(f.contiguous().data() == pool->mapper()(two[0]).payload);
    f.set_header(partial());  // what to send it with is not what lies in memory
    f.set_header({});
    frame moved = std::move(f);
    moved.reset();
    CHECK(comes_back() == plain);
  }
  {
    // Of several buffers, only the first one's header has stayed what it was.
    frame f = as(0, true);
    REQUIRE(f.append(as(1, true)));
    f.reset();
    CHECK_FALSE(comes_back());
    CHECK(comes_back());
  }
}
