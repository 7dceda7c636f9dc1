// SPDX-License-Identifier: BSD-3-Clause
#include "forwarder.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vkring/kernel/sys.hpp>

namespace fwd {

using namespace std::chrono_literals;

namespace {

// How long adaptive waiting polls before it sleeps, which costs about a tenth of that.
constexpr auto adaptive_spin = 50us;
// Sleeps are never longer: buffers that the kernel has read are collected then.
constexpr auto longest_sleep = 500ms;
// Until buffers are looked for again.
constexpr auto nap = 1ms;
// What the end may take.
constexpr auto last_moment = 200ms;

void pin(int cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<std::size_t>(cpu), &cpus);
  // That the process may run there has been checked.
  (void)::pthread_setaffinity_np(::pthread_self(), sizeof cpus, &cpus);
}

}  // namespace

vkring::result<std::unique_ptr<forwarder>> forwarder::start(std::vector<std::vector<lane*>> groups,
                                                            const std::vector<int>& cores,
                                                            wait_mode wait) {
  auto made = std::unique_ptr<forwarder>(new forwarder(wait));
  const std::size_t count = std::max<std::size_t>(cores.size(), 1);
  std::vector<std::unique_ptr<thread>> threads;
  for (std::size_t i = 0; i < count; ++i) {
    auto wake = vkring::event_fd::create();
    if (!wake) return vkring::fail(std::move(wake.error()));
    threads.push_back(std::make_unique<thread>(thread{{}, {}, std::move(*wake), {}}));
  }
  for (std::size_t i = 0; i < groups.size(); ++i) {
    auto& lanes = threads[i % count]->lanes;
    lanes.insert(lanes.end(), groups[i].begin(), groups[i].end());
  }
  made->threads_ = std::move(threads);
  for (std::size_t i = 0; i < count; ++i) {
    thread& each = *made->threads_[i];
    each.set.resize(each.lanes.size() + 1);
    const std::optional<int> cpu = cores.empty() ? std::nullopt : std::optional(cores[i]);
    try {
      each.runner = std::thread([self = made.get(), &each, cpu] {
        if (cpu) pin(*cpu);
        self->run(each);
      });
    } catch (const std::system_error& refusal) {
      return vkring::fail(refusal.code().value(), "pthread_create",
                          "forwarder " + std::to_string(i),
                          "raise the limits on threads (ulimit -u) and memory");
    }
  }
  return made;
}

void forwarder::set_phase(phase next) {
  {
    const std::lock_guard lock(mutex_);
    phase_.store(next, std::memory_order_relaxed);
  }
  changed_.notify_all();
  for (const auto& each : threads_) each->wake.signal();
}

void forwarder::stop() {
  if (threads_.empty()) return;
  set_phase(phase::stopping);
  for (const auto& each : threads_) {
    if (each->runner.joinable()) each->runner.join();  // not after a failure of `start`
  }
  threads_.clear();
}

void forwarder::run(thread& self) {
  auto last_busy = clock::now();
  for (;;) {
    switch (phase_.load(std::memory_order_relaxed)) {
      case phase::running:
        break;
      case phase::parked:
        park();
        continue;
      case phase::stopping:
        return end(self);
    }
    bool busy = false;
    for (lane* each : self.lanes) busy = each->work() || busy;
    if (wait_ == wait_mode::poll) continue;
    if (busy) {
      if (wait_ == wait_mode::adaptive) last_busy = clock::now();
    } else if (wait_ == wait_mode::interrupt || knows_when(self) ||
               clock::now() - last_busy > adaptive_spin) {
      sleep(self);
      last_busy = clock::now();
    }
  }
}

// Whether nothing can happen before a time that is known, so that polling is in vain.
bool forwarder::knows_when(const thread& self) {
  return std::all_of(self.lanes.begin(), self.lanes.end(),
                     [](const lane* each) { return each->wake_at().has_value(); });
}

void forwarder::park() {
  std::unique_lock lock(mutex_);
  ++parked_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return phase_.load(std::memory_order_relaxed) != phase::parked; });
  --parked_;
}

void forwarder::sleep(thread& self) {
  auto longest = std::chrono::nanoseconds(longest_sleep);
  const auto now = clock::now();
  for (std::size_t i = 0; i < self.lanes.size(); ++i) {
    switch (self.lanes[i]->prepare_sleep(self.set[i])) {
      case readiness::sleep:
        break;
      case readiness::pending:
        longest = 0ns;
        break;
      case readiness::starved:
        longest = std::min<std::chrono::nanoseconds>(longest, nap);
        break;
    }
    if (const auto at = self.lanes[i]->wake_at()) {
      longest = std::clamp<std::chrono::nanoseconds>(*at - now, 0ns, longest);
    }
  }
  self.set.back() = {self.wake.fd(), POLLIN, 0};
  const timespec limit{longest / 1s, (longest % 1s).count()};
  const int ready = vkring::posix::ppoll(self.set.data(), self.set.size(), &limit);
  if (ready < 0) {  // then revents says nothing
    for (pollfd& each : self.set) each.revents = 0;
  }
  for (std::size_t i = 0; i < self.lanes.size(); ++i) self.lanes[i]->woken(self.set[i]);
  if (self.set.back().revents != 0) self.wake.drain();
}

void forwarder::end(thread& self) {
  const auto until = clock::now() + last_moment;
  bool busy = true;
  while (busy && clock::now() < until) {
    busy = false;
    for (lane* each : self.lanes) busy = each->work_off() || busy;
  }
  for (lane* each : self.lanes) each->stop();
}

}  // namespace fwd
