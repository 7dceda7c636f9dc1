// SPDX-License-Identifier: BSD-3-Clause

// vkring-fwd: moves frames between kernel interfaces that end in user space. See help.cpp.

#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
#include <vkring/kernel/fd.hpp>
#include <vkring/version.hpp>

#include "options.hpp"
#include "session.hpp"

namespace fwd {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;
using vkring::fail;
using vkring::result;

constexpr auto health_period = 200ms;

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// The CPUs that threads are to be pinned to, behind the key that asked for them.
result<void> check_cpus(std::string_view key, const std::vector<int>& cpus) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  (void)::sched_getaffinity(0, sizeof usable, &usable);
  for (const int each : cpus) {
    if (!CPU_ISSET(static_cast<std::size_t>(each), &usable)) {
      return usage_error(std::string(key) + std::to_string(each),
                         "no CPU that this process may run on (taskset -p shows them)");
    }
  }
  return {};
}
result<void> check_cpus(const options& wanted) {
  for (const port_options& each : wanted.ports) {
    const auto* tap = std::get_if<tap_options>(&each);
    if (tap == nullptr) continue;
    if (auto checked = check_cpus("worker-cpus=", tap->worker_cpus); !checked) return checked;
  }
  return check_cpus("--cores ", wanted.cores);
}

// The signals of interest, taken from now on by whoever reads the descriptor, in no thread at all.
result<vkring::fd> take_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int each : {SIGINT, SIGTERM, SIGUSR1}) ::sigaddset(&signals, each);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return vkring::fd::adopt(
      vkring::sys_result(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
}

// The next signal that comes before `until`; 0 if none does.
int next_signal(int signals, clock::time_point until) {
  const auto left = std::max<std::chrono::nanoseconds>(until - clock::now(), 0ns);
  const timespec limit{left / 1s, (left % 1s).count()};
  pollfd entry{signals, POLLIN, 0};
  if (vkring::posix::ppoll(&entry, 1, &limit) <= 0) return 0;
  signalfd_siginfo about{};
  const auto got = vkring::posix::read(signals, &about, sizeof about);
  return got == sizeof about ? static_cast<int>(about.ssi_signo) : 0;
}

// Runs until a signal or the end of the duration. False: a port's interface was deleted.
bool serve(session& running, const options& wanted, int signals) {
  const auto start = clock::now();
  const auto end = wanted.duration == 0s ? clock::time_point::max() : start + wanted.duration;
  const bool periodic = wanted.stats_period != 0s;
  auto next_table = periodic ? start + wanted.stats_period : clock::time_point::max();
  report before = running.counters();
  for (;;) {
    const auto until = std::min({end, next_table, clock::now() + health_period});
    switch (next_signal(signals, until)) {
      case SIGINT:
      case SIGTERM:
        return true;
      case SIGUSR1:
        print(running.inspect());
        break;
      default:
        break;
    }
    if (const std::string_view name = running.gone(); !name.empty()) {
      std::fprintf(stderr, "%.*s: the interface was deleted\n", static_cast<int>(name.size()),
                   name.data());
      return false;
    }
    if (clock::now() >= end) return true;
    if (clock::now() >= next_table) {
      report now = running.counters();
      print(period_table(before, now));
      before = std::move(now);
      next_table += wanted.stats_period;
    }
  }
}

struct closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using file_ptr = std::unique_ptr<std::FILE, closer>;

// 0, or 1 after a failure at run time.
result<int> run(const options& wanted) {
  if (auto checked = check_cpus(wanted); !checked) return fail(std::move(checked.error()));
  file_ptr json_file;
  if (!wanted.json.empty()) {
    json_file.reset(std::fopen(wanted.json.c_str(), "we"));
    if (!json_file) return usage_error("--json " + wanted.json, std::strerror(errno));
  }
  auto signals = take_signals();
  if (!signals) return fail(std::move(signals.error()));
  auto opened = session::open(wanted);
  if (!opened) return fail(std::move(opened.error()));
  session& running = **opened;
  print(running.about());
  if (auto started = running.start(); !started) return fail(std::move(started.error()));
  const bool good = serve(running, wanted, signals->get());
  running.stop();

  const report all = running.counters();
  print(final_table(all));
  if (json_file) {
    const std::string text = json(all);
    const bool written = std::fwrite(text.data(), 1, text.size(), json_file.get()) == text.size();
    if (!written || std::fflush(json_file.get()) != 0) {
      return fail(errno, "write", wanted.json);
    }
  }
  return good ? 0 : 1;
}

int main_of(const std::vector<std::string_view>& arguments) {
  constexpr int run_time_failure = 1;
  constexpr int wrong_usage = 2;
  const auto parsed = parse(arguments);
  auto done = !parsed ? result<int>(fail(parsed.error())) : result<int>(0);
  if (parsed) {
    switch (parsed->action) {
      case options::what::help:
        print(std::string(help_text()));
        break;
      case options::what::version:
        std::printf("vkring-fwd %d.%d.%d\n", VKRING_VERSION_MAJOR, VKRING_VERSION_MINOR,
                    VKRING_VERSION_PATCH);
        break;
      case options::what::run:
        done = run(*parsed);
        break;
    }
  }
  if (done) return *done;
  const bool usage = is_usage(done.error());
  const std::string text = usage ? usage_text(done.error()) : done.error().message();
  std::fprintf(stderr, "%s\n", text.c_str());
  return usage ? wrong_usage : run_time_failure;
}

}  // namespace
}  // namespace fwd

int main(int argc, char** argv) {
  return fwd::main_of(std::vector<std::string_view>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
