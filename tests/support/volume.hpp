// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_VOLUME_HPP
#define VKRING_TESTS_SUPPORT_VOLUME_HPP

// Very many frames both ways at once, in bursts at both ends: each byte of each frame is looked at.

#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/flow_frame.hpp"
#include "support/in_pieces.hpp"
#include "support/tap_wire.hpp"
#include "vkring/core/endian.hpp"
#include "vkring/device.hpp"

namespace vkring::test {

/// Numbered UDP datagrams of 32 flows, whose bytes follow from their number, eight at a time.
class volume_frame {
 public:
  static constexpr std::size_t longest = 3000;
  static constexpr std::uint32_t flows = 32;

  /// Sizes up to `ordinary`, and each 61st frame of `large` bytes.
  volume_frame(std::size_t ordinary, std::size_t large) : ordinary_(ordinary), large_(large) {
    const frame_bytes any = flow_frame(0, 0);
    std::copy_n(any.begin(), head_.size(), head_.begin());
  }

  [[nodiscard]] std::size_t size_of(std::uint32_t number) const {
    return number % 61 == 60 ? large_ : 60 + number * 37 % (ordinary_ - 59);
  }
  std::size_t write(std::uint32_t number, std::byte* into) const {
    const std::size_t size = size_of(number);
    std::memcpy(into, head_.data(), head_.size());
    store_big(into + 16, static_cast<std::uint16_t>(size - 14));
    store_big(into + 34, static_cast<std::uint16_t>(10000 + number % flows * 7));
    store_big(into + 38, static_cast<std::uint16_t>(size - 34));
    store_big(into + head_.size(), number);
    for (std::size_t at = start; at < size; at += 8) {
      const std::uint64_t word = word_of(number, at);
      std::memcpy(into + at, &word, std::min<std::size_t>(8, size - at));
    }
    return size;
  }
  /// The number of such a frame; nothing when a byte of it is wrong.
  [[nodiscard]] std::optional<std::uint32_t> number_of(std::span<const std::byte> frame) const {
    if (frame.size() < 60) return std::nullopt;
    const auto number = load_big<std::uint32_t>(frame.data() + head_.size());
    if (size_of(number) != frame.size() || frame.size() > longest) return std::nullopt;
    std::array<std::byte, longest> right;
    write(number, right.data());
    if (std::memcmp(right.data(), frame.data(), frame.size()) != 0) return std::nullopt;
    return number;
  }

 private:
  static constexpr std::size_t start = 46;
  static std::uint64_t word_of(std::uint32_t number, std::size_t at) {
    return (std::uint64_t{number} + 1) * 0x9e3779b97f4a7c15U + at;
  }

  std::array<std::byte, 42> head_{};
  std::size_t ordinary_;
  std::size_t large_;
};

/// Which frames have come: each once, and in order on each queue.
class volume_count {
 public:
  volume_count(std::uint32_t count, std::size_t lanes) : seen_(count), last_(lanes, -1) {}

  /// What is wrong with a frame that came on a lane; empty if nothing is.
  std::string take(std::optional<std::uint32_t> number, std::size_t lane) {
    if (!number) return "a damaged frame after " + std::to_string(last_[lane]);
    if (*number >= seen_.size() || seen_[*number] || last_[lane] >= std::int64_t{*number}) {
      return "frame " + std::to_string(*number) + " after " + std::to_string(last_[lane]);
    }
    seen_[*number] = true;
    last_[lane] = *number;
    ++came_;
    return {};
  }
  [[nodiscard]] std::uint32_t came() const { return came_; }

 private:
  std::vector<bool> seen_;
  std::vector<std::int64_t> last_;
  std::uint32_t came_ = 0;
};

/// The kernel's end of an interface for bursts: frames come into memory that the kernel shares.
class burst_wire {
 public:
  static constexpr std::uint32_t slots = 2048;  ///< how many frames may wait for `receive`

