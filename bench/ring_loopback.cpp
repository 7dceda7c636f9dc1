// SPDX-License-Identifier: BSD-3-Clause

// Both sides of one ring in one thread: what a frame costs without a peer on another core.
//
//   ring_loopback [Google Benchmark's options]
//   ring_loopback --count TURNS CASE     TURNS bursts of one case, for a profiler; says how many
//                                        frames that was. bench/count.sh calls it under callgrind.

#include <string>
#include <vector>

#include "loopback_cases.hpp"
#include "toy_layout.hpp"

namespace {

template <class Layout>
void add_grid(std::vector<bench::bench_case>& cases, const std::string& layout) {
  bench::for_each_shape([&](const bench::loopback_options& o) {
    bench::add_case<bench::lease_tx<Layout>>(cases, layout + "/lease_tx", o);
    bench::add_case<bench::lease_rx<Layout>>(cases, layout + "/lease_rx", o);
    bench::add_case<bench::slot_loopback_tx<Layout>>(cases, layout + "/slot_tx", o);
    bench::add_case<bench::slot_loopback_rx<Layout>>(cases, layout + "/slot_rx", o);
    bench::add_case<bench::device_tx<Layout>>(cases, layout + "/device_tx", o);
    bench::add_case<bench::device_rx<Layout>>(cases, layout + "/device_rx", o);
  });
}

// What the rings of virtio have besides.
template <class Layout>
void add_virtio_layout(std::vector<bench::bench_case>& cases, const std::string& layout) {
  add_grid<Layout>(cases, layout);
  for (const bool event_idx : {false, true}) {
    const bench::loopback_options indirect{.event_idx = event_idx, .indirect = true};
    const bench::loopback_options mergeable{.event_idx = event_idx, .mergeable = true};
    bench::add_case<bench::lease_tx<Layout>>(cases, layout + "/lease_tx", indirect);
    bench::add_case<bench::lease_rx<Layout>>(cases, layout + "/lease_rx", mergeable);
    bench::add_case<bench::device_tx<Layout>>(cases, layout + "/device_tx", indirect);
  }
  const bench::loopback_options event_idx{.event_idx = true};
  bench::add_case<bench::lease_tx<Layout>>(cases, layout + "/lease_tx", event_idx);
  bench::add_case<bench::lease_rx<Layout>>(cases, layout + "/lease_rx", event_idx);
  bench::add_case<bench::slot_loopback_tx<Layout>>(cases, layout + "/slot_tx", event_idx);
  bench::add_case<bench::slot_loopback_rx<Layout>>(cases, layout + "/slot_rx", event_idx);
  bench::add_case<bench::device_tx<Layout>>(cases, layout + "/device_tx", event_idx);
  bench::add_case<bench::device_rx<Layout>>(cases, layout + "/device_rx", event_idx);
}

std::vector<bench::bench_case> all_cases() {
  std::vector<bench::bench_case> cases;
  add_virtio_layout<vkring::split>(cases, "ring_loopback/split");
  add_virtio_layout<vkring::packed>(cases, "ring_loopback/packed");
  add_grid<bench::counted>(cases, "ring_loopback/counted");
  return cases;
}

}  // namespace

int main(int argc, char** argv) { return bench::run(argc, argv, all_cases()); }
