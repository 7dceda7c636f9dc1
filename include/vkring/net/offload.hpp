// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_NET_OFFLOAD_HPP
#define VKRING_NET_OFFLOAD_HPP

// Negotiation: from what is wanted and what the ring's backend and the TAP offer to a plan, with
// the reason for everything that was not taken.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vkring/core/error.hpp"
#include "vkring/net/features.hpp"
#include "vkring/net/header.hpp"
#include "vkring/net/offload_rules.hpp"
#include "vkring/net/wanted.hpp"

namespace vkring::inline v0 {

/// Who serves the far end of the rings, and the bits that VHOST_GET_FEATURES (or it) offers.
struct ring_backend {
  std::string_view name;            ///< for the report: `vhost-net`, `worker`
  feature_set features;             ///< what the driver side may choose from
  std::string_view no_packed = {};  ///< more on why it offers no packed ring, if it does not
};

/// What probing a TAP or TUN has shown.
struct tap_capabilities {
  link_layer link = link_layer::ethernet;  ///< Ethernet frames (TAP) or IP packets (TUN)
  bool vnet_hdr = false;                   ///< IFF_VNET_HDR is set: frames come with a header
  bool multi_queue = false;                ///< IFF_MULTI_QUEUE is to be had
  bool link_state = false;                 ///< the link going up and down can be watched
  std::uint32_t offloads = 0;              ///< of `tun_offload`, all that TUNSETOFFLOAD accepts
  std::uint16_t mtu = 1500;                ///< bytes of the largest packet, as it is now
  std::uint16_t min_mtu = 68;              ///< the bounds of what it can be set to
  std::uint16_t max_mtu = 65521;           ///< a TUN has 65535
};

/// What became of one feature.
struct feature_decision {
  std::string feature;     ///< `tso4`; `tso4-tx` and `tso4-rx` where the two directions differ
  std::string offered_by;  ///< `tap`, the backend's name, or `nobody`
  bool taken = false;      ///< it is in force
  std::string reason;      ///< why it was not taken; empty if it was

  /// `tso6: refused, needs csum`. Allocation: the text.
  [[nodiscard]] std::string text() const {
    return feature + (taken ? ": taken, offered by " + offered_by : ": refused, " + reason);
  }
  friend bool operator==(const feature_decision&, const feature_decision&) = default;
};

/// What to do to the backend and to the TAP, and what frames may then look like.
struct offload_plan {
  feature_set backend_features;            ///< for VHOST_SET_FEATURES
  std::uint32_t tap_offloads = 0;          ///< for TUNSETOFFLOAD
  std::size_t header_bytes = header_size;  ///< of the virtio-net header before each frame
  link_layer link = link_layer::ethernet;  ///< what a frame begins with
  frame_offloads tx;                       ///< what the application may send
  frame_offloads rx;                       ///< what the application may receive
  bool mergeable = false;                  ///< a received frame may lie in several buffers
  bool event_idx = false;                  ///< an index, not a flag, says when to notify
  bool indirect = false;                   ///< chains in tables of their own
  bool in_order = false;          ///< chains complete in the order in which they were added
  bool packed = false;            ///< packed rings, not split ones
  bool multi_queue = false;       ///< more than one queue pair
  bool status = false;            ///< the application learns when the link goes up or down
  std::uint16_t queue_pairs = 1;  ///< as many as were wanted with `multi_queue`, else 1
  std::uint16_t mtu = 0;  ///< the application's to know and to set; 0 if it does not want to
  std::vector<feature_decision> report;  ///< every feature, once
};

/// The longest frame that the kernel hands over once it may segment less, the header not counted.
inline constexpr std::uint32_t max_gso_frame = 65562;

namespace detail {

class negotiation {
 public:
  negotiation(const wanted_features& wanted, const ring_backend& backend,
              const tap_capabilities& tap)
      : wanted_(wanted), backend_(backend), backend_name_(backend.name), tap_(tap) {}

  result<offload_plan> run() {
    plan_.link = tap_.link;
    rings();
    header();
    mtu();
    queues();
    decide("status", wanted_.status, tap_.link_state ? tap_name : nobody,
           tap_.link_state ? "" : "the link's state cannot be watched", &offload_plan::status);
    for (const offload_row& row : offload_rows) offload(row);
    if (!(plan_.backend_features & tunnel_features).empty())
      plan_.header_bytes = tunnel_header_size;
    check_room();
    if (refused_) return fail(std::move(refusal_));
    return std::move(plan_);
  }

 private:
  static constexpr const char* tap_name = "tap";
  static constexpr const char* nobody = "nobody";
  static constexpr const char* not_wanted = "not wanted";
  static constexpr std::uint16_t max_queue_pairs = 256;
  static constexpr std::uint32_t max_merged_buffers = 1024;  // the kernel's limit, UIO_MAXIOV

