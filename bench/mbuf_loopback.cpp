// SPDX-License-Identifier: BSD-3-Clause

// Mbufs through a ring and a scripted device side in one thread. Usage as of ring_loopback.

#include <vkring/dpdk/mbuf.hpp>

#include <array>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "eal.hpp"
#include "loopback_cases.hpp"

namespace bench {

using namespace vkring;

/// With a packet pool, which has a cache for this thread.
struct mbuf_loopback : loopback_base {
  explicit mbuf_loopback(const loopback_options& o) : loopback_base(o), source(make()) {
    reach(source->regions());
  }
  ~mbuf_loopback() { ::rte_mempool_free(&source->pool()); }

  static std::shared_ptr<mempool_source> make() {
    return mempool_source::make(
               ::rte_pktmbuf_pool_create("bench", 2047, 250, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0))
        .value();
  }

  std::shared_ptr<mempool_source> source;
  std::array<::rte_mbuf*, max_burst> packets;
};

/// From the driver to the device. `tx_burst` gives back what the device has read, too.
template <class Layout>
class mbuf_tx : public mbuf_loopback {
  using ring_type = virtqueue<Layout, driver_side, mbuf_token>;

 public:
  explicit mbuf_tx(const loopback_options& o)
      : mbuf_loopback(o),
        queue_(ring_type(ring<Layout>(), ring_terms(), tables), *source, rules(), no_notify{}),
        device_(*this) {}
  ~mbuf_tx() { queue_.stop(); }

  void turn() noexcept {
    allocate();
    tx_burst();
    device_.pop();
    device_.read(received);
    device_.push(0);
  }

 private:
  [[gnu::noinline]] void allocate() noexcept {
    if (::rte_pktmbuf_alloc_bulk(&source->pool(), packets.data(), options.burst) != 0) {
      std::abort();
    }
    for (::rte_mbuf* const m : std::span(packets).first(options.burst)) {
      char* const data = ::rte_pktmbuf_append(m, static_cast<std::uint16_t>(options.frame_bytes));
      sent.put_number(reinterpret_cast<std::byte*>(data));
    }
    end_of_verb();
  }
  [[gnu::noinline]] void tx_burst() noexcept {
    queue_.tx_burst(std::span(packets).first(options.burst));
    end_of_verb();
  }

  mbuf_tx_queue<ring_type, no_notify> queue_;
  device_end<Layout> device_;
};

/// From the device to the driver. `rx_burst` takes fresh mbufs from the pool, too.
template <class Layout>
class mbuf_rx : public mbuf_loopback {
  using ring_type = virtqueue<Layout, driver_side, ::rte_mbuf*>;
  using queue = mbuf_rx_queue<ring_type, no_notify>;

 public:
  explicit mbuf_rx(const loopback_options& o)
      : mbuf_loopback(o),
        queue_(ring_type(ring<Layout>(), ring_terms(), {}, queue::max_written(*source, rules())),
               *source, rules(), no_notify{}),
        device_(*this) {
    queue_.refill();
  }
  ~mbuf_rx() { queue_.stop(); }

  void turn() noexcept {
    device_.pop();
    device_.write(sent);
    device_.push(static_cast<std::uint32_t>(header_size) + options.frame_bytes);
    rx_burst();
    release();
  }

 private:
  [[gnu::noinline]] void rx_burst() noexcept {
    count_ = queue_.rx_burst(std::span(packets).first(options.burst));
    end_of_verb();
  }
  [[gnu::noinline]] void release() noexcept {
    for (const ::rte_mbuf* const m : std::span(packets).first(count_)) {
      received.take_number(vkring::detail::data_of(*m).data());
    }
    ::rte_pktmbuf_free_bulk(packets.data(), count_);
    end_of_verb();
  }

  queue queue_;
  device_end<Layout> device_;
  std::uint16_t count_ = 0;
};

template <class Layout>
void add_layout(std::vector<bench_case>& cases, const std::string& layout) {
  add_case<mbuf_tx<Layout>>(cases, layout + "/mbuf_tx", {});
  add_case<mbuf_rx<Layout>>(cases, layout + "/mbuf_rx", {});
  add_case<mbuf_rx<Layout>>(cases, layout + "/mbuf_rx", {.mergeable = true});
}

}  // namespace bench

int main(int argc, char** argv) {
  bench::start_eal(argv[0]);
  std::vector<bench::bench_case> cases;
  bench::add_layout<vkring::split>(cases, "mbuf_loopback/split");
  bench::add_layout<vkring::packed>(cases, "mbuf_loopback/packed");
  return bench::run(argc, argv, cases);
}
