// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DEVICE_HPP
#define VKRING_DEVICE_HPP

// The front door: a kernel network interface, and queues that exchange frames with it.
//
// In this library `device` is the application's handle on the interface. Its rings are the *driver*
// side of virtio; the virtio device, the `device_side`, is the peer: vhost-net or the worker.

#include <poll.h>

#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netns.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/memory/buffer_pool.hpp>
#include <vkring/memory/region.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/ip_prefix.hpp>
#include <vkring/net/mac.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/queue/forward.hpp>
#include <vkring/queue/statistics.hpp>
#include <vkring/ring/inspect.hpp>
#include <vkring/worker/queue_pair.hpp>
#include <vkring/worker/tap_worker.hpp>

namespace vkring::inline v0 {

/// What serves the far end of the rings.
enum class backend_kind : std::uint8_t {
  automatic,  ///< vhost-net where it works, else the worker
  vhost_net,  ///< threads of the kernel: /dev/vhost-net
  worker,     ///< threads of this process
};

/// What a device is to be. As it is: a new TAP interface, up, with every offload that works.
template <class Sys = posix>
struct basic_device_config {
  std::string name = "vkring%d";  ///< one %d becomes a free number
  backend_kind backend = backend_kind::automatic;
  wanted_features wanted = {};  ///< offloads, queue pairs, queue size, MTU; `buffer_bytes` is set
                                ///< by `open`, from the source
  std::optional<mac_address> mac = {};    ///< of the kernel's end; the kernel's choice otherwise
  std::vector<ip_prefix> addresses = {};  ///< of the kernel's end
  std::string netns = {};           ///< name or path of the network namespace; empty: the caller's
  bool up = true;                   ///< sets the interface up once the rings are served
  bool persist = false;             ///< the interface outlives the device
  std::optional<uid_t> owner = {};  ///< who may attach to a persistent one
  std::optional<gid_t> group = {};
  worker_options worker = {};
  /// Queues of one interface that somebody else opened, one for each queue pair, instead of `name`.
  std::vector<basic_fd<Sys>> queue_fds = {};
};
using device_config = basic_device_config<>;

/// What is wrong with one queue pair; all empty if nothing is.
struct queue_health {
  std::size_t pair = 0;
  ring_breach tx;  ///< what the device did wrong, as the application's side saw it
  ring_breach rx;
  ring_breach tx_device;  ///< what the application's side did wrong, as the device saw it
  ring_breach rx_device;
  bool interface_gone = false;
  bool stalled = false;  ///< frames were sent, and for a while none of them was taken

  [[nodiscard]] bool good() const noexcept {
    return !tx && !rx && !tx_device && !rx_device && !interface_gone && !stalled;
  }
};

/// A kernel network interface with queues of frames.
///
/// Threads: each `tx(i)` and each `rx(i)` is used by one thread at a time, different ones by different
/// threads freely; the rest by one thread. Frames may outlive the device, never its source.
/// Allocation: in `open`, and the texts of errors and reports; none by the queues.
/// A forked child must not use it.
template <class Layout = split, buffer_source Source = buffer_pool, class Sys = posix>
class basic_device {
  using pair_type = queue_pair<Layout, Source, Sys>;

 public:
  using config = basic_device_config<Sys>;
  using frame = basic_frame<Source>;
  using tx_type = typename pair_type::tx_type;
  using rx_type = typename pair_type::rx_type;

  /// Opens or attaches to the interface, negotiates, and starts the backend.
  ///
  /// Errors name the step and what to do: a bad name, size or number of queues (EINVAL); what was
  /// required and cannot be had (ENOTSUP, with the reason); what the TAP, the link, the memory and
  /// the threads return. Nothing is left behind then.
  static result<basic_device> open(config wanted, std::shared_ptr<Source> source) {
    auto made = std::unique_ptr<parts>(new parts(std::move(source)));
    if (auto opened = made->open(wanted); !opened) return fail(std::move(opened.error()));
    return basic_device(std::move(made));
  }

