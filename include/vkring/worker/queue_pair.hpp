// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_WORKER_QUEUE_PAIR_HPP
#define VKRING_WORKER_QUEUE_PAIR_HPP

// One queue pair of a device: its rings in shared memory, its notifications, its two queues.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vkring/core/error.hpp>
#include <vkring/core/probe.hpp>
#include <vkring/kernel/event_fd.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/net/offload.hpp>
#include <vkring/queue/queues_of.hpp>
#include <vkring/ring/packed.hpp>
#include <vkring/ring/split.hpp>

namespace vkring::inline v0 {

/// Kicks a device through an eventfd that somebody else owns.
template <class Sys = posix>
struct event_notifier {
  const basic_event_fd<Sys>* event;  ///< outlives this
  /// Never blocks.
  void operator()() const noexcept {
    probe::kick(event->fd());
    event->signal();
  }
};

/// Where a queue pair lies in one block of shared memory: two rings and the tables of the tx ring.
struct queue_pair_layout {
  std::uint16_t tx_size;        ///< of the ring, in descriptors
  std::uint16_t rx_size;        ///< of the rx ring, in descriptors
  std::uint16_t table_entries;  ///< of each indirect table; 0 for none

  /// Enough entries for the largest frame in buffers of `capacity` bytes, and one for a header.
  [[nodiscard]] static std::uint16_t entries_for(std::uint32_t capacity) noexcept {
    const std::uint32_t buffers = max_gso_frame / std::max(capacity, 64u) + 2;
    return static_cast<std::uint16_t>(std::clamp(buffers, 8u, std::uint32_t{max_chain_pieces}));
  }
  /// Bytes of the block, a multiple of the rings' alignment.
  template <class Ring>
  [[nodiscard]] std::size_t bytes() const noexcept {
    const std::size_t all = Ring::bytes(tx_size) + Ring::bytes(rx_size) +
                            indirect_tables::bytes(tx_size, table_entries);
    return (all + Ring::alignment - 1) / Ring::alignment * Ring::alignment;
  }
};

/// The driver side of one queue pair: what an application gets from `device::tx(i)` and `rx(i)`.
///
/// Stays where it is: the queues refer to its eventfds.
template <class Layout, buffer_source Source, class Sys = posix>
class queue_pair {
 public:
  /// @{
  /// The types that a layout, a source and a notification make.
  using ring_type = typename Layout::ring_type;
  using notifier = event_notifier<Sys>;
  using queues = queues_of<Source>;
  using tx_driver = virtqueue<Layout, driver_side, typename queues::tx_token_type>;
  using rx_driver = virtqueue<Layout, driver_side, typename queues::rx_token_type>;
  using tx_type = typename queues::template tx<tx_driver, notifier>;
  using rx_type = typename queues::template rx<rx_driver, notifier>;
  /// @}

  /// The eventfds of a pair, `call` signalled by the device and `kick` by the queues.
  struct events {
    /// @{
    /// Two for each ring.
    basic_event_fd<Sys> tx_kick, tx_call, rx_kick, rx_call;
    /// @}

    /// All four, at 0. Errors: what eventfd returns, such as EMFILE.
    static result<events> create() {
      auto a = basic_event_fd<Sys>::create();
      if (!a) return fail(std::move(a.error()));
      auto b = basic_event_fd<Sys>::create();
      if (!b) return fail(std::move(b.error()));
      auto c = basic_event_fd<Sys>::create();
      if (!c) return fail(std::move(c.error()));
      auto d = basic_event_fd<Sys>::create();
      if (!d) return fail(std::move(d.error()));
      return events{std::move(*a), std::move(*b), std::move(*c), std::move(*d)};
    }
  };

