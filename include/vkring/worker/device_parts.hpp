// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_DEVICE_PARTS_HPP
#define VKRING_WORKER_DEVICE_PARTS_HPP

// What a device consists of, and how it is put together.

#include <sys/types.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/event_set.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netns.hpp>
#include <vkring/kernel/queue_claim.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/worker/device_config.hpp>
#include <vkring/worker/device_state.hpp>
#include <vkring/worker/health.hpp>
#include <vkring/worker/queue_pair.hpp>
#include <vkring/worker/tap_worker.hpp>
#include <vkring/worker/vhost_backend.hpp>

namespace vkring::inline v0 {

namespace detail {

template <class Parts>
struct hand_over;

// In the order of construction; destroyed in reverse, so nothing is used after it is gone.
template <class Layout, buffer_source Source, class Sys, class Worker>
struct device_parts {
  using pair_type = queue_pair<Layout, Source, Sys>;
  using config = basic_device_config<Sys>;
  using sys = Sys;
  using source_type = Source;
  using ring_type = typename Layout::ring_type;
  using vhost_backend = basic_vhost_backend<split, Sys>;  // in every Linux kernel

  static constexpr bool is_packed = std::is_same_v<Layout, packed>;
  static constexpr std::string_view vhost_name = "vhost-net";
  static constexpr std::string_view worker_name = "worker";

  explicit device_parts(std::shared_ptr<Source> from) : source(std::move(from)) {}
  device_parts(const device_parts&) = delete;
  device_parts& operator=(const device_parts&) = delete;
  ~device_parts() {
    if (vhost) vhost->stop();
    if (worker != nullptr) worker->stop();
    for (auto& pair : pairs) {
      pair->tx().stop();
      pair->rx().stop();
    }
  }

  // Between the backend and the TAP: no frame is on its way while the queue is detached.
  result<void> set_enabled(std::size_t i, bool on) {
    const basic_tap<Sys>& tap = taps[i];
    if (enabled[i] == on) return {};
    if (on) {
      if (auto done = tap.attach_queue(); !done) return done;
      if (auto done = serve(i); !done) {
        static_cast<void>(tap.detach_queue());
        return done;
      }
    } else {
      if (!vhost) {
        worker->serve(i, false);
      } else if (auto done = vhost->stop_tx(i); !done) {
        return done;
      }
      auto done = tap.detach_queue();
      if (done && vhost) {
        done = vhost->stop_rx(i);
        if (!done) static_cast<void>(tap.attach_queue());
      }
      if (!done) {
        static_cast<void>(serve(i));
        return done;
      }
    }
    enabled[i] = on;
    return {};
  }
  result<void> serve(std::size_t i) {
    if (vhost) return vhost->restart(i);
    worker->serve(i, true);
    return {};
  }

  // Makes `troubles` quiet until there is news.
  void take_note() {
    static_cast<void>(troubles->wait(std::chrono::nanoseconds(0)));
    if (!link_events) return;
    for (auto event = link_events->read_event(); event && *event;) {
      event = link_events->read_event();
    }
  }
  // What the device side of a pair says of it, which takes nothing if it has stalled.
  [[nodiscard]] queue_health far_health(std::size_t i, bool stalled) {
    queue_health it;
    it.pair = i;
    it.stalled = stalled;
    const auto take = [&](const ring_breach& tx, const ring_breach& rx, bool gone) {
      it.tx_device = tx;
      it.rx_device = rx;
      it.interface_gone = gone;
    };
    if (vhost) {
      vhost->examine(i);
      if (stalled) vhost->examine_stalled(i);
      take(vhost->tx_breach(i), vhost->rx_breach(i), vhost->tap_gone(i));
    } else {
      const worker_health& far = worker->health(i);
      take(far.tx_breach(), far.rx_breach(), far.tap_gone());
    }
    return it;
  }

  // How far the device side has come with the tx ring of a pair.
  [[nodiscard]] tx_progress progress(std::size_t i) const noexcept {
    if constexpr (is_packed) {
      // Such a ring has no index that both sides show. One frame is one chain; a worker serves it.
      const std::uint64_t taken = worker->counters(i).tx_taken();
      const std::uint64_t sent = pairs[i]->tx().counters().frames.value();
      return {static_cast<std::uint16_t>(taken),
              static_cast<std::uint16_t>(sent > taken ? sent - taken : 0)};
    } else {
      return tx_progress::of(pairs[i]->tx_ring());
    }
  }

