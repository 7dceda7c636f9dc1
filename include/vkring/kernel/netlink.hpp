// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_NETLINK_HPP
#define VKRING_KERNEL_NETLINK_HPP

// Requests to rtnetlink: a bounded message builder, a checked reader, and a socket that waits for
// the acknowledgement.
//
// Plain rtnetlink rather than a library: libnl and libmnl are LGPL and would have to be linked by
// every user of a header-only library, while the handful of requests made here fits into one small
// file.

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/netlink_abi.hpp"
#include "vkring/kernel/netns.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

namespace detail {

// Headers and attributes alike start on four bytes.
[[nodiscard]] constexpr std::size_t netlink_align(std::size_t size) noexcept {
  return (size + 3) & ~std::size_t{3};
}

// A fixed structure at the start of `bytes`, and what follows it; false when it does not fit.
template <class T>
[[nodiscard]] bool take_front(std::span<const std::byte>& bytes, T& into) noexcept {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < sizeof into) return false;
  std::memcpy(&into, bytes.data(), sizeof into);
  bytes = bytes.subspan(std::min(bytes.size(), netlink_align(sizeof into)));
  return true;
}

}  // namespace detail

/// One request under construction: a header, a fixed structure, attributes. At most 256 bytes.
class netlink_request {
 public:
  /// A message of this type: `flags` are NLM_F_ bits, `body` is the structure that the type begins
  /// with.
  template <class Body>
  netlink_request(std::uint16_t type, std::uint16_t flags, const Body& body) noexcept {
    const netlink_abi::nlmsghdr header{
        0, type,
        static_cast<std::uint16_t>(flags | netlink_abi::nlm_f_request | netlink_abi::nlm_f_ack), 0,
        0};
    append(std::as_bytes(std::span(&header, 1)));
    append(std::as_bytes(std::span(&body, 1)));
  }

  /// Appends an attribute. One that does not fit makes `finish` return nothing.
  void attribute(std::uint16_t kind, std::span<const std::byte> value) noexcept {
    const netlink_abi::nlattr head{
        static_cast<std::uint16_t>(sizeof(netlink_abi::nlattr) + value.size()), kind};
    append(std::as_bytes(std::span(&head, 1)));
    append(value);
  }
  /// The same for a number.
  void attribute(std::uint16_t kind, std::uint32_t value) noexcept {
    attribute(kind, std::as_bytes(std::span(&value, 1)));
  }

  /// The message to send; empty when something did not fit.
  [[nodiscard]] std::span<const std::byte> finish(std::uint32_t sequence) noexcept {
    if (overflow_) return {};
    const auto length = static_cast<std::uint32_t>(used_);
    std::memcpy(bytes_.data() + offsetof(netlink_abi::nlmsghdr, nlmsg_len), &length, sizeof length);
    std::memcpy(bytes_.data() + offsetof(netlink_abi::nlmsghdr, nlmsg_seq), &sequence,
                sizeof sequence);
    return std::span(bytes_).first(used_);
  }

 private:
  void append(std::span<const std::byte> more) noexcept {
    const std::size_t padded = detail::netlink_align(more.size());
    if (padded > bytes_.size() - used_) {
      overflow_ = true;
      return;
    }
    if (!more.empty()) std::memcpy(bytes_.data() + used_, more.data(), more.size());
    used_ += padded;
  }

  std::array<std::byte, 256> bytes_{};
  std::size_t used_ = 0;
  bool overflow_ = false;
};

/// Calls `each(header, body)` for the messages of a datagram, up to the first malformed one.
template <class Each>
void for_each_netlink_message(std::span<const std::byte> datagram, Each&& each) {
  for (netlink_abi::nlmsghdr header{}; datagram.size() >= sizeof header;) {
    std::memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) return;
    each(std::as_const(header), datagram.first(header.nlmsg_len).subspan(sizeof header));
    datagram = datagram.subspan(std::min(datagram.size(), detail::netlink_align(header.nlmsg_len)));
  }
}

/// Calls `each(kind, value)` for the attributes in `bytes`, up to the first malformed one.
template <class Each>
void for_each_netlink_attribute(std::span<const std::byte> bytes, Each&& each) {
  for (netlink_abi::nlattr head{}; bytes.size() >= sizeof head;) {
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > bytes.size()) return;
    each(static_cast<std::uint16_t>(head.nla_type & netlink_abi::nla_type_mask),
         bytes.first(head.nla_len).subspan(sizeof head));
    bytes = bytes.subspan(std::min(bytes.size(), detail::netlink_align(head.nla_len)));
  }
}

/// An rtnetlink socket. It belongs to the network namespace that it was opened in, for good.
///
/// Move-only. Thread-safety: one thread at a time.
template <class Sys = posix>
class basic_netlink {
 public:
  /// What a datagram of the kernel's is at most, for one interface.
  static constexpr std::size_t datagram_bytes = 16384;

