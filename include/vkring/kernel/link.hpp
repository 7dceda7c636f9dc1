// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_LINK_HPP
#define VKRING_KERNEL_LINK_HPP

// One network interface of the kernel, over rtnetlink: its settings, its state, and events.

#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/netlink.hpp"
#include "vkring/kernel/netlink_abi.hpp"
#include "vkring/kernel/netns.hpp"
#include "vkring/kernel/sys.hpp"
#include "vkring/kernel/tun_abi.hpp"
#include "vkring/net/ip_prefix.hpp"
#include "vkring/net/mac.hpp"

namespace vkring::inline v0 {

/// The operational state of an interface (RFC 2863).
enum class oper_state : std::uint8_t {
  unknown,
  not_present,
  down,
  lower_layer_down,
  testing,
  dormant,
  up
};

/// What the kernel has counted on an interface, from its own point of view: what an application
/// sends into a TAP is received by the kernel. `rx_` and `tx_`, each with `packets`, `bytes`,
/// `errors` and `dropped`, as in struct rtnl_link_stats64.
using link_counters = netlink_abi::link_stats64;

/// An interface as the kernel describes it.
struct link_state {
  int index = 0;            ///< the number of the interface in its network namespace
  std::string name;         ///< as it is now: interfaces can be renamed
  std::uint32_t flags = 0;  ///< IFF_ bits
  bool up = false;          ///< set up by the administrator (IFF_UP)
  bool carrier = false;     ///< its lower layer works: for a TAP, a queue is attached
  oper_state operational = oper_state::unknown;  ///< RFC 2863
  std::uint32_t mtu = 0;                         ///< bytes
  std::uint32_t tx_queue_length = 0;             ///< packets
  std::optional<mac_address> mac;  ///< none for an interface without Ethernet headers, such as TUN
  link_counters counters{};        ///< since it was made
};

namespace detail {

template <class T>
void assign_attribute(T& into, std::span<const std::byte> value) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  if (value.size() >= sizeof into) std::memcpy(&into, value.data(), sizeof into);
}

// The body of an RTM_NEWLINK or RTM_DELLINK; nothing for a bridge's message about one of its ports,
// which has the same type (a port that leaves its bridge would look like one that is gone).
inline std::optional<link_state> parse_link(std::span<const std::byte> body) {
  namespace abi = netlink_abi;
  abi::ifinfomsg header{};
  if (!take_front(body, header) || header.ifi_family != AF_UNSPEC) return std::nullopt;
  link_state state;
  state.index = header.ifi_index;
  state.flags = header.ifi_flags;
  state.up = (header.ifi_flags & abi::iff_up) != 0;
  for_each_netlink_attribute(body, [&](std::uint16_t kind, std::span<const std::byte> value) {
    switch (kind) {
      case abi::ifla_ifname: {
        const auto* text = reinterpret_cast<const char*>(value.data());
        state.name.assign(text, ::strnlen(text, value.size()));
        break;
      }
      case abi::ifla_address:
        if (value.size() == sizeof(mac_address)) assign_attribute(state.mac.emplace(), value);
        break;
      case abi::ifla_mtu:
        assign_attribute(state.mtu, value);
        break;
      case abi::ifla_txqlen:
        assign_attribute(state.tx_queue_length, value);
        break;
      case abi::ifla_operstate:
        assign_attribute(state.operational, value);
        break;
      case abi::ifla_carrier:
        state.carrier = !value.empty() && value[0] != std::byte{0};
        break;
      case abi::ifla_stats64:
        assign_attribute(state.counters, value);
        break;
      default:
        break;
    }
  });
  return state;
}

}  // namespace detail

/// One interface, held by its index: a rename does not shake it off.
///
/// Move-only. Every member makes one request and waits for the kernel's answer. Errors: ENODEV when
/// the interface is gone, EPERM without CAP_NET_ADMIN, else the kernel's own reason.
/// Thread-safety: one thread at a time. Since Linux 2.6; explanations of refusals since 4.12.
template <class Sys = posix>
class basic_link {
 public:
  /// The interface of that name in the caller's namespace.
  /// Errors: EINVAL (no interface can have that name), ENODEV, and what socket returns.
  static result<basic_link> open(std::string_view name) {
    return with(basic_netlink<Sys>::open(), name);
  }
  /// The same in another namespace.
  static result<basic_link> open(std::string_view name, const basic_netns<Sys>& where) {
    return with(basic_netlink<Sys>::open(where), name);
  }
  /// The same over a socket that somebody else opened, in whichever namespace that was.
  static result<basic_link> open(std::string_view name, basic_netlink<Sys> socket) {
    return with(std::move(socket), name);
  }

