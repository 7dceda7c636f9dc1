// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_RUNS_HPP
#define VKRING_TESTS_MODEL_RUNS_HPP

// What the model checks of every ring layout. `Ring` is a layout's part: its tag `layout`, its
// `name`, and how it lies in memory (see `explore`).

#include <array>
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "access.hpp"
#include "scripts.hpp"

namespace vkring::test::model {

template <class Ring>
[[nodiscard]] std::string describe(const scenario& what) {
  constexpr std::array forms{"transmit", "receive", "both", "table"};
  std::string text = std::string(Ring::name) + " size=" + std::to_string(what.options.size) + " " +
                     forms[static_cast<std::size_t>(what.form)] +
                     " burst=" + std::to_string(what.driver_burst) + "/" +
                     std::to_string(what.device_burst);
  if (what.options.event_idx) text += " event_idx";
  if (what.options.in_order) text += " in_order";
  if (what.reversed) text += " reversed";
  if (what.late_call) text += " late_call";
  text += what.model == strength::cpp ? " cpp" : " store_buffers";
  return text;
}

inline void print(const std::string& what, const outcome& found) {
  std::printf("%-76s %7zu states %7zu steps  %s\n", what.c_str(), found.states, found.steps,
              found.violation.c_str());
}

/// The same under the weakest memory, where kicks and calls order nothing either: what is right
/// there is right anywhere. Mutations have to be found under the stronger one, too.
[[nodiscard]] inline scenario weakest(scenario what) {
  what.model = strength::cpp;
  what.notifications_order = false;
  return what;
}

/// The same with chains that are used in order.
[[nodiscard]] constexpr ring_options in_order(ring_options options) {
  options.in_order = true;
  return options;
}

/// The least number of states of a scenario under each model, with event-idx off and on.
struct least {
  std::array<std::size_t, 2> store_buffers;
  std::array<std::size_t, 2> cpp;
};

/// Every run of `what` is right, and there are runs in which each side slept, was not told because
/// it had not asked, and found more work instead of sleeping.
template <class Ring>
void every_run_is_right(scenario what, const least& states) {
  what.options.indirect = what.form == shape::table;
  const bool general = what.form == shape::both || what.reversed;
  for (const bool event_idx : {false, true}) {
    what.options.event_idx = event_idx;
    for (const scenario& each : {what, weakest(what)}) {
      const outcome found = explore<Ring, model_access, model_access>(each);
      print(describe<Ring>(each), found);
      INFO(describe<Ring>(each) << "\n" << found.story);
      CHECK(found.violation.empty());
      CHECK(found.states >=
            (each.model == strength::cpp ? states.cpp : states.store_buffers)[event_idx]);
      for (const event must : {event::kick_suppressed, event::call_suppressed, event::driver_slept,
                               event::device_slept, event::driver_found_more,
                               event::device_found_more, event::index_wrapped}) {
        INFO("event " << static_cast<unsigned>(must));
        CHECK(found.saw(must));
      }
      CHECK(found.saw(event::general_mode) == general);
      // A ring's worth of chains has to pay for the switches.
      CHECK(found.saw(event::back_to_fast) == (general && what.messages > what.options.size));
    }
  }
}

/// Some run is wrong when one side has the mutation, on the smallest rings, with event-idx off and
/// on. A load that does not acquire shows only where loads may be early.
template <class Ring, class DriverAccess, class DeviceAccess>
void is_found(const std::string& mutation, ring_index start, bool by_store_buffers) {
  for (const std::uint16_t size : {std::uint16_t{1}, std::uint16_t{2}}) {
    for (const bool event_idx : {false, true}) {
      scenario what;
      what.options = {.size = size, .event_idx = event_idx, .indirect = size == 2, .start = start};
      what.form = size == 1 ? shape::receive : shape::table;
      what.driver_burst = what.device_burst = static_cast<std::uint8_t>(size);
      for (const scenario& each : {what, weakest(what)}) {
        const outcome found = explore<Ring, DriverAccess, DeviceAccess>(each);
        print(mutation + ": " + describe<Ring>(each), found);
        INFO(mutation << ": " << describe<Ring>(each) << "\n" << found.story);
        CHECK(found.violation.empty() == (each.model != strength::cpp && !by_store_buffers));
      }
    }
  }
}

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_RUNS_HPP
