// SPDX-License-Identifier: BSD-3-Clause

// The split ring through the model checker: every run of small scenarios is right.

#include "runs.hpp"
#include "split_ring.hpp"

namespace {

using namespace vkring;
using namespace vkring::test::model;

constexpr ring_options one{.size = 1, .start = model_start};
constexpr ring_options two{.size = 2, .start = model_start};
constexpr ring_options four{.size = 4, .start = model_start};

void check(const scenario& what, const least& states) {
  every_run_is_right<model_split>(what, states);
}

}  // namespace

TEST_CASE("model: a split ring of one entry") {
  check({.options = one, .form = shape::transmit}, {{3200, 7300}, {12000, 27000}});
  check({.options = one, .form = shape::receive}, {{3700, 8300}, {13000, 30000}});
  check({.options = one, .form = shape::table}, {{6000, 13000}, {19000, 43000}});
}

TEST_CASE("model: a split ring of two entries, in bursts and one by one") {
  check({two, shape::transmit, 2, 2}, {{1700, 2000}, {4900, 5500}});
  check({two, shape::transmit, 2, 1}, {{6600, 11000}, {22000, 37000}});
  check({two, shape::receive, 1, 2}, {{11000, 19000}, {35000, 56000}});
  check({two, shape::receive, 1, 1}, {{11000, 19000}, {35000, 58000}});
  check({two, shape::table, 2, 2}, {{3500, 4100}, {8600, 9800}});
}

TEST_CASE("model: a split ring in general mode, by direct chains and by order of completion") {
  check({.options = two, .form = shape::both}, {{5600, 12000}, {18000, 41000}});
  check({two, shape::transmit, 2, 2, true}, {{13000, 23000}, {41000, 71000}});
  check({two, shape::receive, 2, 2, true}, {{15000, 27000}, {45000, 80000}});
  check({.options = four,
         .form = shape::both,
         .driver_burst = 2,
         .device_burst = 2,
         .reversed = true,
         .messages = 3},
        {{6500, 8000}, {16000, 20000}});
}

TEST_CASE("model: a split ring used in order, in batches") {
  check({in_order(two), shape::receive, 1, 2}, {{19000, 32000}, {59000, 96000}});
  check({in_order(two), shape::table, 2, 2}, {{3300, 3900}, {8200, 9300}});
  check({.options = in_order(four), .form = shape::both, .device_burst = 2, .messages = 3},
        {{13000, 15000}, {33000, 39000}});
}

TEST_CASE("model: a split ring whose driver sleeps until all is back") {
  check({.options = two, .form = shape::receive, .driver_burst = 2, .late_call = true},
        {{8800, 8500}, {25000, 25000}});
}
