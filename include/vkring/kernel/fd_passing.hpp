// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_FD_PASSING_HPP
#define VKRING_KERNEL_FD_PASSING_HPP

// Bytes with file descriptors over a Unix socket (SCM_RIGHTS), however many of both.

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vkring/core/endian.hpp"
#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/sys.hpp"

namespace vkring::inline v0 {

/// Bytes, and descriptors that belong to whoever has this.
template <class Sys = posix>
struct basic_parcel {
  std::vector<std::byte> bytes;    ///< what was sent beside the descriptors
  std::vector<basic_fd<Sys>> fds;  ///< in the order in which they were sent
};

namespace detail {

// The most descriptors that the kernel takes in one message (SCM_MAX_FD).
inline constexpr std::size_t fds_in_message = 253;
inline constexpr std::size_t bytes_in_message = 32768;
inline constexpr std::size_t parcel_head = 16;
inline constexpr std::uint32_t parcel_mark = 0x4644766b;

struct fd_space {
  alignas(::cmsghdr) std::array<std::byte, CMSG_SPACE(fds_in_message * sizeof(int))> bytes{};
};

// One message with `data`, one byte at least, and as many of `fds` as it takes.
template <class Sys>
result<void> send_message(int socket, std::span<const std::byte> data, std::span<const int> fds) {
  fd_space space;
  while (!data.empty()) {
    ::iovec piece{const_cast<std::byte*>(data.data()), data.size()};
    ::msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = space.bytes.data();
      message.msg_controllen = CMSG_SPACE(fds.size_bytes());
      ::cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(fds.size_bytes());
      std::memcpy(CMSG_DATA(head), fds.data(), fds.size_bytes());
    }
    const auto hint = [](int reason) -> std::string_view {
      if (reason == ETOOMANYREFS) {
        return "too many are on their way: raise the limit on open files (ulimit -n)";
      }
      return reason == EPIPE ? "the other side has closed the socket" : "";
    };
    auto sent = sys_result(
        retry_interrupted([&] { return Sys::sendmsg(socket, &message, MSG_NOSIGNAL); }), "sendmsg",
        "fd " + std::to_string(socket), hint);
    if (!sent) return fail(std::move(sent.error()));
    data = data.subspan(static_cast<std::size_t>(*sent));
    fds = {};  // they went with the first byte
  }
  return {};
}

// Fills `into`, and adds what descriptors come with it to `fds`, `most` of them altogether.
template <class Sys>
result<void> receive_message(int socket, std::span<std::byte> into,
                             std::vector<basic_fd<Sys>>& fds, std::size_t most) {
  const std::string object = "fd " + std::to_string(socket);
  fd_space space;
  while (!into.empty()) {
    ::iovec piece{into.data(), into.size()};
    ::msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = space.bytes.data();
    message.msg_controllen = space.bytes.size();
    auto got = sys_result(
        retry_interrupted([&] { return Sys::recvmsg(socket, &message, MSG_CMSG_CLOEXEC); }),
        "recvmsg", object, hint_for{EAGAIN, "nothing came in the time that the socket gives it"});
    if (!got) return fail(std::move(got.error()));
    for (::cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
         head = CMSG_NXTHDR(&message, head)) {
      if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= head->cmsg_len; at += sizeof(int)) {
        int descriptor;
        std::memcpy(&descriptor, reinterpret_cast<std::byte*>(head) + at, sizeof descriptor);
        fds.emplace_back(descriptor);
      }
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      return fail(EMFILE, "recvmsg", object,
                  "not all descriptors came through: raise the limit on open files (ulimit -n)");
    }
    if (fds.size() > most) {
      return fail(EBADMSG, "recvmsg", object,
                  "more than the " + std::to_string(most) + " descriptors that were to come");
    }
    if ((message.msg_flags & MSG_TRUNC) != 0) {
      return fail(EBADMSG, "recvmsg", object, "a longer message than was to come");
    }
    if (*got == 0) return fail(ECONNRESET, "recvmsg", object, "the other side has closed the socket");
    into = into.subspan(static_cast<std::size_t>(*got));
  }
  return {};
}

}  // namespace detail