  // The kernel's own answer to a child that asks for its parent's vhost device.
  [[nodiscard]] result<void> not_forked() const {
    if (Sys::getpid() == owner) return {};
    return fail(std::errc::operation_not_permitted, "device", taps.front().name(),
                "it belongs to the process that opened it: a forked child opens its own");
  }

  const pid_t owner = Sys::getpid();
  std::shared_ptr<Source> source;
  std::string reason;
  agreement agreed;
  offload_plan plan;
  std::vector<basic_tap<Sys>> taps;
  std::vector<basic_queue_claim<Sys>> claims;  // on each of them
  std::optional<basic_link<Sys>> link;
  link_state state;  // before anything was set
  std::optional<basic_link_events<Sys>> link_events;  // with vhost-net, which says nothing of those
  std::optional<basic_region<Sys>> rings;
  std::optional<memory_table> table;  // the rings, and the source's memory
  std::optional<basic_event_fd<Sys>> error;  // the worker's
  std::vector<ring_sizes> sizes;  // of each pair
  std::vector<std::unique_ptr<pair_type>> pairs;
  std::vector<bool> enabled;
  std::vector<worker_counters> counted;         // by workers before this one
  std::vector<std::vector<std::byte>> held;     // frames that the one before this had to leave
  std::vector<std::array<ring_index, 2>> starts;  // of packed rings, tx and rx, on the device side
  std::uint32_t hands = 0;               // how often the rings have changed hands
  std::chrono::nanoseconds gap{0};       // the last time
  std::size_t rx_needs = 1;  // buffers, for the largest frame
  std::vector<ring_motion> motions;
  std::size_t broken = 0;                        // queues that `wait` has told of
  std::optional<basic_event_set<Sys>> troubles;  // what tells that `health` has news
  std::optional<basic_event_set<Sys>> wake_ups;  // what `wait` waits for
  // One of these two.
  std::optional<vhost_backend> vhost;
  std::unique_ptr<Worker> worker;

  result<void> open(config& wanted) {
    if (source == nullptr) {
      return fail(std::errc::invalid_argument, "open", "source", "needs a source of buffers");
    }
    const wanted_features& want = wanted.wanted;
    if (auto sized = choose_sizes(wanted); !sized) return sized;
    if (want.queue_pairs == 0 || want.queue_pairs > 256) {
      return fail(std::errc::invalid_argument, "open", "queues=" + std::to_string(want.queue_pairs),
                  "from 1 to 256 queue pairs");
    }
    if (wanted.mac && wanted.mode == tap_mode::tun) {
      return fail(std::errc::invalid_argument, "open", "mac=" + mac_text(*wanted.mac),
                  "a TUN carries IP packets and has no MAC: leave it out, or open a TAP");
    }
    if (auto chosen = choose_backend(wanted); !chosen) return chosen;
    std::optional<basic_netns<Sys>> where;
    if (!wanted.netns.empty()) {
      auto opened = basic_netns<Sys>::open(wanted.netns);
      if (!opened) return fail(std::move(opened.error()));
      where.emplace(std::move(*opened));
    }
    if (auto done = open_taps(wanted, where); !done) return done;
    if (auto done = open_link(wanted, where); !done) return done;
    if (auto done = agree(wanted); !done) return done;
    if (auto done = configure_taps(); !done) return done;
    make_table();
    if (auto done = make_rings(want); !done) return done;
    if (auto done = start(wanted); !done) return done;
    if (auto done = watch_events(); !done) return done;
    if (auto done = configure_link(wanted); !done) return done;
    if (wanted.up && !state.up) {
      if (auto done = link->set_up(true); !done) return done;
    }
    // Last, so that a failure leaves nothing behind.
    return wanted.persist ? taps.front().set_persist(true) : result<void>{};
  }

 private:
  friend struct hand_over<device_parts>;

  result<void> choose_sizes(const config& wanted) {
    const std::uint32_t usual = wanted.wanted.queue_size;
    if (auto good = Layout::ring_type::check_size(usual); !good) return good;
    sizes = wanted.sizes;
    if (sizes.empty()) sizes.assign(wanted.wanted.queue_pairs, {usual, usual});
    if (sizes.size() != wanted.wanted.queue_pairs) {
      return fail(std::errc::invalid_argument, "open", std::to_string(sizes.size()) + " sizes",
                  "one for each of the " + std::to_string(wanted.wanted.queue_pairs) +
                      " queue pairs, or none");
    }
    for (std::size_t pair = 0; pair != sizes.size(); ++pair) {
      for (const std::uint32_t size : {sizes[pair].tx, sizes[pair].rx}) {
        auto good = Layout::ring_type::check_size(size);
        if (!good) {
          good.error().object += " of pair " + std::to_string(pair);
          return good;
        }
      }
    }
    return {};
  }

