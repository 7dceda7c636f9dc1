// SPDX-License-Identifier: BSD-3-Clause

// Both ends of one ring in two threads, each on a CPU of its own.
//
//   ring_pair [--cpus DRIVER,DEVICE] [Google Benchmark's options]
//
//   ring_pair/<layout>/descriptors/size:N/burst:N    nobody touches the buffers
//   ring_pair/<layout>/<lease|slot>/size:N/burst:N   the driver writes 64 bytes, the device copies out
//                                                    these and the header
//   ring_pair/control/...                            what rings are held against: bench/controls.hpp
//
// <layout> is split, packed or counted, the one of bench/toy_layout.hpp. Further down in a name stands what is
// not as usual: event_idx, indirect (two buffers in a table),
// csum (each frame asks for a checksum), tight (the parts of the ring share lines), pages (each part on
// pages of its own), huge (ring and buffers on huge pages).
//
// All names end in /real_time; --benchmark_list_tests lists them.
//
// Counter: `frames_per_s`. Everything that is sent has to arrive as it was, or the program ends with
// status 1. bench/ring_pair.sh makes tables of it.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include "controls.hpp"
#include "pair.hpp"
#include "pair_work.hpp"
#include "toy_layout.hpp"

namespace {

using namespace bench;

cpu_pair cpus = cpu_pair::usual();

std::string name_of(std::string name, const loopback_options& o) {
  name += "/size:" + std::to_string(o.size) + "/burst:" + std::to_string(o.burst);
  if (o.event_idx) name += "/event_idx";
  if (o.indirect) name += "/indirect";
  if (o.csum) name += "/csum";
  if (o.parts == placement::tight) name += "/tight";
  if (o.parts == placement::pages) name += "/pages";
  if (o.pages != page_kind::normal) name += "/huge";
  return name;
}

void add(const std::string& name, std::function<void(benchmark::State&)> measure) {
  benchmark::RegisterBenchmark(name.c_str(), std::move(measure))->UseRealTime();
}

// Says why there are no huge pages, if there are none.
bool has_pages(benchmark::State& state, const loopback_options& o) {
  if (o.pages == page_kind::normal) return true;
  constexpr std::size_t enough = std::size_t{16} << 20;
  const auto some = region::make(enough, {.pages = o.pages, .required = true});
  if (!some) state.SkipWithError(("skipped: " + some.error().message()).c_str());
  return some.has_value();
}

template <class Pair>
void add_pair(const std::string& name, const loopback_options& o) {
  add(name_of("ring_pair/" + name, o), [o](benchmark::State& state) {
    if (has_pages(state, o)) measure_pair<Pair>(state, cpus, o);
  });
}

// Every size with every burst that fits.
template <class Pair>
void add_grid(const std::string& name, bool csum = false) {
  for_each_shape([&](loopback_options o) {
    o.csum = csum;
    add_pair<Pair>(name, o);
  });
}

template <class Pair>
void add_placements(const std::string& name) {
  add_pair<Pair>(name, {.parts = placement::tight});
  add_pair<Pair>(name, {.parts = placement::pages});
  add_pair<Pair>(name, {.pages = page_kind::huge_2m});
}

template <class Layout>
void add_layout(const std::string& layout) {
  add_grid<descriptors<Layout>>(layout + "/descriptors");
  add_grid<lease_frames<Layout>>(layout + "/lease");
  add_grid<lease_frames<Layout>>(layout + "/lease", true);
  add_grid<slot_frames<Layout>>(layout + "/slot");
  add_grid<slot_frames<Layout>>(layout + "/slot", true);
  add_placements<descriptors<Layout>>(layout + "/descriptors");
  add_placements<lease_frames<Layout>>(layout + "/lease");
  add_placements<slot_frames<Layout>>(layout + "/slot");
}

// What the rings of virtio have besides.
template <class Layout>
void add_virtio_layout(const std::string& layout) {
  add_layout<Layout>(layout);
  add_pair<descriptors<Layout>>(layout + "/descriptors", {.event_idx = true});
  add_pair<descriptors<Layout>>(layout + "/descriptors", {.indirect = true});
  add_pair<descriptors<Layout>>(layout + "/descriptors", {.event_idx = true, .indirect = true});
  add_pair<lease_frames<Layout>>(layout + "/lease", {.event_idx = true});
  add_pair<slot_frames<Layout>>(layout + "/slot", {.event_idx = true});
}

void add_controls() {
  add_grid<spsc_one_way>("control/spsc_one_way");
  add_grid<spsc_two_way<spsc_entry>>("control/spsc_two_way");
  add_grid<spsc_two_way<std::uint64_t>>("control/spsc_two_way_8");
  add_placements<spsc_one_way>("control/spsc_one_way");
  add_placements<spsc_two_way<spsc_entry>>("control/spsc_two_way");
  add("ring_pair/control/ping_pong",
      [](benchmark::State& state) { measure_pair<ping_pong>(state, cpus); });
  add(name_of("ring_pair/control/memcpy", {}),
      [](benchmark::State& state) { measure_memcpy(state, {}); });
}

// Takes --cpus out of the arguments. False: it makes no sense.
bool take_cpus(int& argc, char** argv) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) != "--cpus") {
      argv[kept++] = argv[i];
      continue;
    }
    const auto wanted = cpu_pair::parse(++i < argc ? argv[i] : "");
    if (!wanted) {
      std::fprintf(stderr, "ring_pair: --cpus: needs two CPUs, as in --cpus 0,1\n");
      return false;
    }
    cpus = *wanted;
  }
  argc = kept;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (!take_cpus(argc, argv)) return 2;
  add_virtio_layout<split>("split");
  add_virtio_layout<packed>("packed");
  add_layout<counted>("counted");
  add_controls();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  pin_to(cpus.driver);
  benchmark::AddCustomContext("cpus",
                              std::to_string(cpus.driver) + "," + std::to_string(cpus.device));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
