// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_HAND_OVER_HPP
#define VKRING_WORKER_HAND_OVER_HPP

// How a device comes to rest, and goes on from there in this process or another one.

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/shareable_source.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/worker/device_parts.hpp>
#include <vkring/worker/device_state.hpp>
#include <vkring/worker/suspended_device.hpp>

namespace vkring::inline v0 {

namespace detail {

// The steps of suspend and resume over the parts of a device.
template <class Parts>
struct hand_over {
  using sys = typename Parts::sys;
  using source_type = typename Parts::source_type;
  using pair_type = typename Parts::pair_type;
  using events = typename pair_type::events;
  using suspended = basic_suspended_device<sys>;
  using descriptors = std::vector<basic_fd<sys>>;

  // Everything that can fail comes before the backend stops: on failure nothing has changed.
  static result<suspended> suspend(Parts& parts) {
    const std::string& name = parts.taps.front().name();
    if (parts.source->memfd() < 0) {
      return fail(std::errc::not_supported, "suspend", name,
                  "its source is private memory: make the pool with memory.shareable");
    }
    const std::uint32_t size = parts.sizes.front().tx;
    const auto usual = [size](const ring_sizes& each) { return each == ring_sizes{size, size}; };
    if (!std::all_of(parts.sizes.begin(), parts.sizes.end(), usual)) {
      return fail(std::errc::not_supported, "suspend", name, "its rings are not all of one size");
    }
    suspended made;
    made.state.name = name;
    made.state.hands = parts.hands;
    made.state.agreed = parts.agreed;
    made.state.queue_size = size;
    made.state.source = parts.source->shape();
    for (std::size_t i = 0; i < parts.pairs.size(); ++i) {
      auto taken = state_of(parts, i);
      if (!taken) return fail(std::move(taken.error()));
      made.state.pairs.push_back(std::move(*taken));
    }
    if (auto all = none_is_out(parts, made.state); !all) return fail(std::move(all.error()));
    if (auto done = copy_descriptors(parts, made.fds); !done) return fail(std::move(done.error()));
    made.state.stopped_at = now();
    stop(parts);
    for (std::size_t i = 0; i < parts.pairs.size(); ++i) {
      // What the backend took as its last need not go along.
      parts.pairs[i]->tx().settle();
      pair_state& pair = made.state.pairs[i];
      pair.tx = parts.pairs[i]->tx().state();
      pair.counters = parts.counted[i];
      if (parts.worker == nullptr) continue;
      pair.counters = parts.worker->counters(i);
      pair.held = parts.worker->held_frame(i);
      if constexpr (Parts::is_packed) {
        pair.tx.ring.device_at = parts.worker->tx_position(i);
        pair.rx.ring.device_at = parts.worker->rx_position(i);
      }
    }
    if (parts.vhost) {
      made.stopped = std::make_shared<std::remove_reference_t<decltype(*parts.vhost)>>(
          std::move(*parts.vhost));
    }
    let_go(parts);
    return made;
  }

  // Fills `parts`, which has no source yet. On failure `from` can be resumed once more.
  static result<void> resume(Parts& parts, const suspended& from, const resume_options& how) {
    const device_state& state = from.state;
    auto busy = buffers_in_flight(state);
    if (!busy) return fail(std::move(busy.error()));
    descriptors copies;
    for (const basic_fd<sys>& each : from.fds) {
      auto copy = each.duplicate();
      if (!copy) return fail(std::move(copy.error()));
      copies.push_back(std::move(*copy));
    }
    auto source = source_type::from_fd(
        typename source_type::descriptor(copies[1].release()), state.source);
    if (!source) return fail(std::move(source.error()));
    (*source)->keep_out(*busy);
    parts.source = std::move(*source);
    typename Parts::config wanted = config_of(state, how);
    if (auto done = choose_backend(parts, state, wanted); !done) return done;
    for (std::size_t i = 0; i < state.pairs.size(); ++i) {
      const std::size_t queue = suspended::fds_of_device + i * suspended::fds_of_pair;
      wanted.queue_fds.push_back(std::move(copies[queue]));
    }
    if (auto done = open_interface(parts, state, wanted); !done) return done;
    parts.make_table();
    auto events = map_rings(parts, state, copies);
    if (!events) return fail(std::move(events.error()));
    if (auto done = take_possession(parts, state); !done) return done;
    auto done = make_pairs(parts, state, std::move(*events));
    if (done) done = parts.watch_events();
    if (done) done = parts.start(wanted);
    if (!done) {
      whose(parts, state).store(state.hands, std::memory_order_release);
      return done;
    }
    for (const auto& pair : parts.pairs) {
      // What was asked for before does not count any more, on either side.
      pair->notifications().tx_kick.signal();
      pair->notifications().rx_kick.signal();
    }
    const std::uint64_t gap = now() - state.stopped_at;
    parts.gap = std::chrono::nanoseconds(static_cast<std::int64_t>(gap >> 63 == 0 ? gap : 0));
    return {};
  }

 private:
  static std::uint64_t now() noexcept {
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
  }

