// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/vhost_net.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <catch2/catch.hpp>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/child.hpp"
#include "support/device_bed.hpp"
#include "support/skip.hpp"
#include "vkring/kernel/event_fd.hpp"
#include "vkring/memory/region.hpp"
#include "vkring/ring/split.hpp"

using namespace vkring;
using namespace vkring::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* no_vhost = "no /dev/vhost-net";

std::optional<vhost_net> open_device() {
  auto opened = vhost_net::open();
  return opened ? std::optional(std::move(*opened)) : std::nullopt;
}

template <class T>
int reason(const result<T>& of) {
  return of ? 0 : of.error().code.value();
}

}  // namespace

TEST_CASE("vhost-net: what is no vhost-net is refused, with what to do") {
  const auto missing = vhost_net::open("/dev/vkring-none");
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message() ==
        "open /dev/vkring-none: No such file or directory (load the module with `modprobe "
        "vhost_net`; a container needs --device /dev/vhost-net)");
  const auto other = vhost_net::open("/dev/null");
  REQUIRE_FALSE(other);
  CHECK(other.error().message() ==
        "VHOST_GET_FEATURES /dev/null: Invalid argument (it is no vhost device)");
}

TEST_CASE("vhost-net: control calls, and what this kernel does not know") {
  auto device = open_device();
  if (!device) return skip(no_vhost);
  const feature_set offered = device->features().value();
  CHECK(offered.contains(
      {feature::version_1, feature::event_idx, feature::indirect_desc, feature::mrg_rxbuf}));
  CHECK_FALSE(offered.contains(feature::ring_packed));

  const auto early = device->set_vring_num(vhost_ring::tx, 256);
  CHECK(reason(early) == EPERM);
  CHECK(early.error().message().find("needs set_owner first") != std::string::npos);
  CHECK(reason(device->vring_big_endian(vhost_ring::rx)) == EPERM);
  CHECK(reason(device->set_vring_big_endian(vhost_ring::rx, false)) == EPERM);
  CHECK(device->backend_features().value() == 2);
  const auto mode = device->owner_mode();
  CHECK((mode || reason(mode) == ENOTSUP));

  REQUIRE(device->set_owner());
  const auto again = device->set_owner();
  CHECK(reason(again) == EBUSY);
  CHECK(again.error().message().find("opens a device of its own") != std::string::npos);
  CHECK(reason(device->set_features({feature::version_1, feature::guest_tso4})) == EOPNOTSUPP);
  CHECK(device->features().value() == offered);  // with an owner the kernel says no in another way
  const auto mode_now = device->set_owner_mode(vhost_owner_mode::kthread);
  CHECK(reason(mode_now) == (mode ? EBUSY : ENOTSUP));
  // Beyond bit 63.
  const auto tunnels =
      device->set_features({feature::version_1, feature::guest_udp_tunnel_gso});
  CHECK(reason(tunnels) == (offered.contains(feature::guest_udp_tunnel_gso) ? 0 : ENOTSUP));
  CHECK(device->set_features({feature::version_1, feature::event_idx}));

  CHECK(reason(device->set_vring_num(vhost_ring::tx, 300)) == EINVAL);
  CHECK(device->set_vring_num(vhost_ring::tx, 32768));
  CHECK(device->set_vring_base(vhost_ring::tx, 65535));
  CHECK(device->vring_base(vhost_ring::tx).value() == 65535);
  CHECK(reason(device->set_vring_addr(vhost_ring::tx, {.descriptors = 8})) == EINVAL);
  CHECK(reason(device->set_vring_addr(vhost_ring::tx, {.used = 2})) == EINVAL);
  CHECK(device->set_busyloop_timeout(vhost_ring::tx, 50us));
  CHECK(device->busyloop_timeout(vhost_ring::tx).value() == 50us);
  CHECK(reason(device->set_busyloop_timeout(vhost_ring::tx, -1us)) == EINVAL);
  const auto order = device->vring_big_endian(vhost_ring::rx);
  CHECK((order || reason(order) == ENOTSUP));
  CHECK(reason(device->set_vring_big_endian(vhost_ring::rx, false)) == reason(order));
  CHECK(device->backend_features().value() == 2);
  CHECK(device->set_backend_features(2));
  CHECK(reason(device->set_backend_features(std::uint64_t{1} << 40)) == ENOTSUP);
  CHECK(reason(device->set_vring_kick(vhost_ring::rx, device->fd())) == EINVAL);
  CHECK(device->set_vring_call(vhost_ring::rx, -1));
  CHECK(device->set_log_fd(-1));

  CHECK(reason(device->set_backend(vhost_ring::tx, device->fd())) == EFAULT);  // no memory yet
  std::vector<vhost_abi::memory_region> many(4096);
  for (std::uint64_t at = 0; auto& each : many) each = {at += 0x1000, 0x1000, at};
  CHECK(device->set_mem_table(std::span(many).first(64)));
  const auto too_many = device->set_mem_table(many);
  CHECK(reason(too_many) == E2BIG);
  CHECK(too_many.error().message().find("raise max_mem_regions of the module") !=
        std::string::npos);

  child other([&](auto say) {
    const std::uint64_t number = 1;
    for (const int each : {reason(device->set_vring_num(vhost_ring::rx, 1)),
                           reason(device->set_log_base(&number)), reason(device->reset_owner()),
                           reason(device->vring_big_endian(vhost_ring::rx)),
                           reason(device->set_owner()), reason(device->features())}) {
      say(std::to_string(each) + ' ');
    }
  });
  const std::string eperm = std::to_string(EPERM) + ' ';
  CHECK(other.hear_all() == eperm + eperm + eperm + eperm + std::to_string(EBUSY) + " 0 ");
  CHECK(device->reset_owner());
}