  [[nodiscard]] std::size_t queue_pairs() const noexcept { return parts_->pairs.size(); }
  [[nodiscard]] tx_type& tx(std::size_t pair) noexcept { return parts_->pairs[pair]->tx(); }
  [[nodiscard]] rx_type& rx(std::size_t pair) noexcept { return parts_->pairs[pair]->rx(); }

  /// The interface, as the kernel knows it.
  [[nodiscard]] const std::string& name() const noexcept { return parts_->taps.front().name(); }
  [[nodiscard]] int index() const noexcept { return parts_->link->index(); }
  [[nodiscard]] result<mac_address> mac() const { return parts_->taps.front().mac(); }
  /// Its state and the kernel's counters; from the kernel's point of view.
  [[nodiscard]] result<link_state> link() { return parts_->link->read(); }
  [[nodiscard]] basic_link<Sys>& link_control() noexcept { return *parts_->link; }

  /// What was negotiated, with a line for every feature.
  [[nodiscard]] const offload_plan& plan() const noexcept { return parts_->plan; }
  /// `worker`, and why that.
  [[nodiscard]] std::string_view backend() const noexcept { return "worker"; }
  [[nodiscard]] std::string_view backend_reason() const noexcept { return parts_->reason; }
  [[nodiscard]] Source& source() noexcept { return *parts_->source; }

  /// Readable when frames came to `rx(pair)`, after its `enable_call`.
  [[nodiscard]] const basic_event_fd<Sys>& rx_call(std::size_t pair) const noexcept {
    return parts_->pairs[pair]->notifications().rx_call;
  }
  /// Readable when frames of `tx(pair)` were taken, after its `enable_call`.
  [[nodiscard]] const basic_event_fd<Sys>& tx_call(std::size_t pair) const noexcept {
    return parts_->pairs[pair]->notifications().tx_call;
  }
  /// Readable when `health` has something new to tell.
  [[nodiscard]] const basic_event_fd<Sys>& error_event() const noexcept { return *parts_->error; }

  /// Sleeps until a frame has come to any queue, something is wrong, or the time is over; negative
  /// means for ever. True: there is something to look at. An interrupting signal ends it, as false.
  bool wait(std::chrono::nanoseconds timeout) noexcept {
    std::vector<pollfd>& set = parts_->poll_set;
    bool pending = false;
    for (std::size_t i = 0; i < queue_pairs(); ++i) {
      pending = rx(i).enable_call() == notification::more_pending || pending;
      set[i] = {rx_call(i).fd(), POLLIN, 0};
    }
    set.back() = {error_event().fd(), POLLIN, 0};
    timespec limit{timeout.count() / 1'000'000'000, timeout.count() % 1'000'000'000};
    if (pending) limit = {0, 0};
    const bool for_ever = !pending && timeout.count() < 0;
    const int ready = Sys::ppoll(set.data(), set.size(), for_ever ? nullptr : &limit, nullptr);
    for (std::size_t i = 0; i < queue_pairs(); ++i) {
      rx(i).disable_call();
      if (ready > 0 && set[i].revents != 0) rx_call(i).drain();
    }
    if (ready > 0 && set.back().revents != 0) error_event().drain();
    return pending || ready > 0;
  }

  [[nodiscard]] queue_statistics tx_statistics(std::size_t pair) const {
    return snapshot(parts_->pairs[pair]->tx().counters());
  }
  [[nodiscard]] queue_statistics rx_statistics(std::size_t pair) const {
    return snapshot(parts_->pairs[pair]->rx().counters());
  }
  /// What the worker counted for a queue pair: frames that the kernel refused, calls.
  [[nodiscard]] const worker_counters& worker_statistics(std::size_t pair) const noexcept {
    return parts_->worker->counters(pair);
  }