  static result<pair_state> state_of(Parts& parts, std::size_t i) {
    pair_type& pair = *parts.pairs[i];
    const std::string object = parts.taps.front().name() + " pair " + std::to_string(i);
    for (const ring_breach& breach : {pair.tx().ring().breach(), pair.rx().ring().breach()}) {
      if (!breach) continue;
      return fail(EIO, "suspend", object,
                  "its ring is broken by " + std::string(name(breach.fault)) +
                      ": open the device anew");
    }
    pair.tx().settle();
    pair.rx().settle();
    if (const std::size_t segments = pair.tx().unfinished(); segments != 0) {
      return fail(EBUSY, "suspend", object,
                  std::to_string(segments) +
                      " sends of segments are not collected: ask tx(i).finished first");
    }
    pair_state made;
    made.enabled = parts.enabled[i];
    made.tx = pair.tx().state();
    made.rx = pair.rx().state();
    return made;
  }

  // Every buffer is free or in flight, as far as this device knows.
  static result<void> none_is_out(const Parts& parts, const device_state& state) {
    auto busy = buffers_in_flight(state);
    if (!busy) return fail(std::move(busy.error()));
    std::size_t known = parts.source->available();
    for (const pair_state& each : state.pairs) {
      known += each.tx.buffers.size() + each.rx.buffers.size();
    }
    const std::size_t out = parts.source->size() - known;
    if (out == 0) return {};
    return fail(EBUSY, "suspend", state.name,
                std::to_string(out) + " buffers are out: frames that the application holds, and other "
                                      "devices on the same source, have to give them back first");
  }

  static result<void> copy_descriptors(const Parts& parts, descriptors& into) {
    const auto copy = [&](int original) -> result<void> {
      auto made = basic_fd<sys>::adopt(sys_result(sys::fcntl(original, F_DUPFD_CLOEXEC),
                                                  "fcntl(F_DUPFD_CLOEXEC)",
                                                  "fd " + std::to_string(original)));
      if (!made) return fail(std::move(made.error()));
      into.push_back(std::move(*made));
      return {};
    };
    auto done = copy(parts.rings->fd());
    if (done) done = copy(parts.source->memfd());
    for (std::size_t i = 0; i < parts.pairs.size() && done; ++i) {
      const auto& events = parts.pairs[i]->notifications();
      for (const int each : {parts.taps[i].fd(), events.tx_kick.fd(), events.tx_call.fd(),
                             events.rx_kick.fd(), events.rx_call.fd()}) {
        if (done) done = copy(each);
      }
    }
    return done;
  }

  // The backend touches no ring any more.
  static void stop(Parts& parts) {
    const std::size_t pairs = parts.pairs.size();
    if (parts.vhost) {
      result<void> done;
      for (std::size_t i = 0; i < pairs; ++i) {
        if (parts.enabled[i] && done) done = parts.vhost->stop_tx(i);
      }
      for (std::size_t i = 0; i < pairs; ++i) {
        if (parts.enabled[i] && done) done = parts.vhost->stop_rx(i);
      }
      // Whoever closes it need not ask.
      if (!done) parts.vhost.reset();
    } else {
      for (std::size_t i = 0; i < pairs; ++i) parts.worker->serve(i, false);
      parts.worker->stop();
    }
  }

  // Nothing of this process has a say any more in what becomes of the rings and the buffers.
  static void let_go(Parts& parts) {
    parts.vhost.reset();
    parts.worker.reset();
    parts.pairs.clear();
    std::vector<typename source_type::handle> all(parts.source->available());
    static_cast<void>(parts.source->take(all));
  }

  static typename Parts::config config_of(const device_state& state, const resume_options& how) {
    typename Parts::config wanted;
    wanted.mode = state.agreed.able.link == link_layer::none ? tap_mode::tun : tap_mode::tap;
    wanted.backend = how.backend;
    wanted.worker = how.worker;
    wanted.vhost = how.vhost;
    wanted.wanted = state.agreed.asked;
    wanted.wanted.queue_size = state.queue_size;
    return wanted;
  }

  static result<void> choose_backend(Parts& parts, const device_state& state,
                                     const typename Parts::config& wanted) {
    if (auto chosen = parts.choose_backend(wanted); !chosen) return chosen;
    parts.agreed = state.agreed;
    auto again = parts.agreed.plan(parts.offer());
    if (!again) return fail(std::move(again.error()));
    if (std::string lack = lacking(parts, state, *again); !lack.empty()) {
      if (!parts.vhost || wanted.backend == backend_kind::vhost) {
        return fail(std::errc::not_supported, "resume", state.name, lack);
      }
      parts.reason = "with vhost-net: " + lack;
      parts.vhost.reset();
      again = parts.agreed.plan(parts.offer());
      if (!again) return fail(std::move(again.error()));
      if (lack = lacking(parts, state, *again); !lack.empty()) {
        return fail(std::errc::not_supported, "resume", state.name, lack);
      }
    }
    parts.take_plan(std::move(*again));
    return {};
  }
  // Why the backend cannot go on with these rings; empty if it can.
  static std::string lacking(const Parts& parts, const device_state& state,
                             const offload_plan& plan) {
    if (plan.packed != Parts::is_packed) {
      return plan.packed ? "its rings are packed: resume it as a basic_device<packed>"
                         : "its rings are split: resume it as a device of such";
    }
    const auto missing = plan.backend_features - parts.offer().features;
    if (!missing.empty()) {
      return std::string(parts.offer().name) + " has no " + feature_text(missing) +
             ", which was agreed on";
    }
    if (!parts.vhost) return {};
    for (const pair_state& each : state.pairs) {
      if (!each.held.empty()) {
        return "a frame that the worker took waits for buffers, and only a worker can deliver it";
      }
      // It foretells the heads of chains from where it starts, as if each had one descriptor.
      if (plan.in_order && each.tx.ring.mode == ring_mode::general) {
        return "in-order chains of several descriptors are in flight: it would look for them elsewhere";
      }
    }
    return {};
  }

