// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/net/offload.hpp"

#include <catch2/catch.hpp>
#include <set>
#include <string>

using namespace vkring;

namespace {

// What VHOST_GET_FEATURES says on Linux 6.1, 6.12 and 6.18, and a worker that can do more.
const ring_backend vhost_6_1{"vhost-net", feature_set::from_words(0x33d008000)};
const ring_backend vhost_6_12{"vhost-net", feature_set::from_words(0x1033d008000)};
const ring_backend vhost_6_18{"vhost-net", feature_set::from_words(0x10b3d008000, 0b1010)};
const ring_backend worker{"worker",
                          {feature::mrg_rxbuf, feature::indirect_desc, feature::event_idx,
                           feature::version_1, feature::ring_packed, feature::in_order,
                           feature::guest_udp_tunnel_gso, feature::host_udp_tunnel_gso}};

// What TUNSETOFFLOAD accepts there.
constexpr std::uint32_t tun_6_1 = 0x1f;
constexpr std::uint32_t tun_6_12 = 0x7f;
constexpr std::uint32_t tun_6_18 = 0x1ff;

tap_capabilities tap_of(std::uint32_t offloads) {
  tap_capabilities tap;
  tap.vnet_hdr = tap.multi_queue = tap.link_state = true;
  tap.offloads = offloads;
  return tap;
}

// The line of the report; two of them, with "; " between, where the directions differ.
std::string line(const offload_plan& plan, const std::string& feature) {
  std::string text;
  for (const feature_decision& decision : plan.report) {
    const std::string& name = decision.feature;
    if (name != feature && name != feature + "-tx" && name != feature + "-rx") continue;
    if (!text.empty()) text += "; ";
    text += decision.text();
  }
  return text;
}

// The error's object and hint, as a program prints them.
std::string refusal(const wanted_features& wanted, const ring_backend& backend,
                    const tap_capabilities& tap) {
  const auto plan = negotiate(wanted, backend, tap);
  return plan ? "" : plan.error().object + ": " + plan.error().hint;
}

wanted_features with_offloads(const char* text) {
  wanted_features wanted;
  wanted.offloads = parse_offloads(text).value();
  return wanted;
}

// The rules of TUNSETOFFLOAD in the kernel (set_offload in drivers/net/tun.c).
bool tun_accepts(std::uint32_t bits, std::uint32_t known) {
  using namespace tun_offload;
  if ((bits & ~known) != 0) return false;
  if (bits == 0) return true;
  if ((bits & csum) == 0) return false;
  if ((bits & tso_ecn) != 0 && (bits & (tso4 | tso6)) == 0) return false;
  if (((bits & uso4) != 0) != ((bits & uso6) != 0)) return false;
  if ((bits & udp_tunnel) != 0 && (bits & (tso4 | tso6 | uso4)) == 0) return false;
  return (bits & udp_tunnel_csum) == 0 || (bits & udp_tunnel) != 0;
}

}  // namespace