  result<void> choose_backend(const config& wanted) {
    reason = "asked for";
    if (wanted.backend == backend_kind::worker) return {};
    auto opened = open_vhost(wanted);
    if (opened) {
      vhost.emplace(std::move(*opened));
      if (wanted.backend == backend_kind::automatic) reason = "it works here";
      return {};
    }
    if (wanted.backend == backend_kind::vhost) return fail(std::move(opened.error()));
    reason = opened.error().message();
    return {};
  }
  static result<vhost_backend> open_vhost(const config& wanted) {
    if constexpr (is_packed) {
      return fail(std::errc::not_supported, "open", "backend=vhost-net",
                  "it offers no packed ring in any Linux kernel: leave the device to the worker");
    } else {
      return vhost_backend::open(wanted.wanted.queue_pairs, wanted.vhost);
    }
  }

  result<void> open_taps(config& wanted, const std::optional<basic_netns<Sys>>& where) {
    tap_options options;
    options.name = wanted.name;
    options.mode = wanted.mode;
    options.limit = wanted.limit;
    options.multi_queue = several_queues(wanted.wanted);
    // vhost-net hands over frames in batches, which the stack then takes as such. The worker's come
    // one by one, and would only make a detour. Below a limit, frames of a batch would wait for the
    // last one, and that for room, which there is none until they are taken.
    options.napi = vhost.has_value() && wanted.mode == tap_mode::tap && !wanted.limit;
    options.owner = wanted.owner;
    options.group = wanted.group;
    options.netns_fd = where ? where->fd() : -1;
    options.header_size = static_cast<int>(plan.header_bytes);
    if (wanted.queue_fds.empty()) {
      auto opened = basic_tap<Sys>::open_queues(options, wanted.wanted.queue_pairs);
      if (!opened) return fail(std::move(opened.error()));
      taps = std::move(*opened);
      return claim_queues();
    }
    if (wanted.queue_fds.size() != wanted.wanted.queue_pairs) {
      return fail(
          std::errc::invalid_argument, "open",
          std::to_string(wanted.queue_fds.size()) + " queue fds",
          "one for each of the " + std::to_string(wanted.wanted.queue_pairs) + " queue pairs");
    }
    options.name.clear();
    for (basic_fd<Sys>& each : wanted.queue_fds) {
      auto taken = basic_tap<Sys>::from_fd(std::move(each), options);
      if (!taken) return fail(std::move(taken.error()));
      taps.push_back(std::move(*taken));
      options.name = taps.front().name();
    }
    return claim_queues();
  }
  result<void> claim_queues() {
    for (const basic_tap<Sys>& each : taps) {
      auto claim = basic_queue_claim<Sys>::make(each.fd(), each.name());
      if (!claim) return fail(std::move(claim.error()));
      claims.push_back(std::move(*claim));
    }
    return {};
  }

  result<void> open_link(const config& wanted, const std::optional<basic_netns<Sys>>& where) {
    const std::string& name = taps.front().name();
    const auto here = [&] { return basic_link<Sys>::open(name); };
    // Queues that somebody else opened may lead into a namespace that the caller is not in.
    auto opened = where                       ? basic_link<Sys>::open(name, *where)
                  : !wanted.queue_fds.empty() ? taps.front().in_its_netns(here)
                                              : here();
    if (!opened) return fail(std::move(opened.error()));
    link.emplace(std::move(*opened));
    if (vhost) {
      const auto listen = [] { return basic_link_events<Sys>::open(); };
      auto events = where                       ? basic_link_events<Sys>::open(*where)
                    : !wanted.queue_fds.empty() ? taps.front().in_its_netns(listen)
                                                : listen();
      if (!events) return fail(std::move(events.error()));
      link_events.emplace(std::move(*events));
      if (auto done = link_events->only_removal_of(link->index()); !done) return done;
    }
    auto now = link->read();
    if (!now) return fail(std::move(now.error()));
    state = std::move(*now);
    return {};
  }