  burst_wire(const netns& ns, int index) {
    socket_ = fd(ns.run([] { return ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); })
                     .value());
    set(PACKET_QDISC_BYPASS, 1);
    set(PACKET_VERSION, TPACKET_V2);
    tpacket_req ring{};
    ring.tp_block_size = slot_bytes * 16;
    ring.tp_block_nr = slots / 16;
    ring.tp_frame_size = slot_bytes;
    ring.tp_frame_nr = slots;
    good_ = ::setsockopt(socket_.get(), SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) == 0;
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, socket_.get(), 0);
    good_ = good_ && at != MAP_FAILED;
    if (!good_) return;
    ring_ = static_cast<std::byte*>(at);
    sockaddr_ll where{};
    where.sll_family = AF_PACKET;
    where.sll_protocol = big(ipv4);
    where.sll_ifindex = index;
    good_ = ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0;
  }
  burst_wire(const burst_wire&) = delete;
  burst_wire& operator=(const burst_wire&) = delete;
  ~burst_wire() {
    if (ring_ != nullptr) ::munmap(ring_, bytes);
  }

  [[nodiscard]] bool good() const { return good_; }

  /// Shows each frame that has come to `visit`.
  template <class Visit>
  void receive(Visit&& visit) {
    for (;; next_ = (next_ + 1) % slots) {
      auto& head = *reinterpret_cast<tpacket2_hdr*>(ring_ + std::size_t{next_} * slot_bytes);
      if ((__atomic_load_n(&head.tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) == 0) return;
      // What the device sent, not what this end did.
      const auto* from = reinterpret_cast<const sockaddr_ll*>(
          reinterpret_cast<const std::byte*>(&head) + TPACKET_ALIGN(sizeof head));
      if (from->sll_pkttype != PACKET_OUTGOING) {
        visit(std::span(reinterpret_cast<const std::byte*>(&head) + head.tp_mac, head.tp_len));
      }
      __atomic_store_n(&head.tp_status, std::uint32_t{TP_STATUS_KERNEL}, __ATOMIC_RELEASE);
    }
  }
  /// Sends frames; how many, or minus an errno.
  int send(std::span<mmsghdr> frames) {
    const int sent = ::sendmmsg(socket_.get(), frames.data(), static_cast<unsigned>(frames.size()), 0);
    return sent < 0 ? -errno : sent;
  }

 private:
  static constexpr std::uint32_t slot_bytes = 4096;
  static constexpr std::size_t bytes = std::size_t{slots} * slot_bytes;

  void set(int name, int value) {
    good_ = ::setsockopt(socket_.get(), SOL_PACKET, name, &value, sizeof value) == 0 && good_;
  }

  bool good_ = true;
  fd socket_;
  std::byte* ring_ = nullptr;
  std::uint32_t next_ = 0;
};

/// The kernel's end of that many frames each way.
class volume_exchange {
 public:
  static constexpr std::uint32_t burst = 64;

  volume_exchange(const netns& ns, int index, const volume_frame& frames)
      : frames_(frames), wire_(ns, index) {}

  /// `send(first, count)` sends frames `first` to `count`, a burst of them at most, and returns how many
  /// went; `receive(sink)` calls `sink(bytes, lane)` for each frame that has come. Frames keep to the lane
  /// `lane_of`. What went wrong; empty if nothing.
  template <class Send, class Receive>
  std::string run(std::uint32_t count, std::size_t lanes, Send&& send, Receive&& receive) {
    if (!wire_.good()) return "the kernel's end cannot be opened";
    using clock = std::chrono::steady_clock;
    volume_count out(count, lanes);
    volume_count in(count, lanes);
    std::uint32_t sent = 0;
    std::uint32_t fed = 0;
    auto moved = clock::now();
    while (out.came() != count || in.came() != count) {
      const std::uint32_t before = sent + fed + out.came() + in.came();
      if (sent != count && sent - out.came() < burst_wire::slots - burst) sent += send(sent, count);
      if (fed != count && fed - in.came() < tap_holds - burst) feed(fed, count);
      wire_.receive([&](std::span<const std::byte> frame) {
        const auto number = frames_.number_of(frame);
        note(out.take(number, number ? lane_of(*number, lanes) : 0));
      });
      receive([&](std::span<const std::byte> frame, std::size_t lane) {
        note(in.take(frames_.number_of(frame), lane));
      });
      if (!wrong_.empty()) return wrong_;
      if (sent + fed + out.came() + in.came() != before) {
        moved = clock::now();
      } else if (clock::now() - moved > std::chrono::seconds(30)) {
        return std::to_string(out.came()) + " came out and " + std::to_string(in.came()) +
               " came in, of " + std::to_string(count);
      } else {
        ::sched_yield();
      }
    }
    return {};
  }