  /// The interface's number, which stays when it is renamed.
  [[nodiscard]] int index() const noexcept { return index_; }
  /// The name by which it was opened.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Everything that the kernel says about it now.
  [[nodiscard]] result<link_state> read() {
    netlink_request request(netlink_abi::rtm_getlink, 0, subject());
    return query(request);
  }

  /// Sets it up or down.
  result<void> set_up(bool up) {
    auto header = subject();
    header.ifi_flags = up ? netlink_abi::iff_up : 0;
    header.ifi_change = netlink_abi::iff_up;
    netlink_request request(netlink_abi::rtm_newlink, 0, header);
    return socket_.exchange(request, up ? "set up" : "set down", name_);
  }
  /// Sets the MTU in bytes; for a TAP 68 to 65521. Below 1280 the kernel takes the interface's IPv6
  /// addresses away, and does not bring them back.
  result<void> set_mtu(std::uint32_t bytes) {
    return set(netlink_abi::ifla_mtu, bytes, "set mtu " + std::to_string(bytes));
  }
  /// Sets how many packets the kernel's queue towards the interface holds.
  result<void> set_tx_queue_length(std::uint32_t packets) {
    return set(netlink_abi::ifla_txqlen, packets, "set txqueuelen " + std::to_string(packets));
  }
  /// Sets the Ethernet address. Errors also: EADDRNOTAVAIL (a group address), EINVAL (TUN).
  result<void> set_mac(const mac_address& mac) {
    netlink_request request(netlink_abi::rtm_newlink, 0, subject());
    request.attribute(netlink_abi::ifla_address, std::as_bytes(std::span(mac)));
    return socket_.exchange(request, "set mac " + mac_text(mac), name_);
  }

  /// Gives it an IP address. One that it has already is no error, so that a program may start again
  /// on a persistent interface.
  result<void> add_address(const ip_prefix& address) {
    return change_address(netlink_abi::rtm_newaddr,
                          netlink_abi::nlm_f_create | netlink_abi::nlm_f_replace, "add address",
                          address);
  }
  /// Takes an IP address away. Errors also: EADDRNOTAVAIL when it does not have it.
  result<void> remove_address(const ip_prefix& address) {
    return change_address(netlink_abi::rtm_deladdr, 0, "remove address", address);
  }

  /// Deletes the interface. Errors also: EOPNOTSUPP for one that only hardware can take away.
  result<void> remove() {
    netlink_request request(netlink_abi::rtm_dellink, 0, subject());
    return socket_.exchange(request, "delete", name_);
  }

 private:
  basic_link(basic_netlink<Sys> socket, std::string_view name)
      : socket_(std::move(socket)), name_(name) {}

  static result<basic_link> with(result<basic_netlink<Sys>> socket, std::string_view name) {
    if (name.empty() || name.size() >= netlink_abi::ifnamsiz ||
        name.find_first_of(std::string_view("/\0", 2)) != name.npos) {
      return fail(EINVAL, "interface", name, "a name has 1 to 15 characters and no slash");
    }
    if (!socket) return fail(std::move(socket.error()));
    basic_link made(std::move(*socket), name);
    netlink_request request(netlink_abi::rtm_getlink, 0, netlink_abi::ifinfomsg{});
    std::array<char, netlink_abi::ifnamsiz> text{};  // ends in a NUL
    name.copy(text.data(), name.size());
    request.attribute(netlink_abi::ifla_ifname,
                      std::as_bytes(std::span(text).first(name.size() + 1)));
    auto found = made.query(request);
    if (!found) return fail(std::move(found.error()));
    made.index_ = found->index;
    return made;
  }

  [[nodiscard]] netlink_abi::ifinfomsg subject() const noexcept {
    return {AF_UNSPEC, 0, 0, index_, 0, 0};
  }

  result<link_state> query(netlink_request& request) {
    std::optional<link_state> state;
    auto asked = socket_.exchange(request, "interface", name_,
                                  [&](const netlink_abi::nlmsghdr& header, auto body) {
                                    if (header.nlmsg_type != netlink_abi::rtm_newlink) return;
                                    state = detail::parse_link(body);
                                  });
    if (!asked) return fail(std::move(asked.error()));
    if (!state) return fail(EBADMSG, "interface", name_);
    return *std::move(state);
  }

  result<void> set(std::uint16_t kind, std::uint32_t value, const std::string& operation) {
    netlink_request request(netlink_abi::rtm_newlink, 0, subject());
    request.attribute(kind, value);
    return socket_.exchange(request, operation, name_);
  }

  result<void> change_address(std::uint16_t type, std::uint16_t flags, std::string_view operation,
                              const ip_prefix& address) {
    const bool v4 = address.family == ip_prefix::version::v4;
    netlink_request request(
        type, flags,
        netlink_abi::ifaddrmsg{static_cast<std::uint8_t>(v4 ? AF_INET : AF_INET6), address.length,
                               0, 0, static_cast<std::uint32_t>(index_)});
    const auto octets = std::as_bytes(address.address());
    request.attribute(netlink_abi::ifa_local, octets);
    request.attribute(netlink_abi::ifa_address, octets);
    return socket_.exchange(request, std::string(operation) + ' ' + ip_text(address), name_);
  }