  // The first refusal is the one that is told.
  void refuse(std::errc code, std::string object, std::string hint) {
    if (refused_) return;
    refused_ = true;
    refusal_ = {std::make_error_code(code), "negotiate", std::move(object), std::move(hint)};
  }

  // Books one line of the report. No reason against it means that it is taken.
  bool decide(std::string feature, want much, std::string offered_by, std::string reason) {
    if (much == want::off) reason = not_wanted;
    const bool taken = reason.empty();
    if (!taken && much == want::required) refuse(std::errc::not_supported, feature, reason);
    plan_.report.push_back({std::move(feature), std::move(offered_by), taken, std::move(reason)});
    return taken;
  }
  void decide(std::string feature, want much, std::string offered_by, std::string reason,
              bool offload_plan::*taken) {
    plan_.*taken = decide(std::move(feature), much, std::move(offered_by), std::move(reason));
  }

  bool ring(const char* word, want much, feature bit, std::string_view noun) {
    const bool offered = backend_.features.contains(bit);
    if (!decide(word, much, offered ? backend_name_ : nobody,
                offered ? "" : backend_name_ + " offers no " + std::string(noun)))
      return false;
    plan_.backend_features.insert(bit);
    return true;
  }

  void rings() {
    using enum feature;
    ring("version-1", want::required, version_1, "virtio 1.0");
    std::string packed_noun = "packed ring";
    if (!backend_.no_packed.empty()) packed_noun.append(", ").append(backend_.no_packed);
    plan_.packed = ring("packed", wanted_.packed, ring_packed, packed_noun);
    plan_.event_idx = ring("event-idx", wanted_.event_idx, event_idx, "event index");
    plan_.indirect = ring("indirect", wanted_.indirect, indirect_desc, "indirect descriptors");
    plan_.in_order = ring("in-order", wanted_.in_order, in_order, "in-order use");
    plan_.mergeable = ring("mergeable", wanted_.mergeable, mrg_rxbuf, "mergeable buffers");
  }

  // Somebody has to put the header before the frames: the TAP, or else the backend.
  void header() {
    const bool backend_adds = backend_.features.contains(feature::any_layout);
    std::string reason;
    if (!tap_.vnet_hdr)
      reason = "the tap is not IFF_VNET_HDR, " + backend_name_ +
               (backend_adds ? " adds an empty header" : " adds no header");
    if (!decide("vnet-hdr", backend_adds ? want::preferred : want::required,
                tap_.vnet_hdr ? tap_name : nobody, std::move(reason)))
      plan_.backend_features.insert(feature::any_layout);
  }

  void mtu() {
    const std::uint16_t asked = wanted_.mtu_bytes;
    if (asked != 0 && (asked < tap_.min_mtu || asked > tap_.max_mtu))
      refuse(
          std::errc::invalid_argument, "mtu=" + std::to_string(asked),
          "the tap takes " + std::to_string(tap_.min_mtu) + " to " + std::to_string(tap_.max_mtu));
    if (decide("mtu", asked != 0 ? want::required : wanted_.mtu, tap_name, {}))
      plan_.mtu = asked != 0 ? asked : tap_.mtu;
  }

  void queues() {
    const std::uint16_t pairs = wanted_.queue_pairs;
    if (pairs == 0 || pairs > max_queue_pairs)
      refuse(std::errc::invalid_argument, "queues=" + std::to_string(pairs),
             "a tap has 1 to 256 queue pairs");
    if (pairs > 1 && wanted_.mq == want::off)
      refuse(std::errc::invalid_argument, "queues=" + std::to_string(pairs),
             "more than one queue pair needs mq");
    std::string reason;
    if (!tap_.multi_queue)
      reason = "the tap is not IFF_MULTI_QUEUE";
    else if (pairs == 1 && wanted_.mq != want::required)
      reason = "one queue pair needs none";
    decide("mq", wanted_.mq, tap_.multi_queue ? tap_name : nobody, std::move(reason),
           &offload_plan::multi_queue);
    plan_.queue_pairs = plan_.multi_queue ? pairs : std::uint16_t{1};
  }

  void offload(const offload_row& row) {
    const directed_want wanted = wanted_.offloads.*row.wanted;
    const side tx = weigh(row, wanted.tx, row.host, true);
    const side rx = weigh(row, wanted.rx, row.guest, false);
    const std::string word{word_of(row.wanted)};
    if (tx == rx) {
      decide(word, wanted.tx > wanted.rx ? wanted.tx : wanted.rx, tx.offered_by, tx.reason);
    } else {
      decide(word + "-tx", wanted.tx, tx.offered_by, tx.reason);
      decide(word + "-rx", wanted.rx, rx.offered_by, rx.reason);
    }
    if (tx.reason.empty()) take(row, row.host, plan_.tx);
    if (rx.reason.empty()) {
      take(row, row.guest, plan_.rx);
      plan_.tap_offloads |= row.tun;
    }
  }