TEST_CASE("offload: what vhost-net of each kernel gives by default") {
  constexpr frame_offloads old{.csum = true, .tso4 = true, .tso6 = true, .ecn = true};
  frame_offloads with_uso = old;
  with_uso.uso = true;

  const auto on_6_1 = negotiate({}, vhost_6_1, tap_of(tun_6_1)).value();
  CHECK(on_6_1.backend_features == feature_set::from_words(0x130008000));
  CHECK(on_6_1.tap_offloads == 0x0f);
  CHECK(on_6_1.header_bytes == 12);
  CHECK(on_6_1.tx == old);
  CHECK(on_6_1.rx == old);
  CHECK(on_6_1.mergeable);
  CHECK(on_6_1.event_idx);
  CHECK(on_6_1.indirect);
  CHECK_FALSE(on_6_1.in_order);
  CHECK_FALSE(on_6_1.packed);
  CHECK(on_6_1.status);
  CHECK(on_6_1.mtu == 1500);
  CHECK(line(on_6_1, "csum") == "csum: taken, offered by tap");
  CHECK(line(on_6_1, "uso") == "uso: refused, the tap has none; Linux has since 6.2");
  CHECK(line(on_6_1, "udp-tunnel") ==
        "udp-tunnel: refused, the tap has none; Linux has since 6.17");
  CHECK(line(on_6_1, "mergeable") == "mergeable: taken, offered by vhost-net");
  CHECK(line(on_6_1, "packed") == "packed: refused, not wanted");

  const auto on_6_12 = negotiate({}, vhost_6_12, tap_of(tun_6_12)).value();
  CHECK(on_6_12.backend_features == on_6_1.backend_features);
  CHECK(on_6_12.tap_offloads == 0x6f);
  CHECK(on_6_12.tx == with_uso);
  CHECK(on_6_12.rx == with_uso);

  const auto on_6_18 = negotiate({}, vhost_6_18, tap_of(tun_6_18)).value();
  CHECK(on_6_18.backend_features == feature_set::from_words(0x130008000, 0b1010));
  CHECK(on_6_18.tap_offloads == 0x1ef);
  CHECK(on_6_18.header_bytes == 24);
  CHECK(on_6_18.tx == frame_offloads{true, true, true, true, true, true, true});
  CHECK(on_6_18.rx == on_6_18.tx);
  CHECK(line(on_6_18, "udp-tunnel") == "udp-tunnel: taken, offered by tap and vhost-net");
}

TEST_CASE("offload: every feature is in the report once, whatever is wanted") {
  const std::set<std::string> all{
      "version-1", "packed", "event-idx", "indirect", "in-order",   "mergeable",
      "vnet-hdr",  "mtu",    "mq",        "status",   "csum",       "tso4",
      "tso6",      "ecn",    "uso",       "ufo",      "udp-tunnel", "udp-tunnel-csum"};
  for (const want much : {want::off, want::preferred}) {
    wanted_features wanted;
    wanted.offloads = wanted_offloads::all(much);
    wanted.mergeable = wanted.event_idx = wanted.indirect = wanted.in_order = much;
    wanted.packed = wanted.mq = wanted.mtu = wanted.status = much;
    const auto plan = negotiate(wanted, worker, tap_of(tun_6_18)).value();
    std::set<std::string> names;
    for (const feature_decision& decision : plan.report) {
      CHECK(names.insert(decision.feature).second);
      CHECK(decision.taken == decision.reason.empty());
      CHECK_FALSE(decision.offered_by.empty());
      if (decision.feature != "version-1" && decision.feature != "vnet-hdr" && much == want::off)
        CHECK(decision.reason == "not wanted");
    }
    CHECK(names == all);
  }
}

TEST_CASE("offload: nothing wanted, nothing set") {
  wanted_features wanted = with_offloads("none");
  wanted.mergeable = wanted.event_idx = wanted.indirect = want::off;
  const auto plan = negotiate(wanted, vhost_6_18, tap_of(tun_6_18)).value();
  CHECK(plan.backend_features == feature_set{feature::version_1});
  CHECK(plan.tap_offloads == 0);
  CHECK(plan.header_bytes == 12);
  CHECK(plan.tx == frame_offloads{});
  CHECK(plan.rx == frame_offloads{});
}

