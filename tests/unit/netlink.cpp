// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/netlink.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "support/faulty_sys.hpp"
#include "vkring/kernel/link.hpp"

namespace {

namespace abi = vkring::netlink_abi;
using vkring::netlink_request;

std::vector<std::byte> bytes_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

void put(std::vector<std::byte>& to, const void* from, std::size_t size) {
  const std::size_t before = to.size();
  to.resize(before + size);
  std::memcpy(to.data() + before, from, size);
}
template <class T>
void put(std::vector<std::byte>& to, const T& value) {
  put(to, &value, sizeof value);
}

void put_attribute(std::vector<std::byte>& to, std::uint16_t kind, std::string_view value) {
  put(to, abi::nlattr{static_cast<std::uint16_t>(sizeof(abi::nlattr) + value.size()), kind});
  put(to, value.data(), value.size());
  to.resize((to.size() + 3) / 4 * 4);
}

// A kernel of our own on the other end: answers each request with the datagrams that it was given.
struct scripted_sys : vkring::posix {
  static inline std::vector<std::vector<std::byte>> answers;
  static inline std::size_t asked = 0;
  static inline std::uint32_t sequence = 0;

  static ssize_t sendto(int, const void* data, std::size_t size, int, const sockaddr*,
                        socklen_t) noexcept {
    abi::nlmsghdr header{};
    std::memcpy(&header, data, sizeof header);
    sequence = header.nlmsg_seq;
    return static_cast<ssize_t>(size);
  }
  static ssize_t recvfrom(int, void* into, std::size_t size, int, sockaddr*, socklen_t*) noexcept {
    if (asked == answers.size()) {
      errno = EAGAIN;
      return -1;
    }
    const auto& answer = answers[asked++];
    std::copy_n(answer.data(), std::min(size, answer.size()), static_cast<std::byte*>(into));
    return static_cast<ssize_t>(answer.size());
  }
};

// An acknowledgement; `capped` leaves out the body of the refused request.
std::vector<std::byte> acknowledgement(std::uint32_t sequence, int error,
                                       std::string_view text = {}, bool capped = true) {
  std::vector<std::byte> body;
  put(body, abi::nlmsgerr{-error, {capped ? 16U : 40U, abi::rtm_newlink, 0, sequence, 0}});
  if (!capped) body.resize(body.size() + 24);
  std::uint16_t flags = capped ? abi::nlm_f_capped : 0;
  if (!text.empty()) {
    flags = static_cast<std::uint16_t>(flags | abi::nlm_f_ack_tlvs);
    put_attribute(body, abi::nlmsgerr_attr_msg, std::string(text) + '\0');
  }
  std::vector<std::byte> message;
  put(message, abi::nlmsghdr{static_cast<std::uint32_t>(sizeof(abi::nlmsghdr) + body.size()),
                             abi::nlmsg_error, flags, sequence, 0});
  put(message, body.data(), body.size());
  return message;
}

vkring::result<void> exchange(std::vector<std::vector<std::byte>> answers) {
  scripted_sys::answers = std::move(answers);
  scripted_sys::asked = 0;
  vkring::basic_netlink<scripted_sys> socket{vkring::basic_fd<scripted_sys>()};
  netlink_request request(abi::rtm_newlink, 0, abi::ifinfomsg{});
  return socket.exchange(request, "set mtu 1", "tap0");
}

}  // namespace

TEST_CASE("netlink: a request is a header, a structure and padded attributes") {
  netlink_request request(abi::rtm_newlink, abi::nlm_f_create, abi::ifinfomsg{0, 0, 0, 7, 1, 1});
  request.attribute(abi::ifla_ifname, std::as_bytes(std::span("tap0")));
  request.attribute(abi::ifla_mtu, 1400);
  const auto message = bytes_of(request.finish(9));
  REQUIRE(message.size() == 16 + 16 + 12 + 8);

  std::vector<std::byte> expected;
  put(expected, abi::nlmsghdr{52, 16, 0x405, 9, 0});
  put(expected, abi::ifinfomsg{0, 0, 0, 7, 1, 1});
  put(expected, abi::nlattr{9, 3});
  put(expected, std::array<char, 8>{'t', 'a', 'p', '0'});
  put(expected, abi::nlattr{8, 4});
  put(expected, std::uint32_t{1400});
  CHECK(message == expected);
}

TEST_CASE("netlink: a request that does not fit is not sent in part") {
  netlink_request request(abi::rtm_newlink, 0, abi::ifinfomsg{});
  request.attribute(abi::ifla_ifname, std::vector<std::byte>(GENERATE(221U, 300U, 70000U)));
  CHECK(request.finish(1).empty());
  vkring::basic_netlink<scripted_sys> socket{vkring::basic_fd<scripted_sys>()};
  CHECK(socket.exchange(request, "x", "y").error().code == std::errc::message_size);
}