TEST_CASE("vhost-net: a TUN without a limit on its send buffer is not bound") {
  auto device = open_device();
  if (!device) return skip(no_vhost);
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto tun = tap::open({.name = "vkt0", .mode = tap_mode::tun, .netns_fd = ns->fd()}).value();
  REQUIRE(device->set_owner());
  for (const vhost_ring ring : {vhost_ring::rx, vhost_ring::tx}) {
    CHECK(reason(device->set_backend(ring, tun.fd())) == EFAULT);  // no rings yet, else it would do
    int unlimited = INT_MAX;
    REQUIRE(::ioctl(tun.fd(), tun_abi::tunsetsndbuf, &unlimited) == 0);
    CHECK(device->set_backend(ring, tun.fd()).error().message() ==
          "VHOST_NET_SET_BACKEND /dev/vhost-net: Invalid argument (vkt0 is a TUN without a limit on "
          "its send buffer: give it one with TUNSETSNDBUF)");
    CHECK(tun.set_sndbuf(4096));
  }
}

TEST_CASE("vhost-net: an impossible memory table is refused, and the one before stays") {
  auto device = open_device();
  if (!device) return skip(no_vhost);
  REQUIRE(device->set_owner());
  using table = std::vector<vhost_abi::memory_region>;
  constexpr std::uint64_t top = ~std::uint64_t{0};
  const auto refusal = [&](const table& regions) {
    const auto done = device->set_mem_table(regions);
    return done ? std::string("taken") : done.error().message();
  };
  const std::string before = "VHOST_SET_MEM_TABLE /dev/vhost-net: Invalid argument (";
  const std::string empty = before + "a region needs at least one byte)";
  const std::string wraps = before + "a region ends at or below 2^64)";
  const std::string overlap = before + "two regions overlap)";
  CHECK(refusal({{0, 0, 0}}) == empty);
  CHECK(refusal({{0x1000, 0x1000, 0x1000}, {0x9000, 0, 0x9000}}) == empty);
  CHECK(refusal({{top - 0xffe, 0x1000, 0x1000}}) == wraps);
  CHECK(refusal({{0x1000, 0x1000, top - 0xffe}}) == wraps);
  CHECK(refusal({{0x1000, top, 0x1000}}) == wraps);
  CHECK(refusal({{0x1000, 0x1001, 0x1000}, {0x2000, 0x1000, 0x8000}}) == overlap);
  CHECK(refusal({{0x2000, 0x1000, 0x8000}, {0x1000, 0x1001, 0x1000}}) == overlap);
  CHECK(refusal({{0x1000, 0x1000, 0x1000}, {0x1000, 0x1000, 0x8000}}) == overlap);
  CHECK(refusal({{0x1000, 0x9000, 0x1000}, {0x3000, 0x1000, 0x8000}}) == overlap);
  CHECK(refusal({{0x1000, 0x1000, 0x1000}, {0x2000, 0x1000, 0x1000}}) == "taken");
  CHECK(refusal({}) == "taken");
}

