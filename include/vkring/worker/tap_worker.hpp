// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_TAP_WORKER_HPP
#define VKRING_WORKER_TAP_WORKER_HPP

// Threads of this process in the place of vhost-net's: they serve queue pairs over TAP queues.

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/memory/table.hpp>
#include <vkring/worker/plain_io.hpp>
#include <vkring/worker/tap_queue.hpp>

namespace vkring::inline v0 {

/// How the worker's threads run.
struct worker_options {
  /// Threads; queue pair i belongs to thread i modulo this. 0: one for each pair, as vhost-net has.
  std::size_t threads = 0;
  /// The CPU of thread i is `cpus[i]`, around the list; empty: wherever the kernel puts them.
  std::vector<int> cpus;
  /// How long a thread looks for frames to send before it sleeps. While it looks, sending costs the
  /// application no system call. `std::chrono::microseconds::max()`: it never sleeps.
  std::chrono::microseconds spin{50};
};

/// The in-process worker: the device side of N queue pairs over N TAP queues.
///
/// Frames go straight between the descriptors' memory and the TAP. Idle threads sleep; `stop` and the
/// destructor end them and return once they are gone. What the threads met is in `health`, what they
/// did in `counters`, both readable from any thread.
/// Allocation: in `start` only. Errors of `start`: pthread_create, sched_setaffinity, eventfd, and
/// those of `Io::make`.
template <class Layout = split, class Sys = posix, worker_io Io = plain_io<Sys>>
class basic_tap_worker {
 public:
  /// Starts the threads. `table` is copied; the descriptors in `queues` stay open until the end.
  static result<std::unique_ptr<basic_tap_worker>> start(
      const std::vector<worker_queue<Layout>>& queues, const memory_table& table,
      const worker_options& options = {}) {
    auto worker =
        std::unique_ptr<basic_tap_worker>(new basic_tap_worker(queues, table, options));
    if (auto started = worker->start_threads(options); !started) {
      return fail(std::move(started.error()));
    }
    return worker;
  }
  basic_tap_worker(const basic_tap_worker&) = delete;
  basic_tap_worker& operator=(const basic_tap_worker&) = delete;
  ~basic_tap_worker() { stop(); }

  /// Ends all threads, each after one last look at its tx rings: a frame that was sent before is
  /// handed to the kernel, unless that has no room. Afterwards nobody touches the rings.
  void stop() noexcept {
    // Pairs with `stopping`: who sees it sees what was sent before.
    stopping_.store(true, std::memory_order_release);
    begin();
    for (thread& each : threads_) {
      if (!each.running) continue;
      each.wake->signal();
      ::pthread_join(each.id, nullptr);
      each.running = false;
    }
  }

  /// Serves a pair, or no longer: then what was sent before is handed to the kernel, unless that has
  /// no room, and until it is served again nobody touches its rings and its TAP queue, which may be
  /// detached meanwhile. Returns once it is so. Not after `stop`.
  void serve(std::size_t pair, bool on) noexcept {
    pair_state& it = *pairs_[pair];
    it.wanted.store(on, std::memory_order_release);
    it.by->wake->signal();
    // Pairs with `follow`: the thread has done its last access.
    it.served.wait(!on, std::memory_order_acquire);
  }

  /// The frame that was taken from the kernel for a pair that is not served, and waits for more
  /// buffers in its rx ring: with its header, empty if there is none.
  [[nodiscard]] std::vector<std::byte> held_frame(std::size_t pair) const {
    return pairs_[pair]->it.held_frame();
  }

  /// Where the device side of each packed ring goes on, like `ring_options::start`. Of a pair that
  /// is not served.
  [[nodiscard]] ring_index tx_position(std::size_t pair) const noexcept {
    return pairs_[pair]->it.tx_position();
  }
  /// See `tx_position`.
  [[nodiscard]] ring_index rx_position(std::size_t pair) const noexcept {
    return pairs_[pair]->it.rx_position();
  }

  /// As many as it was made for.
  [[nodiscard]] std::size_t queue_pairs() const noexcept { return pairs_.size(); }
  /// What was counted for a pair, from any thread.
  [[nodiscard]] const worker_counters& counters(std::size_t pair) const noexcept {
    return pairs_[pair]->it.counters();
  }
  /// What is wrong with a pair, from any thread.
  [[nodiscard]] const worker_health& health(std::size_t pair) const noexcept {
    return pairs_[pair]->it.health();
  }

 private:
  using clock = std::chrono::steady_clock;
  using queue = tap_queue<Layout, Sys>;
  static constexpr std::uint16_t budget = 64;  // frames of one direction before the others' turn
  static constexpr std::size_t fds_of_queue = 3;

  struct thread;
  struct pair_state {
    pair_state(const worker_queue<Layout>& served_queue, const memory_table& table)
        : it(served_queue, table), wanted(served_queue.served), served(served_queue.served) {}
    queue it;
    thread* by = nullptr;
    std::atomic<bool> wanted;
    std::atomic<bool> served;
  };
  struct thread {
    basic_tap_worker* worker = nullptr;
    std::vector<pair_state*> pairs;
    std::vector<pollfd> set;  // three entries for each pair, and the wake event
    std::optional<basic_event_fd<Sys>> wake;
    std::size_t next_look = 0;
    std::optional<Io> io;
    pthread_t id{};
    bool running = false;
  };

  basic_tap_worker(const std::vector<worker_queue<Layout>>& queues, const memory_table& table,
                   const worker_options& options)
      : table_(table), spin_(std::min(options.spin, longest_spin)) {
    const std::size_t wanted = options.threads == 0 ? queues.size() : options.threads;
    threads_.resize(wanted < queues.size() ? wanted : queues.size());
    for (const worker_queue<Layout>& each : queues) {
      thread& by = threads_[pairs_.size() % threads_.size()];
      pairs_.push_back(std::make_unique<pair_state>(each, table_));
      pairs_.back()->by = &by;
      by.pairs.push_back(pairs_.back().get());
    }
    for (thread& each : threads_) {
      each.worker = this;
      each.set.resize(each.pairs.size() * fds_of_queue + 1);
    }
  }

