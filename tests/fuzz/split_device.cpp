// SPDX-License-Identifier: BSD-3-Clause

// The device side of a split ring against a driver made of fuzzer input.

#include <vkring/ring/split.hpp>

#include "fuzz/support/device_body.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vkring::test::fuzz_input input(data, size);
  const std::uint8_t mix = input.next();
  const vkring::ring_options options = vkring::test::options_of(mix, 1u << input.below(9));
  vkring::test::device_body<vkring::split>(input, options).run();
  return 0;
}
