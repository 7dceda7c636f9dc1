// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_OPERATIONS_HPP
#define VKRING_DPDK_PMD_OPERATIONS_HPP

// What ethdev calls: each operation says it to the port and says back what came of it.

#include <ethdev_driver.h>
#include <vkring/dpdk/pmd/burst.hpp>
#include <vkring/dpdk/pmd/interrupts.hpp>
#include <vkring/dpdk/pmd/log.hpp>
#include <vkring/dpdk/pmd/offloads.hpp>
#include <vkring/dpdk/pmd/port.hpp>
#include <vkring/dpdk/pmd/versions.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vkring::inline v0::pmd {

/// What an ethdev is: its private data are a pointer to one of these.
struct instance {
  std::unique_ptr<port> it;  ///< the port
  interrupts lines;          ///< its interrupts
};
/// @{
/// What the ethdev is.
[[nodiscard]] inline instance*& instance_of(const ::rte_eth_dev& dev) noexcept {
  return *static_cast<instance**>(dev.data->dev_private);
}
[[nodiscard]] inline port& port_of(const ::rte_eth_dev& dev) noexcept {
  return *instance_of(dev)->it;
}
/// @}

namespace detail {

inline constexpr std::uint16_t largest_ring = 32768;
inline constexpr std::uint16_t largest_mtu = 65521;  // of a TAP

[[nodiscard]] inline std::uint16_t mtu_at_open(const port& of) noexcept {
  return static_cast<std::uint16_t>(std::min<std::uint32_t>(of.at_open().mtu, largest_mtu));
}

inline int configure(::rte_eth_dev* dev) noexcept {
  const ::rte_eth_conf& conf = dev->data->dev_conf;
  port& it = port_of(*dev);
  const auto refuse = [&](std::string_view what, std::string_view why) {
    return answer<void>(dev->data->name, fail(std::errc::not_supported, "configure", what, why));
  };
  if (dev->data->nb_rx_queues == 0 || dev->data->nb_tx_queues == 0) {
    return refuse("queues", "at least one of each direction");
  }
  if (conf.rxmode.mq_mode != RTE_ETH_MQ_RX_NONE) {
    return refuse("rxmode.mq_mode", "the kernel chooses the queue by its own flow hash: no RSS");
  }
  if (conf.txmode.mq_mode != RTE_ETH_MQ_TX_NONE) return refuse("txmode.mq_mode", "none");
  if (conf.lpbk_mode != 0) return refuse("lpbk_mode", "no loopback");
  if (conf.intr_conf.rxq != 0 && dev->data->nb_tx_queues > dev->data->nb_rx_queues) {
    return refuse("intr_conf.rxq", "needs a receive queue for each transmit queue");
  }
  // An application that has no opinion says 1500. The interface has had what `mtu` asks for since
  // the port was made.
  if (dev->data->mtu == RTE_ETHER_MTU) dev->data->mtu = mtu_at_open(it);
  return 0;
}

template <class Layout, class Device>
void use_bursts(Device& dev) noexcept {
  dev.rx_pkt_burst = rx_burst<Layout>;
  dev.tx_pkt_burst = tx_burst<Layout>;
  dev.tx_pkt_prepare = tx_prepare<Layout>;
  dev.rx_queue_count = rx_queue_count<Layout>;
  dev.rx_descriptor_status = rx_descriptor_status<Layout>;
  dev.tx_descriptor_status = tx_descriptor_status<Layout>;
  if constexpr (requires { dev.tx_queue_count; }) dev.tx_queue_count = tx_queue_count<Layout>;
}

inline void set_queue_states(::rte_eth_dev& dev, std::uint8_t state) noexcept {
  std::fill_n(dev.data->rx_queue_state, dev.data->nb_rx_queues, state);
  std::fill_n(dev.data->tx_queue_state, dev.data->nb_tx_queues, state);
}

inline int update_link(::rte_eth_dev* dev, int) noexcept {
  port& it = port_of(*dev);
  const auto up = it.link_up();
  if (!up) return answer(dev->data->name, up);
  ::rte_eth_link link{};
  const std::uint32_t speed = it.options().speed;
  link.link_speed = speed == 0 ? std::uint32_t{RTE_ETH_SPEED_NUM_UNKNOWN} : speed;
  link.link_duplex = RTE_ETH_LINK_FULL_DUPLEX;
  link.link_autoneg = RTE_ETH_LINK_FIXED;
  link.link_status = *up ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN;
  // Says whether that is new: 0 when it is, -1 when it is as before. Neither is an error.
  static_cast<void>(::rte_eth_linkstatus_set(dev, &link));
  return 0;
}

// Netlink has told something about some interface.
inline void on_link_event(void* argument) noexcept {
  auto* const dev = static_cast<::rte_eth_dev*>(argument);
  instance_of(*dev)->lines.take_note();
  const auto before = dev->data->dev_link.link_status;
  if (update_link(dev, 0) == 0 && dev->data->dev_link.link_status != before) {
    ::rte_eth_dev_callback_process(dev, RTE_ETH_EVENT_INTR_LSC, nullptr);
  }
}

// With a link-state or receive interrupts, if they are wanted.
inline result<void> start_interrupts(::rte_eth_dev& dev) {
  const ::rte_eth_intr_conf& wanted = dev.data->dev_conf.intr_conf;
  interrupts& lines = instance_of(dev)->lines;
  if (wanted.rxq != 0) {
    std::vector<int> calls;
    port_of(dev).with_device([&](auto& device) {
      for (std::size_t i = 0; i != dev.data->nb_rx_queues; ++i) {
        calls.push_back(device.rx_call(i).fd());
      }
    });
    if (auto done = lines.watch(calls); !done) return done;
  }
  if (wanted.lsc == 0) return {};
  const int done = ::rte_intr_callback_register(lines.handle(), on_link_event, &dev);
  return done == 0 ? result<void>{} : fail(-done, "rte_intr_callback_register");
}
inline void stop_interrupts(::rte_eth_dev& dev) noexcept {
  interrupts& lines = instance_of(dev)->lines;
  // Waits for one that is running, unless that is what called: it goes when it returns.
  if (dev.data->dev_conf.intr_conf.lsc != 0) {
    while (::rte_intr_callback_unregister(lines.handle(), on_link_event, &dev) == -EAGAIN) {
      if (::rte_thread_is_intr() == 0) continue;
      ::rte_intr_callback_unregister_pending(lines.handle(), on_link_event, &dev, nullptr);
      break;
    }
  }
  lines.unwatch();
}

inline int rx_interrupt_on(::rte_eth_dev* dev, std::uint16_t index) noexcept {
  port_of(*dev).with_device([&](auto& device) {
    // What came before nobody calls for any more.
    if (device.rx(index).enable_call() == notification::more_pending) {
      device.rx_call(index).signal();
    }
  });
  return 0;
}
inline int rx_interrupt_off(::rte_eth_dev* dev, std::uint16_t index) noexcept {
  port_of(*dev).with_device([&](auto& device) { device.rx(index).disable_call(); });
  return 0;
}

inline int start(::rte_eth_dev* dev) noexcept {
  ::rte_eth_dev_data& data = *dev->data;
  const auto started =
      port_of(*dev).start({data.nb_rx_queues, data.nb_tx_queues, data.dev_conf.rxmode.offloads,
                           data.dev_conf.txmode.offloads, data.mtu});
  if (!started) return answer(data.name, started);
  if (auto done = start_interrupts(*dev); !done) {
    stop_interrupts(*dev);
    port_of(*dev).stop();
    return answer(data.name, done);
  }
  port_of(*dev).with_device([&](auto& device) {
    for (std::size_t i = 0; i != device.queue_pairs(); ++i) device.rx(i).set_port(data.port_id);
    data.scattered_rx = device.plan().mergeable & 1u;
    data.lro = (data.dev_conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0 ? 1 : 0;
    say(RTE_LOG_INFO, data.name,
        device.name() + ": served by " + std::string(device.backend()) + " (" +
            std::string(device.backend_reason()) + ')');
  });
  if (port_of(*dev).options().packed) {
    use_bursts<packed>(*dev);
  } else {
    use_bursts<split>(*dev);
  }
  set_queue_states(*dev, RTE_ETH_QUEUE_STATE_STARTED);
  // It is started, whatever becomes of that: an error would have ethdev take it for stopped.
  static_cast<void>(update_link(dev, 0));
  return 0;
}

inline int stop(::rte_eth_dev* dev) noexcept {
  if (port_of(*dev).started()) stop_interrupts(*dev);
  port_of(*dev).stop();
  dev->data->dev_started = 0;
  set_queue_states(*dev, RTE_ETH_QUEUE_STATE_STOPPED);
  static_cast<void>(update_link(dev, 0));
  return 0;
}

// The rest is ethdev's to release.
inline int close(::rte_eth_dev* dev) noexcept {
  if (::rte_eal_process_type() != RTE_PROC_PRIMARY) return 0;
  static_cast<void>(stop(dev));
  delete std::exchange(instance_of(*dev), nullptr);
  dev->intr_handle = nullptr;
  return 0;
}

inline int infos_get(::rte_eth_dev* dev, ::rte_eth_dev_info* info) noexcept {
  port& it = port_of(*dev);
  const port_options& options = it.options();
  info->if_index = static_cast<unsigned>(it.at_open().index);
  info->min_mtu = RTE_ETHER_MIN_MTU;
  info->max_mtu = largest_mtu;
  info->max_rx_pktlen = largest_mtu + RTE_ETHER_HDR_LEN;
  info->max_lro_pkt_size = info->max_rx_pktlen;
  info->min_rx_bufsize = 64;
  info->max_rx_queues = info->max_tx_queues = options.queues;
  info->max_mac_addrs = 1;
  info->speed_capa = RTE_ETH_LINK_SPEED_FIXED;
  info->rx_offload_capa = rx_capabilities(options.offloads, options.mergeable, it.tap_offloads());
  info->tx_offload_capa = tx_capabilities(options.offloads, it.tap_offloads());
  info->rx_desc_lim.nb_max = info->tx_desc_lim.nb_max = largest_ring;
  info->rx_desc_lim.nb_min = info->tx_desc_lim.nb_min = 2;
  info->rx_desc_lim.nb_align = info->tx_desc_lim.nb_align = 1;
  info->default_rxportconf.ring_size = info->default_txportconf.ring_size =
      static_cast<std::uint16_t>(options.queue_size);
  info->default_rxportconf.nb_queues = info->default_txportconf.nb_queues = 1;
  info->default_rxportconf.burst_size = info->default_txportconf.burst_size = 32;
  return 0;
}

// Whether a ring can have that size.
inline result<void> check_size(const port& of, std::uint16_t size) {
  return of.options().packed ? packed::ring_type::check_size(size)
                             : split::ring_type::check_size(size);
}

inline int refuse_deferred(const ::rte_eth_dev& dev, std::string_view what) {
  return answer<void>(dev.data->name, fail(std::errc::not_supported, "queue_setup", what,
                                           "all queues start with the port"));
}

inline int rx_setup(::rte_eth_dev* dev, std::uint16_t index, std::uint16_t size, unsigned,
                    const ::rte_eth_rxconf* conf, ::rte_mempool* pool) noexcept {
  port& it = port_of(*dev);
  if (conf->rx_deferred_start != 0) return refuse_deferred(*dev, "rx_deferred_start");
  if (pool == nullptr) {
    return answer<void>(dev->data->name, fail(std::errc::not_supported, "rx_queue_setup", "pool",
                                              "buffers of several kinds in one queue"));
  }
  if (auto good = check_size(it, size); !good) return answer(dev->data->name, good);
  rx_queue& queue = it.rx(index);
  queue.pool = pool;
  queue.size = size;
  dev->data->rx_queues[index] = &queue;
  return 0;
}
inline int tx_setup(::rte_eth_dev* dev, std::uint16_t index, std::uint16_t size, unsigned,
                    const ::rte_eth_txconf* conf) noexcept {
  port& it = port_of(*dev);
  if (conf->tx_deferred_start != 0) return refuse_deferred(*dev, "tx_deferred_start");
  if (auto good = check_size(it, size); !good) return answer(dev->data->name, good);
  it.tx(index).size = size;
  it.tx(index).is_packed = it.options().packed;
  dev->data->tx_queues[index] = &it.tx(index);
  return 0;
}
inline void rx_release(::rte_eth_dev* dev, std::uint16_t index) noexcept {
  port_of(*dev).rx(index) = {};
}
inline void tx_release(::rte_eth_dev* dev, std::uint16_t index) noexcept {
  port_of(*dev).tx(index) = {};
}

// Until 25.11 the queues' counters are among all the others.
template <class... Queues>
int stats_get(::rte_eth_dev* dev, ::rte_eth_stats* all, Queues*... each) noexcept {
  port& it = port_of(*dev);
  const ::rte_eth_dev_data& data = *dev->data;
  for (std::size_t i = 0; i != it.options().queues; ++i) {
    const pair_counts counts = it.counts(i);
    const traffic rx = counts.received();
    const traffic tx = counts.sent();
    all->ipackets += rx.packets;
    all->ibytes += rx.bytes;
    all->ierrors += rx.errors;
    all->rx_nombuf += rx.starved;
    all->opackets += tx.packets;
    all->obytes += tx.bytes;
    all->oerrors += tx.errors;
    // The pairs that a receive queue takes from are its own and those beyond the last.
    const std::size_t rx_index = data.nb_rx_queues == 0 ? i : i % data.nb_rx_queues;
    if constexpr (sizeof...(Queues) == 0) {
      add_queue(all, rx_index, i, rx, tx);
    } else {
      (add_queue(each, rx_index, i, rx, tx), ...);
    }
  }
  all->imissed = it.missed();
  return 0;
}
inline int stats_reset(::rte_eth_dev* dev) noexcept {
  port_of(*dev).forget_statistics();
  return 0;
}

// The numbers of all pairs together; ethdev has those of each queue.
inline int xstats_names(::rte_eth_dev*, ::rte_eth_xstat_name* names, unsigned size) noexcept {
  if (names != nullptr && size >= pair_counts::size) {
    for (std::size_t i = 0; i != pair_counts::size; ++i) {
      const std::string name = pair_counts::name(i);
      names[i].name[name.copy(names[i].name, sizeof names[i].name - 1)] = '\0';
    }
  }
  return static_cast<int>(pair_counts::size);
}
inline int xstats_get(::rte_eth_dev* dev, ::rte_eth_xstat* stats, unsigned size) noexcept {
  if (stats != nullptr && size >= pair_counts::size) {
    port& it = port_of(*dev);
    pair_counts all;
    for (std::size_t i = 0; i != it.options().queues; ++i) all += it.counts(i);
    for (std::size_t i = 0; i != pair_counts::size; ++i) stats[i] = {i, all[i]};
  }
  return static_cast<int>(pair_counts::size);
}

inline int mac_set(::rte_eth_dev* dev, ::rte_ether_addr* address) noexcept {
  mac_address mac;
  std::copy(std::begin(address->addr_bytes), std::end(address->addr_bytes), mac.begin());
  return answer(dev->data->name, port_of(*dev).set_mac(mac));
}
inline int mtu_set(::rte_eth_dev* dev, std::uint16_t bytes) noexcept {
  return answer(dev->data->name, port_of(*dev).set_mtu(bytes));
}
inline int set_link_up(::rte_eth_dev* dev) noexcept {
  return answer(dev->data->name, port_of(*dev).set_link(true));
}
inline int set_link_down(::rte_eth_dev* dev) noexcept {
  return answer(dev->data->name, port_of(*dev).set_link(false));
}

// The port is the other end of a wire: all that the kernel sends is for it, whoever it is to.
inline int take_everything(::rte_eth_dev*) noexcept { return 0; }
inline int take_less(::rte_eth_dev*) noexcept { return -ENOTSUP; }

// What `describe` can say of a packet.
inline constexpr std::uint32_t told_types[] = {RTE_PTYPE_L2_ETHER,
                                               RTE_PTYPE_L3_IPV4_EXT_UNKNOWN,
                                               RTE_PTYPE_L3_IPV6_EXT_UNKNOWN,
                                               RTE_PTYPE_L4_TCP,
                                               RTE_PTYPE_L4_UDP,
                                               RTE_PTYPE_UNKNOWN};

inline void rxq_info(::rte_eth_dev* dev, std::uint16_t index, ::rte_eth_rxq_info* info) noexcept {
  const rx_queue& queue = port_of(*dev).rx(index);
  info->mp = queue.pool;
  info->nb_desc = queue.size;
  info->conf.offloads = dev->data->dev_conf.rxmode.offloads;
  info->scattered_rx = dev->data->scattered_rx;
}
inline void txq_info(::rte_eth_dev* dev, std::uint16_t index, ::rte_eth_txq_info* info) noexcept {
  info->nb_desc = port_of(*dev).tx(index).size;
  info->conf.offloads = dev->data->dev_conf.txmode.offloads;
}

inline int burst_mode(::rte_eth_dev* dev, std::uint16_t, ::rte_eth_burst_mode* mode) noexcept {
  const std::string_view text = port_of(*dev).options().packed ? "packed ring" : "split ring";
  text.copy(mode->info, sizeof mode->info - 1);
  return 0;
}

// Gives back what the device has read, all of it: that costs no more than a part.
inline int done_cleanup(void* queue, std::uint32_t) noexcept {
  auto& from = *static_cast<tx_queue*>(queue);
  if (from.pair == nullptr) return 0;
  return from.is_packed ? from.it<packed>().reclaim() : from.it<split>().reclaim();
}

constexpr ::eth_dev_ops all_operations() noexcept {
  ::eth_dev_ops ops{};
  ops.dev_configure = configure;
  ops.dev_start = start;
  ops.dev_stop = stop;
  ops.dev_close = close;
  ops.dev_infos_get = infos_get;
  ops.dev_set_link_up = set_link_up;
  ops.dev_set_link_down = set_link_down;
  ops.link_update = update_link;
  ops.rx_queue_setup = rx_setup;
  ops.tx_queue_setup = tx_setup;
  ops.rx_queue_release = rx_release;
  ops.tx_queue_release = tx_release;
  ops.stats_get = stats_get;
  ops.stats_reset = stats_reset;
  ops.xstats_get = xstats_get;
  ops.xstats_get_names = xstats_names;
  ops.xstats_reset = stats_reset;
  ops.mac_addr_set = mac_set;
  ops.mtu_set = mtu_set;
  ops.promiscuous_enable = take_everything;
  ops.promiscuous_disable = take_less;
  ops.allmulticast_enable = take_everything;
  ops.allmulticast_disable = take_less;
  ops.dev_supported_ptypes_get = packet_types<told_types>;
  ops.rxq_info_get = rxq_info;
  ops.txq_info_get = txq_info;
  ops.rx_burst_mode_get = burst_mode;
  ops.tx_burst_mode_get = burst_mode;
  ops.tx_done_cleanup = done_cleanup;
  ops.rx_queue_intr_enable = rx_interrupt_on;
  ops.rx_queue_intr_disable = rx_interrupt_off;
  return ops;
}

}  // namespace detail

/// The operations of a port of net_vkring.
inline constexpr ::eth_dev_ops operations = detail::all_operations();

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_OPERATIONS_HPP
