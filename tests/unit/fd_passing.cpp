// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/fd_passing.hpp"

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/entries.hpp"
#include "support/faulty_sys.hpp"

using namespace vkring;
using namespace vkring::test;

namespace {

using parcel = basic_parcel<faulty_sys>;
using view = std::span<const std::byte>;

struct connection {
  fd mine, theirs;
  explicit connection(int kind = SOCK_STREAM) {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, kind | SOCK_CLOEXEC, 0, ends) == 0);
    mine = fd(ends[0]);
    theirs = fd(ends[1]);
  }

  // What a stranger writes: bytes, with so many descriptors.
  void write(view data, std::size_t descriptors = 0) const {
    const fd any(::eventfd(0, EFD_CLOEXEC));
    const std::vector<int> all(descriptors, any.get());
    std::vector<std::byte> space(CMSG_SPACE(all.size() * sizeof(int)));
    ::iovec piece{const_cast<std::byte*>(data.data()), data.size()};
    ::msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    if (!all.empty()) {
      message.msg_control = space.data();
      message.msg_controllen = space.size();
      ::cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(all.size() * sizeof(int));
      std::memcpy(CMSG_DATA(head), all.data(), all.size() * sizeof(int));
    }
    REQUIRE(::sendmsg(mine.get(), &message, MSG_NOSIGNAL) == static_cast<ssize_t>(data.size()));
  }
  [[nodiscard]] result<parcel> receive(std::size_t most_bytes = 1000,
                                       std::size_t most_fds = 300) const {
    return receive_parcel<faulty_sys>(theirs.get(), most_bytes, most_fds);
  }
};

std::array<std::byte, 16> head_of(std::uint32_t descriptors, std::uint64_t bytes,
                                  std::uint32_t mark = vkring::detail::parcel_mark) {
  std::array<std::byte, 16> head;
  store_big(head.data(), mark);
  store_big(head.data() + 4, descriptors);
  store_big(head.data() + 8, bytes);
  return head;
}
const std::vector<std::byte> hundred(100, std::byte{7});

// Receives what was written and tells what became of it; nothing is left open.
std::string refusal(const connection& from) {
  fault_book::get().reset();
  const std::size_t before = open_descriptors();
  std::string told = "taken";
  if (auto got = from.receive(); !got) {
    told = std::to_string(got.error().code.value()) + ' ' + got.error().hint;
  }
  CHECK(fault_book::get().clean());
  CHECK(open_descriptors() == before);
  return told;
}
std::string text(int reason, const char* hint) { return std::to_string(reason) + ' ' + hint; }

}  // namespace

TEST_CASE("fd passing: bytes and descriptors come out as they went in, however many") {
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET}) {
    for (const std::size_t descriptors : {0u, 1u, 253u, 254u, 600u}) {
      for (const std::size_t size : {0u, 1u, 32768u, 100'000u}) {
        CAPTURE(kind, descriptors, size);
        const connection it(kind);
        std::vector<std::byte> bytes(size);
        for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
        const fd out(ends[0]);
        const fd in(ends[1]);
        const std::vector<int> all(descriptors, in.get());
        fault_book::get().reset();
        result<void> sent;
        std::thread sender([&] { sent = send_parcel(it.mine.get(), bytes, all); });
        {
          const auto got = it.receive(size, descriptors);
          sender.join();
          REQUIRE(sent);
          REQUIRE(got);
          CHECK(got->bytes == bytes);
          REQUIRE(got->fds.size() == descriptors);
          CHECK(fault_book::get().open_descriptors() == descriptors);
          for (const auto& each : got->fds) {
            CHECK((::fcntl(each.get(), F_GETFD) & FD_CLOEXEC) != 0);
          }
          if (descriptors != 0) {
            char letter = 'a';
            CHECK(::write(got->fds.back().get(), &letter, 1) == 1);
            letter = 0;
            CHECK(::read(out.get(), &letter, 1) == 1);
            CHECK(letter == 'a');
          }
        }
        CHECK(fault_book::get().clean());
      }
    }
  }
}

