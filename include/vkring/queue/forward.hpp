// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_FORWARD_HPP
#define VKRING_QUEUE_FORWARD_HPP

// From a received frame to one that can be sent.

#include <span>
#include <vkring/memory/frame.hpp>
#include <vkring/net/header.hpp>

namespace vkring::inline v0 {

/// Makes a received frame ready to be sent, by any tx queue on the same source, without a copy: what
/// only a receiver is told leaves its header, what is still to be done for the frame stays.
///
/// A queue that did not negotiate what is to be done drops the frame in `send` and counts why.
template <buffer_source Source>
void forward(basic_frame<Source>& received) noexcept {
  if (received.header().is_plain()) return;
  received.set_header(to_tx_header(received.header()));
}

/// The same for each frame of a burst.
template <buffer_source Source>
void forward(std::span<basic_frame<Source>> frames) noexcept {
  for (basic_frame<Source>& each : frames) forward(each);
}

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_FORWARD_HPP
