// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_BENCH_VIRTIO_USER_HPP
#define VKRING_BENCH_VIRTIO_USER_HPP

// DPDK's virtio_user, a driver, and DPDK's net_vhost, a device, connected within this process.

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mempool.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace bench {

[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "peer_dpdk: %s\n", why.c_str());
  std::exit(1);
}

/// A directory for a socket.
class temporary_directory {
 public:
  temporary_directory() {
    if (::mkdtemp(name_.data()) == nullptr) give_up("no temporary directory: " + name_);
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(name_, ignored);
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  [[nodiscard]] std::string file(const char* name) const { return name_ + "/" + name; }

 private:
  std::string name_ = (std::filesystem::temp_directory_path() / "peer_dpdk.XXXXXX").string();
};

/// What virtio_user says as long as this lives.
class virtio_user_log {
 public:
  virtio_user_log() : stream_(::open_memstream(&text_, &size_)) {
    ::rte_log_set_level_pattern(drivers, RTE_LOG_INFO);
    ::rte_openlog_stream(stream_);
  }
  ~virtio_user_log() {
    ::rte_openlog_stream(nullptr);
    ::rte_log_set_level_pattern(drivers, RTE_LOG_NOTICE);
    std::fclose(stream_);
    std::free(text_);
  }
  virtio_user_log(const virtio_user_log&) = delete;
  virtio_user_log& operator=(const virtio_user_log&) = delete;

  [[nodiscard]] bool says(std::string_view what) const {
    std::fflush(stream_);
    return std::string_view(text_, size_).find(what) != std::string_view::npos;
  }

 private:
  static constexpr const char* drivers = "pmd.net.virtio.*";

  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* stream_;
};

/// A virtual port with one queue pair.
class virtual_port {
 public:
  virtual_port(const char* name, const std::string& arguments, std::uint16_t ring_size,
               ::rte_mempool* pool, const ::rte_eth_conf& wanted)
      : name_(name) {
    must(::rte_eal_hotplug_add("vdev", name, arguments.c_str()), "rte_eal_hotplug_add");
    must(::rte_eth_dev_get_port_by_name(name, &id_), "rte_eth_dev_get_port_by_name");
    must(::rte_eth_dev_configure(id_, 1, 1, &wanted), "rte_eth_dev_configure");
    must(::rte_eth_rx_queue_setup(id_, 0, ring_size, 0, nullptr, pool), "rte_eth_rx_queue_setup");
    must(::rte_eth_tx_queue_setup(id_, 0, ring_size, 0, nullptr), "rte_eth_tx_queue_setup");
    must(::rte_eth_dev_start(id_), "rte_eth_dev_start");
  }
  ~virtual_port() {
    ::rte_eth_dev_stop(id_);
    ::rte_eth_dev_close(id_);
    ::rte_eal_hotplug_remove("vdev", name_);
  }
  virtual_port(const virtual_port&) = delete;
  virtual_port& operator=(const virtual_port&) = delete;

  [[nodiscard]] std::uint16_t id() const noexcept { return id_; }

 private:
  void must(int code, const char* what) const {
    if (code < 0) give_up(std::string(name_) + ": " + what + ": " + std::strerror(-code));
  }

  const char* name_;
  std::uint16_t id_ = 0;
};

/// A ring of virtio_user's whose other end is net_vhost's. In order, which both agree on when they
/// are left alone, and without mergeable buffers.
class virtio_user {
 public:
  enum class path : std::uint8_t { split, packed, packed_vectorized };
  struct options {
    path kind;
    std::uint16_t ring_size;
    bool csum;  ///< packets to send may ask for a checksum
  };

  /// The driver's mbufs come from `to_send`, the device's from `to_receive`.
  virtio_user(const options& o, ::rte_mempool* to_send, ::rte_mempool* to_receive) : csum_(o.csum) {
    const temporary_directory directory;
    const std::string socket = directory.file("socket");
    ::rte_eth_conf wanted{};
    // It tells of partial checksums; otherwise it would complete them.
    wanted.rxmode.offloads = RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
    device_ = std::make_unique<virtual_port>("net_vhost0", "queues=1,iface=" + socket, o.ring_size,
                                             to_receive, wanted);
    wanted = {};
    if (o.csum) wanted.txmode.offloads = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
    std::string arguments = "queues=1,mrg_rxbuf=0,in_order=1,path=" + socket;
    arguments += ",queue_size=" + std::to_string(o.ring_size);
    if (o.kind != path::split) arguments += ",packed_vq=1";
    const bool vectorized = o.kind == path::packed_vectorized;
    if (vectorized) arguments += ",vectorized=1";
    const virtio_user_log log;
    driver_ =
        std::make_unique<virtual_port>("virtio_user0", arguments, o.ring_size, to_send, wanted);
    // Where something is missing, it takes another path and says so.
    if (log.says("vectorized Tx path") != vectorized) give_up("not the path that was asked for");
  }
  ~virtio_user() {
    driver_.reset();
    device_.reset();
  }
  virtio_user(const virtio_user&) = delete;
  virtio_user& operator=(const virtio_user&) = delete;

  /// What is to be done to each packet before it is sent. False: one cannot be sent.
  [[nodiscard]] bool prepare(std::span<::rte_mbuf*> packets) noexcept {
    const auto count = static_cast<std::uint16_t>(packets.size());
    return !csum_ || ::rte_eth_tx_prepare(driver_->id(), 0, packets.data(), count) == count;
  }
  /// How many packets were sent, for the driver's thread.
  std::uint16_t tx(std::span<::rte_mbuf*> packets) noexcept {
    const auto count = static_cast<std::uint16_t>(packets.size());
    return ::rte_eth_tx_burst(driver_->id(), 0, packets.data(), count);
  }
  /// How many packets have arrived, for the device's thread.
  std::uint16_t rx(std::span<::rte_mbuf*> packets) noexcept {
    const auto count = static_cast<std::uint16_t>(packets.size());
    return ::rte_eth_rx_burst(device_->id(), 0, packets.data(), count);
  }

 private:
  bool csum_;
  std::unique_ptr<virtual_port> device_;
  std::unique_ptr<virtual_port> driver_;
};

}  // namespace bench

#endif  // VKRING_BENCH_VIRTIO_USER_HPP
