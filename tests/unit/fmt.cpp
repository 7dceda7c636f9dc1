// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/fmt.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <string>

using namespace vkring;

TEST_CASE("fmt: an error is its message") {
  const error refused =
      fail(EPERM, "TUNSETIFF", "tap0", "needs CAP_NET_ADMIN, or a persistent TAP that you own")
          .value();
  CHECK(fmt::format("{}", refused) == refused.message());
  CHECK(fmt::format("[{:>9.5}]", refused) == "[    TUNSE]");
}

TEST_CASE("fmt: faults and breaches") {
  CHECK(fmt::format("{}", ring_fault::used_id_range) == "used_id_range");
  CHECK(fmt::format("{}", static_cast<ring_fault>(200)) == "unknown");
  CHECK(fmt::format("{}", ring_breach{}) == "none");
  CHECK(fmt::format("{}", ring_breach{ring_fault::used_id_range, 17, 256}) ==
        "position 17: used_id_range, value 0x100");
  queue_health health;
  health.pair = 3;
  CHECK(fmt::format("{}", health) == "queue pair 3: good");
}

TEST_CASE("fmt: drop reasons, those of a header included") {
  CHECK(fmt::format("{:<12}|", drop_reason::too_short) == "too_short   |");
  CHECK(fmt::format("{}", header_fault::gso_size_zero) == "gso_size_zero");
}

TEST_CASE("fmt: addresses") {
  CHECK(fmt::format("{:>16}", parse_ip_prefix("192.168.1.1/24").value()) == "  192.168.1.1/24");
  CHECK(fmt::format("{}", parse_ip_prefix("fd00::1/64").value()) == "fd00::1/64");
}

TEST_CASE("fmt: what was decided about a feature") {
  CHECK(fmt::format("{}", feature_decision{"csum", "tap", true, ""}) ==
        "csum: taken, offered by tap");
  CHECK(fmt::format("{}", feature_decision{"tso6", "tap", false, "needs csum"}) ==
        "tso6: refused, needs csum");
}

TEST_CASE("fmt: a frame header in one line") {
  virtio_net_hdr header;
  CHECK(fmt::format("{}", header) == "flags=none gso=none");
  header.num_buffers = 1;
  CHECK(fmt::format("{}", header) == "flags=none gso=none num_buffers=1");
  header = {.flags = header_flag::needs_csum,
            .gso_type = gso::tcpv4 | gso::ecn,
            .hdr_len = 66,
            .gso_size = 1448,
            .csum_start = 34,
            .csum_offset = 16,
            .num_buffers = 0};
  CHECK(fmt::format("{}", header) ==
        "flags=needs_csum gso=tcpv4+ecn hdr_len=66 gso_size=1448 csum_start=34 csum_offset=16");
  header = {.flags = header_flag::data_valid | header_flag::rsc_info | header_flag::udp_tunnel_csum,
            .gso_type = gso::udp_l4 | gso::udp_tunnel_ipv4 | gso::udp_tunnel_ipv6,
            .outer_th_offset = 34,
            .inner_nh_offset = 64};
  CHECK(fmt::format("{}", header) ==
        "flags=data_valid+rsc_info+udp_tunnel_csum gso=udp_l4+udp_tunnel_ipv4+udp_tunnel_ipv6 "
        "outer_th_offset=34 inner_nh_offset=64");
  header = {.flags = 0x40, .gso_type = gso::udp};
  CHECK(fmt::format("{}", header) == "flags=0x40 gso=udp");
  header = {.flags = 0x41, .gso_type = 0x0e | gso::ecn};
  CHECK(fmt::format("{}", header) == "flags=needs_csum+0x40 gso=ecn+0xe");
  header = {.gso_type = gso::tcpv6};
  CHECK(fmt::format("{}", header) == "flags=none gso=tcpv6");
}
