// SPDX-License-Identifier: BSD-3-Clause
#include "packet_socket.hpp"

#include <linux/if_packet.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vkring/core/endian.hpp>
#include <vkring/kernel/preflight.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/net/offload.hpp>

namespace fwd {

using vkring::fail;
using vkring::frame;
using vkring::posix;
using vkring::result;
using vkring::sys_result;

namespace {

constexpr std::size_t burst = 32;
constexpr std::size_t max_pieces = 1024;  // the kernel's limit, UIO_MAXIOV
constexpr std::uint16_t eth_p_all = 0x0003;
constexpr std::uint16_t vlan_ethertype = 0x8100;
constexpr std::size_t addresses = 12;  // the two Ethernet addresses, which a VLAN tag comes after
constexpr std::size_t vlan_tag = 4;
constexpr int socket_buffer = 8 << 20;  // bytes: a few GSO frames fill the default

// Buffers of `capacity` bytes for the longest frame.
std::size_t buffers_for_frame(std::uint32_t capacity) noexcept {
  const std::size_t needed = (vkring::max_gso_frame + vlan_tag) / capacity + 1;
  return std::min(needed, max_pieces - 1);
}
// Frames to receive at once, without tying up too many buffers.
std::size_t landings_for(std::uint32_t capacity) noexcept {
  return std::clamp<std::size_t>(1024 / buffers_for_frame(capacity), 1, burst);
}

template <class T>
result<int> set_option(int socket, int level, int option, const T& value, std::string_view what) {
  return sys_result(posix::setsockopt(socket, level, option, &value, sizeof value), "setsockopt",
                    what);
}

// USO in the header of packet sockets since Linux 6.2.
bool kernel_has_uso() noexcept {
  utsname about{};
  return posix::uname(&about) == 0 &&
         vkring::parse_kernel_version(about.release) >= vkring::kernel_version{6, 2};
}

struct vlan {
  std::uint16_t type;
  std::uint16_t tag;
};

// The tag that the kernel took out of the frame.
std::optional<vlan> stripped_tag(const msghdr& message) noexcept {
  // The macro's own loop wants a mutable header.
  auto* const all = const_cast<msghdr*>(&message);
  for (cmsghdr* each = CMSG_FIRSTHDR(all); each != nullptr; each = CMSG_NXTHDR(all, each)) {
    if (each->cmsg_level != SOL_PACKET || each->cmsg_type != PACKET_AUXDATA) continue;
    tpacket_auxdata about;
    std::memcpy(&about, CMSG_DATA(each), sizeof about);
    if ((about.tp_status & TP_STATUS_VLAN_VALID) == 0) return std::nullopt;
    const bool typed = (about.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
    return vlan{typed ? about.tp_vlan_tpid : vlan_ethertype, about.tp_vlan_tci};
  }
  return std::nullopt;
}

}  // namespace

std::size_t packet_socket::buffers_held(std::uint32_t capacity) noexcept {
  return landings_for(capacity) * buffers_for_frame(capacity);
}

result<packet_socket> packet_socket::open(const std::string& iface, int interface_index,
                                          bool qdisc_bypass,
                                          std::shared_ptr<vkring::buffer_pool> pool) {
  // Without a protocol, so that nothing of other interfaces comes in before it is bound.
  auto made =
      vkring::fd::adopt(sys_result(posix::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), "socket",
                                   "AF_PACKET", vkring::hint_for{EPERM, "needs CAP_NET_RAW"}));
  if (!made) return fail(std::move(made.error()));
  const int socket = made->get();
  const int on = 1;
  const int bypass = qdisc_bypass ? 1 : 0;
  packet_mreq promiscuous{};
  promiscuous.mr_ifindex = interface_index;
  promiscuous.mr_type = PACKET_MR_PROMISC;
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = vkring::big(eth_p_all);
  where.sll_ifindex = interface_index;
  for (auto done :
       {set_option(socket, SOL_PACKET, PACKET_VNET_HDR, on, "PACKET_VNET_HDR"),
        set_option(socket, SOL_PACKET, PACKET_AUXDATA, on, "PACKET_AUXDATA"),
        set_option(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, on, "PACKET_IGNORE_OUTGOING"),
        set_option(socket, SOL_PACKET, PACKET_QDISC_BYPASS, bypass, "PACKET_QDISC_BYPASS"),
        set_option(socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous, "PACKET_MR_PROMISC"),
        sys_result(posix::bind(socket, reinterpret_cast<const sockaddr*>(&where), sizeof where),
                   "bind", iface)}) {
    if (!done) return fail(std::move(done.error()));
  }
  // Beyond the limit of net.core.*mem_max only with CAP_NET_ADMIN; what can be had is enough to run.
  for (const auto& [forced, limited] :
       {std::pair{SO_RCVBUFFORCE, SO_RCVBUF}, std::pair{SO_SNDBUFFORCE, SO_SNDBUF}}) {
    if (!set_option(socket, SOL_SOCKET, forced, socket_buffer, "")) {
      (void)set_option(socket, SOL_SOCKET, limited, socket_buffer, "");
    }
  }
  return packet_socket(std::move(*made), qdisc_bypass, std::move(pool));
}

packet_socket::packet_socket(vkring::fd socket, bool qdisc_bypass,
                             std::shared_ptr<vkring::buffer_pool> pool)
    : pool_(std::move(pool)),
      socket_(std::move(socket)),
      cache_(*pool_, 64, 64),
      landings_(landings_for(pool_->capacity())),
      incoming_(landings_.size()),
      outgoing_(burst),
      headers_(burst),
      pieces_(burst + max_pieces) {
  may_receive_.csum = may_receive_.tso4 = may_receive_.tso6 = may_receive_.ecn = true;
  may_receive_.uso = kernel_has_uso();
  // Without the queueing discipline the kernel completes checksums, but drops what it would have to
  // segment for the driver.
  may_send_ = qdisc_bypass ? vkring::frame_offloads{.csum = true} : may_receive_;
  const std::size_t buffers = buffers_for_frame(pool_->capacity());
  for (std::size_t i = 0; i < landings_.size(); ++i) {
    landing& at = landings_[i];
    at.buffers.resize(buffers);
    at.used = buffers;
    at.pieces.resize(buffers + 1);
    at.pieces[0] = {&at.header, sizeof at.header};
    msghdr& message = incoming_[i].msg_hdr;
    message.msg_iov = at.pieces.data();
    message.msg_iovlen = at.pieces.size();
    message.msg_control = at.control;
  }
}

packet_socket::~packet_socket() {
  for (const landing& at : landings_) pool_->put(std::span(at.buffers).subspan(at.used));
}

// Replaces the buffers that the last frame took along. False: the pool has none.
bool packet_socket::refill(landing& at) noexcept {
  while (at.used != 0) {
    const auto stock = cache_.stock(std::min(at.used, cache_.burst()));
    if (stock.empty()) return false;
    for (const handle each : stock) {
      --at.used;
      const auto buffer = pool_->mapper()(at.buffers[at.used] =
                                              vkring::buffer_pool::with_plain_header(each, false));
      // A VLAN tag that is put back moves up what lies behind it in the first buffer.
      const std::size_t spare = at.used == 0 ? vlan_tag : 0;
      at.pieces[at.used + 1] = {buffer.payload, buffer.capacity - spare};
    }
    cache_.drop(stock.size());
  }
  return true;
}

std::size_t packet_socket::receive(std::span<frame> frames) noexcept {
  std::size_t wanted = 0;
  while (wanted < std::min(frames.size(), landings_.size()) && refill(landings_[wanted])) ++wanted;
  if (wanted == 0) return 0;
  for (std::size_t i = 0; i < wanted; ++i) {
    incoming_[i].msg_hdr.msg_controllen = sizeof landings_[i].control;
  }
  const int got = vkring::retry_interrupted([&] {
    return ::recvmmsg(socket_.get(), incoming_.data(), static_cast<unsigned>(wanted), MSG_DONTWAIT,
                      nullptr);
  });
  if (const int reason = vkring::error_of(got); reason != 0) {
    if (reason == EINVAL) rx_.losses.add(loss::unreadable_gso);
    return 0;
  }
  std::size_t received = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
    land(landings_[i], incoming_[i].msg_len, incoming_[i].msg_hdr, frames[received]);
    if (frames[received]) ++received;
  }
  return received;
}

