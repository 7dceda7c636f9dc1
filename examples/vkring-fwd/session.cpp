// SPDX-License-Identifier: BSD-3-Clause
#include "session.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace fwd {

using vkring::fail;
using vkring::result;

namespace {

constexpr std::size_t ethernet_header = 14;

// Calls a member of whatever kind of port it is.
template <class Call>
decltype(auto) with(port& any, Call&& call) {
  return std::visit(std::forward<Call>(call), any);
}

}  // namespace

result<std::unique_ptr<session>> session::open(const options& wanted) {
  auto made = std::unique_ptr<session>(new session(wanted));
  if (auto opened = made->open_ports(); !opened) return fail(std::move(opened.error()));
  if (auto checked = made->check_frame_size(); !checked) return fail(std::move(checked.error()));
  made->make_routes();
  return made;
}

result<void> session::open_ports() {
  std::uint64_t buffers = 0;
  for (const port_options& each : options_.ports) {
    buffers += buffers_needed(each, options_.buffer_size);
  }
  if (buffers > UINT32_MAX) {
    return fail(std::errc::not_enough_memory, "buffer_pool", std::to_string(buffers) + " buffers",
                "give the ports fewer queues or smaller ones");
  }
  auto pool = vkring::buffer_pool::make(
      {.buffers = static_cast<std::uint32_t>(buffers), .buffer_size = options_.buffer_size});
  if (!pool) return fail(std::move(pool.error()));
  pool_ = std::move(*pool);
  for (std::size_t i = 0; i < options_.ports.size(); ++i) {
    const bool to_packet = options_.mode == traffic_mode::io &&
                           std::holds_alternative<packet_options>(options_.ports[i ^ 1]);
    auto opened = open_port(options_.ports[i], {pool_, options_.buffer_size, !to_packet});
    if (!opened) return fail(std::move(opened.error()));
    ports_.push_back(std::move(*opened));
  }
  return {};
}

result<void> session::check_frame_size() {
  if (options_.mode != traffic_mode::txonly) return {};
  for (port& each : ports_) {
    const std::size_t most = with(each, [](auto& p) { return p.mtu(); }) + ethernet_header;
    if (options_.tx_size > most) {
      return usage_error("--tx-size " + std::to_string(options_.tx_size),
                         "at most " + std::to_string(most) + " with the MTU of " +
                             std::string(with(each, [](auto& p) { return p.name(); })));
    }
  }
  return {};
}

void session::make_routes() {
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const std::size_t to = options_.mode == traffic_mode::io ? i ^ 1 : i;
    const std::size_t sinks = with(ports_[to], [](auto& p) { return p.queues(); });
    with(ports_[i], [&](auto& from) {
      for (std::size_t q = 0; q < from.queues(); ++q) {
        const std::size_t sink = q % sinks;
        const auto* tap = std::get_if<tap_options>(&options_.ports[i]);
        lane_plan plan{options_.mode,
                       from.queue(q),
                       with(ports_[to], [&](auto& p) { return p.queue(sink); }),
                       from.may_receive(),
                       with(ports_[to], [](auto& p) { return p.may_send(); }),
                       {},
                       {},
                       options_.rate};
        if (tap != nullptr) plan.host.kernel = tap->ip;
        if (options_.mode == traffic_mode::txonly) {
          plan.made_up = udp_frame(options_.tx_size, from.mac().value_or(vkring::mac_address{}));
        }
        routes_.emplace_back(to, sink, plan);
      }
    });
  }
}

std::string session::about() {
  std::string text;
  for (port& each : ports_) {
    text += with(each, [](auto& p) { return p.about() + negotiation_table(p.counters()); });
  }
  return text;
}

result<void> session::start() {
  // A tx queue belongs to one thread, so all lanes to it do.
  std::map<std::pair<std::size_t, std::size_t>, std::vector<lane*>> by_sink;
  for (route& each : routes_) by_sink[{each.port, each.queue}].push_back(&each.traffic);
  std::vector<std::vector<lane*>> groups;
  for (auto& [sink, lanes] : by_sink) groups.push_back(std::move(lanes));
  started_ = std::chrono::steady_clock::now();
  auto running = forwarder::start(std::move(groups), options_.cores, options_.wait);
  if (!running) return fail(std::move(running.error()));
  forwarder_ = std::move(*running);
  return {};
}

void session::stop() {
  using namespace std::chrono_literals;
  forwarder_.reset();
  const auto until = std::chrono::steady_clock::now() + 1s;
  const auto drained = [](port& each) { return with(each, [](auto& p) { return p.drained(); }); };
  while (!std::all_of(ports_.begin(), ports_.end(), drained) &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(1ms);
  }
}

std::string_view session::gone() {
  for (port& each : ports_) {
    if (with(each, [](auto& p) { return p.gone(); })) {
      return with(each, [](auto& p) { return p.name(); });
    }
  }
  return {};
}

report session::counters() {
  report all;
  all.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  for (port& each : ports_) {
    all.ports.push_back(with(each, [](auto& p) { return p.counters(); }));
    all.ports.back().wait = name(options_.wait);
    if (forwarder_ != nullptr) continue;
    // Nobody takes them out any more.
    for (queue_report& queue : all.ports.back().queues) {
      add_drops(queue.drops, "left_in_ring", queue.in_ring);
    }
  }
  for (const route& each : routes_) {
    queue_report& queue = all.ports[each.port].queues[each.queue];
    const finisher& finishing = each.traffic.finishing();
    std::vector<vkring::drop_count> drops;
    each.traffic.losses().list(drops);
    finishing.losses().list(drops);
    for (const vkring::drop_count& drop : drops) add_drops(queue.drops, drop.reason, drop.frames);
    queue.checksums += finishing.counters().checksums.value();
    queue.gso_frames += finishing.counters().gso_frames.value();
    queue.gso_segments += finishing.counters().gso_segments.value();
  }
  return all;
}

std::string session::inspect() {
  std::string text;
  forwarder_->while_parked([&] {
    for (port& each : ports_) {
      text += with(each, [](auto& p) { return p.inspect(); });
    }
  });
  return text;
}

}  // namespace fwd
