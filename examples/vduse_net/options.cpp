// SPDX-License-Identifier: BSD-3-Clause
#include "options.hpp"

#include <charconv>
#include <vkring/kernel/tap_options.hpp>
#include <vkring/ring/packed.hpp>
#include <vkring/ring/split.hpp>

#include "option_pairs.hpp"

namespace vduse_net {

using option_pairs::usage_error;
using option_pairs::verdict;
using vkring::feature;
using vkring::feature_set;
using vkring::result;

namespace {

verdict set_name(std::string& into, std::string_view value) {
  into = value;
  if (value.empty() || value.find('%') != value.npos) return "a name of 1 to 15 characters";
  return verdict(vkring::broken_name_rule(value));
}
verdict set_layout(options& o, std::string_view value) {
  o.packed = value == "packed";
  return o.packed || value == "split" ? "" : "split or packed";
}
// What the layout allows is checked once that is known.
verdict set_queue_size(options& o, std::string_view value) {
  const char* const end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, o.queue_size);
  return parsed.ec == std::errc{} && parsed.ptr == end ? "" : "a number of descriptors";
}
verdict set_switch(bool& into, std::string_view value) {
  into = value == "on";
  return into || value == "off" ? "" : "on or off";
}

constexpr option_pairs::key<options> keys[] = {
    {"--name", [](options& o, std::string_view v) { return set_name(o.name, v); }},
    {"--tap", [](options& o, std::string_view v) { return set_name(o.tap, v); }},
    {"--layout", set_layout},
    {"--queue-size", set_queue_size},
    {"--event-idx", [](options& o, std::string_view v) { return set_switch(o.event_idx, v); }},
    {"--indirect", [](options& o, std::string_view v) { return set_switch(o.indirect, v); }},
    {"--in-order", [](options& o, std::string_view v) { return set_switch(o.in_order, v); }},
    {"--mergeable", [](options& o, std::string_view v) { return set_switch(o.mergeable, v); }},
    {"--offloads", [](options& o, std::string_view v) { return set_switch(o.offloads, v); }},
};

}  // namespace

feature_set options::offered() const noexcept {
  // VDUSE takes no network device without the last two.
  feature_set bits{feature::version_1, feature::access_platform};
  if (packed) bits.insert(feature::ring_packed);
  if (event_idx) bits.insert(feature::event_idx);
  if (indirect) bits.insert(feature::indirect_desc);
  if (in_order) bits.insert(feature::in_order);
  if (mergeable) bits.insert(feature::mrg_rxbuf);
  if (offloads) {
    bits = bits | feature_set{feature::csum,       feature::host_tso4,  feature::host_tso6,
                              feature::guest_csum, feature::guest_tso4, feature::guest_tso6};
  }
  return bits;
}

result<options> parse(const std::vector<std::string_view>& arguments) {
  auto parsed = option_pairs::read(keys, arguments);
  if (!parsed || parsed->help) return parsed;
  const auto sized = parsed->packed ? vkring::packed_ring::check_size(parsed->queue_size)
                                    : vkring::split_ring::check_size(parsed->queue_size);
  if (!sized) {
    return usage_error("--queue-size", std::to_string(parsed->queue_size), sized.error().hint);
  }
  return parsed;
}

std::string_view help_text() noexcept {
  return R"(vduse_net: a network interface of this kernel, driven by virtio_net and served by vkring

  vduse_net [OPTION VALUE ...]

  --name vduse0            of the device in /dev/vduse and on the vdpa bus
  --tap tap0               the interface at the other end of the wire
  --layout split|packed    of the rings (split)
  --queue-size 256         descriptors of each ring; a power of two for split
  --event-idx on|off       --indirect on|off  --in-order on|off  --mergeable on|off
  --offloads on|off        checksums and TSO, both ways
                           offered to the driver: all but in-order, if nothing is said

What is sent into the one interface comes out of the other, until SIGINT or SIGTERM. Needs root,
Linux 6.10, and the modules vduse, virtio_vdpa and virtio_net.
Exit status: 0; 1 after a failure; 2 for wrong usage.
)";
}

}  // namespace vduse_net
