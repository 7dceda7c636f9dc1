// SPDX-License-Identifier: BSD-3-Clause

// Without any privilege: the interface is tun_helper's, and its queue comes over the Unix socket where that waits.
//
//   ping_given SOCKET [ANSWERS]     ends after so many; without that, never

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/fd_passing.hpp>
#include <vkring/kernel/sys.hpp>

#include "arguments.hpp"
#include "ping_stack.hpp"

static std::vector<vkring::fd> queues_from(std::string_view socket) {
  sockaddr_un where{.sun_family = AF_UNIX, .sun_path = {}};
  socket.copy(where.sun_path, sizeof where.sun_path - 1);
  const vkring::fd helper(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  vkring::sys_result(::connect(helper.get(), reinterpret_cast<sockaddr*>(&where), sizeof where),
                     "connect", socket, "is tun_helper there? It serves one program. May you write to its socket?")
      .value();
  return vkring::receive_parcel(helper.get(), 0, 1).value().fds;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "ping_given SOCKET [ANSWERS]: SOCKET is missing\n");
    return 2;
  }
  const long limit = number_of(argc, argv, 2, -1);

  vkring::device_config config;
  config.mode = vkring::tap_mode::tun;
  config.queue_fds = queues_from(argv[1]);
  config.up = false;  // it is, and has its address: that was for the helper to do
  ping_stack stack(std::move(config));
  while (!stack.done(limit)) {
    stack.tun().wait(std::chrono::seconds(1));
    while (stack.turn(0)) {
    }
  }
}