  /// Looks at every queue pair. A pair has stalled when frames are waiting in its tx ring and none was
  /// taken since a call of `health` at least `stall_after` ago.
  [[nodiscard]] std::vector<queue_health> health(
      std::chrono::nanoseconds stall_after = std::chrono::seconds(1)) {
    std::vector<queue_health> all(queue_pairs());
    const auto now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const pair_type& pair = *parts_->pairs[i];
      const worker_health& far = parts_->worker->health(i);
      all[i] = {i,
                pair.tx().ring().breach(),
                pair.rx().ring().breach(),
                far.tx_breach(),
                far.rx_breach(),
                far.tap_gone(),
                parts_->motions[i].stalled(pair.tx_ring(), now, stall_after)};
    }
    return all;
  }

  /// The rings of a queue pair as they lie in memory, `to_text` and `to_json` print them. For the
  /// threads of its queues, or while those stand still. Allocation: the snapshots.
  [[nodiscard]] ring_snapshot inspect_tx(std::size_t pair) const {
    const pair_type& it = *parts_->pairs[pair];
    return inspect(it.tx_ring(), it.tx().ring(), table_lookup{it.tables(), it.tx_ring().size()});
  }
  [[nodiscard]] ring_snapshot inspect_rx(std::size_t pair) const {
    const pair_type& it = *parts_->pairs[pair];
    return inspect(it.rx_ring(), it.rx().ring());
  }

  /// Stops the backend and gives every buffer in flight back to the source; the interface goes unless
  /// it is persistent. Frames in the rx ring are lost. The destructor does it.
  void close() noexcept { parts_.reset(); }

 private:
  // Whether a tx ring moves: judged by the indices that both sides show.
  struct motion {
    std::uint16_t used = 0;
    std::chrono::steady_clock::time_point since{};

    bool stalled(const typename Layout::ring_type& ring, std::chrono::steady_clock::time_point now,
                 std::chrono::nanoseconds after) noexcept {
      const std::uint16_t seen = direct::load(ring.used_index());
      if (seen != used || since.time_since_epoch().count() == 0 ||
          direct::load(ring.avail_index()) == seen) {
        used = seen;
        since = now;
      }
      return now - since >= after && direct::load(ring.avail_index()) != seen;
    }
  };

  // In the order of construction; destroyed in reverse, so nothing is used after it is gone.
  struct parts {
    explicit parts(std::shared_ptr<Source> from) : source(std::move(from)) {}
    parts(const parts&) = delete;
    parts& operator=(const parts&) = delete;
    ~parts() {
      if (worker != nullptr) worker->stop();
      for (auto& pair : pairs) {
        pair->tx().stop();
        pair->rx().stop();
      }
    }

    std::shared_ptr<Source> source;
    std::string reason;
    offload_plan plan;
    std::vector<basic_tap<Sys>> taps;
    std::optional<basic_link<Sys>> link;
    std::optional<basic_region<Sys>> rings;
    std::optional<basic_event_fd<Sys>> error;
    std::vector<std::unique_ptr<pair_type>> pairs;
    std::vector<motion> motions;
    std::vector<pollfd> poll_set;
    std::unique_ptr<basic_tap_worker<Layout, Sys>> worker;

    result<void> open(config& wanted) {
      if (auto known = choose_backend(wanted); !known) return known;
      const wanted_features& want = wanted.wanted;
      if (auto sized = Layout::ring_type::check_size(want.queue_size); !sized) return sized;
      if (want.queue_pairs == 0 || want.queue_pairs > 256) {
        return fail(std::errc::invalid_argument, "open",
                    "queues=" + std::to_string(want.queue_pairs), "from 1 to 256 queue pairs");
      }
      std::optional<basic_netns<Sys>> where;
      if (!wanted.netns.empty()) {
        auto opened = basic_netns<Sys>::open(wanted.netns);
        if (!opened) return fail(std::move(opened.error()));
        where.emplace(std::move(*opened));
      }
      if (auto done = open_taps(wanted, where); !done) return done;
      if (auto done = open_link(where); !done) return done;
      if (auto done = agree(wanted); !done) return done;
      if (auto done = configure(wanted); !done) return done;
      memory_table table(vhost_default_regions);
      if (auto done = make_rings(want, table); !done) return done;
      if (auto done = start_worker(wanted, table); !done) return done;
      return wanted.up ? link->set_up(true) : result<void>{};
    }

