// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_RING_SCHEDULES_HPP
#define VKRING_TESTS_RING_SCHEDULES_HPP

// Random schedules on larger rings: a pair works honestly for a while, and then one side does not any
// more. A test program says how many seeds it runs, as `seeds`, before it includes this.
//
//   ring_schedules --rng-seed N ["CASE - LAYOUT"]     the schedule of one seed alone

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <tuple>
#include <vkring/ring/packed.hpp>
#include <vkring/ring/split.hpp>

#include "bad_device.hpp"
#include "bad_driver.hpp"

// Of the sanitizers, where there is one: Catch2 does not learn of it when they end the program.
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());

namespace vkring::test {

using both_layouts = std::tuple<split, packed>;

/// How to run what runs now again.
inline std::string& replay_command() {
  static std::string text;
  return text;
}

/// Runs the schedules of all seeds, or of the one that was asked for.
template <class Schedule>
void run_schedules() {
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(
        [] { std::fprintf(stderr, "to run it again: %s\n", replay_command().c_str()); });
  }
  const std::string name = Catch::getResultCapture().getCurrentTestName();
  const std::uint32_t only = Catch::rngSeed();
  std::uint64_t steps = 0;
  for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
    const std::uint32_t chosen = only != 0 ? only : seed;
    replay_command() = std::string(program_invocation_short_name) + " --rng-seed " +
                       std::to_string(chosen) + " \"" + name + "\"";
    INFO("to run it again: " << replay_command());
    Schedule one(chosen);
    steps += one.run();
    if (only != 0) break;
  }
  std::printf("%s: %llu steps\n", name.c_str(), static_cast<unsigned long long>(steps));
}

TEMPLATE_LIST_TEST_CASE("a driver side bears a device that turns bad", "[ring]", both_layouts) {
  run_schedules<bad_device<TestType>>();
}

TEMPLATE_LIST_TEST_CASE("a device side bears a driver that turns bad", "[ring]", both_layouts) {
  run_schedules<bad_driver<TestType>>();
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_RING_SCHEDULES_HPP