// Makes the frame of what has been received, unless that has to be dropped.
void packet_socket::land(landing& at, std::size_t size, const msghdr& message,
                         frame& into) noexcept {
  if ((message.msg_flags & MSG_TRUNC) != 0 || size < sizeof at.header) {
    return rx_.losses.add(loss::too_long);
  }
  size -= sizeof at.header;
  vkring::virtio_net_hdr header;
  header.flags = at.header.flags;
  header.gso_type = at.header.gso_type;
  header.hdr_len = at.header.hdr_len;
  header.gso_size = at.header.gso_size;
  header.csum_start = at.header.csum_start;
  header.csum_offset = at.header.csum_offset;

  const std::size_t first = std::min(size, at.pieces[1].iov_len);
  auto first_size = static_cast<std::uint32_t>(first);
  if (const auto tag = stripped_tag(message); tag && first >= addresses) {
    auto* const bytes = static_cast<std::byte*>(at.pieces[1].iov_base) + addresses;
    std::memmove(bytes + vlan_tag, bytes, first - addresses);
    vkring::store_big(bytes, tag->type);
    vkring::store_big(bytes + 2, tag->tag);
    first_size += static_cast<std::uint32_t>(vlan_tag);
    header.csum_start = static_cast<std::uint16_t>(header.csum_start + vlan_tag);
    header.hdr_len = static_cast<std::uint16_t>(header.hdr_len + vlan_tag);
  }
  std::size_t rest = size - first;
  const std::uint32_t total = first_size + static_cast<std::uint32_t>(rest);
  if (const auto fault = check_rx_header(header, total, may_receive_);
      fault != vkring::header_fault::none) {
    return rx_.header_drops.drop(fault);
  }
  // From the end, so that each buffer is put before those behind it in one step.
  frame tail;
  const std::size_t capacity = pool_->capacity();
  at.used = 1 + (rest + capacity - 1) / capacity;
  for (std::size_t i = at.used; i-- != 0;) {
    frame part(*pool_, at.buffers[i]);
    const std::size_t before = (i - 1) * capacity;
    part.resize(i == 0 ? first_size
                       : static_cast<std::uint32_t>(std::min(capacity, rest - before)));
    if (tail) part.append(std::move(tail));
    tail = std::move(part);
  }
  into = std::move(tail);
  into.set_header(header);
  rx_.packets.add(1);
  rx_.bytes.add(total);
}