  /// Frames of a flow keep to one queue.
  [[nodiscard]] static std::size_t lane_of(std::uint32_t number, std::size_t lanes) {
    return number % volume_frame::flows % lanes;
  }

 private:
  static constexpr std::uint32_t tap_holds = 500;  // half its queue, which drops what is more

  void note(std::string wrong) {
    if (wrong_.empty()) wrong_ = std::move(wrong);
  }
  void feed(std::uint32_t& fed, std::uint32_t count) {
    const std::uint32_t some = std::min(burst, count - fed);
    std::array<iovec, burst> parts;
    std::array<mmsghdr, burst> messages{};
    for (std::uint32_t i = 0; i < some; ++i) {
      std::byte* const at = to_feed_.data() + std::size_t{i} * 4096;
      parts[i] = {at, frames_.write(fed + i, at)};
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int sent = wire_.send(std::span(messages).first(some));
    if (sent < 0) return note("the kernel's end: errno " + std::to_string(-sent));
    fed += static_cast<std::uint32_t>(sent);
  }

  volume_frame frames_;
  burst_wire wire_;
  std::vector<std::byte> to_feed_ = std::vector<std::byte>(std::size_t{burst} * 4096);
  std::string wrong_;
};

/// A device, and that many frames through it each way.
class volume_bed {
 public:
  struct options {
    std::size_t ordinary = 123;  ///< bytes of most frames
    std::size_t large = 123;     ///< bytes of some
    std::size_t piece = 2048;    ///< what the application's frames are cut into, if they are larger
  };

  volume_bed(netns& ns, device_config config, const pool_options& buffers, const options& how)
      : pool_(buffer_pool::make(buffers).value()),
        it(device::open(std::move(config), pool_).value()),
        how_(how),
        frames_(how.ordinary, how.large),
        exchange_(ns, it.index(), frames_) {}

  /// What went wrong; empty if nothing.
  std::string run(std::uint32_t count) {
    return exchange_.run(
        count, it.queue_pairs(),
        [this](std::uint32_t first, std::uint32_t all) { return send(first, all); },
        [this](const auto& sink) {
          for (std::size_t pair = 0; pair < it.queue_pairs(); ++pair) receive(pair, sink);
        });
  }

 private:
  static constexpr std::uint32_t burst = volume_exchange::burst;

  std::shared_ptr<buffer_pool> pool_;

 public:
  device it;

 private:
  // Through one queue each: the next frames, as many as go in.
  std::uint32_t send(std::uint32_t first, std::uint32_t count) {
    if (it.queue_pairs() == 1 && how_.large <= how_.piece) {
      std::array<device::frame, burst> some;
      const std::size_t made =
          it.tx(0).allocate(std::span(some).first(std::min(burst, count - first)));
      for (std::size_t i = 0; i < made; ++i) {
        const auto number = first + static_cast<std::uint32_t>(i);
        some[i].resize(static_cast<std::uint32_t>(frames_.size_of(number)));
        frames_.write(number, some[i].contiguous().data());
      }
      return static_cast<std::uint32_t>(it.tx(0).send(std::span(some).first(made)));
    }
    std::array<std::byte, volume_frame::longest> content;
    std::uint32_t sent = 0;
    for (; sent < burst && first + sent < count; ++sent) {
      const std::size_t size = frames_.write(first + sent, content.data());
      auto& tx = it.tx(volume_exchange::lane_of(first + sent, it.queue_pairs()));
      device::frame whole = in_pieces(tx, std::span(content).first(size), how_.piece);
      if (!whole || tx.send({&whole, 1}) == 0) break;
    }
    return sent;
  }
  template <class Sink>
  void receive(std::size_t pair, const Sink& sink) {
    std::array<device::frame, burst> some;
    const std::size_t got = it.rx(pair).receive(some);
    for (device::frame& each : std::span(some).first(got)) {
      std::span<const std::byte> content = each.contiguous();
      if (content.empty()) {
        whole_.clear();
        each.for_each_segment(
            [&](std::span<std::byte> part) { whole_.insert(whole_.end(), part.begin(), part.end()); });
        content = whole_;
      }
      sink(content, pair);
    }
    it.rx(pair).recycle(std::span(some).first(got));
  }

  options how_;
  volume_frame frames_;
  volume_exchange exchange_;
  std::vector<std::byte> whole_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_VOLUME_HPP