  static result<void> open_interface(Parts& parts, const device_state& state,
                                     typename Parts::config& wanted) {
    if (auto done = parts.open_taps(wanted, std::nullopt); !done) return done;
    auto first = parts.taps.front().mac();
    if (!first) return fail(std::move(first.error()));
    for (const auto& tap : parts.taps) {
      auto its = tap.mac();
      if (!its) return fail(std::move(its.error()));
      if (tap.name() == state.name && *its == *first) continue;
      return fail(EINVAL, "resume", state.name,
                  "a queue is one of " + tap.name() + ", another interface");
    }
    if (auto done = parts.open_link(wanted, std::nullopt); !done) return done;
    return parts.configure_taps();
  }

  // Nothing is written to the rings. Returns the events of each pair.
  static result<std::vector<events>> map_rings(Parts& parts, const device_state& state,
                                               descriptors& copies) {
    parts.sizes.assign(state.pairs.size(), {state.queue_size, state.queue_size});
    const queue_pair_layout layout = parts.layout_of(0);
    auto mapped = basic_region<sys>::from_fd(
        std::move(copies[0]), parts.block_at(state.pairs.size()) + Parts::ring_type::alignment);
    if (!mapped) return fail(std::move(mapped.error()));
    parts.rings.emplace(std::move(*mapped));
    std::vector<events> made;
    for (std::size_t i = 0; i < state.pairs.size(); ++i) {
      const std::span<std::byte> block = parts.block_of(i);
      const pair_state& pair = state.pairs[i];
      std::string_view wrong = flaw(pair.tx.ring, pair_type::tx_ring_in(block, layout));
      if (wrong.empty()) wrong = flaw(pair.rx.ring, pair_type::rx_ring_in(block, layout));
      if (!wrong.empty()) {
        return fail(EBADMSG, "resume", state.name + " pair " + std::to_string(i), wrong);
      }
      const std::size_t first = suspended::fds_of_device + i * suspended::fds_of_pair + 1;
      auto taken = events_of(std::span(copies).subspan(first, 4));
      if (!taken) return fail(std::move(taken.error()));
      made.push_back(std::move(*taken));
    }
    return made;
  }
  static result<void> make_pairs(Parts& parts, const device_state& state,
                                 std::vector<events> all_events) {
    for (const pair_state& each : state.pairs) {
      parts.enabled.push_back(each.enabled);
      parts.counted.push_back(each.counters);
      parts.held.push_back(each.held);
      parts.starts.push_back({each.tx.ring.device_at, each.rx.ring.device_at});
    }
    const auto make = [&](std::size_t i, std::span<std::byte> block,
                          std::uint64_t guest) -> result<std::unique_ptr<pair_type>> {
      return std::make_unique<pair_type>(std::move(all_events[i]), block, guest,
                                         parts.layout_of(i), options_of(parts.plan), parts.plan,
                                         *parts.table, *parts.source, state.pairs[i].tx,
                                         state.pairs[i].rx);
    };
    return parts.make_pairs(make);
  }
  static result<events> events_of(std::span<basic_fd<sys>> fds) {
    std::vector<basic_event_fd<sys>> made;
    for (basic_fd<sys>& each : fds) {
      auto event = basic_event_fd<sys>::from_fd(std::move(each));
      if (!event) return fail(std::move(event.error()));
      made.push_back(std::move(*event));
    }
    return events{std::move(made[0]), std::move(made[1]), std::move(made[2]), std::move(made[3])};
  }

  // The word behind the rings that counts how often they have changed hands.
  static std::atomic_ref<std::uint32_t> whose(const Parts& parts, const device_state& state) noexcept {
    const std::size_t behind = parts.block_at(state.pairs.size());
    return std::atomic_ref(*reinterpret_cast<std::uint32_t*>(parts.rings->bytes().data() + behind));
  }
  // Of all who have the same state, one gets the rings.
  static result<void> take_possession(Parts& parts, const device_state& state) {
    std::uint32_t expected = state.hands;
    parts.hands = state.hands + 1;
    if (whose(parts, state).compare_exchange_strong(expected, parts.hands,
                                                    std::memory_order_acq_rel)) {
      return {};
    }
    return fail(EBUSY, "resume", state.name, "somebody else has taken it up with the same state");
  }
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_HAND_OVER_HPP
