// SPDX-License-Identifier: BSD-3-Clause

// Both sides of one ring in one thread: what a frame costs without a peer on another core.
//
//   ring_loopback [Google Benchmark's options]
//   ring_loopback --count TURNS CASE     TURNS bursts of one case, for a profiler; says how many
//                                        frames that was. bench/count.sh calls it under callgrind.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "loopback.hpp"

namespace {

struct bench_case {
  std::string name;
  std::function<void(benchmark::State&)> measure;
  std::function<std::uint64_t(std::uint64_t turns)> run;  // how many frames
};

// The frames of a loopback that is through with its work.
std::uint64_t frames_of(const bench::loopback& done) {
  if (!done.intact() || done.sent.frames == 0) {
    std::fprintf(stderr, "ring_loopback: %llu frames sent, %llu received, sums %llx and %llx\n",
                 static_cast<unsigned long long>(done.sent.frames),
                 static_cast<unsigned long long>(done.received.frames),
                 static_cast<unsigned long long>(done.sent.sum),
                 static_cast<unsigned long long>(done.received.sum));
    std::exit(1);
  }
  return done.sent.frames;
}

template <class Loopback>
void add_case(std::vector<bench_case>& cases, const std::string& what, bench::loopback_options o) {
  std::string name = "ring_loopback/" + what;
  name += "/size:" + std::to_string(o.size) + "/burst:" + std::to_string(o.burst);
  if (o.event_idx) name += "/event_idx";
  if (o.indirect) name += "/indirect";
  if (o.mergeable) name += "/mergeable";
  cases.push_back({name,
                   [o](benchmark::State& state) {
                     Loopback loop(o);
                     for (auto _ : state) loop.turn();
                     state.SetItemsProcessed(static_cast<std::int64_t>(frames_of(loop)));
                   },
                   [o](std::uint64_t turns) {
                     Loopback loop(o);
                     for (; turns != 0; --turns) loop.turn();
                     return frames_of(loop);
                   }});
}

template <class Layout>
void add_layout(std::vector<bench_case>& cases, const std::string& layout) {
  for (const bool event_idx : {false, true}) {
    const bench::loopback_options plain{.event_idx = event_idx};
    const bench::loopback_options indirect{.event_idx = event_idx, .indirect = true};
    const bench::loopback_options mergeable{.event_idx = event_idx, .mergeable = true};
    add_case<bench::lease_tx<Layout>>(cases, layout + "/lease_tx", plain);
    add_case<bench::lease_tx<Layout>>(cases, layout + "/lease_tx", indirect);
    add_case<bench::lease_rx<Layout>>(cases, layout + "/lease_rx", plain);
    add_case<bench::lease_rx<Layout>>(cases, layout + "/lease_rx", mergeable);
    add_case<bench::slot_loopback_tx<Layout>>(cases, layout + "/slot_tx", plain);
    add_case<bench::slot_loopback_rx<Layout>>(cases, layout + "/slot_rx", plain);
    add_case<bench::device_tx<Layout>>(cases, layout + "/device_tx", plain);
    add_case<bench::device_tx<Layout>>(cases, layout + "/device_tx", indirect);
    add_case<bench::device_rx<Layout>>(cases, layout + "/device_rx", plain);
  }
}

std::vector<bench_case> all_cases() {
  std::vector<bench_case> cases;
  add_layout<vkring::split>(cases, "split");
  add_layout<vkring::packed>(cases, "packed");
  return cases;
}

int count(const std::vector<bench_case>& cases, const char* turns, std::string_view name) {
  for (const bench_case& each : cases) {
    if (each.name != name) continue;
    std::printf("%llu\n",
                static_cast<unsigned long long>(each.run(std::strtoull(turns, nullptr, 10))));
    return 0;
  }
  std::fprintf(stderr, "ring_loopback: no case %s\n", std::string(name).c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<bench_case> cases = all_cases();
  if (argc == 4 && std::string_view(argv[1]) == "--count") return count(cases, argv[2], argv[3]);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const bench_case& each : cases) {
    benchmark::RegisterBenchmark(each.name.c_str(), each.measure);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
