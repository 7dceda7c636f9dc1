// SPDX-License-Identifier: BSD-3-Clause

// Frames between user space and the kernel's stack through a TAP, in a network namespace of its own:
// through a device and its worker, and by the system calls that a program would make without one.
//
//   tap_path/<worker|uring|writev>/tx/frame:N           as many frames as the kernel takes
//   tap_path/<worker|uring|writev>/tx_paced/frame:N     100,000 frames/s, what is due each
//                                                       millisecond; `app_ns` is the point
//   tap_path/<worker|uring|read>/rx_paced/frame:N/rate:R  frames from the kernel, what is due each 50 us
//   tap_path/<worker|uring>/wake/pairs:N                a frame each time that the worker's one thread,
//                                                       which serves N queue pairs, has gone to sleep
//
// Counters: `app_ns` is the CPU time of the application's thread per frame, `all_ns` that of the whole
// process but the thread that plays the kernel's sender, `worker_ns` that of the worker, `lost` the
// frames that did not arrive. Frames that are sent are for a foreign MAC address, so that the kernel
// drops each at the same early point.

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vkring/device.hpp>
#include <vkring/io_uring.hpp>

namespace {

using namespace vkring;
using clock_type = std::chrono::steady_clock;
using uring_device = basic_device<split, buffer_pool, posix, uring_tap_worker>;

constexpr std::size_t burst = 32;

double cpu_ns(int who) {
  rusage used{};
  ::getrusage(who, &used);
  const auto ns = [](const timeval& t) {
    return 1e9 * static_cast<double>(t.tv_sec) + 1e3 * static_cast<double>(t.tv_usec);
  };
  return ns(used.ru_utime) + ns(used.ru_stime);
}

/// CPU time per frame of this thread and of the process since construction.
class cpu_meter {
 public:
  void report(benchmark::State& state, std::uint64_t frames, double others = 0) const {
    const double n = static_cast<double>(std::max<std::uint64_t>(frames, 1));
    state.counters["app_ns"] = (cpu_ns(RUSAGE_THREAD) - thread_) / n;
    state.counters["all_ns"] = (cpu_ns(RUSAGE_SELF) - process_ - others) / n;
  }

 private:
  double thread_ = cpu_ns(RUSAGE_THREAD);
  double process_ = cpu_ns(RUSAGE_SELF);
};

/// A TAP of this benchmark's own, with its address and the address of somebody behind it.
class bench_tap {
 public:
  explicit bench_tap(const char* name) : tap_(tap::open({.name = name}).value()) {
    net_link link = net_link::open(name).value();
    link.add_address(parse_ip_prefix("10.99.0.1/24").value()).value();
    link.set_up(true).value();
    // No ARP: the neighbour is known.
    const std::string command =
        std::string("ip neigh replace 10.99.0.2 lladdr 02:00:00:00:00:02 dev ") + name;
    if (std::system(command.c_str()) != 0) std::abort();
  }
  [[nodiscard]] int fd() const { return tap_.fd(); }

  /// A device on the same TAP.
  template <class Device>
  [[nodiscard]] Device serve() const {
    device_config config;
    config.backend = backend_kind::worker;
    config.queue_fds.push_back(basic_fd<>(::dup(fd())));
    config.wanted.offloads = wanted_offloads::all(want::off);
    if (const char* cpu = std::getenv("VKRING_WORKER_CPU")) config.worker.cpus = {std::atoi(cpu)};
    return Device::open(std::move(config), buffer_pool::make({}).value()).value();
  }

 private:
  tap tap_;
};

/// The neighbour behind the TAP, for the kernel to send to.
sockaddr_in neighbour() {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  ::inet_pton(AF_INET, "10.99.0.2", &to.sin_addr);
  return to;
}

// An Ethernet frame to a MAC that nobody has.
std::vector<std::byte> foreign_frame(std::size_t bytes) {
  std::vector<std::byte> frame(bytes);
  const std::array<unsigned char, 14> head{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 2, 8, 0};
  std::memcpy(frame.data(), head.data(), head.size());
  return frame;
}

/// Calls `send(n)` so that `rate` frames per second go out, in bursts of what is due after each nap.
template <class Send>
std::uint64_t paced(std::uint64_t rate, std::uint64_t total, std::chrono::nanoseconds nap,
                    Send&& send) {
  const auto start = clock_type::now();
  std::uint64_t sent = 0;
  while (sent != total) {
    const auto due = std::min<std::uint64_t>(
        total, static_cast<std::uint64_t>(
                   std::chrono::duration<double>(clock_type::now() - start).count() *
                   static_cast<double>(rate)));
    if (due > sent) {
      send(due - sent);
      sent = due;
    } else {
      const timespec time{0, nap.count()};
      ::nanosleep(&time, nullptr);
    }
  }
  return sent;
}

/// Sends by system calls: a header and a payload each.
class writev_sender {
 public:
  explicit writev_sender(std::size_t bytes) : tap_("writev"), payload_(foreign_frame(bytes)) {}
  void send(std::uint64_t n) {
    const std::array<iovec, 2> pieces{
        {{header_.data(), header_.size()}, {payload_.data(), payload_.size()}}};
    for (; n != 0; --n) {
      while (::writev(tap_.fd(), pieces.data(), 2) < 0) {
      }
    }
  }
  void finish(std::uint64_t) {}

