// SPDX-License-Identifier: BSD-3-Clause
#include "server.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace vduse_net {

using vkring::event_fd;
using vkring::fail;
using vkring::feature;
using vkring::feature_set;
using vkring::packed;
using vkring::result;
using vkring::split;

namespace {

// How much of what the three parts of a ring have. Source: virtio 1.3 sections 2.7 and 2.8.
struct part {
  std::size_t bytes;
  std::size_t alignment;
};
template <class Layout>
struct ring_parts;
template <>
struct ring_parts<split> {
  part descriptors, driver, device;
  explicit ring_parts(std::size_t size)
      : descriptors{16 * size, 16}, driver{6 + 2 * size, 2}, device{6 + 8 * size, 4} {}
};
template <>
struct ring_parts<packed> {
  part descriptors, driver{4, 4}, device{4, 4};
  explicit ring_parts(std::size_t size) : descriptors{16 * size, 16} {}
};

// Whether a driver starts at the beginning, as one that has just been bound does.
bool is_fresh(const vduse_vq_info& about, split) { return about.split.avail_index == 0; }
bool is_fresh(const vduse_vq_info& about, packed) {
  const vduse_vq_state_packed& at = about.packed;
  return at.last_avail_idx == 0 && at.last_used_idx == 0 && at.last_avail_counter == 1 &&
         at.last_used_counter == 1;
}

tl::unexpected<vkring::error> nonsense(queue which, std::string_view why) {
  return fail(EPROTO, "driver", which == queue::rx ? "rx queue" : "tx queue", why);
}

template <class Layout>
result<typename Layout::ring_type> find_ring(const vduse_device& device, queue which,
                                             driver_memory& memory) {
  using ring = typename Layout::ring_type;
  const auto about = device.info(which);
  if (!about) return fail(about.error());
  if (!ring::check_size(about->num)) return nonsense(which, "no ring has such a size");
  if (about->ready == 0) return nonsense(which, "it kicks, and has not made it ready");
  if (!is_fresh(*about, Layout{})) return nonsense(which, "it goes on with a ring that was in use");
  const ring_parts<Layout> needs(about->num);
  const auto find = [&](std::uint64_t address, const part& each) {
    return memory.ring_part(address, each.bytes, each.alignment);
  };
  const auto descriptors = find(about->desc_addr, needs.descriptors);
  if (!descriptors) return fail(descriptors.error());
  const auto driver = find(about->driver_addr, needs.driver);
  if (!driver) return fail(driver.error());
  const auto own = find(about->device_addr, needs.device);
  if (!own) return fail(own.error());
  return ring(*descriptors, *driver, *own, static_cast<std::uint16_t>(about->num));
}

template <class Layout>
vkring::worker_queue<Layout> queue_of(const vkring::tap& tap, const queue_events& events,
                                      const feature_set& accepted,
                                      const vkring::worker_counters& before) {
  vkring::worker_queue<Layout> made;
  made.options.event_idx = accepted.contains(feature::event_idx);
  made.options.indirect = accepted.contains(feature::indirect_desc);
  made.options.in_order = accepted.contains(feature::in_order);
  made.mergeable = accepted.contains(feature::mrg_rxbuf);
  made.tap = tap.fd();
  // The worker's words are those of the application, which is the driver here.
  made.tx_kick = events.tx_kick.fd();
  made.rx_kick = events.rx_kick.fd();
  made.tx_call = events.tx_call.fd();
  made.rx_call = events.rx_call.fd();
  made.error = events.trouble.fd();
  made.counters = before;
  return made;
}

}  // namespace

result<queue_events> queue_events::create() {
  std::vector<event_fd> made;
  for (int i = 0; i != 5; ++i) {
    auto each = event_fd::create();
    if (!each) return fail(std::move(each.error()));
    made.push_back(std::move(*each));
  }
  return queue_events{std::move(made[0]), std::move(made[1]), std::move(made[2]),
                      std::move(made[3]), std::move(made[4])};
}

template <class Layout>
result<void> server::start(const vduse_device& device, vkring::worker_queue<Layout> served) {
  auto rx = find_ring<Layout>(device, queue::rx, memory_);
  if (!rx) return fail(std::move(rx.error()));
  auto tx = find_ring<Layout>(device, queue::tx, memory_);
  if (!tx) return fail(std::move(tx.error()));
  served.rx = *rx;
  served.tx = *tx;
  served.options.size = rx->size();
  if (tx->size() != rx->size()) return nonsense(queue::tx, "it is not as long as the other one");
  const auto table = memory_.buffers();
  if (!table) return fail(table.error());
  auto started = vkring::basic_tap_worker<Layout>::start({served}, *table);
  if (!started) return fail(std::move(started.error()));
  worker_ = std::move(*started);
  return {};
}

result<std::unique_ptr<server>> server::start(const vduse_device& device,
                                              const feature_set& accepted, const vkring::tap& tap,
                                              const queue_events& events,
                                              const vkring::worker_counters& before) {
  auto made = std::unique_ptr<server>(new server(device));
  const auto started = accepted.contains(feature::ring_packed)
                           ? made->start(device, queue_of<packed>(tap, events, accepted, before))
                           : made->start(device, queue_of<split>(tap, events, accepted, before));
  if (!started) return fail(started.error());
  return made;
}

void server::stop() {
  std::visit([](const auto& worker) { worker->stop(); }, worker_);
}

const vkring::worker_counters& server::counters() const {
  return std::visit(
      [](const auto& worker) -> const auto& { return worker->counters(0); }, worker_);
}

std::string server::troubles() const {
  return std::visit(
      [](const auto& worker) {
        const vkring::worker_health& health = worker->health(0);
        std::string text;
        if (health.tx_breach()) text += "tx queue: " + to_text(health.tx_breach()) + '\n';
        if (health.rx_breach()) text += "rx queue: " + to_text(health.rx_breach()) + '\n';
        if (health.tap_gone()) text += "the other interface was deleted\n";
        return text;
      },
      worker_);
}

}  // namespace vduse_net