TEST_CASE("offload: each rule of dependency, in each direction") {
  const auto tap = tap_of(tun_6_18);
  const struct {
    const char* offloads;
    const char* refused;
  } cases[] = {
      {"tso4", "tso4: needs csum"},
      {"tso6", "tso6: needs csum"},
      {"uso", "uso: needs csum"},
      {"csum+ecn", "ecn: needs tso4 or tso6"},
      {"ecn", "ecn: needs tso4 or tso6"},
      {"csum-tx+tso4", "tso4-rx: needs csum"},
      {"csum-rx+tso4", "tso4-tx: needs csum"},
      {"csum+tso4-rx+ecn-tx", "ecn-tx: needs tso4 or tso6"},
      {"csum+tso4-tx+ecn-rx", "ecn-rx: needs tso4 or tso6"},
      {"csum+udp-tunnel", "udp-tunnel: needs tso4 and tso6 and uso"},
      {"csum+tso4+tso6+udp-tunnel", "udp-tunnel: needs uso"},
      {"csum+tso4+uso+udp-tunnel-tx", "udp-tunnel-tx: needs tso6"},
      {"csum+tso4+tso6+uso+udp-tunnel-csum", "udp-tunnel-csum: needs udp-tunnel"},
      {"csum+ufo", "ufo: no effect since Linux 4.14"},
      {"csum+tso4", ""},
      {"csum-tx+tso4-tx", ""},
      {"csum-rx+tso6-rx+ecn-rx", ""},
      {"csum+tso6+ecn", ""},
      {"csum+uso", ""},
      {"csum+tso4+tso6+uso+udp-tunnel-tx", ""},
      {"csum+tso4+tso6+uso+udp-tunnel+udp-tunnel-csum", ""},
  };
  for (const auto& [offloads, refused] : cases) {
    CAPTURE(offloads);
    CHECK(refusal(with_offloads(offloads), vhost_6_18, tap) == refused);
  }
  CHECK(negotiate(with_offloads("csum+ufo"), worker, tap).error().message() ==
        "negotiate ufo: Operation not supported (no effect since Linux 4.14)");
}

TEST_CASE("offload: directions that differ have a line each") {
  const auto plan = negotiate(with_offloads("csum+tso4-tx"), vhost_6_12, tap_of(tun_6_12)).value();
  CHECK(plan.tx == frame_offloads{.csum = true, .tso4 = true});
  CHECK(plan.rx == frame_offloads{.csum = true});
  CHECK(plan.tap_offloads == tun_offload::csum);
  CHECK(line(plan, "tso4") == "tso4-tx: taken, offered by tap; tso4-rx: refused, not wanted");
  CHECK(line(plan, "csum") == "csum: taken, offered by tap");
  CHECK(line(plan, "tso6") == "tso6: refused, not wanted");
}

TEST_CASE(
    "offload: all sets of wishes give values that TUNSETOFFLOAD accepts, and never two truths") {
  directed_want wanted_offloads::*const members[] = {
      &wanted_offloads::csum,       &wanted_offloads::tso4,
      &wanted_offloads::tso6,       &wanted_offloads::ecn,
      &wanted_offloads::uso,        &wanted_offloads::ufo,
      &wanted_offloads::udp_tunnel, &wanted_offloads::udp_tunnel_csum};
  for (const std::uint32_t known : {0x00u, 0x01u, 0x03u, tun_6_1, tun_6_12, tun_6_18})
    for (const ring_backend* backend : {&vhost_6_12, &vhost_6_18})
      for (unsigned set = 0; set < 256; ++set) {
        wanted_features wanted;
        wanted.offloads = wanted_offloads::all(want::off);
        for (unsigned i = 0; i < 8; ++i)
          if ((set >> i & 1) != 0) wanted.offloads.*members[i] = want::preferred;
        const auto plan = negotiate(wanted, *backend, tap_of(known)).value();
        if (!tun_accepts(plan.tap_offloads, known) ||
            plan.rx.csum != ((plan.tap_offloads & tun_offload::csum) != 0) ||
            plan.rx.uso != ((plan.tap_offloads & tun_offload::uso4) != 0) ||
            plan.rx.udp_tunnel != ((plan.tap_offloads & tun_offload::udp_tunnel) != 0) ||
            plan.rx.udp_tunnel != plan.backend_features.contains(feature::guest_udp_tunnel_gso) ||
            (plan.tx.udp_tunnel || plan.rx.udp_tunnel) != (plan.header_bytes == 24) ||
            !backend->features.contains(plan.backend_features)) {
          CAPTURE(known, set, plan.tap_offloads);
          FAIL("a plan that contradicts itself or the kernel");
        }
        // The same, required: either all of it, or an error.
        for (unsigned i = 0; i < 8; ++i)
          if ((set >> i & 1) != 0) wanted.offloads.*members[i] = want::required;
        const auto strict = negotiate(wanted, *backend, tap_of(known));
        bool refused = false;
        for (const feature_decision& decision : plan.report)
          refused |= !decision.taken && decision.reason != "not wanted" && decision.feature != "mq";
        if (strict.has_value() == refused) {
          CAPTURE(known, set);
          FAIL("required and silently left out, or refused without a reason");
        }
      }
}

