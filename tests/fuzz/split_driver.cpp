// SPDX-License-Identifier: BSD-3-Clause

// The driver side of a split ring against a device made of fuzzer input.

#include <vkring/ring/split.hpp>

#include "fuzz/support/driver_body.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vkring::test::fuzz_input input(data, size);
  const std::uint8_t mix = input.next();
  const vkring::ring_options options = vkring::test::options_of(mix, 1u << input.below(9));
  const auto entries = static_cast<std::uint16_t>(mix >> 4 & 7);
  vkring::test::driver_body<vkring::split>(input, options, entries).run();
  return 0;
}
