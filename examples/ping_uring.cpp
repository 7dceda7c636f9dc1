// SPDX-License-Identifier: BSD-3-Clause

// Calls as completions of an io_uring, beside whatever else a program has under way there. Two queue
// pairs: the ring says which one was called. Needs Linux 5.13.
//
//   ping_uring [ANSWERS]     ends after so many; without an argument, never

#include <liburing.h>
#include <poll.h>


#include "arguments.hpp"
#include "ping_stack.hpp"

constexpr std::uint16_t pairs = 2;
constexpr std::uint64_t error_mark = pairs;  // as user data, beside the numbers of the pairs

// Watches a descriptor from now on: one request, and a completion each time that it is signalled.
static bool watch(io_uring& ring, int descriptor, std::uint64_t mark) {
  io_uring_sqe* const request = io_uring_get_sqe(&ring);
  if (request == nullptr) return false;
  io_uring_prep_poll_multishot(request, descriptor, POLLIN);
  request->user_data = mark;
  return io_uring_submit(&ring) == 1;
}

int main(int argc, char** argv) {
  const long limit = number_of(argc, argv, 1, -1);

  io_uring ring;
  if (const int failed = io_uring_queue_init(64, &ring, 0); failed < 0) {
    std::fprintf(stderr, "io_uring_queue_init: error %d (forbidden here?)\n", -failed);
    return 1;
  }
  ping_stack stack(pairs);
  vkring::device& tun = stack.tun();
  const auto descriptor_of = [&](std::uint64_t mark) {
    return mark == error_mark ? tun.error_fd() : tun.rx_call(mark).fd();
  };
  for (std::uint64_t mark = 0; mark <= error_mark; ++mark) {
    if (!watch(ring, descriptor_of(mark), mark)) return 1;
  }

  while (!stack.done(limit)) {
    bool pending = false;
    bool starved = false;
    for (std::size_t i = 0; i < pairs; ++i) {
      while (stack.turn(i)) continue;
      pending = tun.rx(i).enable_call() == vkring::notification::more_pending || pending;
      starved = tun.starved(i) || starved;
    }
    __kernel_timespec most = {1, 0};
    if (starved) most = {0, 1'000'000};
    if (pending) most = {0, 0};
    io_uring_cqe* done = nullptr;
    io_uring_wait_cqe_timeout(&ring, &done, &most);
    while (io_uring_peek_cqe(&ring, &done) == 0) {
      const std::uint64_t mark = done->user_data;
      const bool over = (done->flags & IORING_CQE_F_MORE) == 0;
      io_uring_cqe_seen(&ring, done);
      if (mark > error_mark) continue;  // the timeout's own, on old kernels
      if (mark < pairs) tun.rx_call(mark).drain();
      if (mark == error_mark && !stack.good()) return 1;
      if (over && !watch(ring, descriptor_of(mark), mark)) return 1;
    }
    for (std::size_t i = 0; i < pairs; ++i) tun.rx(i).disable_call();
  }
  io_uring_queue_exit(&ring);
}