  // Finds out what the TAP can do, and negotiates.
  result<void> agree(const config& wanted) {
    auto offloads = taps.front().probe_offloads();
    if (!offloads) return fail(std::move(offloads.error()));
    tap_capabilities able;
    able.link = wanted.mode == tap_mode::tap ? link_layer::ethernet : link_layer::none;
    able.max_mtu = static_cast<std::uint16_t>(65535 - link_header_size(able.link));
    able.vnet_hdr = true;
    able.multi_queue = several_queues(wanted.wanted);
    able.link_state = true;
    able.offloads = *offloads;
    able.mtu = static_cast<std::uint16_t>(state.mtu);
    wanted_features asked = wanted.wanted;
    if (is_packed) asked.packed = want::required;
    asked.buffer_bytes = source->capacity() + static_cast<std::uint32_t>(header_size);
    // The rest of a larger ring stays empty.
    asked.queue_size = static_cast<std::uint32_t>(source->size() / asked.queue_pairs);
    for (const ring_sizes& each : sizes) asked.queue_size = std::min(asked.queue_size, each.rx);
    agreed = {asked, offer().features, able};
    auto made = agreed.plan(offer());
    if (!made && vhost && wanted.backend == backend_kind::automatic) {
      reason = "with vhost-net: " + made.error().message();
      vhost.reset();
      link_events.reset();
      agreed.offered = offer().features;
      made = agreed.plan(offer());
    }
    if (!made) return fail(std::move(made.error()));
    take_plan(std::move(*made));
    return {};
  }
  void take_plan(offload_plan made) {
    plan = std::move(made);
    // Mergeable buffers hold payload in the place of the header, too, except the first.
    const std::size_t each = source->capacity() + plan.header_bytes;
    rx_needs = plan.mergeable ? (largest_frame() + plan.header_bytes + each - 1) / each : 1;
  }

  // What the chosen backend offers.
  [[nodiscard]] ring_backend offer() const noexcept {
    using enum feature;
    if (vhost) return {vhost_name, vhost->features(), "as no Linux kernel does"};
    feature_set features{version_1,
                         event_idx,
                         indirect_desc,
                         in_order,
                         mrg_rxbuf,
                         guest_udp_tunnel_gso,
                         guest_udp_tunnel_gso_csum,
                         host_udp_tunnel_gso,
                         host_udp_tunnel_gso_csum};
    if (is_packed) features.insert(ring_packed);
    return {worker_name, features, "as this is a device of split rings"};
  }

  result<void> configure_taps() {
    const basic_tap<Sys>& first = taps.front();
    if (auto done = first.set_header_size(static_cast<int>(plan.header_bytes)); !done) return done;
    return first.set_offloads(plan.tap_offloads);
  }

  result<void> configure_link(const config& wanted) {
    if (wanted.mac && wanted.mac != state.mac) {
      if (auto done = taps.front().set_mac(*wanted.mac); !done) return done;
    }
    if (wanted.wanted.mtu_bytes != 0 && wanted.wanted.mtu_bytes != state.mtu) {
      if (auto done = link->set_mtu(wanted.wanted.mtu_bytes); !done) return done;
    }
    for (const ip_prefix& each : wanted.addresses) {
      if (auto done = link->add_address(each); !done) return done;
    }
    return {};
  }

  void make_table() {
    table.emplace(vhost ? vhost_max_regions<Sys>() : memory_table::default_max_regions);
  }
  [[nodiscard]] queue_pair_layout layout_of(std::size_t pair) const noexcept {
    return {static_cast<std::uint16_t>(sizes[pair].tx), static_cast<std::uint16_t>(sizes[pair].rx),
            plan.indirect ? queue_pair_layout::entries_for(source->capacity()) : std::uint16_t{0}};
  }
  // Where the block of a pair begins; behind the last one there is a line that says whose the rings
  // are.
  [[nodiscard]] std::size_t block_at(std::size_t pair) const noexcept {
    std::size_t at = 0;
    for (std::size_t i = 0; i != pair; ++i) at += layout_of(i).template bytes<ring_type>();
    return at;
  }
  [[nodiscard]] std::span<std::byte> block_of(std::size_t pair) const noexcept {
    return rings->bytes().subspan(block_at(pair), layout_of(pair).template bytes<ring_type>());
  }

  // A source may have buffers of its own for each pair.
  [[nodiscard]] Source& source_of(std::size_t pair) noexcept {
    if constexpr (requires { source->of_pair(pair); }) {
      return source->of_pair(pair);
    } else {
      return *source;
    }
  }

