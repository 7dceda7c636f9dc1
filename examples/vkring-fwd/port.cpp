// SPDX-License-Identifier: BSD-3-Clause
#include "port.hpp"

#include <utility>
#include <vkring/net/offload.hpp>

namespace fwd {

namespace {

template <class Port, class Options>
vkring::result<port> open_as(const Options& options, const port_context& context) {
  auto opened = Port::open(options, context);
  if (!opened) return vkring::fail(std::move(opened.error()));
  return port(std::move(*opened));
}

}  // namespace

vkring::result<port> open_port(const port_options& options, const port_context& context) {
  const auto* tap = std::get_if<tap_options>(&options);
  if (tap == nullptr) return open_as<packet_port>(std::get<packet_options>(options), context);
  return tap->layout == layout_choice::packed ? open_as<tap_port<vkring::packed>>(*tap, context)
                                              : open_as<tap_port<vkring::split>>(*tap, context);
}

std::uint64_t buffers_needed(const port_options& options, std::uint32_t capacity) {
  constexpr std::uint64_t burst = 64;  // of a lane, and of a queue's stock
  constexpr std::uint64_t large = 64;  // frames of the largest size on their way
  const std::uint64_t of_large_frames = large * (vkring::max_gso_frame / capacity + 1);
  if (const auto* tap = std::get_if<tap_options>(&options)) {
    // Both rings full, and as much in the stock of the tx queue.
    return tap->queues * (3 * std::uint64_t{tap->queue_size} + 4 * burst) + of_large_frames;
  }
  return packet_socket::buffers_held(capacity) + 4 * burst + of_large_frames;
}

}  // namespace fwd