  basic_netlink<Sys> socket_;
  std::string name_;
  int index_ = 0;
};

/// Something that happened to an interface.
struct link_event {
  /// What happened.
  enum class what : std::uint8_t {
    changed,  ///< made, or its settings or state changed
    removed,  ///< gone from the namespace
    lost      ///< the kernel dropped events: read the states of interest anew; `state` says nothing
  };
  what kind = what::changed;  ///< what happened
  link_state state;           ///< as it is after that, or was last
};

/// The events of all interfaces of one namespace, from the moment of opening.
///
/// Move-only. Thread-safety: one thread at a time. To miss nothing, open first and read states
/// after.
template <class Sys = posix>
class basic_link_events {
 public:
  /// Listens in the caller's namespace.
  static result<basic_link_events> open() {
    return with(basic_netlink<Sys>::open(netlink_abi::rtmgrp_link));
  }
  /// The same in another namespace.
  static result<basic_link_events> open(const basic_netns<Sys>& where) {
    return with(basic_netlink<Sys>::open(where, netlink_abi::rtmgrp_link));
  }
  /// Reads from a socket that somebody else opened and subscribed.
  explicit basic_link_events(basic_netlink<Sys> socket) noexcept : socket_(std::move(socket)) {}

  /// Has the kernel tell of nothing any more but that the interface of this index is gone.
  /// Errors: what setsockopt returns.
  result<void> only_removal_of(int index) {
    using namespace tun_abi;
    constexpr std::uint32_t type_at = offsetof(netlink_abi::nlmsghdr, nlmsg_type);
    constexpr std::uint32_t index_at =
        sizeof(netlink_abi::nlmsghdr) + offsetof(netlink_abi::ifinfomsg, ifi_index);
    std::array<filter_instruction, 6> program = {{
        {bpf_load_half, 0, 0, type_at},
        {bpf_jump_if_equal, 0, 3, htons(netlink_abi::rtm_dellink)},
        {bpf_load_word, 0, 0, index_at},
        {bpf_jump_if_equal, 0, 1, htonl(static_cast<std::uint32_t>(index))},
        {bpf_return, 0, 0, ~std::uint32_t{0}},
        {bpf_return, 0, 0, 0},
    }};
    const filter_program filter{static_cast<unsigned short>(program.size()), program.data()};
    auto done = sys_result(Sys::setsockopt(fd(), SOL_SOCKET, netlink_abi::so_attach_filter, &filter,
                                           sizeof filter),
                           "SO_ATTACH_FILTER", "netlink");
    if (!done) return fail(std::move(done.error()));
    return {};
  }

  /// Readable when `read_event` has something to say.
  [[nodiscard]] int fd() const noexcept { return socket_.fd(); }

  /// The next event; nothing when there is none at the moment. Never blocks.
  /// Errors: what recvfrom returns.
  result<std::optional<link_event>> read_event() {
    for (;;) {
      alignas(8) std::array<std::byte, basic_netlink<Sys>::datagram_bytes> buffer;
      auto received = socket_.receive(buffer, MSG_DONTWAIT);
      if (!received) {
        if (received.error().code.value() == EAGAIN) return std::optional<link_event>();
        if (!is_loss(received.error())) return fail(std::move(received.error()));
        // The kernel queues nothing more until the queue is empty, and what is in it is stale.
        while (received || is_loss(received.error())) {
          received = socket_.receive(buffer, MSG_DONTWAIT);
        }
        return std::optional(link_event{link_event::what::lost, {}});
      }
      // The kernel sends each event as a datagram of its own.
      std::optional<link_event> event;
      for_each_netlink_message(*received, [&](const netlink_abi::nlmsghdr& header, auto body) {
        const bool removed = header.nlmsg_type == netlink_abi::rtm_dellink;
        if (!removed && header.nlmsg_type != netlink_abi::rtm_newlink) return;
        if (auto state = detail::parse_link(body)) {
          event = link_event{removed ? link_event::what::removed : link_event::what::changed,
                             *std::move(state)};
        }
      });
      if (event) return event;
    }
  }

 private:
  static bool is_loss(const error& e) noexcept {
    return e.code.value() == ENOBUFS || e.code.value() == EMSGSIZE;
  }

  static result<basic_link_events> with(result<basic_netlink<Sys>> socket) {
    if (!socket) return fail(std::move(socket.error()));
    return basic_link_events(std::move(*socket));
  }

  basic_netlink<Sys> socket_;
};

using net_link = basic_link<>;  ///< `link` is a function of the C library
using link_events = basic_link_events<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_LINK_HPP