  // Memory that another process can map where the source has such, too.
  result<void> make_rings(const wanted_features& want) {
    region_options where;
    if constexpr (shareable_source<Source>) where.shareable = source->memfd() >= 0;
    auto mapped =
        basic_region<Sys>::make(block_at(want.queue_pairs) + ring_type::alignment, where);
    if (!mapped) return fail(std::move(mapped.error()));
    rings.emplace(std::move(*mapped));
    const auto make = [&](std::size_t i, std::span<std::byte> block,
                          std::uint64_t guest) -> result<std::unique_ptr<pair_type>> {
      auto events = pair_type::events::create();
      if (!events) return fail(std::move(events.error()));
      return std::make_unique<pair_type>(std::move(*events), block, guest, layout_of(i),
                                         options_of(plan), plan, *table, source_of(i));
    };
    enabled.assign(want.queue_pairs, true);
    counted.resize(want.queue_pairs);
    held.resize(want.queue_pairs);
    starts.resize(want.queue_pairs);
    return make_pairs(make);
  }

  // Calls `make(i, block, guest address)` for each pair.
  template <class Make>
  result<void> make_pairs(Make&& make) {
    auto guest = table->add(rings->bytes());
    if (!guest) return fail(std::move(guest.error()));
    for (const guest_region& each_region : source->regions()) {
      auto added = table->add_at(each_region.guest, {each_region.host, each_region.size});
      if (!added) return added;
    }
    if (!vhost) {
      auto event = basic_event_fd<Sys>::create();
      if (!event) return fail(std::move(event.error()));
      error.emplace(std::move(*event));
    }
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      auto made = make(i, block_of(i), *guest + block_at(i));
      if (!made) return fail(std::move(made.error()));
      pairs.push_back(std::move(*made));
    }
    motions.resize(sizes.size());
    return {};
  }

  result<void> watch_events() {
    for (auto* set : {&troubles, &wake_ups}) {
      auto made = basic_event_set<Sys>::create();
      if (!made) return fail(std::move(made.error()));
      set->emplace(std::move(*made));
      auto added = vhost ? vhost->watch_errors(**set) : (*set)->add(*error);
      if (added && link_events) added = (*set)->add(link_events->fd());
      if (!added) return added;
    }
    for (const auto& pair : pairs) {
      if (auto added = wake_ups->add(pair->notifications().rx_call); !added) return added;
    }
    return {};
  }

  result<void> start(const config& wanted) {
    std::vector<worker_queue<Layout>> queues;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const auto& events = pairs[i]->notifications();
      worker_queue<Layout> queue;
      queue.tx = pairs[i]->tx_ring();
      queue.rx = pairs[i]->rx_ring();
      queue.options = options_of(plan);
      queue.tx_start = starts[i][0];
      queue.rx_start = starts[i][1];
      queue.tap = taps[i].fd();
      queue.tx_kick = events.tx_kick.fd();
      queue.rx_kick = events.rx_kick.fd();
      queue.tx_call = events.tx_call.fd();
      queue.rx_call = events.rx_call.fd();
      if (error) queue.error = error->fd();
      queue.header_bytes = plan.header_bytes;
      queue.mergeable = plan.mergeable;
      queue.usual_frame = largest_frame();
      queue.served = enabled[i];
      queue.counters = counted[i];
      queue.held = std::move(held[i]);
      queues.push_back(queue);
    }
    if constexpr (!is_packed) {
      if (vhost) return vhost->start(queues, *table, plan.backend_features);
    }
    auto started = Worker::start(queues, *table, wanted.worker);
    if (!started) return fail(std::move(started.error()));
    worker = std::move(*started);
    return {};
  }

  static bool several_queues(const wanted_features& want) noexcept {
    return want.queue_pairs > 1 || want.mq == want::required;
  }
  // Of the frames to receive; bytes, header not counted.
  [[nodiscard]] std::size_t largest_frame() const noexcept {
    const bool large = plan.rx.tso4 || plan.rx.tso6 || plan.rx.uso;
    return large ? max_gso_frame : usual_frame();
  }
  [[nodiscard]] std::size_t usual_frame() const noexcept {
    constexpr std::size_t vlan_tag = 4;
    const std::size_t mtu = plan.mtu == 0 ? std::uint16_t{1500} : plan.mtu;
    return link_header_size(plan.link) + vlan_tag + mtu;
  }
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_DEVICE_PARTS_HPP