  result<void> start_threads(const worker_options& options) {
    for (std::size_t i = 0; i < threads_.size(); ++i) {
      thread& each = threads_[i];
      auto wake = basic_event_fd<Sys>::create();
      if (!wake) return fail(std::move(wake.error()));
      each.wake.emplace(std::move(*wake));
      auto io = Io::make(each.set.size());
      if (!io) return fail(std::move(io.error()));
      each.io.emplace(std::move(*io));
      ::pthread_attr_t attributes;
      ::pthread_attr_init(&attributes);
      std::string where = "worker " + std::to_string(i);
      if (!options.cpus.empty()) {
        const int cpu = options.cpus[i % options.cpus.size()];
        ::cpu_set_t cpus;
        CPU_ZERO(&cpus);
        if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(cpu), &cpus);
        ::pthread_attr_setaffinity_np(&attributes, sizeof cpus, &cpus);
        where += " on CPU " + std::to_string(cpu);
      }
      const int reason = create(each, attributes);
      ::pthread_attr_destroy(&attributes);
      if (reason != 0) {
        return fail(reason, "pthread_create", where,
                    reason == EINVAL
                        ? "needs a CPU that this process may run on: taskset -p shows them"
                        : "raise the limits on threads (ulimit -u) and memory");
      }
      each.running = true;
    }
    begin();
    return {};
  }
  // A start that fails half-way has taken nothing from the kernel that it could not deliver.
  void begin() noexcept {
    begun_.store(true, std::memory_order_release);
    begun_.notify_all();
  }

  // Signals are for the application's threads: one that a worker took would interrupt none of them.
  static int create(thread& made, const ::pthread_attr_t& attributes) noexcept {
    ::sigset_t others;
    ::sigset_t before;
    ::sigfillset(&others);
    // What a thread brings on itself, and what a profiler samples every thread with.
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF}) {
      ::sigdelset(&others, own);
    }
    ::pthread_sigmask(SIG_SETMASK, &others, &before);
    const int reason = Sys::pthread_create(&made.id, &attributes, run, &made);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return reason;
  }

  [[nodiscard]] bool stopping() const noexcept { return stopping_.load(std::memory_order_acquire); }

  static void* run(void* argument) {
    auto& self = *static_cast<thread*>(argument);
    self.worker->run(self);
    return nullptr;
  }

  void run(thread& self) noexcept {
    Io io = std::move(*self.io);
    begun_.wait(false, std::memory_order_acquire);
    while (!stopping()) {
      for (pair_state* each : self.pairs) each->it.disable_kicks();
      work(self, io);
      sleep(self, io);
    }
    for (pair_state* each : self.pairs) each->it.drain_tx(io);
  }

  // Does what `serve` asked for.
  static void follow(pair_state& pair, Io& io) noexcept {
    const bool on = pair.wanted.load(std::memory_order_acquire);
    if (on == pair.served.load(std::memory_order_relaxed)) [[likely]]
      return;
    if (on) {
      pair.it.resume();
    } else {
      pair.it.pause(io);
    }
    pair.served.store(on, std::memory_order_release);
    pair.served.notify_all();
  }

  // Serves all pairs until there is nothing more to do.
  void work(thread& self, Io& io) noexcept {
    clock::time_point last_sent{};
    clock::time_point last_look = clock::now();
    while (!stopping()) {
      std::size_t sent = 0;
      bool more = false;
      for (pair_state* each : self.pairs) {
        follow(*each, io);
        sent += each->it.serve_tx(io, budget);
        more = each->it.serve_rx(budget) == budget || more;
      }
      const auto now = clock::now();
      if (sent != 0) last_sent = now;
      // It pays to look for frames to send: a look is a load, and spares the application the kick.
      // A look for frames from the kernel is a system call; poll tells of them just as well.
      if (!more && now - last_sent > spin_) return;
      if (now - last_look > rx_look_interval) {
        last_look = now;
        self.pairs[self.next_look++ % self.pairs.size()]->it.look();
      }
    }
  }

  // Sleeps until there is something to do.
  void sleep(thread& self, Io& io) noexcept {
    for (std::size_t i = 0; i < self.pairs.size(); ++i) {
      if (!self.pairs[i]->it.arm(fds(self, i))) return;
    }
    self.set.back() = {self.wake->fd(), POLLIN, 0};
    for (pair_state* each : self.pairs) each->it.counters().sleeps.add(1);
    if (!io.wait(self.set)) return;
    for (std::size_t i = 0; i < self.pairs.size(); ++i) self.pairs[i]->it.woken(io, fds(self, i));
    if (self.set.back().revents != 0) io.drain(self.wake->fd());
  }

  [[nodiscard]] static std::span<pollfd, fds_of_queue> fds(thread& self, std::size_t i) noexcept {
    return std::span<pollfd, fds_of_queue>(self.set.data() + i * fds_of_queue, fds_of_queue);
  }

  static constexpr std::chrono::microseconds rx_look_interval{20};
  static constexpr std::chrono::microseconds longest_spin = std::chrono::hours(24 * 365 * 100);

  memory_table table_;
  std::chrono::microseconds spin_;
  std::atomic<bool> begun_{false};
  std::atomic<bool> stopping_{false};
  std::vector<std::unique_ptr<pair_state>> pairs_;
  std::vector<thread> threads_;
};

using tap_worker = basic_tap_worker<>;

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_TAP_WORKER_HPP
