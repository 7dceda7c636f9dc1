// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/io_uring.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "support/device_bed.hpp"
#include "support/skip.hpp"

// The worker over io_uring does what the worker does, from one thread for eight queue pairs; what it
// asks of io_uring is what the system calls give as well; and io_uring may be missing.

using namespace vkring;
using namespace vkring::test;

namespace {

using uring_device = basic_device<split, buffer_pool, posix, uring_tap_worker>;
using uring_bed = basic_device_bed<uring_device>;

constexpr std::uint16_t pairs = 8;

device_config one_thread() {
  device_config config;
  config.backend = backend_kind::worker;
  config.wanted.offloads = wanted_offloads::all(want::off);
  config.wanted.queue_pairs = pairs;
  config.worker.threads = 1;
  return config;
}

// Why there is no io_uring here; empty if there is.
std::string missing() {
  const auto made = uring_io::make(1);
  return made ? "" : made.error().message();
}

// Lets one system call of this process fail from now on, in all its threads.
void forbid(unsigned call, unsigned reason) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | reason),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0) {
    ::_exit(1);
  }
}

// What `text` returns in a child of this process.
template <class Text>
std::string in_child(Text&& text) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string said = text();
    ::_exit(::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0
                                                                                            : 1);
  }
  ::close(ends[1]);
  std::string said;
  char part[256];
  for (ssize_t n; (n = ::read(ends[0], part, sizeof part)) > 0;) {
    said.append(part, static_cast<std::size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  return said;
}

// A connected pair of datagram sockets that block nobody.
struct wire {
  fd ends[2];
  wire() {
    int made[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, made) == 0);
    ends[0] = fd(made[0]);
    ends[1] = fd(made[1]);
  }
  // The bytes of the next datagram; -1 when there is none.
  int next() {
    std::array<char, 64> data;
    return static_cast<int>(::recv(ends[1].get(), data.data(), data.size(), 0));
  }
};

// What a TAP is waited for besides.
constexpr short of_tap = POLLRDBAND;

}  // namespace

TEMPLATE_TEST_CASE("worker_io: eventfds are told of once for each time they are signalled", "",
                   plain_io<>, uring_io) {
  if (std::is_same_v<TestType, uring_io> && missing() != "") return skip(missing());
  constexpr std::size_t count = 300;
  std::vector<event_fd> events;
  std::vector<pollfd> set;
  for (std::size_t i = 0; i < count; ++i) {
    events.push_back(event_fd::create().value());
    set.push_back({events.back().fd(), POLLIN, 0});
  }
  auto io = TestType::make(count).value();
  const auto ready = [&] {
    REQUIRE(io.wait(set));
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < count; ++i) {
      if (set[i].revents == 0) continue;
      CHECK(set[i].revents == POLLIN);
      io.drain(set[i].fd);
      found.push_back(i);
    }
    return found;
  };
  using list = std::vector<std::size_t>;
  events[7].signal();
  CHECK(ready() == list{7});
  for (std::size_t i = 0; i < count; ++i) {
    events[i].signal();
    events[i].signal();
    CHECK(ready() == list{i});
  }
  // Signals for an entry that nobody asks for now wait.
  set[3].fd = -1;
  events[3].signal();
  events[4].signal();
  CHECK(ready() == list{4});
  set[3].fd = events[3].fd();
  CHECK(ready() == list{3});
  for (event_fd& each : events) each.signal();
  std::size_t all = 0;
  while (all < count) all += ready().size();
  CHECK(all == count);
}

