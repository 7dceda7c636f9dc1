// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_EXPLORER_HPP
#define VKRING_TESTS_MODEL_EXPLORER_HPP

// Walks through every state that two sides and their memory can get into.

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "machine.hpp"

namespace vkring::test::model {

/// What an exploration found.
struct outcome {
  std::size_t states = 0;
  std::size_t steps = 0;
  unsigned events = 0;    // bit n: the `event` n happened
  std::string violation;  // empty: none in any state
  std::string story;      // one of the shortest runs that lead to it

  [[nodiscard]] bool saw(event what) const noexcept {
    return (events >> static_cast<unsigned>(what) & 1) != 0;
  }
};

/// Breadth first, so that a violation comes with one of the shortest runs to it. A state is the
/// memory with its store buffers and, of each side, where it is and all that it knows; states met
/// before, by a 128-bit hash, are not entered again.
///
/// Only loads, fences and notifications are steps. A store needs no step of its own: the other side
/// cannot tell a store in a buffer from one not yet made, so it is made right after the access
/// before it. What a side does in private cannot be told by the other side either.
class explorer {
 public:
  /// From the state that `begin` returns until there is no state left or a violation is met. Every
  /// state has to have a way on to the end, where the driver has finished.
  [[nodiscard]] static outcome explore(machine& world, script& driver, script& device) {
    explorer run(world, driver, device);
    run.walk();
    run.result_.events = world.events();
    run.result_.states = run.nodes_.size();
    run.result_.steps = run.edges_.size();
    return std::move(run.result_);
  }

 private:
  // How a state was first reached.
  struct node {
    std::uint32_t from;
    side who;
    std::uint8_t choice;
    bool end = false;
  };
  struct key {
    std::uint64_t low, high;
    bool operator==(const key&) const = default;
  };
  struct key_hash {
    std::size_t operator()(const key& k) const noexcept { return k.low; }
  };

  explorer(machine& world, script& driver, script& device)
      : world_(world), driver_(driver), device_(device) {}

  void walk() {
    const state first = world_.begin(driver_, device_);
    if (!enter(first, {0, side::driver, 0})) return;
    for (std::vector<std::pair<state, std::uint32_t>> layer; !frontier_.empty();) {
      layer.swap(frontier_);
      frontier_.clear();
      for (const auto& [at, number] : layer) {
        if (!go_on(at, number)) return;
      }
    }
    if (const std::uint32_t lost = without_end(); lost < nodes_.size()) {
      report(lost, "from here on the driver never gets all its buffers back");
    }
  }

  // False: a violation, which ends the exploration.
  bool go_on(const state& at, std::uint32_t number) {
    for (const side one : {side::driver, side::device}) {
      const std::size_t choices = machine::choices(at, one);
      for (std::size_t choice = 0; choice < choices; ++choice) {
        state next = at;
        world_.advance(next, one, choice);
        if (!enter(next, {number, one, static_cast<std::uint8_t>(choice)})) return false;
      }
    }
    return true;
  }

  bool enter(const state& next, const node& how) {
    const auto [known, is_new] =
        numbers_.try_emplace(hash(next), static_cast<std::uint32_t>(nodes_.size()));
    if (!nodes_.empty()) edges_.emplace_back(how.from, known->second);
    if (is_new) {
      nodes_.push_back(how);
      nodes_.back().end = next.sides[0].finished;
    }
    if (!world_.violation().empty()) {
      report(known->second, world_.violation());
      return false;
    }
    if (!is_new) return true;
    if (!next.sides[0].finished && machine::choices(next, side::driver) == 0 &&
        machine::choices(next, side::device) == 0) {
      report(known->second, "both sides sleep and the driver waits for buffers");
      return false;
    }
    frontier_.emplace_back(next, known->second);
    return true;
  }

  // The first state from which no end can be reached, or the number of states.
  [[nodiscard]] std::uint32_t without_end() const {
    const auto count = static_cast<std::uint32_t>(nodes_.size());
    std::vector<std::uint32_t> starts(count + 1, 0);
    for (const auto& [from, to] : edges_) ++starts[to];
    std::uint32_t sum = 0;
    for (std::uint32_t& each : starts) each = std::exchange(sum, sum + each);
    std::vector<std::uint32_t> sources(edges_.size());
    std::vector<std::uint32_t> fill = starts;
    for (const auto& [from, to] : edges_) sources[fill[to]++] = from;

    std::vector<bool> reaches(count, false);
    std::vector<std::uint32_t> open;
    for (std::uint32_t i = 0; i < count; ++i) {
      if (nodes_[i].end) reaches[i] = true, open.push_back(i);
    }
    while (!open.empty()) {
      const std::uint32_t at = open.back();
      open.pop_back();
      for (std::uint32_t i = starts[at]; i < starts[at + 1]; ++i) {
        const std::uint32_t from = sources[i];
        if (!reaches[from]) reaches[from] = true, open.push_back(from);
      }
    }
    std::uint32_t lost = 0;
    while (lost < count && reaches[lost]) ++lost;
    return lost;
  }

  void report(std::uint32_t at, const std::string& what) {
    result_.violation = what;
    std::vector<node> way;
    for (; at != 0; at = nodes_[at].from) way.push_back(nodes_[at]);
    world_.narrate(&result_.story);
    state now = world_.begin(driver_, device_);
    for (auto each = way.rbegin(); each != way.rend(); ++each) {
      world_.advance(now, each->who, each->choice);
    }
    world_.narrate(nullptr);
    result_.story += "=> " + what + "\n";
  }

  static key hash(const state& of) noexcept {
    key k{0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f};
    of.visit([&k](std::uint64_t word) {
      k.low = mix(k.low ^ word, 0xd6e8feb86659fd93);
      k.high = mix(k.high + word, 0xa0761d6478bd642f);
    });
    return k;
  }
  static std::uint64_t mix(std::uint64_t x, std::uint64_t by) noexcept {
    x *= by;
    return x ^ x >> 32;
  }

  machine& world_;
  script& driver_;
  script& device_;
  outcome result_;
  std::vector<node> nodes_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> edges_;
  std::unordered_map<key, std::uint32_t, key_hash> numbers_;
  std::vector<std::pair<state, std::uint32_t>> frontier_;  // one step further than all others
};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_EXPLORER_HPP
