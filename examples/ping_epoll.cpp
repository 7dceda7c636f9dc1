// SPDX-License-Identifier: BSD-3-Clause

// A device among other descriptors in an epoll: here, a timer.
//
//   ping_epoll [ANSWERS]     ends after so many; without an argument, never

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>


#include "arguments.hpp"
#include "ping_stack.hpp"

static bool add(const vkring::fd& set, int descriptor) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.fd = descriptor;
  return ::epoll_ctl(set.get(), EPOLL_CTL_ADD, descriptor, &event) == 0;
}

int main(int argc, char** argv) {
  const long limit = number_of(argc, argv, 1, -1);

  ping_stack stack;
  vkring::device& tun = stack.tun();
  const vkring::fd set(::epoll_create1(EPOLL_CLOEXEC));
  const vkring::fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  const itimerspec each_second = {{1, 0}, {1, 0}};
  const int call = tun.rx_call(0).fd();
  if (::timerfd_settime(timer.get(), 0, &each_second, nullptr) != 0) return 1;
  if (!add(set, call) || !add(set, tun.error_fd()) || !add(set, timer.get())) return 1;

  while (!stack.done(limit)) {
    if (stack.turn(0)) continue;
    // First the wish for a call, then the last look: what comes in between is not missed.
    int milliseconds = -1;
    if (tun.rx(0).enable_call() == vkring::notification::more_pending) milliseconds = 0;
    if (tun.starved(0)) milliseconds = 1;  // nobody calls when there are buffers again
    epoll_event events[3];
    const int count = ::epoll_wait(set.get(), events, 3, milliseconds);
    tun.rx(0).disable_call();

    for (int i = 0; i < count; ++i) {
      const int ready = events[i].data.fd;
      if (ready == call) {
        tun.rx_call(0).drain();
      } else if (ready == timer.get()) {
        std::uint64_t seconds;
        if (::read(ready, &seconds, sizeof seconds) < 0) return 1;
      }
      // What is wrong is told by error_fd, but for a stall, which the timer is there for.
      if (ready != call && !stack.good()) return 1;
    }
  }
}
