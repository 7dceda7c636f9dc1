// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_VHOST_BACKEND_HPP
#define VKRING_WORKER_VHOST_BACKEND_HPP

// vhost-net at the far end of all queue pairs of a device.

#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/event_set.hpp>
#include <vkring/kernel/kernel_version.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/kernel/thread.hpp>
#include <vkring/kernel/vhost_net.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/net/features.hpp>
#include <vkring/ring/shared.hpp>
#include <vkring/worker/vhost_diagnosis.hpp>
#include <vkring/worker/vhost_options.hpp>
#include <vkring/worker/worker_queue.hpp>

namespace vkring::inline v0 {

/// vhost-net devices, one for each queue pair, brought up and taken down in the order that all
/// kernels take.
///
/// Thread-safety: one thread at a time. Allocation: `open`, `start`, texts. Move-only.
template <class Layout = split, class Sys = posix>
class basic_vhost_backend {
 public:
  /// Opens a device for each of `pairs` queue pairs, and has the kernel make their threads, which
  /// inherit cgroups, and since Linux 6.4 scheduler class and CPUs, from the calling thread.
  /// Errors: those of `vhost_net::open` and `set_owner`; ENOTSUP for a device without virtio 1.0; and
  /// when a thread cannot be placed as `options` ask.
  static result<basic_vhost_backend> open(std::size_t pairs, const vhost_options& options) {
    basic_vhost_backend made;
    for (std::size_t i = 0; i < pairs; ++i) {
      auto each = served_pair::open(options);
      if (!each) return fail(std::move(each.error()));
      if (auto done = each->place(i, options); !done) return fail(std::move(done.error()));
      made.pairs_.push_back(std::move(*each));
    }
    auto offered = made.pairs_.front().device.features();
    if (!offered) return fail(std::move(offered.error()));
    if (!offered->contains(feature::version_1)) {
      return fail(ENOTSUP, "VHOST_GET_FEATURES", options.path, "it offers no VERSION_1");
    }
    made.features_ = *offered;
    // The first kernel to have it loses count when a frame has to wait or is too large.
    if (running_kernel<Sys>() == kernel_version{6, 17}) made.features_.erase(feature::in_order);
    made.busyloop_ = options.busyloop;
    return made;
  }

  basic_vhost_backend(basic_vhost_backend&&) noexcept = default;
  basic_vhost_backend& operator=(basic_vhost_backend&&) = delete;
  ~basic_vhost_backend() = default;  // closing a device unbinds its rings

  /// What every device offers.
  [[nodiscard]] const feature_set& features() const noexcept { return features_; }

  /// Binds all rings that are to be served, each at the position that its `used` index shows.
  /// `table` is copied.
  /// Errors: what the ioctls return; nothing is bound then.
  result<void> start(const std::vector<worker_queue<Layout>>& queues, const memory_table& table,
                     const feature_set& agreed) {
    table_ = table;
    std::vector<vhost_abi::memory_region> regions;
    for (const guest_region& each : table.regions()) {
      regions.push_back({each.guest, each.size, reinterpret_cast<std::uintptr_t>(each.host)});
    }
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      auto done = pairs_[i].prepare(queues[i], agreed, regions, busyloop_);
      if (done && queues[i].served) done = pairs_[i].bind();
      if (!done) {
        for (served_pair& each : pairs_) each.unbind();
        return done;
      }
    }
    return {};
  }

  /// Adds what is signalled when a device gives up on a chain.
  result<void> watch_errors(basic_event_set<Sys>& set) const {
    for (const served_pair& each : pairs_) {
      for (const auto& event : each.errors) {
        if (auto added = set.add(event); !added) return added;
      }
    }
    return {};
  }

  /// Lets the devices take what was sent before, for as long as they take anything at all, and
  /// unbinds all rings. Afterwards nobody touches the rings.
  void stop() noexcept {
    for (served_pair& each : pairs_) {
      each.drain_tx();
      each.unbind();
    }
  }
  /// The same for the tx ring of one pair, and for its rx ring, at once. Errors: what
  /// VHOST_NET_SET_BACKEND returns; the ring is bound still.
  result<void> stop_tx(std::size_t pair) {
    pairs_[pair].drain_tx();
    return pairs_[pair].unbind(vhost_ring::tx);
  }
  /// See `stop_tx`.
  result<void> stop_rx(std::size_t pair) { return pairs_[pair].unbind(vhost_ring::rx); }
  /// Binds both rings of a pair again, where they were.
  result<void> restart(std::size_t pair) { return pairs_[pair].bind(); }

