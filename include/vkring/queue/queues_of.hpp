// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_QUEUE_QUEUES_OF_HPP
#define VKRING_QUEUE_QUEUES_OF_HPP

// Which queues a device has on a source of buffers.

#include <vkring/queue/rx_queue.hpp>
#include <vkring/queue/tx_queue.hpp>

namespace vkring::inline v0 {

/// The queues of a device on `Source`: those of frames. Specialised for a source whose buffers are
/// something else to their owner. What the tokens of the rings are belongs to it.
template <buffer_source Source>
struct queues_of {
  /// @{
  /// What a ring carries with each chain, and the queue on top of it.
  using tx_token_type = tx_token;
  using rx_token_type = typename Source::handle;
  template <driver_queue Ring, std::invocable Notify>
  using tx = tx_queue<Ring, Source, Notify>;
  template <driver_queue Ring, std::invocable Notify>
  using rx = rx_queue<Ring, Source, Notify>;
  /// @}
};

}  // namespace vkring::inline v0

#endif  // VKRING_QUEUE_QUEUES_OF_HPP