TEST_CASE("offload: rings take what the backend offers") {
  wanted_features wanted;
  wanted.packed = want::required;
  CHECK(refusal(wanted, vhost_6_18, tap_of(tun_6_12)) == "packed: vhost-net offers no packed ring");
  wanted.packed = want::preferred;
  wanted.in_order = want::preferred;
  const auto old = negotiate(wanted, vhost_6_12, tap_of(tun_6_12)).value();
  CHECK(line(old, "packed") == "packed: refused, vhost-net offers no packed ring");
  CHECK(line(old, "in-order") == "in-order: refused, vhost-net offers no in-order use");
  const auto own = negotiate(wanted, worker, tap_of(tun_6_12)).value();
  CHECK(own.packed);
  CHECK(own.in_order);
  CHECK(own.backend_features == feature_set{feature::version_1, feature::ring_packed,
                                            feature::event_idx, feature::indirect_desc,
                                            feature::in_order, feature::mrg_rxbuf});

  const ring_backend bare{"bare", {feature::version_1}};
  const auto plain = negotiate({}, bare, tap_of(tun_6_12)).value();
  CHECK(plain.backend_features == feature_set{feature::version_1});
  CHECK(line(plain, "event-idx") == "event-idx: refused, bare offers no event index");
  const ring_backend legacy{"legacy", {feature::mrg_rxbuf}};
  CHECK(refusal({}, legacy, tap_of(tun_6_12)) == "version-1: legacy offers no virtio 1.0");
  for (want wanted_features::*const ring :
       {&wanted_features::mergeable, &wanted_features::event_idx, &wanted_features::indirect,
        &wanted_features::in_order}) {
    wanted_features insists;
    insists.*ring = want::required;
    CHECK(refusal(insists, bare, tap_of(tun_6_12)).find("bare offers no ") != std::string::npos);
  }
}

TEST_CASE("offload: large frames are received only where they fit") {
  wanted_features wanted = with_offloads("csum+tso4");
  const auto tap = tap_of(tun_6_12);
  const auto room = [&](want mergeable, std::uint32_t queue_size, std::uint32_t buffer_bytes) {
    wanted.mergeable = mergeable;
    wanted.queue_size = queue_size;
    wanted.buffer_bytes = buffer_bytes;
    return refusal(wanted, vhost_6_12, tap);
  };
  CHECK(room(want::preferred, 256, 2048) == "");
  CHECK(room(want::preferred, 64, 1025) == "");
  CHECK(room(want::preferred, 64, 1024) ==
        "tso4-rx: frames of 65574 bytes do not fit into a ring of 65536");
  // The kernel merges no more than 1024 buffers.
  CHECK(room(want::preferred, 32768, 64) ==
        "tso4-rx: frames of 65574 bytes do not fit into a ring of 65536");
  CHECK(room(want::off, 256, 2048) ==
        "tso4-rx: frames of 65574 bytes do not fit into a buffer of 2048 that is not mergeable");
  CHECK(room(want::off, 256, 65573) ==
        "tso4-rx: frames of 65574 bytes do not fit into a buffer of 65573 that is not mergeable");
  CHECK(room(want::off, 1, 65574) == "");

  wanted = {};
  wanted.mergeable = want::off;
  const auto plan = negotiate(wanted, vhost_6_12, tap).value();
  CHECK(plan.rx == frame_offloads{.csum = true});
  CHECK(plan.tx.tso4);
  CHECK(line(plan, "ecn") == "ecn-tx: taken, offered by tap; ecn-rx: refused, needs tso4 or tso6");
  CHECK(plan.tap_offloads == tun_offload::csum);
  // The longer header of tunnels counts, too.
  wanted.buffer_bytes = 65574;
  CHECK(negotiate(wanted, vhost_6_12, tap).value().rx.tso4);
  CHECK_FALSE(negotiate(wanted, vhost_6_18, tap_of(tun_6_18)).value().rx.tso4);
  wanted.buffer_bytes = 65586;
  CHECK(negotiate(wanted, vhost_6_18, tap_of(tun_6_18)).value().rx.udp_tunnel);
}

