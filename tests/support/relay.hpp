// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_RELAY_HPP
#define VKRING_TESTS_SUPPORT_RELAY_HPP

// Two processes that hand a device to each other under traffic, and the kernel's end of it.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/in_pieces.hpp"
#include "vkring/device.hpp"

namespace vkring::test {

/// How a relay runs.
struct relay_options {
  device_config config{};
  pool_options pool{};
  resume_options resume{};
  std::uint32_t frames = 1500;  ///< each way
  std::uint32_t turns = 4;      ///< how often the device is handed over
  std::uint32_t rate = 20'000;  ///< frames per second, each way
  std::size_t longest = 1400;   ///< bytes of a frame
  std::size_t piece = SIZE_MAX;  ///< bytes of it in a buffer, when it is sent
};

/// Frames of a stream that are due at a rate.
class pace {
 public:
  explicit pace(std::uint32_t rate) : rate_(rate) {}
  /// Whether one more is due after `done` of them.
  [[nodiscard]] bool due(std::uint32_t done) const {
    const auto ran = std::chrono::steady_clock::now() - start_;
    return done < std::chrono::duration<double>(ran).count() * rate_;
  }

 private:
  std::uint32_t rate_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// What the application of a relay knows, and gives along with the device.
struct relay_account {
  std::uint32_t turn = 0;
  std::uint32_t sent = 0;
  std::uint32_t received = 0;
  std::uint64_t sum = 0;  ///< of the numbers of the frames
  std::array<std::int64_t, 4> last = {-1, -1, -1, -1};  ///< number that came to each pair last
  std::int64_t longest_gap = 0;  ///< nanoseconds
  char wrong[128] = "";
};

/// The application in one of the two processes: takes the device, has its share of the traffic, hands it on.
template <class Device>
class relay_runner {
 public:
  relay_runner(const relay_options& options, int socket) : options_(options), socket_(socket) {}

  /// Runs until all frames are through. What went wrong, or `ok GAP`; nothing in the other process.
  std::string run() {
    for (;;) {
      relay_account account;
      if (::recv(socket_, &account, sizeof account, MSG_WAITALL) != sizeof account) return {};
      auto came = suspended_device::receive(socket_);
      if (!came) return came.error().message();
      auto resumed = Device::resume(std::move(*came), options_.resume);
      if (!resumed) return resumed.error().message();
      account.longest_gap = std::max(account.longest_gap, std::int64_t{resumed->gap().count()});
      it_ = std::move(*resumed);
      serve(account);
      if (account.wrong[0] != '\0') return account.wrong;
      if (account.turn == options_.turns) return finish(account);
      ++account.turn;
      auto suspended = it_->suspend();
      if (!suspended) return suspended.error().message();
      it_.reset();
      if (auto sent = hand_on(socket_, account, *suspended); !sent) return sent.error().message();
    }
  }
  static result<void> hand_on(int socket, const relay_account& account,
                              const suspended_device& device) {
    static_cast<void>(::send(socket, &account, sizeof account, MSG_NOSIGNAL));
    return device.send(socket);
  }

 private:
  static void note(relay_account& account, const std::string& why) {
    std::snprintf(account.wrong, sizeof account.wrong, "%s", why.c_str());
  }

  // Traffic until this process has had its share.
  void serve(relay_account& account) {
    const std::uint64_t all = std::uint64_t{options_.frames} * (account.turn + 1);
    const auto share = static_cast<std::uint32_t>(all / (options_.turns + 1));
    const pace sending(options_.rate);
    const std::uint32_t before = account.sent;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (account.wrong[0] == '\0' && (account.sent < share || account.received < share)) {
      bool idle = true;
      if (account.sent < share && sending.due(account.sent - before)) idle = !send_one(account);
      for (std::size_t pair = 0; pair < it_->queue_pairs(); ++pair) {
        idle = !receive_some(account, pair) && idle;
      }
      if (!idle) continue;
      static_cast<void>(it_->wait(std::chrono::microseconds(50)));
      if (std::chrono::steady_clock::now() > until) {
        note(account, "no more came: " + std::to_string(account.sent) + " sent, " +
                          std::to_string(account.received) + " received of " +
                          std::to_string(share));
      }
    }
  }

  bool send_one(relay_account& account) {
    auto& tx = it_->tx(account.sent % it_->queue_pairs());
    const frame_bytes content =
        numbered_frame(account.sent, device_bed::size_of(account.sent, options_.longest));
    frame whole = in_pieces(tx, content, options_.piece);
    if (!whole) return false;
    if (tx.send({&whole, 1}) != 1) return false;
    ++account.sent;
    return true;
  }