  /// Finds out what happened to a pair since it was last asked.
  void examine(std::size_t pair) { pairs_[pair].examine(table_); }
  /// The same of a tx ring that has stalled without a word: some chains vhost-net tries again for ever,
  /// at the cost of a CPU. Nothing is found when it is slow, or its thread has no CPU.
  void examine_stalled(std::size_t pair) {
    served_pair& it = pairs_[pair];
    const ring_breach found = it.diagnosis(vhost_ring::tx, table_);
    if (found.fault != ring_fault::device_error) it.breaches[1] = found;
  }
  /// What is wrong with the rings of a pair, as these found.
  [[nodiscard]] ring_breach tx_breach(std::size_t pair) const noexcept {
    return pairs_[pair].breaches[1];
  }
  /// See `tx_breach`.
  [[nodiscard]] ring_breach rx_breach(std::size_t pair) const noexcept {
    return pairs_[pair].breaches[0];
  }
  /// Whether the interface was deleted, as `examine` found.
  [[nodiscard]] bool tap_gone(std::size_t pair) const noexcept { return pairs_[pair].tap_gone; }

  /// Forgets what `examine` found, and has the device look at its rings once more. It goes on if what
  /// was wrong has been mended.
  void recover(std::size_t pair) noexcept {
    pairs_[pair].breaches = {};
    pairs_[pair].kick();
  }

  /// The thread that serves a pair; 0: it could not be found, as in a container with a PID namespace
  /// of its own and kernel threads.
  [[nodiscard]] pid_t thread(std::size_t pair) const noexcept { return pairs_[pair].thread; }

 private:
  using device_type = basic_vhost_net<Sys>;
  using ring_type = typename Layout::ring_type;
  static constexpr std::array both = {vhost_ring::rx, vhost_ring::tx};

  struct served_pair {
    device_type device;
    std::array<basic_event_fd<Sys>, 2> errors;  // by vhost_ring
    worker_queue<Layout> queue = {};
    pid_t thread = 0;
    std::array<ring_breach, 2> breaches = {};
    bool tap_gone = false;

    static result<served_pair> open(const vhost_options& options) {
      auto device = device_type::open(options.path);
      if (!device) return fail(std::move(device.error()));
      auto rx_error = basic_event_fd<Sys>::create();
      if (!rx_error) return fail(std::move(rx_error.error()));
      auto tx_error = basic_event_fd<Sys>::create();
      if (!tx_error) return fail(std::move(tx_error.error()));
      served_pair made{std::move(*device), {std::move(*rx_error), std::move(*tx_error)}};
      if (options.owner_mode) {
        if (auto done = made.device.set_owner_mode(*options.owner_mode); !done) {
          return fail(std::move(done.error()));
        }
      }
      if (auto done = made.own(); !done) return fail(std::move(done.error()));
      return made;
    }

    // Which thread the device got is what has come to the list of them.
    result<void> own() {
      static std::mutex one_at_a_time;
      const std::lock_guard guard(one_at_a_time);
      const auto mode = device.owner_mode();
      const bool of_kernel = mode ? *mode == vhost_owner_mode::kthread
                                  : running_kernel<Sys>() < kernel_version{6, 4};
      const auto list = [&] {
        return vhost_threads<Sys>(of_kernel).value_or(std::vector<pid_t>{});
      };
      const std::vector<pid_t> before = list();
      if (auto done = device.set_owner(); !done) return done;
      const std::vector<pid_t> now = list();
      std::vector<pid_t> fresh;
      std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                          std::back_inserter(fresh));
      if (fresh.size() == 1) thread = fresh.front();
      return {};
    }

    result<void> place(std::size_t pair, const vhost_options& options) {
      if (options.cpus.empty() && !options.schedule) return {};
      if (thread == 0) {
        return fail(ESRCH, "open", "vhost worker of queue pair " + std::to_string(pair),
                    "its thread is not to be found in /proc: leave its CPU and schedule alone");
      }
      if (!options.cpus.empty()) {
        auto done = pin_thread<Sys>(thread, options.cpus[pair % options.cpus.size()]);
        if (!done) return done;
      }
      return options.schedule ? schedule_thread<Sys>(thread, *options.schedule) : result<void>{};
    }

