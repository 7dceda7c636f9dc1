// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/memory/buffer_arena.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <set>
#include <vector>

#include "ring/arena.hpp"

using vkring::buffer_arena;
using vkring::buffer_handle;
using vkring::header_reserve;
using vkring::mapped_buffer;
using vkring::registered_memory;
using vkring::test::guarded_memory;

static_assert(vkring::buffer_source<registered_memory>);
static_assert(!std::is_copy_constructible_v<buffer_arena>);

namespace {

constexpr std::uint64_t guest = 0x7'0000'0000;

std::vector<buffer_handle> take(buffer_arena& arena, std::size_t n) {
  std::vector<buffer_handle> some(n);
  some.resize(arena.take(some));
  return some;
}

}  // namespace

TEST_CASE("arena: buffers of any capacity, apart from each other, within the block") {
  for (const std::uint32_t capacity : {1u, 63u, 64u, 65u, 128u, 1500u, 1518u, 2048u, 65562u}) {
    constexpr std::size_t count = 5;
    CAPTURE(capacity);
    const guarded_memory memory(buffer_arena::bytes(count, capacity));
    buffer_arena arena(memory.bytes(), capacity, guest);
    REQUIRE(arena.size() == count);
    CHECK(arena.available() == count);
    CHECK(arena.capacity() >= capacity);
    CHECK(arena.capacity() < capacity + 2 * buffer_arena::line);
    CHECK(arena.capacity() % buffer_arena::line == 0);

    REQUIRE(arena.regions().size() == 1);
    const vkring::guest_region& region = arena.regions()[0];
    CHECK(region.guest == guest);
    CHECK(region.host == memory.data());
    CHECK(region.size == memory.size());

    std::vector<std::byte*> payloads;
    const auto map = arena.mapper();
    for (const buffer_handle each : take(arena, count)) {
      const mapped_buffer buffer = map(each);
      CHECK(each);
      CHECK(reinterpret_cast<std::uintptr_t>(buffer.payload) % buffer_arena::line == 0);
      CHECK(buffer.capacity == arena.capacity());
      CHECK(buffer.headroom >= header_reserve);
      // As the device computes it.
      CHECK(region.piece(buffer.address, 1).data() == buffer.payload);
      // The guard dies of a byte beyond the block, the check below finds one beyond the buffer.
      std::memset(buffer.payload - buffer.headroom, static_cast<int>(payloads.size()) + 1,
                  buffer.headroom + std::size_t{buffer.capacity});
      payloads.push_back(buffer.payload);
    }
    for (std::size_t i = 0; i < payloads.size(); ++i) {
      const std::byte* const from = payloads[i] - header_reserve;
      CHECK(std::all_of(from, from + header_reserve + arena.capacity(),
                        [&](std::byte b) { return b == static_cast<std::byte>(i + 1); }));
    }
    std::sort(payloads.begin(), payloads.end());
    for (std::size_t i = 1; i < payloads.size(); ++i) {
      const auto stride = static_cast<std::size_t>(payloads[i] - payloads[i - 1]);
      CHECK(stride / buffer_arena::line % 2 == 1);  // odd: the first lines fall into all sets
      CHECK(stride == buffer_arena::bytes(1, capacity));
    }
  }
}

TEST_CASE("arena: what is no whole buffer is left alone") {
  const std::size_t one = buffer_arena::bytes(1, 2048);
  const guarded_memory memory(2 * one - buffer_arena::line);
  CHECK(buffer_arena(memory.bytes(), 2048, guest).size() == 1);
  CHECK(buffer_arena(memory.bytes().first(one - buffer_arena::line), 2048, guest).size() == 0);
  buffer_arena none({}, 2048, guest);
  buffer_handle h;
  CHECK(none.take({&h, 1}) == 0);
}

TEST_CASE("arena: takes what there is, and what went back last comes first") {
  const guarded_memory memory(buffer_arena::bytes(4, 256));
  buffer_arena arena(memory.bytes(), 256, guest);
  auto three = take(arena, 3);
  REQUIRE(three.size() == 3);
  CHECK(arena.available() == 1);
  auto last = take(arena, 3);
  REQUIRE(last.size() == 1);
  CHECK(arena.available() == 0);
  CHECK(take(arena, 1).empty());
  CHECK(take(arena, 0).empty());

  arena.put(three);
  CHECK(arena.available() == 3);
  arena.put({});
  arena.put(last);
  const auto again = take(arena, 4);
  REQUIRE(again.size() == 4);
  CHECK(again[0].bits == last[0].bits);
  CHECK(again[1].bits == three[2].bits);
  std::set<std::uintptr_t> distinct;
  for (const buffer_handle each : again) distinct.insert(each.bits);
  CHECK(distinct.size() == 4);
}

TEST_CASE("arena: a handle keeps what is known about its header") {
  const guarded_memory memory(buffer_arena::bytes(2, 256));
  buffer_arena arena(memory.bytes(), 256, guest);
  const auto two = take(arena, 2);
  for (const buffer_handle each : two) CHECK_FALSE(buffer_arena::plain_header(each));
  const buffer_handle plain = buffer_arena::with_plain_header(two[0], true);
  CHECK(buffer_arena::plain_header(plain));
  CHECK(buffer_arena::with_plain_header(plain, true).bits == plain.bits);
  CHECK(buffer_arena::with_plain_header(plain, false).bits == two[0].bits);
  arena.put({&plain, 1});
  CHECK(buffer_arena::plain_header(take(arena, 1)[0]));
}

TEST_CASE("arena: each buffer has a link of its own, out of the memory that others see") {
  const guarded_memory memory(buffer_arena::bytes(8, 100));
  buffer_arena arena(memory.bytes(), 100, guest);
  const auto all = take(arena, 8);
  for (std::uint32_t i = 0; i < 8; ++i) arena.link(all[i]) = {all[7 - i], i, -12};
  for (std::uint32_t i = 0; i < 8; ++i) {
    CHECK(arena.link(all[i]).next.bits == all[7 - i].bits);
    CHECK(arena.link(all[i]).size == i);
    const auto* const at = reinterpret_cast<const std::byte*>(&arena.link(all[i]));
    CHECK((at < memory.data() || at >= memory.data() + memory.size()));
  }
}