 private:
  bench_tap tap_;
  std::vector<std::byte> payload_;
  std::array<std::byte, 12> header_{};
};

/// Sends through a device: buffers from the pool, each filled with the payload.
template <class Device>
class device_sender {
 public:
  explicit device_sender(std::size_t bytes)
      : tap_("device"), device_(tap_.serve<Device>()), payload_(foreign_frame(bytes)) {}
  void send(std::uint64_t n) {
    for (std::uint64_t left = n; left != 0;) {
      const std::span some(frames_.data(), std::min<std::uint64_t>(left, burst));
      const std::size_t have = device_.tx(0).allocate(some);
      for (frame& f : some.first(have)) {
        f.resize(static_cast<std::uint32_t>(payload_.size()));
        std::memcpy(f.contiguous().data(), payload_.data(), payload_.size());
      }
      for (std::size_t sent = 0; sent != have;) {
        sent += device_.tx(0).send(some.first(have).subspan(sent));
      }
      left -= have;
    }
  }
  /// Waits until the kernel has all `total` frames.
  void finish(std::uint64_t total) {
    while (device_.worker_statistics(0)->tx_frames.value() < total) {
    }
  }

 private:
  bench_tap tap_;
  Device device_;
  std::vector<std::byte> payload_;
  std::array<frame, burst> frames_;
};

template <class Sender>
void tx(benchmark::State& state) {
  Sender sender(static_cast<std::size_t>(state.range(0)));
  const cpu_meter meter;
  std::uint64_t frames = 0;
  for (auto _ : state) {
    sender.send(burst);
    frames += burst;
  }
  sender.finish(frames);
  meter.report(state, frames);
  state.SetItemsProcessed(static_cast<std::int64_t>(frames));
}

template <class Sender>
void tx_paced(benchmark::State& state) {
  constexpr std::uint64_t rate = 100'000;
  Sender sender(static_cast<std::size_t>(state.range(0)));
  const cpu_meter meter;
  std::uint64_t frames = 0;
  for (auto _ : state) {
    frames += paced(rate, rate / 2, std::chrono::milliseconds(1),
                    [&](std::uint64_t n) { sender.send(n); });
  }
  sender.finish(frames);
  meter.report(state, frames);
  state.SetItemsProcessed(static_cast<std::int64_t>(frames));
}

/// The kernel as a sender: a thread with a UDP socket.
class kernel_sender {
 public:
  kernel_sender(std::uint64_t rate, std::uint64_t total, std::size_t bytes)
      : thread_([=, this] {
          const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
          const sockaddr_in to = neighbour();
          std::vector<char> data(bytes);
          paced(rate, total, std::chrono::microseconds(50), [&](std::uint64_t n) {
            for (; n != 0; --n) {
              ::sendto(s, data.data(), data.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                       sizeof to);
            }
          });
          ::close(s);
          cpu_ = cpu_ns(RUSAGE_THREAD);
          done_ = true;
        }) {}
  ~kernel_sender() { thread_.join(); }
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] double cpu() const { return cpu_; }

 private:
  std::atomic<bool> done_{false};
  std::atomic<double> cpu_{0};
  std::thread thread_;
};

constexpr std::size_t udp_headers = 42;

/// Receives by system calls: sleeps in poll, reads until there is nothing more.
class read_receiver {
 public:
  read_receiver() : tap_("read") {}
  /// Frames of `bytes` that came; none after 50 ms without any.
  std::uint64_t receive(std::size_t bytes) {
    pollfd set{tap_.fd(), POLLIN, 0};
    if (::poll(&set, 1, 50) <= 0) return 0;
    std::uint64_t received = 0;
    ssize_t n = 0;
    while ((n = ::read(tap_.fd(), buffer_.data(), buffer_.size())) > 0) {
      received += static_cast<std::size_t>(n) == 12 + bytes;
    }
    ++sleeps_;
    return received;
  }
  /// How often it slept, for each frame.
  void report(benchmark::State& state, std::uint64_t frames) const {
    state.counters["sleeps"] = static_cast<double>(sleeps_) / static_cast<double>(frames);
  }

 private:
  bench_tap tap_;
  std::array<std::byte, 2060> buffer_;
  std::uint64_t sleeps_ = 0;
};

