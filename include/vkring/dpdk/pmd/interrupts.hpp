// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_DPDK_PMD_INTERRUPTS_HPP
#define VKRING_DPDK_PMD_INTERRUPTS_HPP

// Interrupts of a port: what netlink tells of the interface, and the calls of receive queues.

#include <ethdev_driver.h>
#include <rte_interrupts.h>
#include <vkring/core/error.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/netns.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace vkring::inline v0::pmd {

/// The handle of a port's interrupts: readable when something happened to an interface of its
/// namespace, and with an eventfd for each receive queue while these are wanted.
class interrupts {
 public:
  /// `where` as for `netns::open`; empty: the caller's namespace. Errors: ENOMEM; what opening the
  /// namespace and the netlink socket returns.
  static result<interrupts> open(const std::string& where) {
    auto events = where.empty() ? basic_link_events<>::open() : events_in(where);
    if (!events) return fail(std::move(events.error()));
    ::rte_intr_handle* const handle = ::rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
    if (handle == nullptr) return out_of_memory();
    interrupts made(std::move(*events), handle);
    if (::rte_intr_type_set(handle, RTE_INTR_HANDLE_VDEV) != 0 ||
        ::rte_intr_fd_set(handle, made.events_.fd()) != 0) {
      return out_of_memory();
    }
    return made;
  }
  /// Leaves `other` without a handle.
  interrupts(interrupts&& other) noexcept
      : events_(std::move(other.events_)), handle_(std::exchange(other.handle_, nullptr)) {}
  interrupts& operator=(interrupts&&) = delete;
  ~interrupts() {
    if (handle_ != nullptr) ::rte_intr_instance_free(handle_);
  }

  /// What ethdev asks for.
  [[nodiscard]] ::rte_intr_handle* handle() const noexcept { return handle_; }

  /// Reads what netlink told; the state is to be asked for then.
  void take_note() {
    for (auto event = events_.read_event(); event && *event;) event = events_.read_event();
  }

  /// Has the handle lead to these eventfds, of receive queue 0 and so on. Errors: ENOMEM, also for
  /// more than it has room for.
  result<void> watch(std::span<const int> calls) {
    const int count = static_cast<int>(calls.size());
    constexpr std::uint8_t counter_bytes = 8;
    bool good = ::rte_intr_vec_list_alloc(handle_, "net_vkring", count) == 0 &&
                ::rte_intr_efd_counter_size_set(handle_, counter_bytes) == 0 &&
                ::rte_intr_nb_efd_set(handle_, count) == 0 &&
                ::rte_intr_max_intr_set(handle_, count + 1) == 0;
    for (int i = 0; good && i != count; ++i) {
      good = ::rte_intr_efds_index_set(handle_, i, calls[static_cast<std::size_t>(i)]) == 0 &&
             ::rte_intr_vec_list_index_set(handle_, i, RTE_INTR_VEC_RXTX_OFFSET + i) == 0;
    }
    if (good) return {};
    unwatch();
    return out_of_memory();
  }
  /// The reverse of `watch`: no interrupts for the receive queues.
  void unwatch() noexcept {
    // Else the next ones could not be waited for: the handle would think that they are already.
    ::rte_intr_free_epoll_fd(handle_);
    ::rte_intr_vec_list_free(handle_);
    static_cast<void>(::rte_intr_nb_efd_set(handle_, 0));
    static_cast<void>(::rte_intr_max_intr_set(handle_, 0));
  }

 private:
  interrupts(basic_link_events<> events, ::rte_intr_handle* handle) noexcept
      : events_(std::move(events)), handle_(handle) {}
  static result<basic_link_events<>> events_in(const std::string& where) {
    auto there = netns::open(where);
    if (!there) return fail(std::move(there.error()));
    return basic_link_events<>::open(*there);
  }
  static tl::unexpected<error> out_of_memory() {
    return fail(std::errc::not_enough_memory, "rte_intr_handle");
  }

  basic_link_events<> events_;
  ::rte_intr_handle* handle_;
};

}  // namespace vkring::inline v0::pmd

#endif  // VKRING_DPDK_PMD_INTERRUPTS_HPP
