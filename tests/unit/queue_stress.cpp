// SPDX-License-Identifier: BSD-3-Clause

// Queues and pools between threads: for the thread sanitizer, and for wake-ups that get lost.

#include <poll.h>

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/queue_bed.hpp"
#include "vkring/kernel/event_fd.hpp"
#include "vkring/queue/forward.hpp"

namespace vkring::test {
namespace {

constexpr int patience_ms = 20000;  // far beyond any scheduling delay: a wake-up was lost

// Sleeps until `bell` rings. False: it never did.
bool sleep_on(const event_fd& bell) {
  pollfd entry{bell.fd(), POLLIN, 0};
  int ready = -1;
  do {
    ready = ::poll(&entry, 1, patience_ms);
  } while (ready == -1 && errno == EINTR);
  bell.drain();
  return ready == 1;
}

struct ring_bell {
  const event_fd* bell;
  void operator()() const noexcept { bell->signal(); }
};

// The frames of the tests, by number: their size and each of their bytes.
std::size_t size_of(std::uint32_t number) { return 60 + number * 37 % 640; }
std::byte byte_of(std::uint32_t number, std::size_t at) {
  return static_cast<std::byte>(number * 31 + at * 7 + (at >> 8));
}
virtio_net_hdr header_of(std::uint32_t number) {
  virtio_net_hdr header;
  if (number % 3 == 0) header.flags = header_flag::data_valid;
  if (number % 7 == 0) header = tso4();
  return header;
}
// Whether the pieces, the first of them after `skip` bytes, hold that frame and nothing more.
template <class Pieces>
bool holds(const Pieces& pieces, std::size_t skip, std::uint32_t number) {
  std::size_t at = 0;
  for (const std::span<std::byte> piece : pieces) {
    for (std::size_t i = at == 0 ? skip : 0; i < piece.size(); ++i) {
      if (piece[i] != byte_of(number, at++)) return false;
    }
  }
  return at == size_of(number);
}

// The device's side of an rx ring that makes frames up, and of a tx ring that knows what has to come.
// No Catch in here: it runs in threads.
class frame_source {
 public:
  frame_source(ring_bed::device_type device, std::uint32_t header_bytes)
      : device_(std::move(device)), header_bytes_(header_bytes) {}

  // Puts frame `number` into the ring. False: too few buffers there; it holds on to those.
  bool produce(std::uint32_t number) {
    const std::size_t needed = size_of(number) + header_bytes_;
    while (room_ < needed && device_.pop(1, [&](const device_chain& chain) {
      held_.push_back({chain.head, chain.writable.front()});
      room_ += chain.writable.front().size();
    }) != 0) {
    }
    if (room_ < needed) return false;
    std::uint16_t count = 0;
    std::byte* const first = held_.front().bytes.data();
    for (std::size_t at = 0; at != size_of(number); ++count) {
      const buffer next = held_.front();
      held_.pop_front();
      room_ -= next.bytes.size();
      std::size_t to = count == 0 ? header_bytes_ : 0;
      while (to != next.bytes.size() && at != size_of(number)) {
        next.bytes[to++] = byte_of(number, at++);
      }
      device_.push_used(next.head, static_cast<std::uint32_t>(to));
    }
    virtio_net_hdr header = header_of(number);
    header.num_buffers = count;
    store_header(first, header_bytes_, header);
    return true;
  }
  // Publishes what was produced; whether the driver wants to know.
  bool publish() {
    device_.publish();
    return device_.call_needed();
  }
  ring_bed::device_type& device() { return device_; }

 private:
  struct buffer {
    std::uint16_t head;
    std::span<std::byte> bytes;
  };

  ring_bed::device_type device_;
  std::uint32_t header_bytes_;
  std::deque<buffer> held_;
  std::size_t room_ = 0;
};

class frame_sink {
 public:
  frame_sink(ring_bed::device_type device, std::uint32_t header_bytes)
      : device_(std::move(device)), header_bytes_(header_bytes) {}