TEMPLATE_TEST_CASE("worker_io: anything else is told of for as long as it is ready", "", plain_io<>,
                   uring_io) {
  if (std::is_same_v<TestType, uring_io> && missing() != "") return skip(missing());
  wire one;
  event_fd other = event_fd::create().value();
  auto io = TestType::make(2).value();
  const auto ready = [&](short events) {
    std::array<pollfd, 2> set = {
        {{one.ends[1].get(), static_cast<short>(events | of_tap), 0}, {other.fd(), POLLIN, 0}}};
    while (!io.wait(set)) {
    }
    if (set[1].revents != 0) io.drain(other.fd());
    return std::pair(set[0].revents, set[1].revents);
  };
  using found = std::pair<short, short>;
  other.signal();
  CHECK(ready(POLLIN) == found(0, POLLIN));
  REQUIRE(::send(one.ends[0].get(), "a", 1, 0) == 1);
  CHECK((ready(POLLIN).first & POLLIN) != 0);
  CHECK(ready(POLLIN).first == POLLIN);
  CHECK(ready(POLLOUT).first == POLLOUT);
  CHECK(ready(POLLIN | POLLOUT).first == (POLLIN | POLLOUT));
  CHECK(one.next() == 1);
  other.signal();
  CHECK(ready(POLLIN) == found(0, POLLIN));
  // It may be told of when it is over, but not again and again.
  REQUIRE(::send(one.ends[0].get(), "a", 1, 0) == 1);
  CHECK(one.next() == 1);
  other.signal();
  while (ready(POLLIN).second == 0) {
  }
  other.signal();
  CHECK(ready(POLLIN) == found(0, POLLIN));
  // Not when nobody asked.
  REQUIRE(::send(one.ends[0].get(), "a", 1, 0) == 1);
  other.signal();
  CHECK(ready(0) == found(0, POLLIN));
  CHECK(one.next() == 1);
  // Asked for more while less was asked for before.
  CHECK(ready(POLLIN | POLLOUT).first == POLLOUT);
}

TEMPLATE_TEST_CASE("worker_io: frames are written in order, and none after one that failed", "",
                   plain_io<>, uring_io) {
  if (std::is_same_v<TestType, uring_io> && missing() != "") return skip(missing());
  wire one;
  auto io = TestType::make(2).value();
  std::array<char, 64> data{};
  std::array<iovec, 2 * detail::frame_burst::max_frames> pieces;
  std::array<outgoing_frame, detail::frame_burst::max_frames> frames;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    pieces[2 * i] = {data.data(), i};
    pieces[2 * i + 1] = {data.data(), 1};
    frames[i] = {&pieces[2 * i], 2, 0, 1000};
  }
  std::size_t next = 0;
  // The socket takes some ten datagrams, then there is no room.
  for (int round = 0; next != frames.size(); ++round) {
    CAPTURE(round, next);
    REQUIRE(round < 64);
    const std::span<outgoing_frame> left = std::span(frames).subspan(next);
    const std::size_t tried = io.write(one.ends[0].get(), left);
    REQUIRE(tried != 0);
    REQUIRE(tried <= left.size());
    std::size_t done = tried;
    if (left[tried - 1].result < 0) {
      CHECK(left[tried - 1].result == -EAGAIN);
      --done;
    }
    for (std::size_t i = 0; i < done; ++i, ++next) {
      CHECK(frames[next].result == static_cast<int>(next) + 1);
      CHECK(one.next() == frames[next].result);
    }
    CHECK(one.next() == -1);
  }
  // A failure of another kind is one frame's own.
  frames[1].pieces = nullptr;
  CHECK(io.write(one.ends[0].get(), std::span(frames).first(4)) == 2);
  CHECK(frames[0].result == 1);
  CHECK(frames[1].result == -EFAULT);
  CHECK(one.next() == 1);
  CHECK(one.next() == -1);
}

TEST_CASE("uring: one thread for eight queue pairs, both ways") {
  if (missing() != "") return skip(missing());
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  for (const std::uint32_t size : {2u, 256u}) {
    CAPTURE(size);
    device_config config = one_thread();
    config.wanted.queue_size = size;
    uring_bed bed(*ns, std::move(config), {.buffers = 8192});
    CHECK(threads_become(2));
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      CHECK(bed.to_kernel(pair, 200, 1514) == "");
      CHECK(bed.to_kernel(pair, 50, 1514, 757) == "");
      CHECK(eventually([&] { return bed.it.worker_statistics(pair)->tx_frames.value() == 250; }));
    }
    CHECK(bed.from_kernel(1000, 1514) == "");
    for (const queue_health& each : bed.it.health()) CHECK(each.good());
  }
}

