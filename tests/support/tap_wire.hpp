// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_TAP_WIRE_HPP
#define VKRING_TESTS_SUPPORT_TAP_WIRE_HPP

// The kernel's end of a TAP interface in a test: a packet socket, and frames that can be recognised.

#include <fcntl.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/private_netns.hpp"
#include "vkring/core/endian.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/netns.hpp"
#include "vkring/kernel/thread.hpp"
#include "vkring/net/header.hpp"

namespace vkring::test {

using frame_bytes = std::vector<std::byte>;

inline constexpr std::uint16_t experimental = 0x88b5;  ///< EtherType for local experiments
inline constexpr const char* no_netns = "may not make network namespaces";

/// A network namespace in which the kernel sends nothing by itself.
inline std::optional<netns> quiet_netns() {
  auto made = private_netns();
  if (!made) return made;
  static_cast<void>(made->run([] {
    for (const char* which : {"all", "default"}) {
      const std::string path = std::string("/proc/sys/net/ipv6/conf/") + which + "/disable_ipv6";
      const fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
      static_cast<void>(!::write(file.get(), "1", 1));
    }
  }));
  return made;
}
/// A path by which `device_config::netns` finds it.
inline std::string path_of(const netns& ns) { return "/proc/self/fd/" + std::to_string(ns.fd()); }

/// Tries until `done()` is true; false when it is not within ten seconds.
template <class Done>
bool eventually(Done&& done) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!done()) {
    if (std::chrono::steady_clock::now() > until) return false;
    ::sched_yield();
  }
  return true;
}

/// The threads of this process, by their ids.
inline std::vector<std::string> tasks() {
  std::vector<std::string> found;
  for (const pid_t each : vkring::detail::own_threads<posix>().value()) {
    found.push_back(std::to_string(each));
  }
  return found;
}

/// The threads of this process but the calling one.
struct thread_activity {
  std::uint64_t cpu = 0;  ///< nanoseconds of a CPU that they have used
  bool running = false;   ///< one of them is, or would like to
  friend bool operator==(const thread_activity&, const thread_activity&) = default;
};
inline thread_activity other_threads() {
  thread_activity all;
  for (const std::string& task : tasks()) {
    if (task == std::to_string(posix::gettid())) continue;
    std::uint64_t ran = 0;
    std::ifstream("/proc/self/task/" + task + "/schedstat") >> ran;
    all.cpu += ran;
    std::string text;
    std::getline(std::ifstream("/proc/self/task/" + task + "/stat"), text);
    all.running = all.running || text.find(") R") != text.npos;
  }
  return all;
}
/// Waits until they sleep, looking every so often; `quiet` is a descriptor that nobody makes
/// readable meanwhile. False: they are busy all the time.
inline bool others_fall_asleep(int quiet) {
  return eventually([quiet] {
    const thread_activity before = other_threads();
    pollfd nothing{quiet, POLLIN, 0};
    static_cast<void>(::poll(&nothing, 1, 20));
    return !before.running && other_threads() == before;
  });
}
/// Waits until there are `count` threads: one that was joined is listed for a moment still.
inline bool threads_become(std::size_t count) {
  return eventually([count] { return tasks().size() == count; });
}

/// A frame of `size` bytes, 14 at least, whose bytes all follow from `number`.
inline frame_bytes numbered_frame(std::uint32_t number, std::size_t size,
                                  std::uint16_t type = experimental) {
  frame_bytes made(size);
  for (std::size_t i = 0; i < size; ++i) {
    made[i] = static_cast<std::byte>(number * 31 + i * 7 + (i >> 8));
  }
  made[0] = std::byte{0x02};  // not a group address
  made[6] = std::byte{0x02};
  store_big(made.data() + 12, type);
  if (size >= 18) store_big(made.data() + 14, number);
  return made;
}
/// The number of such a frame; nothing when a byte of it is wrong.
inline std::optional<std::uint32_t> number_of(std::span<const std::byte> frame) {
  if (frame.size() < 18) return std::nullopt;
  const auto number = load_big<std::uint32_t>(frame.data() + 14);
  const frame_bytes right = numbered_frame(number, frame.size());
  if (std::memcmp(right.data(), frame.data(), frame.size()) != 0) return std::nullopt;
  return number;
}

/// A packet socket on one interface: what it sends the TAP's readers receive, and the reverse.
class tap_wire {
 public:
  struct received {
    virtio_net_hdr header;
    frame_bytes frame;
  };

  /// Receives frames of `type` only. With `headers`, frames travel with their offload header.
  tap_wire(const netns& ns, int index, std::uint16_t type = experimental, bool headers = false)
      : headers_(headers), buffer_(70'000) {
    socket_ = fd(ns.run([&] {
                     return ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                   }).value());
    set(SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20);
    set(SOL_SOCKET, SO_SNDBUFFORCE, 32 << 20);
    set(SOL_PACKET, PACKET_QDISC_BYPASS, 1);
    if (headers) set(SOL_PACKET, PACKET_VNET_HDR, 1);
    sockaddr_ll where{};
    where.sll_family = AF_PACKET;
    where.sll_protocol = big(type);
    where.sll_ifindex = index;
    bound_ = ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0;
  }

  [[nodiscard]] bool good() const { return bound_; }

  /// For who sends while the interface may go: past the queueing discipline, which is the other way, the
  /// kernel (6.12) divides by the number of its queues, and there are none left at its end.
  void use_queueing_discipline() { set(SOL_PACKET, PACKET_QDISC_BYPASS, 0); }

  /// 0, or an errno.
  int send(std::span<const std::byte> frame, const virtio_net_hdr& header = {}) {
    std::size_t at = 0;
    if (headers_) {
      store_header(buffer_.data(), wire_header, header);
      at = wire_header;
    }
    std::memcpy(buffer_.data() + at, frame.data(), frame.size());
    auto sent = ::send(socket_.get(), buffer_.data(), at + frame.size(), 0);
    if (sent < 0 && errno == ENETDOWN) {  // it was down: told once
      sent = ::send(socket_.get(), buffer_.data(), at + frame.size(), 0);
    }
    return sent == static_cast<ssize_t>(at + frame.size()) ? 0 : errno;
  }
  /// The next frame; nothing when there is none now.
  std::optional<received> receive() {
    auto got = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
    // The interface went away or down; what came before that is still there.
    if (got < 0 && errno == ENETDOWN)
      got = ::recv(socket_.get(), buffer_.data(), buffer_.size(), 0);
    if (got < 0) return std::nullopt;
    const std::size_t at = headers_ ? wire_header : 0;
    received it;
    if (headers_) it.header = load_header(buffer_.data(), wire_header);
    it.frame.assign(buffer_.begin() + static_cast<std::ptrdiff_t>(at), buffer_.begin() + got);
    return it;
  }
  /// The number of the next frame, or -1 for none and -2 for one that is damaged.
  std::int64_t next_number() {
    const auto it = receive();
    if (!it) return -1;
    const auto number = number_of(it->frame);
    return number ? std::int64_t{*number} : -2;
  }

 private:
  static constexpr std::size_t wire_header = 10;

  void set(int level, int name, int value) {
    static_cast<void>(::setsockopt(socket_.get(), level, name, &value, sizeof value));
  }

  bool headers_;
  bool bound_ = false;
  fd socket_;
  frame_bytes buffer_;
};

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_TAP_WIRE_HPP
