// SPDX-License-Identifier: BSD-3-Clause

// A consumer of two translation units, each of which includes all of vkring.

#include <cstdio>
#include <vkring/vkring.hpp>

int errors_seen_by_second(const vkring::error& met);

int main() {
  const vkring::result<int> failed = vkring::fail(vkring::error{
      std::make_error_code(std::errc::not_supported), "consume", "vkring", ""});
  std::printf("vkring %d.%d.%d: %s\n", VKRING_VERSION_MAJOR, VKRING_VERSION_MINOR,
              VKRING_VERSION_PATCH, failed.error().message().c_str());
  return errors_seen_by_second(failed.error()) == 1 ? 0 : 1;
}