TEST_CASE("uring: an idle thread does nothing at all, and is woken by either side") {
  if (missing() != "") return skip(missing());
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  uring_bed bed(*ns, one_thread(), {.buffers = 8192});
  for (int round = 0; round < 3; ++round) {
    CHECK(bed.to_kernel(0, 20, 100) == "");
    CHECK(bed.from_kernel(20, 100) == "");
    REQUIRE(others_fall_asleep(bed.it.error_fd()));
    static_cast<void>(bed.it.wait(std::chrono::nanoseconds(0)));  // a call that came late
    const thread_activity before = other_threads();
    CHECK_FALSE(bed.it.wait(std::chrono::milliseconds(200)));
    CHECK(other_threads() == before);
  }
}

TEST_CASE(
    "uring: what was sent before the end is not lost, and the interface goes with the device") {
  if (missing() != "") return skip(missing());
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  const auto pool = buffer_pool::make({.buffers = 8192}).value();
  for (int round = 0; round < 20; ++round) {
    CAPTURE(round);
    device_config config = one_thread();
    config.name = "vkuring";
    config.netns = path_of(*ns);
    // A request that still held the TAP would keep the name in use.
    auto it = uring_device::open(std::move(config), pool).value();
    tap_wire wire(*ns, it.index());
    std::uint32_t sent = 0;
    frame burst[32];
    const std::size_t n = it.tx(0).allocate(burst);
    for (std::size_t i = 0; i < n; ++i) {
      const frame_bytes data = numbered_frame(static_cast<std::uint32_t>(i), 100);
      burst[i].resize(100);
      std::copy(data.begin(), data.end(), burst[i].contiguous().begin());
    }
    sent += static_cast<std::uint32_t>(it.tx(0).send({burst, n}));
    it.close();
    CHECK(threads_become(1));
    std::uint32_t seen = 0;
    for (std::int64_t number; (number = wire.next_number()) != -1; ++seen) REQUIRE(number == seen);
    CHECK(seen == sent);
    CHECK(pool->available() == pool->size());
  }
}

TEST_CASE("uring: an interface that is deleted while the worker sleeps") {
  if (missing() != "") return skip(missing());
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  uring_bed bed(*ns, one_thread(), {.buffers = 8192});
  CHECK(bed.to_kernel(1, 20, 100) == "");
  net_link::open(bed.it.name(), *ns).value().remove().value();
  CHECK(eventually([&] {
    const auto all = bed.it.health();
    return std::all_of(all.begin(), all.end(),
                       [](const queue_health& each) { return each.interface_gone; });
  }));
}

TEST_CASE("uring: where it cannot be had the error says what to do") {
  struct row {
    unsigned reason;
    std::string text;
  };
  const row it = GENERATE(
      row{ENOSYS, "Function not implemented (needs a kernel with CONFIG_IO_URING)"},
      row{EPERM,
          "Operation not permitted (`sysctl kernel.io_uring_disabled=0`, or a seccomp profile that "
          "allows it)"},
      row{EINVAL, "Invalid argument (needs Linux 6.1 or newer)"},
      row{ENOMEM, "Cannot allocate memory (raise the limit on locked memory (ulimit -l))"},
      row{EMFILE, "Too many open files (raise the limit on open files (ulimit -n))"});
  CHECK(in_child([&] {
          const auto memory = region::make(2 * split_ring::bytes(8)).value();
          worker_queue<split> queue;
          queue.tx = split_ring::place(memory.bytes(), 8);
          queue.rx = split_ring::place(memory.bytes().subspan(split_ring::bytes(8)), 8);
          queue.options.size = 8;
          forbid(SYS_io_uring_setup, it.reason);
          return uring_tap_worker::start({queue}, memory_table()).error().message();
        }) == "io_uring_setup: " + it.text);
}

TEST_CASE("uring: forbidden while it runs, it goes on without") {
  if (missing() != "") return skip(missing());
  auto ns = quiet_netns();
  if (!ns) return skip(no_netns);
  CHECK(in_child([&] {
          uring_bed bed(*ns, one_thread(), {.buffers = 8192});
          std::string wrong = bed.to_kernel(0, 20, 100) + bed.from_kernel(20, 100);
          forbid(SYS_io_uring_enter, EPERM);
          wrong += bed.to_kernel(0, 200, 1514) + bed.from_kernel(200, 1514);
          bed.it.close();
          return wrong;
        }) == "");
}
