// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_LOOPBACK_CASES_HPP
#define VKRING_BENCH_LOOPBACK_CASES_HPP

// Cases of loopbacks: measured by Google Benchmark, or run for a profiler to count.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "loopback.hpp"

namespace bench {

struct bench_case {
  std::string name;
  std::function<void(benchmark::State&)> measure;
  std::function<std::uint64_t(std::uint64_t turns)> run;  // how many frames
};

// The frames of a loopback that is through with its work.
inline std::uint64_t frames_of(const loopback_base& done) {
  if (!done.intact() || done.sent.frames == 0) {
    std::fprintf(stderr, "%llu frames sent, %llu received, sums %llx and %llx\n",
                 static_cast<unsigned long long>(done.sent.frames),
                 static_cast<unsigned long long>(done.received.frames),
                 static_cast<unsigned long long>(done.sent.sum),
                 static_cast<unsigned long long>(done.received.sum));
    std::exit(1);
  }
  return done.sent.frames;
}

template <class Loopback>
void add_case(std::vector<bench_case>& cases, std::string name, loopback_options o) {
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

inline int count(const std::vector<bench_case>& cases, const char* turns, std::string_view name) {
  for (const bench_case& each : cases) {
    if (each.name != name) continue;
    std::printf("%llu\n",
                static_cast<unsigned long long>(each.run(std::strtoull(turns, nullptr, 10))));
    return 0;
  }
  std::fprintf(stderr, "no case %s\n", std::string(name).c_str());
  return 1;
}

/// The main function of a program with such cases.
inline int run(int argc, char** argv, const std::vector<bench_case>& cases) {
  if (argc == 4 && std::string_view(argv[1]) == "--count") return count(cases, argv[2], argv[3]);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const bench_case& each : cases) {
    benchmark::RegisterBenchmark(each.name.c_str(), each.measure);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace bench

#endif  // VKRING_BENCH_LOOPBACK_CASES_HPP
