// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/queue/handle_cache.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <utility>
#include <vector>

#include "vkring/memory/buffer_pool.hpp"

using vkring::buffer_handle;
using vkring::buffer_pool;
using cache_type = vkring::handle_cache<buffer_pool>;

static_assert(!std::is_copy_constructible_v<cache_type>);

namespace {

std::shared_ptr<buffer_pool> make_pool(std::uint32_t buffers) {
  vkring::pool_options options;
  options.buffers = buffers;
  options.buffer_size = 64;
  return buffer_pool::make(options).value();
}

std::vector<buffer_handle> take(cache_type& cache, std::size_t wanted) {
  const auto stock = cache.stock(wanted);
  const std::vector<buffer_handle> taken(stock.begin(), stock.end());
  cache.drop(taken.size());
  return taken;
}

}  // namespace

TEST_CASE("cache: whole bursts from the source, and its last handles are not lost") {
  const auto pool = make_pool(100);
  cache_type cache(*pool, 64, 64);
  CHECK(cache.burst() == 64);
  CHECK(cache.size() == 0);
  CHECK(cache.stock(0).empty());
  CHECK(pool->available() == 100);

  const auto some = take(cache, 10);
  CHECK(some.size() == 10);
  CHECK(cache.size() == 54);
  CHECK(pool->available() == 36);
  const auto all = take(cache, 64);
  CHECK(all.size() == 64);
  CHECK(pool->available() == 0);
  const auto rest = take(cache, 64);
  CHECK(rest.size() == 26);
  CHECK(take(cache, 64).empty());

  std::set<std::uintptr_t> distinct;
  for (const auto* part : {&some, &all, &rest}) {
    for (const buffer_handle each : *part) distinct.insert(each.bits);
  }
  CHECK(distinct.size() == 100);
}

TEST_CASE("cache: there is room for a burst on top of what is left, whatever may come back") {
  for (const std::size_t most : {1u, 2u, 8u, 64u, 256u}) {
    const auto pool = make_pool(400);
    cache_type cache(*pool, 64, most);
    for (std::size_t i = 0; i < 64; ++i) cache.put(take(cache, 1).at(0));
    CHECK(take(cache, 1).size() == 1);
    CHECK(cache.size() == 63);
    CHECK(take(cache, 64).size() == 64);  // 127 handles for a moment
    CHECK(cache.size() == 63);
    CHECK(pool->available() == 400 - 128);
  }
}

TEST_CASE("cache: what comes back is kept warm, the oldest surplus goes to the source in a burst") {
  const auto pool = make_pool(40);
  cache_type cache(*pool, 8, 8);
  std::vector<buffer_handle> out(40);
  REQUIRE(pool->take(out) == 40);

  for (std::size_t i = 0; i < 12; ++i) cache.put(out[i]);
  CHECK(cache.size() == 12);
  CHECK(pool->available() == 0);
  cache.put(out[12]);  // more than a burst and half of what may come back: down by half a burst
  CHECK(cache.size() == 8);
  CHECK(pool->available() == 5);
  const auto warm = take(cache, 8);
  for (std::size_t i = 0; i < 8; ++i) CHECK(warm[i].bits == out[5 + i].bits);

  // As many as may come back at once, again and again.
  for (std::size_t at = 5; at + 8 <= 40; at += 8) {
    buffer_handle* const to = cache.space();
    for (std::size_t i = 0; i < cache.most(); ++i) to[i] = out[at + i];
    cache.add(cache.most());
    CHECK(cache.size() <= cache.burst() + cache.most() / 2);
  }
}

TEST_CASE("cache: a ring of one entry") {
  const auto pool = make_pool(2);
  cache_type cache(*pool, 1, 1);
  for (int i = 0; i < 5; ++i) {
    const auto one = take(cache, 1);
    REQUIRE(one.size() == 1);
    const auto other = take(cache, 1);
    REQUIRE(other.size() == 1);
    CHECK(take(cache, 1).empty());
    cache.put(one[0]);
    cache.put(other[0]);
  }
  cache.flush();
  CHECK(pool->available() == 2);
}

TEST_CASE("cache: gives everything back once: by flush, by its end, after a move") {
  const auto pool = make_pool(32);
  {
    cache_type cache(*pool, 8, 8);
    take(cache, 0);
    CHECK(cache.stock(3).size() == 3);  // asked for and not taken
    CHECK(pool->available() == 24);
    cache_type moved(std::move(cache));
    CHECK(moved.size() == 8);
    moved.flush();
    CHECK(pool->available() == 32);
    moved.flush();
    CHECK(moved.stock(1).size() == 1);
  }
  CHECK(pool->available() == 32);
}
