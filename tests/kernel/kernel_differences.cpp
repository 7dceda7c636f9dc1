// SPDX-License-Identifier: BSD-3-Clause
#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "support/vhost_config.hpp"
#include "vkring/kernel/kernel_version.hpp"
#include "vkring/kernel/preflight.hpp"

// What one kernel's vhost-net and TAP can do and another's cannot: had where it is, refused with the
// reason where it is not.

using namespace vkring;
using namespace vkring::test;

namespace {

constexpr kernel_version first_uso{6, 2};
constexpr kernel_version first_task{6, 4};
constexpr kernel_version first_in_order{6, 18};
constexpr kernel_version first_tunnel{6, 17};

std::string line_of(const offload_plan& plan, std::string_view feature) {
  for (const feature_decision& each : plan.report) {
    if (each.feature == feature) return each.text();
  }
  return "no line";
}

}  // namespace

TEST_CASE("kernel differences: every line of the plan is what this kernel can do") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const kernel_version kernel = running_kernel<posix>();
  device_config config = device_bed::in(*ns, {});
  config.backend = backend_kind::vhost;
  config.wanted.in_order = want::preferred;
  config.wanted.packed = want::preferred;
  config.wanted.offloads.ufo = want::preferred;
  const auto it = device::open(std::move(config), buffer_pool::make().value()).value();
  const auto is = [&](std::string_view feature, std::string_view text) {
    const std::string found = line_of(it.plan(), feature);
    CAPTURE(feature, found);
    CHECK(found == std::string(feature) + ": " + std::string(text));
  };
  for (const char* feature : {"csum", "tso4", "tso6", "ecn"}) is(feature, "taken, offered by tap");
  for (const char* feature : {"mergeable", "event-idx", "indirect"}) {
    is(feature, "taken, offered by vhost-net");
  }
  is("uso", kernel < first_uso ? "refused, the tap has none; Linux has since 6.2"
                               : "taken, offered by tap");
  is("in-order", kernel < first_in_order ? "refused, vhost-net offers no in-order use"
                                         : "taken, offered by vhost-net");
  const bool has_tunnel = kernel >= first_tunnel;
  const char* const no_tunnel = "refused, the tap has none; Linux has since 6.17";
  is("udp-tunnel", has_tunnel ? "taken, offered by tap and vhost-net" : no_tunnel);
  is("udp-tunnel-csum", has_tunnel ? "taken, offered by tap" : no_tunnel);
  is("ufo", "refused, no effect since Linux 4.14");
  is("packed", "refused, vhost-net offers no packed ring, as no Linux kernel does");
  CHECK(it.plan().header_bytes == (has_tunnel ? tunnel_header_size : header_size));
}

TEST_CASE("kernel differences: the preflight sees the same") {
  if (!vhost_is_here()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const preflight_report report = ns->run([] { return preflight(); }).value();
  const kernel_version kernel = running_kernel<posix>();
  const auto has = [&](std::string_view item) {
    const finding* const it = report.find(item);
    CAPTURE(item);
    REQUIRE(it != nullptr);
    return it->present;
  };
  CHECK(report.vhost_net.usable);
  CHECK(has("uso") == (kernel >= first_uso));
  CHECK(has("udp-tunnel") == (kernel >= first_tunnel));
  CHECK(has("vhost udp-tunnel") == (kernel >= first_tunnel));
  CHECK(has("vhost in-order") == (kernel >= first_in_order));
  CHECK((report.worker_model == vhost_worker::task) == (kernel >= first_task));
  CHECK(has("vhost worker switch") == vhost_net::open().value().owner_mode().has_value());
  CHECK(report.find("vhost memory regions")->detail == "at most 64 (max_mem_regions)");
}