  /// Opens one in the caller's namespace; `groups` subscribes it to events.
  /// Errors: what socket and bind return.
  static result<basic_netlink> open(std::uint32_t groups = 0) {
    auto opened = basic_fd<Sys>::adopt(sys_result(
        Sys::socket(AF_NETLINK, SOCK_RAW, netlink_abi::netlink_route), "socket", "AF_NETLINK"));
    if (!opened) return fail(std::move(opened.error()));
    if (groups != 0) {
      const netlink_abi::sockaddr_nl address{AF_NETLINK, 0, 0, groups};
      auto bound = sys_result(
          Sys::bind(opened->get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
          "bind", "AF_NETLINK");
      if (!bound) return fail(std::move(bound.error()));
    }
    return basic_netlink(std::move(*opened));
  }

  /// The same in another namespace.
  static result<basic_netlink> open(const basic_netns<Sys>& where, std::uint32_t groups = 0) {
    return where.run([groups] { return open(groups); });
  }

  /// Takes over a socket that somebody else opened.
  explicit basic_netlink(basic_fd<Sys> opened) noexcept : fd_(std::move(opened)) {
    // Kernels before 4.12 lack these: then there is no text beside the errno.
    constexpr int on = 1;
    (void)Sys::setsockopt(fd_.get(), netlink_abi::sol_netlink, netlink_abi::netlink_ext_ack, &on,
                          sizeof on);
    (void)Sys::setsockopt(fd_.get(), netlink_abi::sol_netlink, netlink_abi::netlink_cap_ack, &on,
                          sizeof on);
  }

  /// The socket, for `poll`.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  /// Sends a request and waits for the kernel's acknowledgement; `on_reply(header, body)` gets the
  /// messages that come before it.
  ///
  /// Errors: EMSGSIZE (the request is too long), what sendto and recvfrom return, and the kernel's
  /// refusal, named `operation`; the hint starts with the kernel's own explanation, if it gives
  /// one.
  template <class OnReply>
  result<void> exchange(netlink_request& request, std::string_view operation,
                        std::string_view object, OnReply&& on_reply) {
    const auto message = request.finish(++sequence_);
    if (message.empty()) return fail(EMSGSIZE, operation, object);
    auto sent =
        sys_result(retry_interrupted([&] {
                     return Sys::sendto(fd_.get(), message.data(), message.size(), 0, nullptr, 0);
                   }),
                   "send netlink", object);
    if (!sent) return fail(std::move(sent.error()));

    for (;;) {
      alignas(8) std::array<std::byte, datagram_bytes> buffer;
      auto received = receive(buffer, 0);
      if (!received) return fail(std::move(received.error()));
      bool acknowledged = false;
      int refused = 0;
      std::string why;
      for_each_netlink_message(*received, [&](const auto& header, auto body) {
        if (header.nlmsg_seq != sequence_) return;  // an event, or the answer to a request given up
        if (header.nlmsg_type != netlink_abi::nlmsg_error) return on_reply(header, body);
        acknowledged = true;
        refused = read_acknowledgement(header, body, why);
      });
      if (!acknowledged) continue;
      if (refused == 0) return {};
      return fail(refused, operation, object, with_hint(std::move(why), refused));
    }
  }

  /// The same for a request that only does something.
  result<void> exchange(netlink_request& request, std::string_view operation,
                        std::string_view object) {
    return exchange(request, operation, object, [](const auto&, auto) {});
  }

  /// Receives one datagram into `buffer`. Errors: EMSGSIZE when it is longer, and what recvfrom
  /// returns, EAGAIN and ENOBUFS (events were lost) among them.
  result<std::span<const std::byte>> receive(std::span<std::byte> buffer, int flags) {
    auto size = sys_result(retry_interrupted([&] {
                             return Sys::recvfrom(fd_.get(), buffer.data(), buffer.size(),
                                                  flags | MSG_TRUNC, nullptr, nullptr);
                           }),
                           "receive netlink");
    if (!size) return fail(std::move(size.error()));
    const auto length = static_cast<std::size_t>(*size);
    if (length > buffer.size()) return fail(EMSGSIZE, "receive netlink");
    if (length == 0) return fail(EBADMSG, "receive netlink", {}, "the socket is none of netlink's");
    return std::span<const std::byte>(buffer.first(length));
  }

 private:
  static int read_acknowledgement(const netlink_abi::nlmsghdr& header,
                                  std::span<const std::byte> body, std::string& why) {
    netlink_abi::nlmsgerr answer{};
    if (!detail::take_front(body, answer) || answer.error > 0 || answer.error < -4095)
      return EBADMSG;
    if (answer.error == 0 || (header.nlmsg_flags & netlink_abi::nlm_f_ack_tlvs) == 0) {
      return -answer.error;
    }
    // Without the cap the refused request stands before the attributes.
    if ((header.nlmsg_flags & netlink_abi::nlm_f_capped) == 0) {
      const std::size_t echoed = detail::netlink_align(answer.msg.nlmsg_len);
      body = body.subspan(std::min(body.size(), echoed - std::min(echoed, sizeof answer.msg)));
    }
    for_each_netlink_attribute(body, [&](std::uint16_t kind, std::span<const std::byte> value) {
      if (kind != netlink_abi::nlmsgerr_attr_msg) return;
      const auto* text = reinterpret_cast<const char*>(value.data());
      why.assign(text, ::strnlen(text, value.size()));
    });
    return -answer.error;
  }

  static std::string with_hint(std::string why, int reason) {
    if (reason != EPERM) return why;
    if (!why.empty()) why += "; ";
    return why + "needs CAP_NET_ADMIN in the interface's network namespace";
  }

  basic_fd<Sys> fd_;
  std::uint32_t sequence_ = 0;
};

using netlink = basic_netlink<>;

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_NETLINK_HPP