   private:
    static constexpr std::size_t vhost_default_regions = memory_table::default_max_regions;

    result<void> choose_backend(const config& wanted) {
      if (wanted.backend == backend_kind::vhost_net) {
        return fail(std::errc::not_supported, "open", "backend=vhost-net", "not in this build");
      }
      reason =
          wanted.backend == backend_kind::worker ? "asked for" : "vhost-net is not in this build";
      return {};
    }

    result<void> open_taps(config& wanted, const std::optional<basic_netns<Sys>>& where) {
      tap_options options;
      options.name = wanted.name;
      options.multi_queue = wanted.wanted.queue_pairs > 1;
      options.owner = wanted.owner;
      options.group = wanted.group;
      options.persist = wanted.persist;
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

    result<void> open_link(const std::optional<basic_netns<Sys>>& where) {
      auto opened = where ? basic_link<Sys>::open(taps.front().name(), *where)
                          : basic_link<Sys>::open(taps.front().name());
      if (!opened) return fail(std::move(opened.error()));
      link.emplace(std::move(*opened));
      return {};
    }

    // Finds out what the TAP can do, and negotiates.
    result<void> agree(const config& wanted) {
      auto state = link->read();
      if (!state) return fail(std::move(state.error()));
      auto offloads = taps.front().probe_offloads();
      if (!offloads) return fail(std::move(offloads.error()));
      tap_capabilities able;
      able.vnet_hdr = true;
      able.multi_queue = taps.size() > 1;
      able.link_state = true;
      able.offloads = *offloads;
      able.mtu = static_cast<std::uint16_t>(state->mtu);
      wanted_features asked = wanted.wanted;
      asked.buffer_bytes = source->capacity() + static_cast<std::uint32_t>(header_size);
      using enum feature;
      const ring_backend worker_backend{
          "worker",
          {version_1, event_idx, indirect_desc, in_order, mrg_rxbuf, guest_udp_tunnel_gso,
           guest_udp_tunnel_gso_csum, host_udp_tunnel_gso, host_udp_tunnel_gso_csum}};
      auto agreed = negotiate(asked, worker_backend, able);
      if (!agreed) return fail(std::move(agreed.error()));
      plan = std::move(*agreed);
      return {};
    }

    result<void> configure(const config& wanted) {
      const basic_tap<Sys>& first = taps.front();
      if (auto done = first.set_header_size(static_cast<int>(plan.header_bytes)); !done)
        return done;
      if (auto done = first.set_offloads(plan.tap_offloads); !done) return done;
      if (wanted.mac) {
        if (auto done = first.set_mac(*wanted.mac); !done) return done;
      }
      if (wanted.wanted.mtu_bytes != 0) {
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
      poll_set.resize(want.queue_pairs + 1);
      return {};
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
        const bool large = plan.rx.tso4 || plan.rx.tso6 || plan.rx.uso;
        queue.usual_frame = large ? max_gso_frame : ethernet_frame_bytes(plan.mtu);
        queues.push_back(queue);
      }
      auto started = basic_tap_worker<Layout, Sys>::start(queues, table, wanted.worker);
      if (!started) return fail(std::move(started.error()));
      worker = std::move(*started);
      return {};
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

  explicit basic_device(std::unique_ptr<parts> made) noexcept : parts_(std::move(made)) {}

  std::unique_ptr<parts> parts_;
};

using device = basic_device<>;

}  // namespace vkring::inline v0

#endif  // VKRING_DEVICE_HPP
