// SPDX-License-Identifier: BSD-3-Clause

// The device side of a packed ring against a driver made of fuzzer input.

#include <vkring/ring/packed.hpp>

#include "fuzz/support/device_body.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vkring::test::fuzz_input input(data, size);
  const std::uint8_t mix = input.next();
  const vkring::ring_options options = vkring::test::options_of(mix, 1u + input.next());
  vkring::test::device_body<vkring::packed>(input, options).run();
  return 0;
}
