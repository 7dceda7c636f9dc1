// SPDX-License-Identifier: BSD-3-Clause

// The one program that needs CAP_NET_ADMIN: makes an interface, up and with its address, and hands the queue
// of it to whoever connects to a Unix socket. File permissions say who may.
//
//   tun_helper SOCKET NAME ADDRESS     such as /run/tun0.sock tun0 10.8.0.1/24; ends when it has given the queue

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/fd_passing.hpp>
#include <vkring/kernel/link.hpp>
#include <vkring/kernel/sys.hpp>
#include <vkring/kernel/tap.hpp>
#include <vkring/net/ip_prefix.hpp>

static vkring::result<void> serve(std::string_view socket, std::string_view name,
                                  std::string_view address) {
  const auto prefix = vkring::parse_ip_prefix(address);
  if (!prefix) return vkring::fail(EINVAL, "parse", address, "an address and the length of its prefix, like 10.8.0.1/24");
  auto tun = vkring::tap::open(
      {.name = std::string(name), .mode = vkring::tap_mode::tun, .exclusive = true});
  if (!tun) return vkring::fail(tun.error());
  auto link = vkring::net_link::open(tun->name());
  if (!link) return vkring::fail(link.error());
  if (auto added = link->add_address(*prefix); !added) return added;
  if (auto up = link->set_up(true); !up) return up;

  sockaddr_un where{.sun_family = AF_UNIX, .sun_path = {}};
  if (socket.size() >= sizeof where.sun_path) {
    return vkring::fail(ENAMETOOLONG, "bind", socket, "a socket's path has at most 107 characters");
  }
  std::copy(socket.begin(), socket.end(), where.sun_path);
  const vkring::fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::unlink(where.sun_path);  // of a helper that was killed
  const int bound = ::bind(listener.get(), reinterpret_cast<sockaddr*>(&where), sizeof where);
  if (auto done = vkring::sys_result(bound, "bind", socket); !done) return vkring::fail(done.error());
  const int listens = ::listen(listener.get(), 1);
  if (auto done = vkring::sys_result(listens, "listen", socket); !done) return vkring::fail(done.error());
  std::printf("%s waits at %s\n", tun->name().c_str(), where.sun_path);
  std::fflush(stdout);
  const vkring::fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ::unlink(where.sun_path);
  const int queue = tun->fd();
  return vkring::send_parcel(peer.get(), {}, {&queue, 1});
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "tun_helper SOCKET NAME ADDRESS\n");
    return 2;
  }
  const auto served = serve(argv[1], argv[2], argv[3]);
  if (served) return 0;
  std::fprintf(stderr, "tun_helper: %s\n", served.error().message().c_str());
  return 1;
}
