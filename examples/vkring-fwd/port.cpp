// SPDX-License-Identifier: BSD-3-Clause
#include "port.hpp"

#include <utility>
#include <vkring/net/offload.hpp>

namespace fwd {

vkring::result<port> open_port(const port_options& options, const port_context& context) {
  return std::visit(
      [&](const auto& given) -> vkring::result<port> {
        using given_type = std::decay_t<decltype(given)>;
        using port_type =
            std::conditional_t<std::is_same_v<given_type, tap_options>, tap_port, packet_port>;
        auto opened = port_type::open(given, context);
        if (!opened) return vkring::fail(std::move(opened.error()));
        return port(std::move(*opened));
      },
      options);
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