    [[nodiscard]] const ring_type& ring(vhost_ring which) const noexcept {
      return which == vhost_ring::tx ? queue.tx : queue.rx;
    }

    // All but the binding.
    result<void> prepare(const worker_queue<Layout>& served, const feature_set& agreed,
                         std::span<const vhost_abi::memory_region> regions,
                         const vhost_busyloop& busyloop) {
      queue = served;
      if (auto done = device.set_features(agreed); !done) return done;
      if (auto done = device.set_mem_table(regions); !done) return done;
      for (const vhost_ring which : both) {
        const auto looking = which == vhost_ring::tx ? busyloop.tx : busyloop.rx;
        if (auto done = prepare(which, looking); !done) return done;
      }
      return {};
    }
    result<void> prepare(vhost_ring which, std::chrono::microseconds busyloop) {
      const ring_type& it = ring(which);
      const bool tx = which == vhost_ring::tx;
      const auto at = [](const void* where) { return reinterpret_cast<std::uintptr_t>(where); };
      const std::uint16_t start = direct::load(it.used_index());
      auto done = device.set_vring_num(which, it.size());
      if (done) done = device.set_vring_base(which, start);
      if (done) {
        done = device.set_vring_addr(
            which, {at(it.descriptors()), at(&it.avail_flags()), at(&it.used_flags())});
      }
      if (done) done = device.set_vring_kick(which, tx ? queue.tx_kick : queue.rx_kick);
      if (done) done = device.set_vring_call(which, tx ? queue.tx_call : queue.rx_call);
      if (done) {
        done = device.set_vring_err(which, errors[static_cast<std::size_t>(which)].fd());
      }
      if (done && busyloop.count() != 0) done = device.set_busyloop_timeout(which, busyloop);
      return done;
    }

    // rx first: there is no moment in which the kernel answers, and finds no buffers.
    result<void> bind() {
      for (const vhost_ring which : both) {
        if (auto done = device.set_backend(which, queue.tap); !done) {
          unbind();
          return done;
        }
      }
      return {};
    }
    // Fails for what was never bound, too; what remains bound is so until the device is closed.
    void unbind() {
      for (const vhost_ring which : both) static_cast<void>(unbind(which));
    }
    result<void> unbind(vhost_ring which) { return device.set_backend(which, -1); }

    void kick() const noexcept {
      const std::uint64_t one = 1;
      for (const int event : {queue.rx_kick, queue.tx_kick}) {
        static_cast<void>(
            retry_interrupted([&] { return Sys::write(event, &one, sizeof one); }));
      }
    }

    // Waits until the device has taken everything from the tx ring, or takes nothing any more.
    void drain_tx() const noexcept {
      if (queue.tap < 0) return;
      kick();
      std::uint16_t used = direct::load(queue.tx.used_index());
      for (int idle = 0; idle != drain_looks; ++idle) {
        const std::uint16_t now = direct::load(queue.tx.used_index());
        if (now == direct::load(queue.tx.avail_index())) return;
        if (std::exchange(used, now) != now) idle = 0;
        const timespec moment{0, 100'000};
        static_cast<void>(Sys::ppoll(nullptr, 0, &moment));
      }
    }
    static constexpr int drain_looks = 1000;  // of 100 microseconds or more

    [[nodiscard]] ring_breach diagnosis(vhost_ring which, const memory_table& table) const {
      return diagnose<Layout, Sys>(ring(which), queue.options.of_size(ring(which).size()), table, which, queue.header_bytes);
    }
    void examine(const memory_table& table) {
      for (const vhost_ring which : both) {
        const auto i = static_cast<std::size_t>(which);
        if (errors[i].drain() == 0 || breaches[i]) continue;
        breaches[i] = diagnosis(which, table);
      }
      // POLLRDBAND never comes, POLLERR does: the interface was deleted.
      pollfd state{queue.tap, POLLRDBAND, 0};
      const timespec now{0, 0};
      if (Sys::ppoll(&state, 1, &now) == 1 && (state.revents & POLLERR) != 0) tap_gone = true;
    }
  };

  basic_vhost_backend() = default;

  std::vector<served_pair> pairs_;
  feature_set features_;
  memory_table table_;
  vhost_busyloop busyloop_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_VHOST_BACKEND_HPP