/// Sends bytes and copies of descriptors over a connected Unix socket, for `receive_parcel` at its
/// other end. Beyond 253, the most that one message carries, descriptors go in several.
/// Errors: what sendmsg returns, such as ETOOMANYREFS beyond the limit on open files; the other
/// side may have received a part then, and is told so when the socket is closed.
template <class Sys = posix>
result<void> send_parcel(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  std::array<std::byte, detail::parcel_head> head{};
  store_big(head.data(), detail::parcel_mark);
  store_big(head.data() + 4, static_cast<std::uint32_t>(fds.size()));
  store_big(head.data() + 8, static_cast<std::uint64_t>(bytes.size()));
  std::span<const std::byte> next = head;
  do {
    const auto some = fds.first(std::min(fds.size(), detail::fds_in_message));
    if (auto sent = detail::send_message<Sys>(socket, next, some); !sent) return sent;
    fds = fds.subspan(some.size());
    next = std::span(head).first(1);
  } while (!fds.empty());
  while (!bytes.empty()) {
    const auto some = bytes.first(std::min(bytes.size(), detail::bytes_in_message));
    if (auto sent = detail::send_message<Sys>(socket, some, {}); !sent) return sent;
    bytes = bytes.subspan(some.size());
  }
  return {};
}

/// Receives what `send_parcel` sent, close-on-exec. The sender is not trusted: it is refused what
/// is beyond `most_bytes` and `most_fds`, and descriptors that came are closed. Waits for as long
/// as the socket does (SO_RCVTIMEO).
/// Errors: EBADMSG (something else came), E2BIG, ECONNRESET (the other side is gone), EMFILE (the
/// limit on open files), what recvmsg returns. Allocation: what is received.
template <class Sys = posix>
result<basic_parcel<Sys>> receive_parcel(int socket, std::size_t most_bytes,
                                         std::size_t most_fds) {
  const std::string object = "fd " + std::to_string(socket);
  basic_parcel<Sys> made;
  std::array<std::byte, detail::parcel_head> head{};
  if (auto got = detail::receive_message<Sys>(socket, head, made.fds, most_fds); !got) {
    return fail(std::move(got.error()));
  }
  const auto count = load_big<std::uint32_t>(head.data() + 4);
  const auto size = load_big<std::uint64_t>(head.data() + 8);
  if (load_big<std::uint32_t>(head.data()) != detail::parcel_mark) {
    return fail(EBADMSG, "receive", object, "this is not what send_parcel sends");
  }
  if (count > most_fds || size > most_bytes) {
    return fail(E2BIG, "receive", object,
                std::to_string(size) + " bytes and " + std::to_string(count) +
                    " descriptors: at most " + std::to_string(most_bytes) + " and " +
                    std::to_string(most_fds));
  }
  while (made.fds.size() < count) {
    const std::size_t before = made.fds.size();
    auto got = detail::receive_message<Sys>(socket, std::span(head).first(1), made.fds, count);
    if (!got) return fail(std::move(got.error()));
    if (made.fds.size() == before) break;
  }
  if (made.fds.size() != count) {
    return fail(EBADMSG, "receive", object,
                std::to_string(made.fds.size()) + " descriptors of " + std::to_string(count));
  }
  // Grows with what comes, whatever was announced.
  while (made.bytes.size() < size) {
    const std::size_t before = made.bytes.size();
    const auto some = std::min(static_cast<std::size_t>(size) - before, detail::bytes_in_message);
    made.bytes.resize(before + some);
    auto got = detail::receive_message<Sys>(socket, std::span(made.bytes).last(some), made.fds, count);
    if (!got) return fail(std::move(got.error()));
  }
  return made;
}

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_FD_PASSING_HPP
