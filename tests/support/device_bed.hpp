// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_DEVICE_BED_HPP
#define VKRING_TESTS_SUPPORT_DEVICE_BED_HPP

// A device on a TAP in a private namespace, the kernel's end of it, and traffic in both directions.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/in_pieces.hpp"
#include "support/tap_wire.hpp"
#include "vkring/device.hpp"

namespace vkring::test {

template <class Device>
struct basic_device_bed {
  using frame = typename Device::frame;
  using source = typename Device::source_type;

  netns& ns;
  std::shared_ptr<source> pool;
  Device it;
  tap_wire wire;

  static device_config in(const netns& ns, device_config config) {
    config.name = "vkt%d";
    config.netns = path_of(ns);
    return config;
  }
  basic_device_bed(netns& where, device_config config, const pool_options& buffers = {},
                   std::uint16_t type = experimental, bool headers = false)
      : ns(where),
        pool(source::make(buffers).value()),
        it(Device::open(in(ns, std::move(config)), pool).value()),
        wire(ns, it.index(), type, headers) {}

  /// With a device that was opened before.
  basic_device_bed(netns& where, std::shared_ptr<source> buffers, Device opened)
      : ns(where), pool(std::move(buffers)), it(std::move(opened)), wire(ns, it.index()) {}

  /// Sends one frame, cut into buffers of at most `piece` bytes; false when the ring stays full.
  bool send(std::size_t pair, std::span<const std::byte> data, const virtio_net_hdr& header = {},
            std::size_t piece = SIZE_MAX) {
    frame whole;
    if (!eventually([&] { return bool(whole = in_pieces<frame>(it.tx(pair), data, piece)); })) {
      return false;
    }
    whole.set_header(header);
    return eventually([&] { return it.tx(pair).send({&whole, 1}) == 1; });
  }
  /// The next frame; nothing when there is none now.
  std::optional<tap_wire::received> receive(std::size_t pair) {
    frame got;
    if (it.rx(pair).receive({&got, 1}) == 0) return std::nullopt;
    tap_wire::received copy{got.header(), {}};
    got.for_each_segment([&](std::span<std::byte> part) {
      copy.frame.insert(copy.frame.end(), part.begin(), part.end());
    });
    it.rx(pair).recycle({&got, 1});
    return copy;
  }

  /// Sends `count` numbered frames of assorted sizes up to `longest` bytes and looks at how they
  /// come out at the kernel's end. What went wrong; empty if nothing.
  std::string to_kernel(std::size_t pair, std::uint32_t count, std::size_t longest,
                        std::size_t piece = SIZE_MAX) {
    std::uint32_t seen = 0;
    std::string wrong;
    const auto look = [&] {
      for (std::int64_t n; wrong.empty() && (n = wire.next_number()) != -1; ++seen) {
        if (n != seen) wrong = "frame " + std::to_string(seen) + " came as " + std::to_string(n);
      }
    };
    for (std::uint32_t i = 0; i < count && wrong.empty(); ++i) {
      if (!send(pair, numbered_frame(i, size_of(i, longest)), {}, piece)) {
        return "frame " + std::to_string(i) + " was not taken";
      }
      look();
    }
    if (!eventually([&] { return look(), seen == count || !wrong.empty(); }) && wrong.empty()) {
      wrong = std::to_string(seen) + " of " + std::to_string(count) + " came out";
    }
    return wrong;
  }
  /// The same from the kernel's end to whichever queue pair.
  std::string from_kernel(std::uint32_t count, std::size_t longest) {
    std::uint32_t seen = 0;
    std::string wrong;
    std::vector<std::int64_t> last(it.queue_pairs(), -1);
    const auto look = [&] {
      for (std::size_t pair = 0; pair < it.queue_pairs() && wrong.empty(); ++pair) {
        while (const auto got = receive(pair)) {
          const auto number = number_of(got->frame);
          if (!number || *number <= last[pair] || got->frame.size() != size_of(*number, longest)) {
            wrong = "frame after " + std::to_string(last[pair]) + " of pair " +
                    std::to_string(pair) + " came as " +
                    (number ? std::to_string(*number) : "garbage") + " of " +
                    std::to_string(got->frame.size());
            break;
          }
          last[pair] = *number;
          ++seen;
        }
      }
    };
    for (std::uint32_t i = 0; i < count && wrong.empty(); ++i) {
      // The TAP's own queue holds 1000 frames; then it drops.
      if (!eventually([&] { return look(), i - seen < 300 || !wrong.empty(); })) break;
      if (const int reason = wire.send(numbered_frame(i, size_of(i, longest))); reason != 0) {
        return "the kernel's end: errno " + std::to_string(reason);
      }
    }
    if (!eventually([&] { return look(), seen == count || !wrong.empty(); }) && wrong.empty()) {
      wrong = std::to_string(seen) + " of " + std::to_string(count) + " came out";
    }
    return wrong;
  }

  static std::size_t size_of(std::uint32_t number, std::size_t longest) {
    return number % 5 == 0 ? longest : 60 + number * 37 % (longest - 59);
  }
};
using device_bed = basic_device_bed<device>;
template <class Layout>
using layout_bed = basic_device_bed<basic_device<Layout>>;

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_DEVICE_BED_HPP
