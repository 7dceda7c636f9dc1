// SPDX-License-Identifier: BSD-3-Clause
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/device.hpp"

// Queues that an application hands to a device: each serves one of them, and is what it should be.

using namespace vkring;
using namespace vkring::test;

namespace {

int copy_of(int descriptor) { return ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0); }

// With copies of these descriptors for its queues.
result<device> open_with(std::initializer_list<int> queues, backend_kind backend) {
  device_config config;
  config.backend = backend;
  config.wanted.queue_pairs = static_cast<std::uint16_t>(queues.size());
  config.wanted.queue_size = 64;
  for (const int each : queues) config.queue_fds.emplace_back(copy_of(each));
  return device::open(std::move(config), buffer_pool::make({.buffers = 1000}).value());
}
std::string refusal(const result<device>& opened) {
  return opened ? "opened " + opened->name() : opened.error().message();
}

// A kernel without kcmp(2).
struct without_kcmp : posix {
  static int kcmp_file(int, int) noexcept {
    errno = ENOSYS;
    return -1;
  }
};

}  // namespace

TEST_CASE("device queue fds: a queue serves one device, and one pair of it") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const backend_kind backend : backends()) {
    const auto queues = tap::open_queues({.name = "vkmine", .netns_fd = ns->fd()}, 3).value();
    const std::string busy =
        "open vkmine: Device or resource busy (a device of this process serves that queue: open one "
        "for each queue pair)";
    CHECK(refusal(open_with({queues[0].fd(), queues[0].fd()}, backend)) == busy);
    {
      const auto first = open_with({queues[0].fd(), queues[1].fd()}, backend);
      REQUIRE(first);
      CHECK(refusal(open_with({queues[0].fd(), queues[2].fd()}, backend)) == busy);
      CHECK(refusal(open_with({queues[2].fd(), queues[1].fd()}, backend)) == busy);
      // What was refused took nothing along.
      CHECK(refusal(open_with({queues[2].fd()}, backend)) == "opened vkmine");
    }
    CHECK(refusal(open_with({queues[0].fd(), queues[2].fd()}, backend)) == "opened vkmine");
  }
}

TEST_CASE("device queue fds: without kcmp the number tells, and no more") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto queue = tap::open({.name = "vkmine", .netns_fd = ns->fd()}).value();
  using claim = basic_queue_claim<without_kcmp>;
  const auto first = claim::make(queue.fd(), "vkmine");
  REQUIRE(first);
  const auto again = claim::make(queue.fd(), "vkmine");
  REQUIRE_FALSE(again);
  CHECK(again.error().code.value() == EBUSY);
  const fd copy(copy_of(queue.fd()));
  CHECK(claim::make(copy.get(), "vkmine"));
}

TEST_CASE("device queue fds: what is no queue of a TAP is named") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto refused = [](int descriptor) {
    device_config config;
    config.queue_fds.emplace_back(descriptor);
    return refusal(device::open(std::move(config), buffer_pool::make({.buffers = 600}).value()));
  };
  const auto starts_with = [](const std::string& text, const std::string& start) {
    return text.rfind(start, 0) == 0;
  };
  const int event = ::eventfd(0, EFD_CLOEXEC);
  CHECK(starts_with(refused(event), "TUNGETIFF fd " + std::to_string(event)));
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  CHECK(refused(null) == "TUNGETIFF fd " + std::to_string(null) +
                             ": Inappropriate ioctl for device (it is no descriptor of /dev/net/tun)");
  CHECK(starts_with(refused(999), "TUNGETIFF fd 999: Bad file descriptor"));
  const int nothing = ::open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  CHECK(starts_with(refused(nothing), "TUNGETIFF fd " + std::to_string(nothing) +
                                          ": File descriptor in bad state (no interface"));
  const auto tun = tap::open({.name = "vktun", .mode = tap_mode::tun, .netns_fd = ns->fd()}).value();
  CHECK(refused(copy_of(tun.fd())).find("it is a TUN") != std::string::npos);
  const auto bare = tap::open({.name = "vkbare", .vnet_header = false, .netns_fd = ns->fd()}).value();
  CHECK(refused(copy_of(bare.fd())).find("without IFF_VNET_HDR") != std::string::npos);
  if (auto vhost = vhost_net::open()) {
    CHECK(starts_with(refused(copy_of(vhost->fd())), "TUNGETIFF fd "));
  }
}
