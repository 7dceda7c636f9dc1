// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_WORKER_QUEUE_HPP
#define VKRING_WORKER_WORKER_QUEUE_HPP

// What whoever serves the far end of a queue pair has to know of it.

#include <cstddef>
#include <vector>
#include <vkring/net/header.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/worker/counters.hpp>

namespace vkring::inline v0 {

/// What the device side of a queue pair is made of. The descriptors stay the owner's, and open for
/// as long as the worker runs. The TAP queue and the eventfds are non-blocking, and the queue stays
/// attached while it is served: one that was detached (TUNSETQUEUE) counts as an interface that is
/// gone, for good. A split ring is taken up where its used index is, which it shows itself; a
/// packed one at a position that somebody has to tell.
template <class Layout>
struct worker_queue {
  typename Layout::ring_type tx;           ///< the ring of what the application sends
  typename Layout::ring_type rx;           ///< the ring of what it receives
  ring_options options;                    ///< of both rings, but for the size and the start
  ring_index tx_start{};                   ///< of a packed ring, like `ring_options::start`
  ring_index rx_start{};                   ///< the same for the other ring
  int tap = -1;                            ///< a queue of the interface
  int tx_kick = -1;                        ///< signalled when frames were sent
  int rx_kick = -1;                        ///< signalled when buffers were given
  int tx_call = -1;                        ///< to be signalled when frames were taken
  int rx_call = -1;                        ///< to be signalled when frames have come
  int error = -1;                          ///< signalled when the pair is in trouble
  std::size_t header_bytes = header_size;  ///< also the TAP's
  bool mergeable = false;                  ///< a received frame may lie in several buffers
  std::size_t usual_frame = 1518;  ///< bytes, header not counted: what buffers are lined up for
  bool served = true;              ///< false: not before it is asked for
  worker_counters counters{};      ///< what the worker counted for this pair before
  /// A frame with its header that the worker took from the kernel before, and could not deliver.
  std::vector<std::byte> held{};
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_WORKER_QUEUE_HPP