  /// Lays the pair out in `block`, whose first byte has the guest address `guest`, and fills the rx
  /// ring with buffers. `options` are of both rings, but for the size; `memory` is what the device
  /// knows of, and stays.
  queue_pair(events made, std::span<std::byte> block, std::uint64_t guest,
             const queue_pair_layout& layout, const ring_options& options, const offload_plan& plan,
             const memory_table& memory, Source& source)
      : events_(std::move(made)),
        tx_ring_(tx_ring_in(block, layout)),
        rx_ring_(rx_ring_in(block, layout)),
        tables_(tables_in(block, guest, layout)),
        tx_(tx_driver(tx_ring_, options.of_size(layout.tx_size), tables_), source,
            rules(plan, plan.tx, &memory), notifier{&events_.tx_kick}),
        rx_(rx_driver(rx_ring_, options.of_size(layout.rx_size), {},
                      rx_type::max_written(source, rules(plan, plan.rx))),
            source, rules(plan, plan.rx), notifier{&events_.rx_kick}) {
    rx_.refill();
  }
  /// Goes on with a pair that lies in `block` already, its queues having been at rest as `tx` and
  /// `rx` say.
  queue_pair(events made, std::span<std::byte> block, std::uint64_t guest,
             const queue_pair_layout& layout, const ring_options& options, const offload_plan& plan,
             const memory_table& memory, Source& source, const queue_state& tx,
             const queue_state& rx)
    requires shareable_source<Source>
      : events_(std::move(made)),
        tx_ring_(tx_ring_in(block, layout)),
        rx_ring_(rx_ring_in(block, layout)),
        tables_(tables_in(block, guest, layout)),
        tx_(tx_driver(tx_ring_, options.of_size(layout.tx_size), tables_, UINT32_MAX, tx.ring,
                      tx_type::tokens(tx, source)),
            source, rules(plan, plan.tx, &memory), notifier{&events_.tx_kick}, tx),
        rx_(rx_driver(rx_ring_, options.of_size(layout.rx_size), {},
                      rx_type::max_written(source, rules(plan, plan.rx)), rx.ring,
                      rx_type::tokens(rx, source)),
            source, rules(plan, plan.rx), notifier{&events_.rx_kick}, rx) {}
  queue_pair(const queue_pair&) = delete;
  queue_pair& operator=(const queue_pair&) = delete;

  /// Where the rings lie in the block of a pair.
  [[nodiscard]] static ring_type tx_ring_in(std::span<std::byte> block,
                                            const queue_pair_layout& layout) noexcept {
    return ring_type::place(block, layout.tx_size);
  }
  /// See `tx_ring_in`.
  [[nodiscard]] static ring_type rx_ring_in(std::span<std::byte> block,
                                            const queue_pair_layout& layout) noexcept {
    return ring_type::place(block.subspan(ring_type::bytes(layout.tx_size)), layout.rx_size);
  }

  /// @{
  /// The queues, each for one thread at a time.
  [[nodiscard]] tx_type& tx() noexcept { return tx_; }
  [[nodiscard]] rx_type& rx() noexcept { return rx_; }
  [[nodiscard]] const tx_type& tx() const noexcept { return tx_; }
  [[nodiscard]] const rx_type& rx() const noexcept { return rx_; }
  /// @}
  /// @{
  /// What the device side has to know: where the rings are, and the tables of the tx ring.
  [[nodiscard]] const ring_type& tx_ring() const noexcept { return tx_ring_; }
  [[nodiscard]] const ring_type& rx_ring() const noexcept { return rx_ring_; }
  [[nodiscard]] const indirect_tables& tables() const noexcept { return tables_; }
  /// @}
  /// The eventfds that the queues signal and are signalled by.
  [[nodiscard]] const events& notifications() const noexcept { return events_; }

 private:
  static indirect_tables tables_in(std::span<std::byte> block, std::uint64_t guest,
                                   const queue_pair_layout& layout) noexcept {
    const std::size_t behind =
        ring_type::bytes(layout.tx_size) + ring_type::bytes(layout.rx_size);
    return {block.data() + behind, guest + behind, layout.table_entries};
  }
  static frame_rules rules(const offload_plan& plan, const frame_offloads& direction,
                           const memory_table* memory = nullptr) noexcept {
    return {.header_size = static_cast<std::uint32_t>(plan.header_bytes),
            .link = plan.link,
            .mergeable = plan.mergeable,
            .offloads = direction,
            .memory = memory};
  }

  events events_;
  ring_type tx_ring_;
  ring_type rx_ring_;
  indirect_tables tables_;
  tx_type tx_;
  rx_type rx_;
};

}  // namespace vkring::inline v0

#endif  // VKRING_WORKER_QUEUE_PAIR_HPP
