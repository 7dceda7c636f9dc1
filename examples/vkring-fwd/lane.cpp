// SPDX-License-Identifier: BSD-3-Clause
#include "lane.hpp"

#include <cstring>
#include <utility>
#include <variant>
#include <vkring/queue/forward.hpp>

namespace fwd {

using vkring::frame;

lane::lane(const lane_plan& plan)
    : plan_(plan),
      finishes_(!covers(plan.allowed, plan.received)),
      finisher_(plan.allowed),
      pacer_(plan.rate) {}

bool lane::work() {
  return std::visit([this](auto& from, auto& to) { return work(from, to); }, plan_.from, plan_.to);
}

bool lane::work_off() {
  ending_ = true;
  return work() || is_blocked();
}

void lane::stop() {
  losses_.add(loss::stopped, held_.left().size() + segments_.left().size() + finisher_.abandon());
  for (batch* some : {&held_, &segments_}) {
    for (frame& each : some->left()) each.reset();
    some->assign(0);
  }
}

template <class From, class To>
bool lane::work(From& from, To& to) {
  if (is_blocked()) return flush(to);
  const std::size_t count = fill(from, to);
  if (count == 0) {
    to.reclaim();  // the frames to come may need these buffers
    return false;
  }
  held_.assign(plan_.mode == traffic_mode::rxonly ? 0 : count);
  (void)flush(to);
  return true;
}

// Frames to send into held_; for rxonly, which sends none, just how many there were.
template <class From, class To>
std::size_t lane::fill(From& from, To& to) {
  if (plan_.mode == traffic_mode::txonly) return make_up(to);
  const std::size_t received = from.receive(held_.all());
  const std::span<frame> frames = held_.all().first(received);
  switch (plan_.mode) {
    case traffic_mode::io:
      vkring::forward(frames);
      break;
    case traffic_mode::macswap:
      vkring::forward(frames);
      for (frame& each : frames) swap_addresses(each);
      break;
    case traffic_mode::rxonly:
      from.recycle(frames);
      break;
    case traffic_mode::icmp_echo:
      return answer_all(from, received);
    case traffic_mode::txonly:
      break;
  }
  return received;
}

template <class To>
std::size_t lane::make_up(To& to) {
  if (ending_) return 0;
  std::size_t wanted = burst;
  wake_at_.reset();
  if (pacer_.limits()) {
    const auto now = clock::now();
    wanted = pacer_.allowance(now, burst);
    if (wanted == 0) wake_at_ = pacer_.next(now);
  }
  const std::size_t count = to.allocate(held_.all().first(wanted));
  for (frame& each : held_.all().first(count)) {
    each.resize(static_cast<std::uint32_t>(plan_.made_up.size()));
    std::memcpy(each.contiguous().data(), plan_.made_up.data(), plan_.made_up.size());
  }
  pacer_.sent(count);
  return count;
}

// Turns what can be answered into answers, moves them to the front and drops the rest.
template <class From>
std::size_t lane::answer_all(From& from, std::size_t received) {
  std::size_t answers = 0;
  for (frame& each : held_.all().first(received)) {
    if (answer(each, plan_.host)) std::swap(held_.frames[answers++], each);
  }
  from.recycle(held_.all().subspan(answers, received - answers));
  losses_.add(loss::unanswered, received - answers);
  return answers;
}

// Sends what is held, and finishes first what `to` does not take. False: there was no room at all.
template <class To>
bool lane::flush(To& to) {
  if (!finishes_) return send(to, held_, held_.left().size()) || held_.empty();
  bool moved = false;
  for (;;) {
    if (finisher_.is_cutting() || !segments_.empty()) {
      const bool sent = send_segments(to);
      moved = moved || sent;
      if (finisher_.is_cutting() || !segments_.empty()) return moved;
    }
    std::size_t good = 0;
    const std::span<frame> frames = held_.left();
    while (good != frames.size() && finisher_.fix(frames[good])) ++good;
    if (good != 0) {
      if (!send(to, held_, good)) return moved;
      moved = true;
      if (held_.left().size() != frames.size() - good) return moved;
    }
    if (held_.empty()) return moved;
    finisher_.cut(std::move(held_.frames[held_.begin++]));
    moved = true;
  }
}

// Sends the first `count` frames of `some`. False: none of them was taken.
template <class To>
bool lane::send(To& to, batch& some, std::size_t count) {
  const std::size_t sent = to.send(some.left().first(count));
  some.begin += sent;
  return sent != 0;
}

// Sends segments of the frame that is being cut, until all are gone or there is no room.
template <class To>
bool lane::send_segments(To& to) {
  bool moved = false;
  for (;;) {
    if (segments_.empty()) {
      if (!finisher_.is_cutting()) return moved;
      segments_.assign(finisher_.segments(
          segments_.all(), [&](std::span<frame> frames) { return to.allocate(frames); }));
      if (segments_.empty()) return moved;
    }
    if (!send(to, segments_, segments_.left().size())) return moved;
    moved = true;
    if (!segments_.empty()) return moved;
  }
}

readiness lane::prepare_sleep(pollfd& entry) {
  return std::visit(
      [&](auto& from, auto& to) {
        to.reclaim();
        if (is_starved()) {
          entry = {-1, 0, 0};
          return readiness::starved;
        }
        if (!held_.empty() || !segments_.empty()) return to.await_room(entry);
        if (plan_.mode != traffic_mode::txonly) return from.await_frames(entry);
        entry = {-1, 0, 0};
        return wake_at_ ? readiness::sleep : readiness::starved;
      },
      plan_.from, plan_.to);
}

void lane::woken(const pollfd& entry) {
  std::visit(
      [&](auto& from, auto& to) {
        if (is_starved()) return;
        if (!held_.empty() || !segments_.empty()) {
          to.woken_by_room(entry);
        } else if (plan_.mode != traffic_mode::txonly) {
          from.woken_by_frames(entry);
        }
      },
      plan_.from, plan_.to);
}

}  // namespace fwd