TEST_CASE("offload: a ring that could not take a frame of the MTU is refused") {
  wanted_features wanted;
  wanted.mergeable = want::off;
  wanted.buffer_bytes = 1525;
  CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) ==
        "buffer-size=1525: an MTU of 1500 needs 1526 bytes in one buffer");
  wanted.buffer_bytes = 1526;
  CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) == "");
  wanted.mtu_bytes = 9000;
  CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) ==
        "buffer-size=1526: an MTU of 9000 needs 9026 bytes in one buffer");
  wanted.mergeable = want::preferred;
  CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) == "");
  wanted.queue_size = 4;
  CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) ==
        "buffer-size=1526: an MTU of 9000 needs 9026 bytes in the buffers of a ring");
}

TEST_CASE("offload: TUNSETOFFLOAD decides what is received, not what is sent") {
  const auto plan = negotiate({}, vhost_6_12, tap_of(0)).value();
  CHECK(plan.tx == frame_offloads{.csum = true, .tso4 = true, .tso6 = true, .ecn = true});
  CHECK(plan.rx == frame_offloads{});
  CHECK(line(plan, "csum") ==
        "csum-tx: taken, offered by tap; csum-rx: refused, the tap refuses TUN_F_CSUM");
  CHECK(line(plan, "tso6") ==
        "tso6-tx: taken, offered by tap; tso6-rx: refused, the tap refuses TUN_F_TSO6");
  // A kernel without these bits does not know such frames either.
  CHECK(line(plan, "uso") == "uso: refused, the tap has none; Linux has since 6.2");
}

TEST_CASE("offload: without a header from the tap") {
  tap_capabilities bare = tap_of(tun_6_12);
  bare.vnet_hdr = false;
  const auto plan = negotiate({}, vhost_6_12, bare).value();
  CHECK(plan.backend_features.contains(feature::any_layout));
  CHECK(plan.tap_offloads == 0);
  CHECK(plan.tx == frame_offloads{});
  CHECK(plan.rx == frame_offloads{});
  CHECK(plan.header_bytes == 12);
  CHECK(line(plan, "vnet-hdr") ==
        "vnet-hdr: refused, the tap is not IFF_VNET_HDR, vhost-net adds an empty header");
  CHECK(line(plan, "csum") == "csum: refused, the tap is not IFF_VNET_HDR");
  CHECK(refusal({}, worker, bare) ==
        "vnet-hdr: the tap is not IFF_VNET_HDR, worker adds no header");
}

TEST_CASE("offload: the tunnel needs both the tap and the backend") {
  const auto no_backend = negotiate({}, vhost_6_12, tap_of(tun_6_18)).value();
  CHECK(line(no_backend, "udp-tunnel") == "udp-tunnel: refused, vhost-net offers no udp-tunnel");
  CHECK(line(no_backend, "udp-tunnel-csum") == "udp-tunnel-csum: refused, needs udp-tunnel");
  CHECK(no_backend.header_bytes == 12);
  const auto no_tap = negotiate({}, vhost_6_18, tap_of(tun_6_12)).value();
  CHECK(line(no_tap, "udp-tunnel") ==
        "udp-tunnel: refused, the tap has none; Linux has since 6.17");
  const ring_backend sends{"one-way", worker.features - feature_set{feature::guest_udp_tunnel_gso}};
  const auto half = negotiate({}, sends, tap_of(tun_6_18)).value();
  CHECK(half.tx.udp_tunnel);
  CHECK_FALSE(half.rx.udp_tunnel);
  CHECK(half.header_bytes == 24);
}