/// Receives through a device.
template <class Device>
class device_receiver {
 public:
  device_receiver() : tap_("device"), device_(tap_.serve<Device>()) {}
  std::uint64_t receive(std::size_t bytes) {
    if (!device_.wait(std::chrono::milliseconds(50))) return 0;
    std::uint64_t received = 0;
    std::size_t n = 0;
    while ((n = device_.rx(0).receive(frames_)) != 0) {
      const std::span got(frames_.data(), n);
      for (const frame& f : got) received += f.size() == bytes;
      device_.rx(0).recycle(got);
    }
    return received;
  }
  /// How often the worker slept and called, for each frame.
  void report(benchmark::State& state, std::uint64_t frames) const {
    const worker_counters& counters = *device_.worker_statistics(0);
    const auto n = static_cast<double>(frames);
    state.counters["sleeps"] = static_cast<double>(counters.sleeps.value()) / n;
    state.counters["calls"] = static_cast<double>(counters.calls.value()) / n;
  }

 private:
  bench_tap tap_;
  Device device_;
  std::array<frame, burst> frames_;
};

template <class Receiver>
void rx_paced(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  const auto rate = static_cast<std::uint64_t>(state.range(1));
  Receiver receiver;
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  double others = 0;
  const cpu_meter meter;
  for (auto _ : state) {
    const kernel_sender sender(rate, rate / 2, bytes - udp_headers);
    sent += rate / 2;
    for (bool over = false; !over;) {
      over = sender.done();
      const std::uint64_t came = receiver.receive(bytes);
      received += came;
      over = over && came == 0;
    }
    others += sender.cpu();
  }
  meter.report(state, received, others);
  receiver.report(state, received);
  state.counters["lost"] = static_cast<double>(sent) - static_cast<double>(received);
  state.SetItemsProcessed(static_cast<std::int64_t>(received));
}

template <class Device>
void wake(benchmark::State& state) {
  const auto pairs = static_cast<std::uint16_t>(state.range(0));
  device_config config;
  config.backend = backend_kind::worker;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  config.wanted.queue_size = 16;
  config.worker.threads = 1;
  config.worker.spin = std::chrono::microseconds(0);
  Device it = Device::open(std::move(config),
                           buffer_pool::make({.buffers = 256u * pairs, .buffer_size = 256}).value())
                  .value();
  const std::vector<std::byte> payload = foreign_frame(64);
  const cpu_meter meter;
  std::uint64_t frames = 0;
  for (auto _ : state) {
    const std::size_t pair = frames % pairs;
    frame one;
    it.tx(pair).allocate({&one, 1});
    one.resize(64);
    std::memcpy(one.contiguous().data(), payload.data(), payload.size());
    const worker_counters& counters = *it.worker_statistics(pair);
    const std::uint64_t sleeps = counters.sleeps.value();
    it.tx(pair).send({&one, 1});
    ++frames;
    while (counters.tx_frames.value() == 0 || counters.sleeps.value() == sleeps) ::sched_yield();
  }
  meter.report(state, frames);
  state.counters["worker_ns"] = state.counters["all_ns"] - state.counters["app_ns"];
}

void declare() {
  const auto named = [](const char* name, auto function) {
    auto* made = benchmark::RegisterBenchmark(name, function);
    made->UseRealTime();
    return made;
  };
  for (const std::int64_t bytes : {64, 1514}) {
    named("tap_path/worker/tx", tx<device_sender<device>>)->ArgName("frame")->Arg(bytes);
    named("tap_path/uring/tx", tx<device_sender<uring_device>>)->ArgName("frame")->Arg(bytes);
    named("tap_path/writev/tx", tx<writev_sender>)->ArgName("frame")->Arg(bytes);
  }
  named("tap_path/worker/tx_paced", tx_paced<device_sender<device>>)->ArgName("frame")->Arg(64);
  named("tap_path/uring/tx_paced", tx_paced<device_sender<uring_device>>)
      ->ArgName("frame")
      ->Arg(64);
  named("tap_path/writev/tx_paced", tx_paced<writev_sender>)->ArgName("frame")->Arg(64);
  for (const std::int64_t rate : {50'000, 100'000, 120'000, 200'000, 300'000, 400'000}) {
    named("tap_path/worker/rx_paced", rx_paced<device_receiver<device>>)
        ->ArgNames({"frame", "rate"})
        ->Args({64, rate});
    named("tap_path/uring/rx_paced", rx_paced<device_receiver<uring_device>>)
        ->ArgNames({"frame", "rate"})
        ->Args({64, rate});
    named("tap_path/read/rx_paced", rx_paced<read_receiver>)
        ->ArgNames({"frame", "rate"})
        ->Args({64, rate});
  }
  for (const std::int64_t pairs : {1, 8, 64, 256}) {
    named("tap_path/worker/wake", wake<device>)->ArgName("pairs")->Arg(pairs);
    named("tap_path/uring/wake", wake<uring_device>)->ArgName("pairs")->Arg(pairs);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (::unshare(CLONE_NEWNET) != 0) {
    std::perror("tap_path: unshare(CLONE_NEWNET), needs CAP_SYS_ADMIN");
    return 2;
  }
  declare();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
