// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_PAIR_HPP
#define VKRING_BENCH_PAIR_HPP

// Two threads on two CPUs, one for each end of something, and the rate at which frames pass.

#include <benchmark/benchmark.h>
#include <sched.h>

#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <thread>
#include <vkring/core/error.hpp>
#include <vkring/kernel/thread.hpp>

#include "tally.hpp"

namespace bench {

/// No two threads write to the same two lines.
inline constexpr std::size_t line_pair = 128;

/// The CPUs of the two threads.
struct cpu_pair {
  int driver;
  int device;

  /// The first two that this process may use; the same one twice if there are no two.
  [[nodiscard]] static cpu_pair usual() noexcept {
    ::cpu_set_t allowed;
    CPU_ZERO(&allowed);
    ::sched_getaffinity(0, sizeof allowed, &allowed);
    std::optional<int> first;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) continue;
      if (first) return {*first, cpu};
      first = cpu;
    }
    return {first.value_or(0), first.value_or(0)};
  }
  /// "A,B", or nothing.
  [[nodiscard]] static std::optional<cpu_pair> parse(std::string_view text) noexcept {
    const char* const end = text.data() + text.size();
    cpu_pair made{};
    const auto a = std::from_chars(text.data(), end, made.driver);
    if (a.ec != std::errc{} || a.ptr == end || *a.ptr != ',') return std::nullopt;
    const auto b = std::from_chars(a.ptr + 1, end, made.device);
    if (b.ec != std::errc{} || b.ptr != end) return std::nullopt;
    return made;
  }
};

/// Keeps the calling thread on a CPU; ends the program where that cannot be.
inline void pin_to(int cpu) {
  if (const auto pinned = vkring::pin_thread(0, cpu); !pinned) {
    std::fprintf(stderr, "%s\n", pinned.error().message().c_str());
    std::exit(2);
  }
}

/// What a thread does while the other one has nothing for it.
class patience {
 public:
  [[gnu::always_inline]] void wait() noexcept {
    // The other one may be waiting for this CPU.
    if (++waits_ % 4096 == 0) ::sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" ::: "memory");
#endif
  }

 private:
  std::uint32_t waits_ = 0;
};

/// A thread that calls `device.serve()`, which says whether there was something, until it is stopped.
template <class Device>
class serving_thread {
 public:
  serving_thread(Device& device, int cpu) : thread_([this, &device, cpu] {
    pin_to(cpu);
    patience idle;
    while (!stop_.load(std::memory_order_relaxed)) {
      if (!device.serve()) idle.wait();
    }
  }) {}
  ~serving_thread() {
    stop_.store(true, std::memory_order_relaxed);
    thread_.join();
  }
  serving_thread(const serving_thread&) = delete;
  serving_thread& operator=(const serving_thread&) = delete;

 private:
  alignas(line_pair) std::atomic<bool> stop_{false};
  alignas(line_pair) std::thread thread_;
};

inline void report(benchmark::State& state, const tally& sent, const tally& received) {
  if (sent != received || sent.frames == 0) {
    std::fprintf(stderr, "%llu frames sent, %llu received, sums %llx and %llx\n",
                 static_cast<unsigned long long>(sent.frames),
                 static_cast<unsigned long long>(received.frames),
                 static_cast<unsigned long long>(sent.sum),
                 static_cast<unsigned long long>(received.sum));
    std::exit(1);
  }
  state.counters["frames_per_s"] =
      benchmark::Counter(static_cast<double>(sent.frames), benchmark::Counter::kIsRate);
}

/// Measures a pair: `Pair` is what lies between the ends, `Pair::driver` and `Pair::device` are made
/// from it. `driver.turn()` sends a burst, `driver.drain()` waits until everything has come back; the
/// `sent` of the one and the `received` of the other have to be the same in the end.
template <class Pair, class... Options>
void measure_pair(benchmark::State& state, const cpu_pair& cpus, const Options&... options) {
  Pair between(options...);
  alignas(line_pair) typename Pair::driver driver(between);
  alignas(line_pair) typename Pair::device device(between);
  {
    const serving_thread serving(device, cpus.device);
    for (auto _ : state) driver.turn();
    driver.drain();
  }
  report(state, driver.sent, device.received);
}

}  // namespace bench

#endif  // VKRING_BENCH_PAIR_HPP
