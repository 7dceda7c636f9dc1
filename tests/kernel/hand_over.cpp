// SPDX-License-Identifier: BSD-3-Clause
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/relay.hpp"
#include "support/skip.hpp"
#include "vkring/device.hpp"

// A device that one process hands to another one, under traffic and otherwise; over the worker, and over
// vhost-net where there is one.

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

const pool_options shared_pool{.buffers = 2048, .memory = {.shareable = true}};

std::vector<backend_kind> backends() {
  std::vector<backend_kind> all = {backend_kind::worker};
  if (vhost_net::open()) all.push_back(backend_kind::vhost);
  return all;
}

device_config plain_config(backend_kind backend, std::uint16_t pairs = 1) {
  device_config config;
  config.backend = backend;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  return config;
}

// A device that is handed to nobody but this process.
struct own_bed : device_bed {
  own_bed(netns& where, device_config config, const pool_options& buffers = shared_pool)
      : device_bed(where, std::move(config), buffers) {}

  void resume(suspended_device&& from, const resume_options& how = {}) {
    pool.reset();
    it = device::resume(std::move(from), how).value();
    pool = it.shared_source();
  }
};

}  // namespace

TEST_CASE("hand-over: to and fro under traffic, nothing is lost or comes twice, whatever was negotiated") {
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  struct row {
    bool event_idx, indirect, in_order, mergeable;
    std::uint16_t pairs;
    std::uint32_t queue_size;
  };
  // Every two options meet in each of their four combinations.
  const row rows[] = {
      {true, true, false, true, 1, 256},  {false, false, false, false, 2, 64},
      {true, false, true, false, 2, 256}, {false, true, true, true, 2, 64},
      {true, false, false, true, 2, 64},  {false, true, false, false, 1, 256},
      {true, true, true, false, 1, 64},   {false, false, true, true, 1, 256},
  };
  for (const backend_kind backend : backends()) {
    for (const row& each : rows) {
      CAPTURE(backend, each.event_idx, each.indirect, each.in_order, each.mergeable, each.pairs);
      const auto ask = [](bool on) { return on ? want::preferred : want::off; };
      relay_options options;
      options.config = plain_config(backend, each.pairs);
      options.config.wanted.event_idx = ask(each.event_idx);
      options.config.wanted.indirect = ask(each.indirect);
      options.config.wanted.in_order = ask(each.in_order);
      options.config.wanted.mergeable = ask(each.mergeable);
      options.config.wanted.queue_size = each.queue_size;
      options.resume.backend = backend;
      options.pool.buffer_size = each.mergeable ? 512 : 2048;
      options.piece = 400;
      const relay_report report = run_relay(*ns, std::move(options));
      CHECK(report.wrong == "");
      CHECK(report.longest_gap.count() > 0);
      WARN("longest gap " << report.longest_gap.count() << " us");
    }
  }
}
