// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_PORT_HPP
#define VKRING_DPDK_PMD_PORT_HPP

// One port: an interface from probe to close, and a device on it from start to stop.

#include <rte_ethdev.h>
#include <vkring/core/error.hpp>
#include <vkring/device.hpp>
#include <vkring/dpdk/mbuf.hpp>
#include <vkring/dpdk/pmd/burst.hpp>
#include <vkring/dpdk/pmd/devargs.hpp>
#include <vkring/dpdk/pmd/home_cpus.hpp>
#include <vkring/dpdk/pmd/offloads.hpp>
#include <vkring/dpdk/pmd/statistics.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netns.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/worker/vhost_backend.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace vkring::inline v0::pmd {

/// What a port is started with.
struct start_request {
  std::uint16_t rx_queues;    ///< as many as were set up
  std::uint16_t tx_queues;    ///< as many as were set up
  std::uint64_t rx_offloads;  ///< RTE_ETH_RX_OFFLOAD_ bits that were turned on
  std::uint64_t tx_offloads;  ///< RTE_ETH_TX_OFFLOAD_ bits that were turned on
  std::uint16_t mtu;          ///< bytes of the largest packet
};

/// A port of net_vkring.
///
/// The interface keeps its name, addresses, MAC and MTU however often the port is stopped and
/// started; it has a carrier while it is started and not set down. Threads: as ethdev demands, the
/// control plane is for one thread at a time, but for link and statistics, which any may ask for.
class port {
 public:
  /// Makes the interface, or attaches to it. Errors: as for opening a TAP and its link; what opening
  /// the vhost node returns, where that was asked for.
  static result<std::unique_ptr<port>> open(port_options options) {
    std::unique_ptr<port> made(new port(std::move(options)));
    if (auto done = made->open_interface(); !done) return fail(std::move(done.error()));
    return made;
  }
  port(const port&) = delete;
  port& operator=(const port&) = delete;
  ~port() { stop(); }

  /// What it was made with.
  [[nodiscard]] const port_options& options() const noexcept { return options_; }
  /// How the interface was then.
  [[nodiscard]] const link_state& at_open() const noexcept { return at_open_; }
  /// Bits of `tun_offload` that the kernel takes.
  [[nodiscard]] std::uint32_t tap_offloads() const noexcept { return tap_offloads_; }
  /// @{
  /// Its queues; `i` is below the number of those that were configured.
  [[nodiscard]] rx_queue& rx(std::size_t i) noexcept { return rx_[i]; }
  [[nodiscard]] tx_queue& tx(std::size_t i) noexcept { return tx_[i]; }
  /// @}

