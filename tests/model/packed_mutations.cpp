// SPDX-License-Identifier: BSD-3-Clause

// The packed ring through the model checker with one ordered access taken back: a wrong run appears.
// `-s` prints it.

#include "packed_ring.hpp"
#include "runs.hpp"

namespace {

using namespace vkring::test::model;

template <class Mutation>
void found_in_driver(const char* mutation, bool by_store_buffers = true) {
  is_found<model_packed, Mutation, model_access>(mutation, packed_start, by_store_buffers);
}
template <class Mutation>
void found_in_device(const char* mutation, bool by_store_buffers = true) {
  is_found<model_packed, model_access, Mutation>(mutation, packed_start, by_store_buffers);
}

}  // namespace

TEST_CASE("packed mutation A: the driver publishes avail with a plain store") {
  found_in_driver<plain_publish_avail>("A, driver, plain");
}
TEST_CASE("packed mutation A: the device observes avail with a plain load") {
  found_in_device<plain_observe_avail>("A, device, plain", false);
}
TEST_CASE("packed mutation B: the device publishes used with a plain store") {
  found_in_device<plain_publish_used>("B, device, plain");
}
TEST_CASE("packed mutation B: the driver observes used with a plain load") {
  found_in_driver<plain_observe_used>("B, driver, plain", false);
}
TEST_CASE("packed mutation C: no fence before the driver's kick check") {
  found_in_driver<no_before_kick_check>("C, driver, none");
}
TEST_CASE("packed mutation C: an acquire-release fence before the driver's kick check") {
  found_in_driver<light_before_kick_check>("C, driver, light");
}
TEST_CASE("packed mutation C: no fence after the device enables kicks") {
  found_in_device<no_after_kick_enabled>("C, device, none");
}
TEST_CASE("packed mutation C: an acquire-release fence after the device enables kicks") {
  found_in_device<light_after_kick_enabled>("C, device, light");
}
TEST_CASE("packed mutation D: no fence before the device's call check") {
  found_in_device<no_before_call_check>("D, device, none");
}
TEST_CASE("packed mutation D: an acquire-release fence before the device's call check") {
  found_in_device<light_before_call_check>("D, device, light");
}
TEST_CASE("packed mutation D: no fence after the driver enables calls") {
  found_in_driver<no_after_call_enabled>("D, driver, none");
}
TEST_CASE("packed mutation D: an acquire-release fence after the driver enables calls") {
  found_in_driver<light_after_call_enabled>("D, driver, light");
}