TEST_CASE("fd passing: another number of descriptors than was announced") {
  struct row {
    std::size_t announced, with_head, with_bytes;
    std::string told;
  };
  const row rows[] = {
      {2, 1, 0, text(EBADMSG, "1 descriptors of 2")},
      {2, 0, 0, text(EBADMSG, "0 descriptors of 2")},
      {2, 3, 0, text(EBADMSG, "3 descriptors of 2")},
      {0, 1, 0, text(EBADMSG, "1 descriptors of 0")},
      {2, 2, 1, text(EBADMSG, "more than the 2 descriptors that were to come")},
      {0, 0, 253, text(EBADMSG, "more than the 0 descriptors that were to come")},
      {2, 2, 0, "taken"},
  };
  for (const row& each : rows) {
    for (const std::size_t size : {100u, 0u}) {
      if (size == 0 && each.with_bytes != 0) continue;
      CAPTURE(each.announced, each.with_head, each.with_bytes, size);
      const connection it;
      it.write(head_of(static_cast<std::uint32_t>(each.announced), size), each.with_head);
      it.write(hundred, each.with_bytes);
      CHECK(refusal(it) == each.told);
    }
  }
}

TEST_CASE("fd passing: what nobody would send") {
  const auto refused = [](view data, std::size_t descriptors = 0) {
    const connection it;
    it.write(data, descriptors);
    return refusal(it);
  };
  CHECK(refused(head_of(0, 0, 0x12345678), 5) == text(EBADMSG, "this is not what send_parcel sends"));
  CHECK(refused(hundred) == text(EBADMSG, "this is not what send_parcel sends"));
  CHECK(refused(head_of(0, 1001)) ==
        text(E2BIG, "1001 bytes and 0 descriptors: at most 1000 and 300"));
  CHECK(refused(head_of(301, 1), 253) ==
        text(E2BIG, "1 bytes and 301 descriptors: at most 1000 and 300"));
  CHECK(refused(head_of(UINT32_MAX, UINT64_MAX), 1).rfind(text(E2BIG, ""), 0) == 0);
  {
    // More than fits before anything was announced.
    const connection it;
    it.write(view(head_of(1, 1)).first(8), 253);
    it.write(view(head_of(1, 1)).last(8), 253);
    CHECK(refusal(it) == text(EBADMSG, "more than the 300 descriptors that were to come"));
  }
  {
    const connection it(SOCK_SEQPACKET);
    it.write(hundred, 3);
    CHECK(refusal(it) == text(EBADMSG, "a longer message than was to come"));
  }
}

TEST_CASE("fd passing: the other side goes away in the middle") {
  const std::string gone = text(ECONNRESET, "the other side has closed the socket");
  for (const int kind : {SOCK_STREAM, SOCK_SEQPACKET}) {
    for (const int step : {0, 1, 2, 3}) {
      CAPTURE(kind, step);
      connection it(kind);
      if (step == 1) it.write(view(head_of(2, 100)).first(7), 2);
      if (step == 2) it.write(head_of(300, 100), 253);
      if (step == 3) {
        it.write(head_of(2, 100), 2);
        it.write(std::span(hundred).first(99));
      }
      it.mine.close().value();
      CHECK(refusal(it) == gone);
    }
    connection it(kind);
    it.theirs.close().value();
    const auto sent = send_parcel(it.mine.get(), hundred, {});
    REQUIRE_FALSE(sent);
    CHECK(sent.error().message() == "sendmsg fd " + std::to_string(it.mine.get()) +
                                        ": Broken pipe (the other side has closed the socket)");
  }
}

TEST_CASE("fd passing: nothing is left of descriptors that do not all come through") {
  const connection it;
  it.write(head_of(40, 100), 40);
  it.write(hundred);
  ::rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  ::rlimit less = before;
  less.rlim_cur = open_descriptors() + 20;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &less) == 0);
  const std::string told = refusal(it);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(told ==
        text(EMFILE, "not all descriptors came through: raise the limit on open files (ulimit -n)"));
}

TEST_CASE("fd passing: a socket that waits no longer, and what is no socket") {
  const connection it;
  const ::timeval moment{0, 1000};
  REQUIRE(::setsockopt(it.theirs.get(), SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment) == 0);
  it.write(view(head_of(1, 100)).first(7), 1);
  CHECK(refusal(it) == text(EAGAIN, "nothing came in the time that the socket gives it"));

  const fd event(::eventfd(0, EFD_CLOEXEC));
  CHECK(receive_parcel(event.get(), 1, 1).error().code.value() == ENOTSOCK);
  CHECK(send_parcel(event.get(), hundred, {}).error().code.value() == ENOTSOCK);
  const std::array closed{-1};
  CHECK(send_parcel(it.mine.get(), hundred, closed).error().code.value() == EBADF);
}