std::size_t packet_socket::send(std::span<frame> frames) noexcept {
  std::size_t done = 0;
  while (done != frames.size()) {
    const std::size_t ready = prepare(frames.subspan(done));
    if (ready == 0) {  // the first must not be sent
      ++done;
      continue;
    }
    const auto send_all = [&] {
      return ::sendmmsg(socket_.get(), outgoing_.data(), static_cast<unsigned>(ready),
                        MSG_DONTWAIT);
    };
    int got = vkring::retry_interrupted(send_all);
    int reason = vkring::error_of(got);
    if (reason != 0 && reason != EAGAIN) {
      // Perhaps that of an earlier call, which the socket had kept.
      got = vkring::retry_interrupted(send_all);
      reason = vkring::error_of(got);
    }
    if (reason == EAGAIN) break;
    if (reason != 0) {
      drop_first(frames[done++], reason);
      continue;
    }
    for (frame& sent : frames.subspan(done, static_cast<std::size_t>(got))) {
      tx_.bytes.add(sent.size());
      sent.reset();
    }
    tx_.packets.add(static_cast<std::uint64_t>(got));
    done += static_cast<std::size_t>(got);
  }
  return done;
}

// Makes messages of the first frames, as many as there is room for. 0: the first one was dropped.
std::size_t packet_socket::prepare(std::span<frame> frames) noexcept {
  std::size_t pieces = 0;
  std::size_t ready = 0;
  for (; ready < std::min(frames.size(), burst); ++ready) {
    frame& each = frames[ready];
    const vkring::virtio_net_hdr header = each.header();
    const auto fault = check_tx_header(header, each.size(), may_send_);
    const std::size_t needed = each.buffers() + std::size_t{1};
    if (fault != vkring::header_fault::none || needed > max_pieces) {
      if (ready != 0) break;  // the next time
      fault != vkring::header_fault::none ? tx_.header_drops.drop(fault)
                                          : tx_.losses.add(loss::too_long);
      each.reset();
      return 0;
    }
    if (pieces + needed > pieces_.size()) break;
    headers_[ready] = {header.flags,    header.gso_type,   header.hdr_len,
                       header.gso_size, header.csum_start, header.csum_offset};
    msghdr& message = outgoing_[ready].msg_hdr;
    message.msg_iov = &pieces_[pieces];
    message.msg_iovlen = needed;
    pieces_[pieces++] = {&headers_[ready], sizeof headers_[ready]};
    each.for_each_segment([&](std::span<std::byte> segment) {
      pieces_[pieces++] = {segment.data(), segment.size()};
    });
  }
  return ready;
}

void packet_socket::drop_first(frame& refused, int reason) noexcept {
  loss_counters& losses = tx_.losses;
  refused.reset();
  switch (reason) {
    case EMSGSIZE:
      return losses.add(loss::too_long);
    case ENOBUFS:
    case ENOMEM:
      return losses.add(loss::kernel_busy);
    case ENETDOWN:
    case ENXIO:
    case ENODEV:
      return losses.add(loss::interface_down);
    default:
      return losses.add(loss::kernel_refused);
  }
}

bool packet_socket::gone() const noexcept {
  // The kernel takes the interface away from the socket when it is deleted, not when it is set down.
  sockaddr_ll where{};
  socklen_t size = sizeof where;
  return posix::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&where), &size) == 0 &&
         where.sll_ifindex <= 0;
}

std::size_t packet_socket::allocate(std::span<frame> frames) noexcept {
  std::array<handle, burst> handles;
  const std::size_t got =
      pool_->take(std::span(handles).first(std::min(frames.size(), handles.size())));
  for (std::size_t i = 0; i < got; ++i) frames[i] = frame(*pool_, handles[i]);
  return got;
}

std::uint64_t packet_socket::take_kernel_drops() const noexcept {
  tpacket_stats counts{};
  socklen_t size = sizeof counts;
  const int got = posix::getsockopt(socket_.get(), SOL_PACKET, PACKET_STATISTICS, &counts, &size);
  return got == 0 ? counts.tp_drops : 0;
}

}  // namespace fwd