  // Takes up to `max` frames, which have to be the next ones; returns how many.
  std::uint16_t consume(std::uint16_t max) {
    return device_.pop(max, [&](const device_chain& chain) {
      const bool right = load_header(chain.readable.front().data(), header_bytes_) ==
                             to_tx_header(header_of(next_)) &&
                         holds(chain.readable, header_bytes_, next_);
      if (!right && error_.empty())
        error_ = "frame " + std::to_string(next_) + " is not what it was";
      ++next_;
      device_.push_used(chain.head, 0);
    });
  }
  bool publish() {
    device_.publish();
    return device_.call_needed();
  }
  ring_bed::device_type& device() { return device_; }
  [[nodiscard]] std::uint32_t next() const { return next_; }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  ring_bed::device_type device_;
  std::uint32_t header_bytes_;
  std::uint32_t next_ = 0;
  std::string error_;
};

using rx_ring = virtqueue<split, driver_side, buffer_handle>;
using tx_ring = virtqueue<split, driver_side, tx_token>;
using rx_type = rx_queue<rx_ring, buffer_pool, ring_bell>;
using tx_type = tx_queue<tx_ring, buffer_pool, ring_bell>;

// One thread receives, forwards and sends; the other is the device of both rings.
class forwarding {
 public:
  forwarding(const bed_options& options, std::uint32_t frames)
      : frames_(frames),
        pool_(make_pool(1024)),
        rx_bed_(pool_->regions(), options),
        tx_bed_(pool_->regions(), options),
        rx_(rx_ring(rx_bed_.ring, rx_bed_.options.ring, {},
                    rx_type::max_written(*pool_, options.rules)),
            *pool_, options.rules, ring_bell{&kick_}),
        tx_(tx_ring(tx_bed_.ring, tx_bed_.options.ring, tx_bed_.driver_tables()), *pool_,
            options.rules, ring_bell{&kick_}),
        source_(rx_bed_.make_device(), options.rules.header_size),
        sink_(tx_bed_.make_device(), options.rules.header_size) {}

  void run() {
    rx_.refill();
    std::thread device([this] { serve(); });
    std::thread reader([this] { watch(); });
    drive();
    stop_.store(true, std::memory_order_relaxed);
    kick_.signal();
    device.join();
    reader.join();
    CHECK(driver_error_ == "");
    CHECK(device_error_ == "");
    CHECK(sink_.error() == "");
    CHECK(sink_.next() == frames_);
    CHECK(rx_.counters().frames.value() == frames_);
    CHECK(tx_.counters().frames.value() == frames_);
    CHECK(rx_.counters().bytes.value() == tx_.counters().bytes.value());
    CHECK(rx_.counters().dropped() + tx_.counters().dropped() == 0);
    rx_.stop();
    tx_.stop();
    check_all_back(*pool_);
  }

 private:
  void drive() {
    std::array<frame, 32> burst;
    std::size_t have = 0, done = 0;
    std::minstd_rand random(1);
    while (!all_arrived_.load(std::memory_order_acquire) && driver_error_.empty()) {
      bool idle = true;
      if (done == have) {
        have = rx_.receive(std::span(burst).first(1 + random() % 32));
        done = 0;
        forward(std::span(burst).first(have));
        idle = have == 0;
      }
      if (done != have) {
        const std::size_t sent = tx_.send(std::span(burst).subspan(done, have - done));
        done += sent;
        idle = idle && sent == 0;
      }
      if (rx_.ring().breach()) driver_error_ = name(rx_.ring().breach().fault);
      if (tx_.ring().breach()) driver_error_ = name(tx_.ring().breach().fault);
      if (!idle) continue;
      // Waits for room, or for a frame: for what it is short of.
      const notification may = done != have ? tx_.enable_call() : rx_.enable_call();
      if (may == notification::safe_to_sleep && !all_arrived_.load(std::memory_order_acquire) &&
          !sleep_on(call_)) {
        driver_error_ = "the driver sleeps for ever";
      }
      done != have ? tx_.disable_call() : rx_.disable_call();
    }
  }

  void serve() {
    std::minstd_rand random(2);
    std::uint32_t made = 0;
    while (!stop_.load(std::memory_order_relaxed) && device_error_.empty()) {
      std::uint32_t fresh = 0;
      for (std::size_t some = 1 + random() % 40; some != 0 && made != frames_; --some) {
        if (!source_.produce(made)) break;
        ++made;
        ++fresh;
      }
      if (fresh != 0 && source_.publish()) call_.signal();
      const std::uint16_t taken = sink_.consume(static_cast<std::uint16_t>(1 + random() % 40));
      if (taken != 0 && sink_.publish()) call_.signal();
      if (sink_.next() == frames_) {
        all_arrived_.store(true, std::memory_order_release);
        call_.signal();
      }
      if (source_.device().breach()) device_error_ = name(source_.device().breach().fault);
      if (sink_.device().breach()) device_error_ = name(sink_.device().breach().fault);
      if (fresh != 0 || taken != 0) continue;
      const bool quiet = source_.device().enable_kick() == notification::safe_to_sleep;
      if (sink_.device().enable_kick() == notification::safe_to_sleep &&
          (quiet || made == frames_) && !sleep_on(kick_)) {
        device_error_ = "the device sleeps for ever";
      }
      source_.device().disable_kick();
      sink_.device().disable_kick();
    }
  }

  // Counters can be read from any thread; they only grow.
  void watch() {
    std::uint64_t last = 0;
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint64_t now = rx_.counters().frames.value();
      if (now < last) std::abort();
      last = now;
      (void)tx_.counters().dropped();
      std::this_thread::yield();
    }
  }

