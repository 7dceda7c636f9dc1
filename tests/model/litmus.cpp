// SPDX-License-Identifier: BSD-3-Clause

// The model's memory against the litmus tests that tell memory models apart: a model that allowed
// too little would find no mutation, one that allowed too much would find fault with the right
// code.

#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include "memory.hpp"

namespace {

using namespace vkring::test::model;

enum class kind : std::uint8_t { store, release, load, acquire, full, light };
struct step {
  kind what;
  std::size_t word = 0;
  std::uint64_t value = 0;
};
using program = std::vector<step>;
using results = std::vector<std::uint64_t>;  // of the driver's loads, then of the device's

constexpr std::size_t x = 0;
constexpr std::size_t y = 1;

step put(std::size_t word, std::uint64_t value = 1) { return {kind::store, word, value}; }
step release(std::size_t word, std::uint64_t value = 1) { return {kind::release, word, value}; }
step get(std::size_t word) { return {kind::load, word}; }
step acquire(std::size_t word) { return {kind::acquire, word}; }
constexpr step full{kind::full};
constexpr step light{kind::light};

struct machine_state {
  memory shared;
  std::array<std::size_t, 2> at{};
  std::array<results, 2> loads{};
};

// Runs both programs in every order and with every choice.
void run(const machine_state& from, const std::array<program, 2>& programs,
         std::set<results>& all) {
  bool finished = true;
  for (const side one : {side::driver, side::device}) {
    const std::size_t i = index(one);
    if (from.at[i] == programs[i].size()) continue;
    finished = false;
    const step& next = programs[i][from.at[i]];
    const bool loads = next.what == kind::load || next.what == kind::acquire;
    const std::size_t choices = loads ? from.shared.choices(one, next.word) : 1;
    for (std::size_t choice = 0; choice < choices; ++choice) {
      machine_state to = from;
      ++to.at[i];
      switch (next.what) {
        case kind::store:
        case kind::release:
          to.shared.store(one, next.word, next.value, next.what == kind::release);
          break;
        case kind::load:
        case kind::acquire:
          to.loads[i].push_back(to.shared.load(one, next.word, next.what == kind::acquire, choice));
          break;
        case kind::full:
          to.shared.full_fence(one);
          break;
        case kind::light:
          to.shared.light_fence(one);
          break;
      }
      run(to, programs, all);
    }
  }
  if (!finished) return;
  results both = from.loads[0];
  both.insert(both.end(), from.loads[1].begin(), from.loads[1].end());
  all.insert(both);
}

struct verdict {
  bool store_buffers;
  bool cpp;
  bool operator==(const verdict&) const = default;
};
constexpr verdict never{false, false};
constexpr verdict ever{true, true};
constexpr verdict by_early_loads{false, true};

// Whether a run may end with these results, under each model.
verdict possible(const results& end, const program& driver, const program& device) {
  const auto under = [&](strength model) {
    std::set<results> all;
    run({memory(model, 2)}, {driver, device}, all);
    return all.count(end) != 0;
  };
  return {under(strength::store_buffers), under(strength::cpp)};
}

}  // namespace

TEST_CASE("litmus: a message and its flag (A and B)") {
  // The device sees the flag y and then not the message x.
  const results stale{1, 0};
  CHECK(possible({1, 1}, {put(x), release(y)}, {acquire(y), get(x)}) == ever);
  CHECK(possible(stale, {put(x), release(y)}, {acquire(y), get(x)}) == never);
  CHECK(possible(stale, {put(x), put(y)}, {acquire(y), get(x)}) == ever);
  CHECK(possible(stale, {put(x), release(y)}, {get(y), get(x)}) == by_early_loads);
  CHECK(possible(stale, {put(x), light, put(y)}, {get(y), light, get(x)}) == never);
  CHECK(possible(stale, {put(x), light, put(y)}, {get(y), get(x)}) == by_early_loads);
  CHECK(possible(stale, {put(x), put(y)}, {get(y), light, get(x)}) == ever);
  CHECK(possible(stale, {put(x), full, put(y)}, {get(y), full, get(x)}) == never);
  CHECK(possible(stale, {put(x), full, put(y)}, {get(y), get(x)}) == by_early_loads);
  // A release store does not hold back what comes after it.
  CHECK(possible(stale, {release(x), put(y)}, {acquire(y), get(x)}) == ever);
}

TEST_CASE("litmus: both sides store, then look (C and D)") {
  const results both_miss{0, 0};
  CHECK(possible(both_miss, {put(x), full, get(y)}, {put(y), full, get(x)}) == never);
  CHECK(possible(both_miss, {put(x), get(y)}, {put(y), get(x)}) == ever);
  CHECK(possible(both_miss, {release(x), acquire(y)}, {release(y), acquire(x)}) == ever);
  CHECK(possible(both_miss, {release(x), light, acquire(y)}, {release(y), light, acquire(x)}) ==
        ever);
  CHECK(possible(both_miss, {put(x), full, get(y)}, {put(y), get(x)}) == ever);
  CHECK(possible(both_miss, {put(x), full, get(y)}, {put(y), light, get(x)}) == ever);
}

TEST_CASE("litmus: one word") {
  // Stores to one word are seen in their order, and one's own at once.
  CHECK(possible({2, 1}, {put(x, 1), put(x, 2)}, {get(x), get(x)}) == never);
  CHECK(possible({1, 2}, {put(x, 1), put(x, 2)}, {get(x), get(x)}) == ever);
  CHECK(possible({0}, {put(x), get(x)}, {}) == never);
  // The second flag is plain, but follows one that waits for the message.
  CHECK(possible({2, 0}, {put(x), release(y, 1), put(y, 2)}, {get(y), get(x)}) == by_early_loads);
}

TEST_CASE("litmus: loads that wait for later stores are not in the model") {
  CHECK(possible({1, 1}, {get(x), put(y)}, {get(y), put(x)}) == never);
}
