// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_SKIP_HPP
#define VKRING_TESTS_SUPPORT_SKIP_HPP

// How a test case says that this machine cannot run it.

#include <string_view>

namespace vkring::test {

/// Marks the running test case as skipped. Used as `return skip("no /dev/vhost-net");`, since the
/// rest of the case would run on. A case that skips and fails has failed.
void skip(std::string_view reason);

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_SKIP_HPP