  std::uint32_t frames_;
  event_fd kick_ = event_fd::create().value();
  event_fd call_ = event_fd::create().value();
  std::shared_ptr<buffer_pool> pool_;
  ring_bed rx_bed_;
  ring_bed tx_bed_;
  rx_type rx_;
  tx_type tx_;
  frame_source source_;
  frame_sink sink_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> all_arrived_ = false;
  std::string driver_error_;
  std::string device_error_;
};

TEST_CASE("stress: a pool between threads hands out each buffer once at a time") {
  const auto pool = make_pool(200, 64);
  std::atomic<int> wrong = 0;
  const auto use = [&](std::uint32_t who) {
    std::minstd_rand random(who);
    std::array<buffer_handle, 70> some;
    for (int turn = 0; turn < 3000; ++turn) {
      const std::size_t n = pool->take(std::span(some).first(random() % 70));
      for (std::size_t i = 0; i < n; ++i) {
        const buffer_handle h = buffer_pool::with_plain_header(some[i], false);
        std::byte* const at = pool->mapper()(h).payload;
        std::fill_n(at - header_reserve, header_reserve + 64, static_cast<std::byte>(who));
        pool->link(h).size = who;
      }
      if (turn % 50 == 0) std::this_thread::yield();
      for (std::size_t i = 0; i < n; ++i) {
        const buffer_handle h = buffer_pool::with_plain_header(some[i], false);
        const std::byte* const at = pool->mapper()(h).payload;
        if (at[-1] != static_cast<std::byte>(who) || at[63] != at[-1] ||
            pool->link(h).size != who) {
          ++wrong;
        }
        // The mark may go with a handle only where it is true.
        const bool plain = turn % 2 == 0;
        if (plain)
          std::fill_n(pool->mapper()(h).payload - header_reserve, header_reserve, std::byte{});
        some[i] = buffer_pool::with_plain_header(h, plain);
      }
      pool->put(std::span(some).first(n));
      if (pool->available() > pool->size()) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t who = 1; who <= 3; ++who) threads.emplace_back(use, who);
  for (std::thread& each : threads) each.join();
  CHECK(wrong == 0);
  check_all_back(*pool);
}

TEST_CASE("stress: frames received in one thread are sent by another, and come back to the pool") {
  const auto pool = make_pool(1024);
  bed_options options;
  options.ring.size = 64;
  options.table_entries = 4;
  options.rules.mergeable = true;
  options.rules.offloads = all_offloads;
  constexpr std::uint32_t frames = 3000;
  rx_bed in(*pool, options);
  tx_bed out(*pool, options);
  std::mutex mutex;
  std::deque<frame> passing;
  std::string error;

  std::thread sender([&] {
    frame_sink sink(out.make_device(), 12);
    std::array<frame, 8> burst;
    while (sink.next() != frames && error.empty()) {
      std::size_t have = 0;
      {
        const std::lock_guard lock(mutex);
        for (; have != burst.size() && !passing.empty(); passing.pop_front()) {
          burst[have++] = std::move(passing.front());
        }
      }
      if (have == 0) std::this_thread::yield();
      forward(std::span(burst).first(have));
      if (out.queue.send(std::span(burst).first(have)) != have) error = "the ring is full";
      sink.consume(64);
      sink.publish();
      out.queue.reclaim();
    }
    if (error.empty()) error = sink.error();
  });
  frame_source source(in.make_device(), 12);
  std::array<frame, 32> burst;
  for (std::uint32_t made = 0, received = 0; received != frames;) {
    while (made != frames && source.produce(made)) ++made;
    source.publish();
    const std::size_t n = in.queue.receive(burst);
    received += static_cast<std::uint32_t>(n);
    in.queue.refill();  // the pool may have been short
    const std::lock_guard lock(mutex);
    for (frame& each : std::span(burst).first(n)) passing.push_back(std::move(each));
    if (n == 0) std::this_thread::yield();
  }
  sender.join();
  CHECK(error == "");
  in.queue.stop();
  out.queue.stop();
  check_all_back(*pool);
}

void forward_all(std::uint32_t frames) {
  for (const std::uint16_t size : {std::uint16_t{8}, std::uint16_t{256}}) {
    for (int mix = 0; mix < 8; ++mix) {
      bed_options options;
      options.ring.size = size;
      options.ring.event_idx = (mix & 1) != 0;
      options.ring.in_order = (mix & 2) != 0;
      options.ring.start = ring_index(65000);
      options.table_entries = (mix & 4) != 0 ? 4 : 0;
      options.rules.header_size = (mix & 1) != 0 ? 24 : 12;
      options.rules.mergeable = true;
      options.rules.offloads = all_offloads;
      CAPTURE(size, options.ring.event_idx, options.ring.in_order, options.table_entries);
      forwarding(options, frames).run();
    }
  }
}

TEST_CASE("stress: frames forwarded between two rings, the device in a thread of its own") {
  forward_all(1500);
}

TEST_CASE("stress: frames forwarded between two rings, for minutes", "[.full]") {
  forward_all(500000);
}

}  // namespace
}  // namespace vkring::test