TEST_CASE("vhost-net: what is no queue, no eventfd or not open at all is refused") {
  auto device = open_device();
  if (!device) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip("may not make network namespaces");
  const auto memory = region::make(2 * split_ring::bytes(8)).value();
  REQUIRE(device->set_owner());
  REQUIRE(device->set_features({feature::version_1}));
  const auto at = [](const void* where) { return reinterpret_cast<std::uintptr_t>(where); };
  const std::vector<vhost_abi::memory_region> table{
      {at(memory.bytes().data()), memory.bytes().size(), at(memory.bytes().data())}};
  REQUIRE(device->set_mem_table(table));
  const split_ring ring = split_ring::place(memory.bytes(), 8);
  REQUIRE(device->set_vring_num(vhost_ring::tx, 8));
  REQUIRE(device->set_vring_addr(
      vhost_ring::tx, {at(ring.descriptors()), at(&ring.avail_flags()), at(&ring.used_flags())}));

  const fd nothing_attached(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  const fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const fd udp(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const fd cooked(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const int other : {null.get(), udp.get(), cooked.get(), device->fd(), 999, -2}) {
    CAPTURE(other);
    const auto refused = device->set_backend(vhost_ring::tx, other);
    CHECK(reason(refused) == ENOTSOCK);
    CHECK(refused.error().message().find("neither a queue of a TAP nor a raw packet socket") !=
          std::string::npos);
  }
  const auto empty = device->set_backend(vhost_ring::tx, nothing_attached.get());
  CHECK(reason(empty) == EINVAL);
  CHECK(empty.error().message().find("no interface is attached") != std::string::npos);
  CHECK(reason(device->set_vring_kick(vhost_ring::tx, 999)) == EBADF);
  const auto no_event = device->set_vring_call(vhost_ring::tx, null.get());
  CHECK(reason(no_event) == EINVAL);
  CHECK(no_event.error().message().find("it is no eventfd") != std::string::npos);
  CHECK(reason(device->set_vring_err(vhost_ring::tx, 999)) == EBADF);
  // None of them did harm.
  const auto port = tap::open({.name = "vkt%d", .netns_fd = ns->fd()}).value();
  CHECK(device->set_backend(vhost_ring::tx, port.fd()));
}

TEST_CASE("vhost-net: a frame from user space reaches the interface") {
  auto device = open_device();
  if (!device) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip("may not make network namespaces");
  auto port = tap::open({.name = "vkt%d", .netns_fd = ns->fd()}).value();
  auto link = net_link::open(port.name(), *ns).value();
  REQUIRE(link.set_up(true));

  constexpr std::uint16_t size = 8;
  const auto memory = region::make(split_ring::bytes(size) + 4096).value();
  const split_ring ring = split_ring::place(memory.bytes(), size);
  std::byte* const frame = memory.bytes().data() + split_ring::bytes(size);
  std::memset(frame, 0, 12 + 60);
  std::memset(frame + 12, 0xff, 6);
  const auto at = [](const void* where) { return reinterpret_cast<std::uintptr_t>(where); };

  ring_options options;
  options.size = size;
  virtqueue<split, driver_side, std::uint64_t> queue(ring, options);
  const auto kick = event_fd::create().value();
  const auto call = event_fd::create().value();

  REQUIRE(device->set_owner());
  REQUIRE(device->set_features({feature::version_1}));
  const std::vector<vhost_abi::memory_region> table{
      {at(memory.bytes().data()), memory.bytes().size(), at(memory.bytes().data())}};
  REQUIRE(device->set_mem_table(table));
  REQUIRE(device->set_vring_num(vhost_ring::tx, size));
  REQUIRE(device->set_vring_base(vhost_ring::tx, 0));
  REQUIRE(device->set_vring_addr(
      vhost_ring::tx, {at(ring.descriptors()), at(&ring.avail_flags()), at(&ring.used_flags())}));
  REQUIRE(device->set_vring_kick(vhost_ring::tx, kick.fd()));
  REQUIRE(device->set_vring_call(vhost_ring::tx, call.fd()));
  CHECK(reason(device->set_backend(vhost_ring::tx, call.fd())) == ENOTSOCK);
  REQUIRE(device->set_backend(vhost_ring::tx, port.fd()));

  const auto before = link.read().value().counters.rx_packets;
  const chain_buffer buffer{at(frame), 12 + 60, false};
  REQUIRE(queue.enable_call() == notification::safe_to_sleep);
  REQUIRE(queue.try_add({&buffer, 1}, 7));
  queue.publish();
  if (queue.kick_needed()) kick.signal();
  REQUIRE(eventually([&] { return queue.used_pending(1) == 1; }));
  CHECK(queue.reclaim(1, [](std::uint64_t token) { CHECK(token == 7); }) == 1);
  CHECK(eventually([&] { return link.read().value().counters.rx_packets == before + 1; }));
  REQUIRE(device->set_backend(vhost_ring::tx, -1));
  CHECK(device->vring_base(vhost_ring::tx).value() == 1);
}

namespace {

// One ring of a device with a TAP behind it, and a buffer of a page; the device knows them by addresses
// from `base` on.
struct one_ring {
  static constexpr std::uint64_t base = 0x100000;
  static constexpr std::uint16_t size = 8;
  static constexpr std::size_t page = 4096;

  vhost_net device = vhost_net::open().value();
  tap port;
  tap_wire wire;
  region memory = region::make(2 * page).value();
  split_ring ring = split_ring::place(memory.bytes(), size);
  std::byte* buffer = memory.bytes().data() + page;
  event_fd kick = event_fd::create().value();
  virtqueue<split, driver_side, std::uint64_t> queue{ring, {.size = size}};

  explicit one_ring(const netns& ns)
      : port(tap::open({.name = "vkt%d", .netns_fd = ns.fd()}).value()),
        wire(ns, static_cast<int>(port.index().value())) {
    REQUIRE(net_link::open(port.name(), ns).value().set_up(true));
    REQUIRE(device.set_owner());
    REQUIRE(port.set_header_size(12));
  }

  [[nodiscard]] std::uint64_t known_as(const void* at) const {
    return base + static_cast<std::uint64_t>(static_cast<const std::byte*>(at) -
                                             memory.bytes().data());
  }
  // All but features, memory and the binding.
  void describe(vhost_ring which, const vhost_ring_addresses& at) {
    REQUIRE(device.set_vring_num(which, size));
    REQUIRE(device.set_vring_base(which, 0));
    REQUIRE(device.set_vring_addr(which, at));
    REQUIRE(device.set_vring_kick(which, kick.fd()));
  }
  // The same with addresses that the device has to ask for.
  void describe_translated(vhost_ring which) {
    describe(which, {.descriptors = known_as(ring.descriptors()),
                     .available = known_as(&ring.avail_flags()),
                     .used = known_as(&ring.used_flags())});
  }
  void offer(std::uint32_t bytes, bool writable) {
    const chain_buffer chain{known_as(buffer), bytes, writable};
    REQUIRE(queue.try_add({&chain, 1}, 7));
    queue.publish();
    kick.signal();
  }
  bool came_back() {
    return queue.reclaim(1, [](std::uint64_t token) { return token == 7; }) == 1;
  }
};

}  // namespace

TEST_CASE("vhost-net: the dirty log shows what the device has written") {
  if (!open_device()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  one_ring it(*ns);
  const auto logged = event_fd::create().value();
  std::vector<std::uint64_t> log(64);  // of 4096 pages from address 0 on
  const auto at = [](const void* where) { return reinterpret_cast<std::uintptr_t>(where); };
  const auto page_of = [&](const void* where) {
    const std::uint64_t page = it.known_as(where) / one_ring::page;
    return (log[page / 64] >> page % 64 & 1) != 0;
  };
  REQUIRE(it.device.set_features({feature::version_1, feature::vhost_log_all}));
  const std::vector<vhost_abi::memory_region> table{
      {one_ring::base, it.memory.bytes().size(), at(it.memory.bytes().data())}};
  REQUIRE(it.device.set_mem_table(table));
  REQUIRE(it.device.set_log_base(log.data()));
  REQUIRE(it.device.set_log_fd(logged.fd()));
  it.describe(vhost_ring::rx, {.descriptors = at(it.ring.descriptors()),
                               .available = at(&it.ring.avail_flags()),
                               .used = at(&it.ring.used_flags()),
                               .log = it.known_as(&it.ring.used_flags()),
                               .logs_writes = true});
  REQUIRE(it.device.set_backend(vhost_ring::rx, it.port.fd()));
  CHECK_FALSE(page_of(it.buffer));
  it.offer(one_ring::page, true);
  REQUIRE(it.wire.send(numbered_frame(1, 100)) == 0);
  REQUIRE(eventually([&] { return it.queue.used_pending(1) == 1; }));
  CHECK(number_of(std::span(it.buffer + 12, 100)) == 1);
  CHECK(eventually([&] { return page_of(it.buffer); }));
  CHECK(page_of(&it.ring.used_flags()));
  CHECK(logged.drain() != 0);
  REQUIRE(it.device.set_backend(vhost_ring::rx, -1));
  std::size_t dirty = 0;
  for (const std::uint64_t word : log) dirty += static_cast<std::size_t>(std::popcount(word));
  CHECK(dirty == 2);
}

TEST_CASE("vhost-net: the dirty log is begun, moved and ended while a ring is served") {
  if (!open_device()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  one_ring it(*ns);
  std::array<std::vector<std::uint64_t>, 2> logs;
  for (auto& each : logs) each.resize(64);
  const auto at = [](const void* where) { return reinterpret_cast<std::uintptr_t>(where); };
  const feature_set plain{feature::version_1};
  const feature_set logging{feature::version_1, feature::vhost_log_all};
  REQUIRE(it.device.set_features(plain));
  const std::vector<vhost_abi::memory_region> table{
      {one_ring::base, it.memory.bytes().size(), at(it.memory.bytes().data())}};
  REQUIRE(it.device.set_mem_table(table));
  it.describe(vhost_ring::rx, {.descriptors = at(it.ring.descriptors()),
                               .available = at(&it.ring.avail_flags()),
                               .used = at(&it.ring.used_flags()),
                               .log = it.known_as(&it.ring.used_flags()),
                               .logs_writes = true});
  REQUIRE(it.device.set_backend(vhost_ring::rx, it.port.fd()));
  // Receives a frame; which of the pages then stand in which log, from which they are taken.
  std::uint32_t number = 0;
  const auto logged = [&] {
    it.offer(one_ring::page, true);
    REQUIRE(it.wire.send(numbered_frame(++number, 100)) == 0);
    REQUIRE(eventually([&] { return it.came_back(); }));
    CHECK(number_of(std::span(it.buffer + 12, 100)) == number);
    REQUIRE(it.device.vring_base(vhost_ring::rx));  // waits until the device has done with it
    std::string all;
    for (std::size_t i = 0; i < logs.size(); ++i) {
      for (std::uint64_t page = 0; page < logs[i].size() * 64; ++page) {
        std::uint64_t& word = logs[i][page / 64];
        if ((word >> page % 64 & 1) == 0) continue;
        word &= ~(std::uint64_t{1} << page % 64);
        all += i == 0 ? " first:" : " second:";
        all += page == it.known_as(it.buffer) / one_ring::page              ? "buffer"
               : page == it.known_as(&it.ring.used_flags()) / one_ring::page ? "ring"
                                                                             : "else";
      }
    }
    return all;
  };
  // What is said of a ring goes for its own pages.
  REQUIRE(it.device.set_log_base(logs[0].data()));
  CHECK(logged() == " first:ring");
  REQUIRE(it.device.set_features(logging));
  CHECK(logged() == " first:ring first:buffer");
  REQUIRE(it.device.set_log_base(logs[1].data()));
  CHECK(logged() == " second:ring second:buffer");
  // Where there cannot be a log, the one before stays.
  const auto refused = it.device.set_log_base(reinterpret_cast<const void*>(~std::uintptr_t{0} << 12));
  CHECK(reason(refused) == EFAULT);
  CHECK(logged() == " second:ring second:buffer");
  REQUIRE(it.device.set_features(plain));
  CHECK(logged() == " second:ring");
  REQUIRE(it.device.set_log_base(logs[0].data()));
  CHECK(logged() == " first:ring");
}

TEST_CASE("vhost-net: questions of message version 1 are refused by name, and can be answered all the same") {
  if (!open_device()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  one_ring it(*ns);
  if (!it.device.features().value().contains(feature::access_platform)) {
    return skip("vhost-net without ACCESS_PLATFORM");
  }
  // VHOST_BACKEND_F_IOTLB_MSG_V2 is left out.
  REQUIRE(it.device.set_features({feature::version_1, feature::access_platform}));
  REQUIRE(it.device.set_mem_table({}));
  it.describe_translated(vhost_ring::tx);
  const auto tell_of = [&](const std::byte* page) {
    return it.device.tell({vhost_translation::kind::update, it.known_as(page), one_ring::page,
                           reinterpret_cast<std::uintptr_t>(page), true, true});
  };
  REQUIRE(tell_of(it.memory.bytes().data()));
  REQUIRE(it.device.set_backend(vhost_ring::tx, it.port.fd()));
  std::memset(it.buffer, 0, 12);
  const frame_bytes frame = numbered_frame(1, 100);
  std::memcpy(it.buffer + 12, frame.data(), frame.size());
  it.offer(12 + 100, false);
  result<vhost_translation> asked = fail(EAGAIN, "not asked", "");
  REQUIRE(eventually([&] { return reason(asked = it.device.asked()) != EAGAIN; }));
  REQUIRE_FALSE(asked);
  CHECK(asked.error().message() ==
        "read IOTLB /dev/vhost-net: Bad message (set message version 2 with set_backend_features)");
  CHECK_FALSE(it.came_back());
  REQUIRE(tell_of(it.buffer));
  CHECK(eventually([&] { return it.came_back(); }));
  std::int64_t got = -1;
  CHECK(eventually([&] { return (got = it.wire.next_number()) != -1; }));
  CHECK(got == 1);
}

TEST_CASE("vhost-net: with ACCESS_PLATFORM it asks where memory is, and goes on when it is told") {
  if (!open_device()) return skip(no_vhost);
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  one_ring it(*ns);
  if (!it.device.features().value().contains(feature::access_platform)) {
    return skip("vhost-net without ACCESS_PLATFORM");
  }
  REQUIRE(it.device.set_backend_features(2));
  REQUIRE(it.device.set_features({feature::version_1, feature::access_platform}));
  REQUIRE(it.device.set_mem_table({}));  // there has to be one
  CHECK(reason(it.device.asked()) == EAGAIN);
  it.describe_translated(vhost_ring::tx);
  const auto tell_of = [&](std::uint64_t page) {
    const auto host = reinterpret_cast<std::uintptr_t>(it.memory.bytes().data());
    return it.device.tell({vhost_translation::kind::update, page, one_ring::page,
                           host + (page - one_ring::base), true, true});
  };
  // To bind a ring it reads from it, and does not wait for an answer.
  CHECK(reason(it.device.set_backend(vhost_ring::tx, it.port.fd())) == EFAULT);
  REQUIRE(tell_of(one_ring::base));
  REQUIRE(it.device.set_backend(vhost_ring::tx, it.port.fd()));

  std::vector<std::uint64_t> misses;
  const auto page_at = [](std::uint64_t address) { return address & ~(one_ring::page - 1); };
  // Answers for the page that is asked about, and no other.
  const auto answer = [&] {
    const auto asked = it.device.asked();
    if (!asked) return;
    REQUIRE(asked->type == vhost_translation::kind::miss);
    const std::uint64_t page = page_at(asked->address);
    REQUIRE(page - one_ring::base < it.memory.bytes().size());
    misses.push_back(page);
    REQUIRE(tell_of(page));
  };
  const auto asked_for_buffer = [&] {
    return std::count(misses.begin(), misses.end(), it.known_as(it.buffer)) != 0;
  };
  std::memset(it.buffer, 0, 12);
  for (std::uint32_t i = 0; i < 3; ++i) {
    CAPTURE(i);
    const frame_bytes frame = numbered_frame(i, 100);
    std::memcpy(it.buffer + 12, frame.data(), frame.size());
    it.offer(12 + 100, false);
    // What it was told it remembers, until it is told to forget.
    const bool forgot = i != 1;
    REQUIRE(eventually([&] {
      if (forgot) answer();
      return it.came_back();
    }));
    std::int64_t got = -1;
    CHECK(eventually([&] { return (got = it.wire.next_number()) != -1; }));
    CHECK(got == i);
    if (forgot) CHECK(asked_for_buffer());
    misses.clear();
    if (i == 1) {
      while (it.device.asked()) {  // the same again, perhaps: it does not wait for the answer
      }
      REQUIRE(it.device.tell({vhost_translation::kind::invalidate, it.known_as(it.buffer),
                              one_ring::page, 0, false, false}));
    }
  }
  CHECK(reason(it.device.tell({vhost_translation::kind::update, 0, 0, 0, true, true})) != 0);
}