  struct side {
    std::string offered_by;
    std::string reason;
    friend bool operator==(const side&, const side&) = default;
  };

  // One offload in one direction, `bits` being its features there.
  side weigh(const offload_row& row, want much, const feature_set& bits, bool sending) const {
    const feature_set of_backend = bits & tunnel_features;
    if (row.may == nullptr)
      return {nobody, std::string(much == want::off ? not_wanted : row.absent)};
    std::string absent;
    if (!tap_.vnet_hdr)
      absent = "the tap is not IFF_VNET_HDR";
    else if (row.ethernet && tap_.link != link_layer::ethernet)
      absent = "the kernel has it behind an Ethernet header only";
    else if ((row.probed || !sending) && (tap_.offloads & row.tun) != row.tun)
      absent = row.absent;
    else if (!backend_.features.contains(of_backend))
      absent = backend_name_ + " offers no " + std::string(word_of(row.wanted));
    side found{tap_name, {}};
    if (!absent.empty())
      found.offered_by = nobody;
    else if (!of_backend.empty())
      found.offered_by += " and " + backend_name_;

    if (much == want::off)
      found.reason = not_wanted;
    else if (!absent.empty())
      found.reason = std::move(absent);
    else
      found.reason = offload_needs(bits, agreed_);
    if (found.reason.empty() && !sending && row.large) found.reason = large_frames();
    return found;
  }

  void take(const offload_row& row, const feature_set& bits, frame_offloads& direction) {
    direction.*row.may = true;
    agreed_ = agreed_ | bits;
    plan_.backend_features = plan_.backend_features | (bits & tunnel_features);
  }

  // Bytes that the buffers of a receive ring hold for one frame.
  [[nodiscard]] std::uint64_t room() const {
    if (!plan_.mergeable) return wanted_.buffer_bytes;
    const std::uint32_t buffers =
        wanted_.queue_size < max_merged_buffers ? wanted_.queue_size : max_merged_buffers;
    return std::uint64_t{buffers} * wanted_.buffer_bytes;
  }

  // Why frames beyond the MTU cannot be received; empty if they can.
  [[nodiscard]] std::string large_frames() const {
    const bool tunnels =
        wanted_.offloads.udp_tunnel != want::off && tap_.link == link_layer::ethernet &&
        !(backend_.features & tunnel_features).empty();
    const std::uint64_t needed = max_gso_frame + (tunnels ? tunnel_header_size : header_size);
    if (room() >= needed) return {};
    return "frames of " + std::to_string(needed) + " bytes do not fit into " +
           (plan_.mergeable ? "a ring of " + std::to_string(room())
                            : "a buffer of " + std::to_string(room()) + " that is not mergeable");
  }

  // The kernel drops frames that do not fit in silence, so a ring that could not take an ordinary
  // one is not opened.
  void check_room() {
    const std::uint32_t frame = plan_.mtu != 0 ? plan_.mtu : tap_.mtu;
    const std::uint64_t needed = plan_.header_bytes + link_header_size(tap_.link) + frame;
    if (room() >= needed) return;
    refuse(std::errc::invalid_argument, "buffer-size=" + std::to_string(wanted_.buffer_bytes),
           "an MTU of " + std::to_string(frame) + " needs " + std::to_string(needed) +
               (plan_.mergeable ? " bytes in the buffers of a ring" : " bytes in one buffer"));
  }

  const wanted_features& wanted_;
  const ring_backend& backend_;
  const std::string backend_name_;
  const tap_capabilities& tap_;
  feature_set agreed_;  // the offloads of both directions that are taken so far
  offload_plan plan_;
  bool refused_ = false;
  error refusal_;
};

}  // namespace detail

/// Decides what is used. Pure: the same answers for the same arguments, and nothing is touched.
///
/// Every feature has its line in the report. Errors: the first feature that is required and cannot
/// be had, with the reason; numbers that fit nothing. Allocation: the report and the texts.
/// Source: virtio 1.3, section 5.1.3.1; drivers/net/tun.c and drivers/vhost/net.c.
[[nodiscard]] inline result<offload_plan> negotiate(const wanted_features& wanted,
                                                    const ring_backend& backend,
                                                    const tap_capabilities& capabilities) {
  return detail::negotiation(wanted, backend, capabilities).run();
}

}  // namespace vkring::inline v0

#endif  // VKRING_NET_OFFLOAD_HPP