  /// Opens a device on the interface with the queues that were set up, and gives these their pairs.
  /// Errors: those of `device::open` and `mempool_source::make`; a queue that was not set up, or has
  /// buffers too small.
  /// Nothing is started then.
  result<void> start(const start_request& wanted) {
    return options_.packed ? start_with<packed>(wanted) : start_with<split>(wanted);
  }
  /// Stops it; what lies in the rings goes back to its pools. Stopping twice is once.
  void stop() noexcept {
    if (!started()) return;
    static_cast<void>(taps_.front().set_carrier(false));
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i != pairs_; ++i) counted_.keep(i, live(i));
    device_ = std::monostate();
    for (rx_queue& each : rx_) each.pairs.clear();
    for (tx_queue& each : tx_) each.pair = nullptr;
    pairs_ = 0;
  }
  [[nodiscard]] bool started() const noexcept { return pairs_ != 0; }  ///< has a device
  /// Calls `work` with the device, if there is one.
  template <class Work>
  void with_device(Work&& work) {
    std::visit(
        [&work](auto& device) {
          if constexpr (!std::is_same_v<std::remove_cvref_t<decltype(device)>, std::monostate>) {
            work(device);
          }
        },
        device_);
  }

  /// Whether frames can pass: started, not set down, and the kernel's end is there and up.
  [[nodiscard]] result<bool> link_up() {
    const std::lock_guard lock(mutex_);
    auto now = link_->read();
    if (!now && now.error().code == std::errc::no_such_device) return false;
    if (!now) return fail(std::move(now.error()));
    return started() && wants_carrier_ && now->up;
  }
  /// The carrier that the kernel's end sees.
  result<void> set_link(bool up) {
    {
      const std::lock_guard lock(mutex_);  // the thread of interrupts asks for it
      wants_carrier_ = up;
    }
    return started() ? taps_.front().set_carrier(up) : result<void>{};
  }
  /// Errors: those of `basic_link::set_mac`.
  result<void> set_mac(const mac_address& mac) {
    const std::lock_guard lock(mutex_);
    return link_->set_mac(mac);
  }
  /// Errors also, while it is started: EBUSY for more than a device without mergeable buffers has room
  /// for; EINVAL for packets of several buffers, where these were not asked for.
  result<void> set_mtu(std::uint16_t bytes) {
    bool fits = true;
    with_device(
        [&](auto& device) { fits = device.plan().mergeable || bytes <= device.plan().mtu; });
    if (!fits) {
      return fail(std::errc::device_or_resource_busy, "set_mtu", std::to_string(bytes),
                  "without mergeable buffers, stop the port first");
    }
    if (started()) {
      start_request other = started_with_;
      other.mtu = bytes;
      if (auto good = check_buffers(other); !good) return good;
    }
    const std::lock_guard lock(mutex_);
    return link_->set_mtu(bytes);
  }

  /// What a pair has counted. From any thread.
  [[nodiscard]] pair_counts counts(std::size_t pair) noexcept {
    const std::lock_guard lock(mutex_);
    return counted_.total(pair, live(pair));
  }
  /// Frames for the port that the kernel found no room for.
  [[nodiscard]] std::uint64_t missed() {
    const std::lock_guard lock(mutex_);
    return live_missed();
  }
  /// Counts from 0 on.
  void forget_statistics() {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i != options_.queues; ++i) counted_.forget(i, live(i));
    forgotten_missed_ += live_missed();
  }

 private:
  explicit port(port_options options)
      : options_(std::move(options)),
        rx_(options_.queues),
        tx_(options_.queues),
        counted_(options_.queues),
        attached_(options_.queues, true) {}

  [[nodiscard]] vhost_options vhost() const {
    vhost_options how;
    if (!options_.path.empty()) how.path = options_.path;
    how.cpus = options_.worker_cpus;
    if (options_.has_busyloop) how.busyloop = {options_.busyloop, options_.busyloop};
    return how;
  }

  // Whether vhost-net is to serve the rings: a TAP has to be opened for that.
  result<void> choose_backend() {
    if (options_.packed) options_.backend = backend_kind::worker;
    if (options_.backend == backend_kind::worker) return {};
    const away_from_lcores here;
    const auto tried = basic_vhost_backend<split>::open(1, vhost());
    if (tried) {
      options_.backend = backend_kind::vhost;
    } else if (options_.backend == backend_kind::vhost || !options_.path.empty()) {
      return fail(tried.error());
    } else {
      options_.backend = backend_kind::worker;
    }
    return {};
  }

  result<void> open_interface() {
    if (auto chosen = choose_backend(); !chosen) return chosen;
    std::optional<netns> where;
    if (!options_.netns.empty()) {
      auto opened = netns::open(options_.netns);
      if (!opened) return fail(std::move(opened.error()));
      where.emplace(std::move(*opened));
    }
    tap_options how;
    how.name = options_.iface.empty() ? "vkring%d" : options_.iface;
    how.napi = options_.backend == backend_kind::vhost;
    how.netns_fd = where ? where->fd() : -1;
    auto queues = tap::open_queues(how, options_.queues);
    if (!queues) return fail(std::move(queues.error()));
    taps_ = std::move(*queues);
    const tap& first = taps_.front();
    if (auto done = first.set_carrier(false); !done) return done;
    auto link = where ? basic_link<>::open(first.name(), *where) : basic_link<>::open(first.name());
    if (!link) return fail(std::move(link.error()));
    link_.emplace(std::move(*link));
    auto able = first.probe_offloads();
    if (!able) return fail(std::move(able.error()));
    tap_offloads_ = *able;
    if (options_.mac) {
      if (auto done = first.set_mac(*options_.mac); !done) return done;
    }
    if (options_.mtu != 0) {
      if (auto done = link_->set_mtu(options_.mtu); !done) return done;
    }
    auto now = link_->read();
    if (!now) return fail(std::move(now.error()));
    at_open_ = std::move(*now);
    forgotten_missed_ = at_open_.counters.tx_dropped;
    return options_.persist ? first.set_persist(true) : result<void>{};
  }

  // The kernel spreads what it sends over the attached queues: those without a pair are not.
  result<void> attach(std::size_t pairs) {
    for (std::size_t i = 0; i != taps_.size(); ++i) {
      const bool on = i < pairs;
      if (attached_[i] == on) continue;
      if (auto done = on ? taps_[i].attach_queue() : taps_[i].detach_queue(); !done) return done;
      attached_[i] = on;
    }
    return {};
  }

  result<device_config> config_for(const start_request& wanted, std::uint16_t pairs) const {
    device_config config;
    for (std::size_t i = 0; i != pairs; ++i) {
      auto copy = basic_fd<>::adopt(
          sys_result(posix::fcntl(taps_[i].fd(), F_DUPFD_CLOEXEC), "fcntl", taps_[i].name()));
      if (!copy) return fail(std::move(copy.error()));
      config.queue_fds.push_back(std::move(*copy));
    }
    for (std::size_t i = 0; i != pairs; ++i) {
      constexpr std::uint16_t unused = 2;
      config.sizes.push_back({i < wanted.tx_queues ? tx_[i].size : unused,
                              rx_[i % wanted.rx_queues].size});
    }
    config.backend = options_.backend;
    config.vhost = vhost();
    config.worker.cpus = options_.worker_cpus;
    config.worker.threads = options_.worker_cpus.size();
    if (options_.has_busyloop) config.worker.spin = options_.busyloop;
    wanted_features& features = config.wanted;
    features.offloads = wanted_for(options_.offloads, wanted.rx_offloads, wanted.tx_offloads);
    features.mergeable = options_.mergeable;
    features.in_order = options_.in_order;
    features.event_idx = options_.event_idx;
    if (options_.queues > 1) features.mq = want::required;
    features.queue_pairs = pairs;
    features.mtu_bytes = wanted.mtu;
    return config;
  }

  // ethdev starts a port whether all its queues are set up or not.
  result<void> check_queues(const start_request& wanted) const {
    const auto refuse = [](const char* kind, std::size_t i) {
      return fail(std::errc::invalid_argument, "start", kind + std::to_string(i), "was not set up");
    };
    for (std::size_t i = 0; i != wanted.rx_queues; ++i) {
      if (rx_[i].pool == nullptr) return refuse("receive queue ", i);
    }
    for (std::size_t i = 0; i != wanted.tx_queues; ++i) {
      if (tx_[i].size == 0) return refuse("transmit queue ", i);
    }
    return {};
  }

  result<void> check_buffers(const start_request& wanted) const {
    constexpr std::uint64_t several = RTE_ETH_RX_OFFLOAD_SCATTER | RTE_ETH_RX_OFFLOAD_TCP_LRO;
    constexpr std::uint32_t vlan_tag = 4;
    const std::uint32_t largest = wanted.mtu + RTE_ETHER_HDR_LEN + vlan_tag;
    for (std::size_t i = 0; i != wanted.rx_queues; ++i) {
      const std::uint32_t room = ::rte_pktmbuf_data_room_size(rx_[i].pool);
      if ((wanted.rx_offloads & several) != 0 || largest + RTE_PKTMBUF_HEADROOM <= room) continue;
      return fail(std::errc::invalid_argument, "mtu", "receive queue " + std::to_string(i),
                  "frames of an MTU of " + std::to_string(wanted.mtu) +
                      " need more than one of its buffers: turn on RX_OFFLOAD_SCATTER");
    }
    return {};
  }

  template <class Layout>
  result<void> start_with(const start_request& wanted) {
    using device_type = device_of<Layout>;
    if (auto good = check_queues(wanted); !good) return good;
    if (auto good = check_buffers(wanted); !good) return good;
    const std::uint16_t pairs = std::max(wanted.rx_queues, wanted.tx_queues);
    std::vector<::rte_mempool*> pools;
    for (std::size_t i = 0; i != pairs; ++i) pools.push_back(rx_[i % wanted.rx_queues].pool);
    auto source = mempool_source::make(pools);
    if (!source) return fail(std::move(source.error()));
    if (auto done = attach(pairs); !done) return done;
    auto config = config_for(wanted, pairs);
    if (!config) return fail(std::move(config.error()));
    auto opened = [&] {
      const away_from_lcores here;
      return device_type::open(std::move(*config), std::move(*source));
    }();
    if (!opened) return fail(std::move(opened.error()));
    if (auto done = taps_.front().set_carrier(wants_carrier_); !done) return done;

    const std::lock_guard lock(mutex_);
    auto& device = device_.emplace<device_type>(std::move(*opened));
    for (std::size_t i = 0; i != pairs; ++i) {
      rx_[i % wanted.rx_queues].pairs.push_back(&device.rx(i));
    }
    for (std::size_t i = 0; i != wanted.tx_queues; ++i) tx_[i].pair = &device.tx(i);
    pairs_ = pairs;
    started_with_ = wanted;
    return {};
  }

  // These with the lock held.
  [[nodiscard]] std::uint64_t live_missed() {
    const auto now = link_->read();
    return now ? now->counters.tx_dropped - forgotten_missed_ : 0;
  }
  [[nodiscard]] pair_counts live(std::size_t i) noexcept {
    pair_counts now;
    if (i >= pairs_) return now;
    with_device([&](auto& device) {
      now = pair_counts(device.rx(i).counters(), device.tx(i).counters(),
                        device.worker_statistics(i));
    });
    return now;
  }

  port_options options_;
  std::vector<rx_queue> rx_;
  std::vector<tx_queue> tx_;
  port_counts counted_;
  std::vector<bool> attached_;
  std::vector<tap> taps_;
  std::optional<basic_link<>> link_;
  link_state at_open_;
  std::uint32_t tap_offloads_ = 0;
  std::uint64_t forgotten_missed_ = 0;
  bool wants_carrier_ = true;
  start_request started_with_{};
  std::uint16_t pairs_ = 0;  // of the device
  std::mutex mutex_;         // for the link, and against `stop` while somebody counts
  std::variant<std::monostate, device_of<split>, device_of<packed>> device_;
};

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_PORT_HPP
