// SPDX-License-Identifier: BSD-3-Clause

// The packed ring through the model checker: every run of small scenarios is right.

#include "packed_ring.hpp"
#include "runs.hpp"

namespace {

using namespace vkring;
using namespace vkring::test::model;

constexpr ring_options one{.size = 1, .start = packed_start};
constexpr ring_options two{.size = 2, .start = packed_start};
constexpr ring_options three{.size = 3, .start = ring_index(5)};
constexpr ring_options four{.size = 4, .start = packed_start};

void check(const scenario& what, const least& states) {
  every_run_is_right<model_packed>(what, states);
}

}  // namespace

TEST_CASE("model: a packed ring of one entry") {
  check({.options = one, .form = shape::transmit}, {{3100, 3200}, {14000, 13000}});
  check({.options = one, .form = shape::receive}, {{3100, 3200}, {14000, 13000}});
  check({.options = one, .form = shape::table}, {{4500, 4700}, {18000, 17000}});
}

TEST_CASE("model: a packed ring of two entries, in bursts and one by one") {
  check({two, shape::transmit, 2, 2}, {{1700, 1800}, {5900, 5600}});
  check({two, shape::transmit, 2, 1}, {{7100, 7400}, {32000, 30000}});
  check({two, shape::receive, 1, 2}, {{11000, 11000}, {46000, 43000}});
  check({two, shape::receive, 1, 1}, {{6400, 6600}, {30000, 28000}});
  check({two, shape::table, 2, 2}, {{2700, 2800}, {8300, 7900}});
}

TEST_CASE("model: a packed ring of three entries, whose chains lie across its end") {
  check({.options = three, .form = shape::transmit, .driver_burst = 2, .device_burst = 2},
        {{6000, 6000}, {22000, 21000}});
  check({.options = three, .form = shape::both, .device_burst = 2}, {{5500, 6100}, {22000, 25000}});
}

TEST_CASE("model: a packed ring in general mode, by direct chains and by order of completion") {
  check({.options = two, .form = shape::both}, {{5200, 5800}, {21000, 24000}});
  check({two, shape::transmit, 2, 2, true}, {{11000, 13000}, {45000, 53000}});
  check({two, shape::receive, 2, 2, true}, {{11000, 14000}, {48000, 57000}});
  check({.options = four,
         .form = shape::both,
         .driver_burst = 2,
         .device_burst = 2,
         .reversed = true,
         .messages = 3},
        {{5200, 6600}, {17000, 22000}});
}

TEST_CASE("model: a packed ring used in order, in batches") {
  check({in_order(two), shape::receive, 1, 2}, {{14000, 15000}, {60000, 57000}});
  check({in_order(two), shape::table, 2, 2}, {{2600, 2700}, {8000, 7600}});
  check({.options = in_order(four), .form = shape::both, .device_burst = 2, .messages = 3},
        {{10000, 12000}, {36000, 41000}});
}

TEST_CASE("model: a packed ring whose driver sleeps until all is back") {
  check({.options = two, .form = shape::receive, .driver_burst = 2, .late_call = true},
        {{7800, 5600}, {30000, 19000}});
}
