// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_DEVICE_STATE_HPP
#define VKRING_WORKER_DEVICE_STATE_HPP

// What a device that is at rest knows by itself, in a form that can go to another process.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/tap_options.hpp>
#include <vkring/memory/shareable_source.hpp>
#include <vkring/net/features.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/net/wanted.hpp>
#include <vkring/queue/queue_state.hpp>
#include <vkring/ring/layout.hpp>
#include <vkring/ring/packed_layout.hpp>
#include <vkring/worker/counters.hpp>

namespace vkring::inline v0 {

/// What was negotiated, as what led to it: the same again leads to the same plan.
struct agreement {
  wanted_features asked;  ///< by the application
  feature_set offered;    ///< by the backend
  tap_capabilities able;  ///< what the TAP could do

  /// The plan, whatever `backend` offers now; the report names it. Errors: those of `negotiate`.
  [[nodiscard]] result<offload_plan> plan(ring_backend backend) const {
    backend.features = offered;
    return negotiate(asked, backend, able);
  }
};

/// What both sides of the rings of a device were told, but for the size of each.
[[nodiscard]] inline ring_options options_of(const offload_plan& plan) noexcept {
  ring_options agreed;
  agreed.event_idx = plan.event_idx;
  agreed.indirect = plan.indirect;
  agreed.in_order = plan.in_order;
  return agreed;
}

/// One queue pair of a device at rest.
struct pair_state {
  bool enabled = true;       ///< the kernel gives it frames
  queue_state tx;            ///< of the tx queue
  queue_state rx;            ///< of the rx queue
  worker_counters counters;  ///< the worker's
  /// A frame with its header that the worker took from the kernel, and that waits for more buffers
  /// in the rx ring.
  std::vector<std::byte> held;
};

/// A device at rest, but for its memory and its descriptors.
struct device_state {
  std::string name;               ///< of the interface
  std::uint64_t stopped_at = 0;   ///< when the backend stopped, in nanoseconds of CLOCK_MONOTONIC
  std::uint32_t hands = 0;        ///< how often its rings have changed hands
  agreement agreed;               ///< what led to its plan
  std::uint32_t queue_size = 0;   ///< of each ring
  source_shape source;            ///< of the buffers
  std::vector<pair_state> pairs;  ///< in the order of their numbers
};

/// The most buffers that the source of a device may have to be handed over.
inline constexpr std::uint32_t max_shared_buffers = 1u << 24;

/// Sets the bits of the buffers that are in flight. Errors: what no device can ever have had as its
/// state (EBADMSG, with the queue and what is wrong), those of `negotiate`. Allocation: a few bits
/// for each buffer and descriptor.
[[nodiscard]] inline result<std::vector<bool>> buffers_in_flight(const device_state& state) {
  const auto refuse = [](std::string_view object, std::string_view why) {
    return fail(EBADMSG, "device state", object, why);
  };
  if (state.name.empty() || state.name.find('%') != state.name.npos ||
      !broken_name_rule(state.name).empty()) {
    return refuse("name", "no interface can have that name");
  }
  if (state.pairs.empty() || state.pairs.size() > 256 ||
      state.pairs.size() != state.agreed.asked.queue_pairs) {
    return refuse("queues=" + std::to_string(state.pairs.size()), "another number was agreed on");
  }
  const source_shape& source = state.source;
  if (source.buffers == 0 || source.buffers > max_shared_buffers) {
    return refuse("buffers=" + std::to_string(source.buffers),
                  "from 1 to " + std::to_string(max_shared_buffers));
  }
  if (state.agreed.asked.buffer_bytes != std::uint64_t{source.capacity} + header_size) {
    return refuse("buffer-size=" + std::to_string(source.capacity), "another size was agreed on");
  }
  auto plan = state.agreed.plan({"the backend", {}});
  if (!plan) return fail(std::move(plan.error()));
  auto sized = plan->packed ? packed_ring::check_size(state.queue_size)
                            : split_ring::check_size(state.queue_size);
  if (!sized) return fail(std::move(sized.error()));
  const ring_options options =
      options_of(*plan).of_size(static_cast<std::uint16_t>(state.queue_size));
  std::vector<bool> busy(source.buffers);
  for (std::size_t i = 0; i < state.pairs.size(); ++i) {
    const auto check = [&](const queue_state& queue, const char* kind) -> result<void> {
      std::string_view wrong =
          plan->packed ? flaw<packed>(queue.ring, options) : flaw<split>(queue.ring, options);
      if (wrong.empty()) wrong = flaw(queue, busy);
      if (wrong.empty()) return {};
      return refuse(kind + std::to_string(i), wrong);
    };
    const pair_state& pair = state.pairs[i];
    if (auto good = check(pair.tx, "tx queue "); !good) return fail(std::move(good.error()));
    if (auto good = check(pair.rx, "rx queue "); !good) return fail(std::move(good.error()));
    if (pair.rx.buffers.size() != pair.rx.counts.size()) {
      return refuse("rx queue " + std::to_string(i), "a chain with an impossible number of buffers");
    }
    if (!pair.held.empty() && (!plan->mergeable || pair.held.size() < plan->header_bytes ||
                               pair.held.size() > max_gso_frame + plan->header_bytes)) {
      return refuse("rx queue " + std::to_string(i), "a frame that cannot have been waiting");
    }
  }
  return busy;
}

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_DEVICE_STATE_HPP