  bool receive_some(relay_account& account, std::size_t pair) {
    std::array<frame, 8> frames;
    const std::size_t count = it_->rx(pair).receive(frames);
    for (std::size_t i = 0; i < count; ++i) {
      content_.clear();
      frames[i].for_each_segment([&](std::span<std::byte> part) {
        content_.insert(content_.end(), part.begin(), part.end());
      });
      const auto number = number_of(content_);
      if (!number || *number <= account.last[pair]) {
        note(account, "after frame " + std::to_string(account.last[pair]) + " of pair " +
                          std::to_string(pair) + " came " +
                          (number ? std::to_string(*number) : "garbage"));
        return false;
      }
      account.last[pair] = *number;
      account.sum += *number;
      ++account.received;
    }
    it_->rx(pair).recycle({frames.data(), count});
    return count != 0;
  }

  // Nothing comes twice, and the counters have gone on all the time.
  std::string finish(relay_account& account) {
    std::uint64_t counted_tx = 0;
    std::uint64_t counted_rx = 0;
    for (std::size_t pair = 0; pair < it_->queue_pairs(); ++pair) {
      static_cast<void>(receive_some(account, pair));
      counted_tx += it_->tx_statistics(pair).packets;
      counted_rx += it_->rx_statistics(pair).packets;
    }
    for (const queue_health& each : it_->health()) {
      if (!each.good()) note(account, "pair " + std::to_string(each.pair) + " is not well");
    }
    const std::uint64_t frames = options_.frames;
    if (account.received != frames || account.sum != frames * (frames - 1) / 2 ||
        counted_tx != frames || counted_rx != frames) {
      note(account, "received " + std::to_string(account.received) + ", counted " +
                        std::to_string(counted_tx) + " and " + std::to_string(counted_rx));
    }
    if (account.wrong[0] != '\0') return account.wrong;
    return "ok " + std::to_string(account.longest_gap / 1000);
  }

  const relay_options& options_;
  int socket_;
  std::optional<Device> it_;
  frame_bytes content_;
};

/// What became of a relay: what went wrong, empty if nothing, and the longest time without a backend.
struct relay_report {
  std::string wrong;
  std::chrono::microseconds longest_gap{0};
  std::string backend;
};

/// A relay from the kernel's end. In another namespace, where nothing else sends.
template <class Device = device>
relay_report run_relay(const netns& ns, relay_options options) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  fd one(ends[0]);
  fd other(ends[1]);
  const auto runner = [&](fd& mine, fd& theirs) {
    return [&](auto&& say) {
      static_cast<void>(theirs.close());
      say(relay_runner<Device>(options, mine.get()).run() + '\n');
    };
  };
  child first(runner(one, other));
  child second(runner(other, one));

  options.config.name = "vkr%d";
  options.config.netns = path_of(ns);
  options.pool.memory.shareable = true;
  auto it = Device::open(std::move(options.config), buffer_pool::make(options.pool).value()).value();
  relay_report report;
  report.backend = it.backend();
  tap_wire wire(ns, it.index());
  // Whatever the speed, nothing is too much for the kernel's queue.
  REQUIRE(net_link::open(it.name(), ns).value().set_tx_queue_length(2 * options.frames));
  const auto pairs = static_cast<std::uint32_t>(it.queue_pairs());
  REQUIRE(relay_runner<Device>::hand_on(other.get(), {}, it.suspend().value()));
  static_cast<void>(one.close());
  static_cast<void>(other.close());

  const pace sending(options.rate);
  std::uint32_t sent = 0;
  std::uint32_t seen = 0;
  std::vector<std::int64_t> last(pairs, -1);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(100);
  while ((sent != options.frames || seen != options.frames) && report.wrong.empty()) {
    bool idle = true;
    if (sent != options.frames && sending.due(sent)) {
      const int reason = wire.send(numbered_frame(sent, device_bed::size_of(sent, options.longest)));
      if (reason != 0) report.wrong = "the kernel's end: errno " + std::to_string(reason);
      ++sent;
      idle = false;
    }
    for (std::int64_t number; (number = wire.next_number()) != -1; ++seen, idle = false) {
      std::int64_t& before = last[static_cast<std::size_t>(number) % pairs];
      if (number <= before) {
        report.wrong = "frame " + std::to_string(number) + " came after " + std::to_string(before);
        break;
      }
      before = number;
    }
    if (idle && std::chrono::steady_clock::now() > until) {
      report.wrong = std::to_string(seen) + " of " + std::to_string(sent) + " came out";
    }
    if (idle) ::sched_yield();
  }
  for (child* each : {&first, &second}) {
    if (!report.wrong.empty()) each->kill();
    const std::string said = each->hear_all();
    if (said.rfind("ok ", 0) == 0) {
      report.longest_gap = std::chrono::microseconds(std::stoll(said.substr(3)));
    } else if (said != "\n") {
      report.wrong += " / " + said;
    }
  }
  return report;
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_RELAY_HPP