TEST_CASE("netlink: the acknowledgement decides") {
  const std::uint32_t mine = 1;  // the first request of a socket
  CHECK(exchange({acknowledgement(mine, 0)}));
  CHECK(exchange({acknowledgement(mine, EINVAL)}).error().message() ==
        "set mtu 1 tap0: Invalid argument");
  const bool capped = GENERATE(true, false);
  CHECK(exchange({acknowledgement(mine, EINVAL, "too small", capped)}).error().message() ==
        "set mtu 1 tap0: Invalid argument (too small)");
  CHECK(exchange({acknowledgement(mine, EPERM)}).error().hint ==
        "needs CAP_NET_ADMIN in the interface's network namespace");
  // What belongs to an earlier request, or is an event, is passed over.
  CHECK(exchange({acknowledgement(0, EBUSY), acknowledgement(mine, 0)}));
  auto both = acknowledgement(7, EBUSY);
  const auto second = acknowledgement(mine, 0);
  put(both, second.data(), second.size());
  CHECK(exchange({both}));
}

TEST_CASE("netlink: an answer that never comes or is malformed is an error") {
  CHECK(exchange({}).error().code == std::errc::resource_unavailable_try_again);
  CHECK(exchange({{}}).error().code == std::errc::bad_message);
  CHECK(exchange({std::vector<std::byte>(15)}).error().code ==
        std::errc::resource_unavailable_try_again);
  auto cut = acknowledgement(1, 0);
  cut.resize(20);
  std::uint32_t length = 20;
  std::memcpy(cut.data(), &length, sizeof length);
  CHECK(exchange({cut}).error().code == std::errc::bad_message);
  CHECK(exchange({std::vector<std::byte>(20000)}).error().code == std::errc::message_size);
}

TEST_CASE("netlink: random bytes are read without leaving the buffer") {
  std::mt19937 random(7);
  std::size_t messages = 0;
  std::size_t attributes = 0;
  for (int round = 0; round < 20000; ++round) {
    // On the heap in its exact size, where a sanitizer sees a step beyond it.
    std::vector<std::byte> datagram(random() % 96);
    for (auto& b : datagram) b = static_cast<std::byte>(random() % 3 == 0 ? random() % 40 : 0);
    // Lengths that are about right: those in between are the ones worth trying.
    const auto around = [&](std::size_t n) {
      return static_cast<std::uint32_t>(std::max<std::size_t>(n + random() % 8, 4) - 4);
    };
    if (datagram.size() > sizeof(abi::nlmsghdr) + 24) {
      const std::uint32_t length = around(datagram.size());
      std::memcpy(datagram.data(), &length, sizeof length);
      const auto attribute = static_cast<std::uint16_t>(around(random() % 24));
      std::memcpy(datagram.data() + sizeof(abi::nlmsghdr), &attribute, sizeof attribute);
    }
    vkring::for_each_netlink_message(datagram, [&](const abi::nlmsghdr&, auto body) {
      ++messages;
      vkring::for_each_netlink_attribute(body, [&](std::uint16_t, auto value) {
        ++attributes;
        volatile auto last = value.empty() ? std::byte{0} : value.back();
        static_cast<void>(last);
      });
      static_cast<void>(vkring::detail::parse_link(body));
    });
    static_cast<void>(exchange({datagram}));
  }
  CHECK(messages > 500);
  CHECK(attributes > 500);
}

TEST_CASE("netlink: an interface as the kernel describes it") {
  std::vector<std::byte> body;
  put(body, abi::ifinfomsg{AF_UNSPEC, 0, 1, 5, 0x1003, 0});
  put_attribute(body, abi::ifla_ifname, std::string_view("tap0\0", 5));
  put_attribute(body, abi::ifla_address, "\x02\x01\x02\x03\x04\x05");
  put_attribute(body, abi::ifla_operstate, "\x06");
  put_attribute(body, abi::ifla_carrier, "\x01");
  put_attribute(body, 0x8000 | 50, "nested");
  const auto state = vkring::detail::parse_link(body).value();
  CHECK(state.index == 5);
  CHECK(state.name == "tap0");
  CHECK(state.up);
  CHECK(state.carrier);
  CHECK(state.operational == vkring::oper_state::up);
  CHECK(state.mac == vkring::mac_address{2, 1, 2, 3, 4, 5});

  SECTION("a bridge's message about a port is none") {
    body[0] = std::byte{AF_BRIDGE};
    CHECK_FALSE(vkring::detail::parse_link(body));
  }
  SECTION("an interface without Ethernet headers has no MAC") {
    std::vector<std::byte> tun;
    put(tun, abi::ifinfomsg{AF_UNSPEC, 0, 0xfffe, 6, 0, 0});
    put_attribute(tun, abi::ifla_address, "");
    CHECK_FALSE(vkring::detail::parse_link(tun).value().mac);
  }
}