TEST_CASE("offload: a TUN has no tunnels, and needs no room for an Ethernet header") {
  tap_capabilities tun = tap_of(tun_6_18);
  tun.link = link_layer::none;
  tun.max_mtu = 65535;
  const offload_plan plan = negotiate({}, worker, tun).value();
  CHECK(plan.link == link_layer::none);
  CHECK(plan.header_bytes == header_size);
  CHECK((plan.tx.csum && plan.tx.tso4 && plan.tx.tso6 && plan.tx.ecn && plan.tx.uso));
  CHECK(plan.rx == plan.tx);
  CHECK_FALSE(plan.tx.udp_tunnel);
  CHECK(line(plan, "udp-tunnel") ==
        "udp-tunnel: refused, the kernel has it behind an Ethernet header only");
  CHECK(line(plan, "udp-tunnel-csum") ==
        "udp-tunnel-csum: refused, the kernel has it behind an Ethernet header only");

  wanted_features wanted = with_offloads("none");
  wanted.mergeable = want::off;
  wanted.buffer_bytes = 1500 + 12;
  CHECK(refusal(wanted, worker, tun) == "");
  CHECK(refusal(wanted, worker, tap_of(tun_6_18)) ==
        "buffer-size=1512: an MTU of 1500 needs 1526 bytes in one buffer");
}

TEST_CASE("offload: queue pairs") {
  wanted_features wanted;
  tap_capabilities single = tap_of(tun_6_12);
  single.multi_queue = false;
  const auto one = negotiate(wanted, vhost_6_12, tap_of(tun_6_12)).value();
  CHECK(one.queue_pairs == 1);
  CHECK_FALSE(one.multi_queue);
  CHECK(line(one, "mq") == "mq: refused, one queue pair needs none");

  wanted.queue_pairs = 4;
  CHECK(negotiate(wanted, vhost_6_12, tap_of(tun_6_12)).value().queue_pairs == 4);
  const auto refused = negotiate(wanted, vhost_6_12, single).value();
  CHECK(refused.queue_pairs == 1);
  CHECK(line(refused, "mq") == "mq: refused, the tap is not IFF_MULTI_QUEUE");
  wanted.mq = want::required;
  CHECK(refusal(wanted, vhost_6_12, single) == "mq: the tap is not IFF_MULTI_QUEUE");
  wanted.mq = want::off;
  CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) ==
        "queues=4: more than one queue pair needs mq");

  // A persistent interface can be multi-queue and have one queue attached.
  wanted.queue_pairs = 1;
  wanted.mq = want::required;
  CHECK(negotiate(wanted, vhost_6_12, tap_of(tun_6_12)).value().multi_queue);
  for (const std::uint16_t pairs : std::initializer_list<std::uint16_t>{0, 257, 65535}) {
    wanted.queue_pairs = pairs;
    CHECK(refusal(wanted, vhost_6_12, tap_of(tun_6_12)) ==
          "queues=" + std::to_string(pairs) + ": a tap has 1 to 256 queue pairs");
  }
}

TEST_CASE("offload: MTU and link state") {
  wanted_features wanted;
  tap_capabilities tap = tap_of(tun_6_12);
  tap.mtu = 1400;
  CHECK(negotiate(wanted, vhost_6_12, tap).value().mtu == 1400);
  wanted.mtu = want::off;
  CHECK(negotiate(wanted, vhost_6_12, tap).value().mtu == 0);
  wanted.mtu_bytes = 9000;  // a number says that it is wanted
  CHECK(negotiate(wanted, vhost_6_12, tap).value().mtu == 9000);
  wanted.mtu_bytes = 67;
  CHECK(refusal(wanted, vhost_6_12, tap) == "mtu=67: the tap takes 68 to 65521");
  wanted.mtu_bytes = 65522;
  CHECK(refusal(wanted, vhost_6_12, tap) == "mtu=65522: the tap takes 68 to 65521");

  wanted = {};
  tap.link_state = false;
  CHECK_FALSE(negotiate(wanted, vhost_6_12, tap).value().status);
  wanted.status = want::required;
  CHECK(refusal(wanted, vhost_6_12, tap) == "status: the link's state cannot be watched");
}
