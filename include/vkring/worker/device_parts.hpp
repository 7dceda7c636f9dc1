// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_DEVICE_PARTS_HPP
#define VKRING_WORKER_DEVICE_PARTS_HPP

// What a device consists of, and how it is put together.

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/event_set.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netns.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/memory/buffer_source.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/worker/device_config.hpp>
#include <vkring/worker/health.hpp>
#include <vkring/worker/queue_pair.hpp>
#include <vkring/worker/tap_worker.hpp>

namespace vkring::inline v0 {

namespace detail {

// In the order of construction; destroyed in reverse, so nothing is used after it is gone.
template <class Layout, buffer_source Source, class Sys, class Worker>
struct device_parts {
  using pair_type = queue_pair<Layout, Source, Sys>;
  using config = basic_device_config<Sys>;

  explicit device_parts(std::shared_ptr<Source> from) : source(std::move(from)) {}
  device_parts(const device_parts&) = delete;
  device_parts& operator=(const device_parts&) = delete;
  ~device_parts() {
    if (worker != nullptr) worker->stop();
    for (auto& pair : pairs) {
      pair->tx().stop();
      pair->rx().stop();
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
  offload_plan plan;
  std::vector<basic_tap<Sys>> taps;
  std::optional<basic_link<Sys>> link;
  link_state state;  // before anything was set
  std::optional<basic_region<Sys>> rings;
  std::optional<basic_event_fd<Sys>> error;
  std::vector<std::unique_ptr<pair_type>> pairs;
  std::size_t rx_needs = 1;  // buffers, for the largest frame
  std::vector<ring_motion> motions;
  std::size_t broken = 0;  // queues that `wait` has told of
  std::optional<basic_event_set<Sys>> wake_ups;  // what `wait` waits for
  std::unique_ptr<Worker> worker;

  result<void> open(config& wanted) {
    if (source == nullptr) {
      return fail(std::errc::invalid_argument, "open", "source", "needs a source of buffers");
    }
    if (auto known = choose_backend(wanted); !known) return known;
    const wanted_features& want = wanted.wanted;
    if (auto sized = Layout::ring_type::check_size(want.queue_size); !sized) return sized;
    if (want.queue_pairs == 0 || want.queue_pairs > 256) {
      return fail(std::errc::invalid_argument, "open", "queues=" + std::to_string(want.queue_pairs),
                  "from 1 to 256 queue pairs");
    }
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
    memory_table table(vhost_default_regions);
    if (auto done = make_rings(want, table); !done) return done;
    if (auto done = start_worker(wanted, table); !done) return done;
    if (auto done = configure_link(wanted); !done) return done;
    if (wanted.up && !state.up) {
      if (auto done = link->set_up(true); !done) return done;
    }
    // Last, so that a failure leaves nothing behind.
    return wanted.persist ? taps.front().set_persist(true) : result<void>{};
  }

 private:
  static constexpr std::size_t vhost_default_regions = memory_table::default_max_regions;

  result<void> choose_backend(const config& wanted) {
    if (wanted.backend == backend_kind::vhost) {
      return fail(std::errc::not_supported, "open", "backend=vhost-net", "not in this build");
    }
    reason =
        wanted.backend == backend_kind::worker ? "asked for" : "vhost-net is not in this build";
    return {};
  }

  result<void> open_taps(config& wanted, const std::optional<basic_netns<Sys>>& where) {
    tap_options options;
    options.name = wanted.name;
    options.multi_queue = several_queues(wanted.wanted);
    options.owner = wanted.owner;
    options.group = wanted.group;
    options.netns_fd = where ? where->fd() : -1;
    if (wanted.queue_fds.empty()) {
      auto opened = basic_tap<Sys>::open_queues(options, wanted.wanted.queue_pairs);
      if (!opened) return fail(std::move(opened.error()));
      taps = std::move(*opened);
      return {};
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
    able.vnet_hdr = true;
    able.multi_queue = several_queues(wanted.wanted);
    able.link_state = true;
    able.offloads = *offloads;
    able.mtu = static_cast<std::uint16_t>(state.mtu);
    wanted_features asked = wanted.wanted;
    asked.buffer_bytes = source->capacity() + static_cast<std::uint32_t>(header_size);
    // The rest of a larger ring stays empty.
    asked.queue_size = static_cast<std::uint32_t>(
        std::min<std::size_t>(asked.queue_size, source->size() / asked.queue_pairs));
    using enum feature;
    const ring_backend worker_backend{
        "worker",
        {version_1, event_idx, indirect_desc, in_order, mrg_rxbuf, guest_udp_tunnel_gso,
         guest_udp_tunnel_gso_csum, host_udp_tunnel_gso, host_udp_tunnel_gso_csum}};
    auto agreed = negotiate(asked, worker_backend, able);
    if (!agreed) return fail(std::move(agreed.error()));
    plan = std::move(*agreed);
    // Mergeable buffers hold payload in the place of the header, too, except the first.
    const std::size_t each = source->capacity() + plan.header_bytes;
    rx_needs = plan.mergeable ? (largest_frame() + plan.header_bytes + each - 1) / each : 1;
    return {};
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

  result<void> make_rings(const wanted_features& want, memory_table& table) {
    const queue_pair_layout layout{
        static_cast<std::uint16_t>(want.queue_size),
        plan.indirect ? queue_pair_layout::entries_for(source->capacity()) : std::uint16_t{0}};
    const std::size_t each = layout.template bytes<typename Layout::ring_type>();
    auto mapped = basic_region<Sys>::make(each * want.queue_pairs);
    if (!mapped) return fail(std::move(mapped.error()));
    rings.emplace(std::move(*mapped));
    auto guest = table.add(rings->bytes());
    if (!guest) return fail(std::move(guest.error()));
    for (const guest_region& each_region : source->regions()) {
      auto added = table.add_at(each_region.guest, {each_region.host, each_region.size});
      if (!added) return added;
    }
    auto event = basic_event_fd<Sys>::create();
    if (!event) return fail(std::move(event.error()));
    error.emplace(std::move(*event));
    for (std::size_t i = 0; i < want.queue_pairs; ++i) {
      auto events = pair_type::events::create();
      if (!events) return fail(std::move(events.error()));
      pairs.push_back(std::make_unique<pair_type>(
          std::move(*events), rings->bytes().subspan(i * each, each), *guest + i * each, layout,
          options(layout.size), plan, *source));
    }
    motions.resize(want.queue_pairs);
    return watch_events();
  }

  result<void> watch_events() {
    auto made = basic_event_set<Sys>::create();
    if (!made) return fail(std::move(made.error()));
    wake_ups.emplace(std::move(*made));
    for (const auto& pair : pairs) {
      if (auto added = wake_ups->add(pair->notifications().rx_call); !added) return added;
    }
    return wake_ups->add(*error);
  }

  result<void> start_worker(const config& wanted, const memory_table& table) {
    std::vector<worker_queue<Layout>> queues;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const auto& events = pairs[i]->notifications();
      worker_queue<Layout> queue;
      queue.tx = pairs[i]->tx_ring();
      queue.rx = pairs[i]->rx_ring();
      queue.options = options(pairs[i]->tx_ring().size());
      queue.tap = taps[i].fd();
      queue.tx_kick = events.tx_kick.fd();
      queue.rx_kick = events.rx_kick.fd();
      queue.tx_call = events.tx_call.fd();
      queue.rx_call = events.rx_call.fd();
      queue.error = error->fd();
      queue.header_bytes = plan.header_bytes;
      queue.mergeable = plan.mergeable;
      queue.usual_frame = largest_frame();
      queues.push_back(queue);
    }
    auto started = Worker::start(queues, table, wanted.worker);
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
    return large ? max_gso_frame : ethernet_frame_bytes(plan.mtu);
  }
  // With a VLAN tag.
  static std::size_t ethernet_frame_bytes(std::uint16_t mtu) noexcept {
    return std::size_t{mtu == 0 ? std::uint16_t{1500} : mtu} + 18;
  }

  [[nodiscard]] ring_options options(std::uint16_t size) const noexcept {
    ring_options agreed;
    agreed.size = size;
    agreed.event_idx = plan.event_idx;
    agreed.indirect = plan.indirect;
    agreed.in_order = plan.in_order;
    return agreed;
  }
};

}  // namespace detail

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_DEVICE_PARTS_HPP
