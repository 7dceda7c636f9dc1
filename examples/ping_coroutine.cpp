// SPDX-License-Identifier: BSD-3-Clause

// A coroutine for each queue pair: it reads as if the pair had a thread of its own, and all of them are in
// one.
//
//   ping_coroutine [ANSWERS]     ends after so many; without an argument, never

#include <poll.h>

#include <coroutine>
#include <exception>

#include "arguments.hpp"
#include "ping_stack.hpp"

constexpr std::uint16_t pairs = 2;

// A coroutine that starts at once, and lives as long as this.
class task {
 public:
  struct promise_type {
    task get_return_object() {
      return task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };

  explicit task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  task(task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  task& operator=(task&&) = delete;
  ~task() {
    if (handle_) handle_.destroy();
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

// Who waits for which queue pair, and the one place where the thread sleeps.
class scheduler {
 public:
  explicit scheduler(vkring::device& tun) : tun_(&tun) {}

  // co_await next_frame(i): goes on once a frame has come to the pair, or perhaps has.
  auto next_frame(std::size_t pair) {
    struct awaiter {
      scheduler* self;
      std::size_t pair;
      bool await_ready() {
        return self->tun_->rx(pair).enable_call() == vkring::notification::more_pending;
      }
      void await_suspend(std::coroutine_handle<> who) { self->waiting_[pair] = who; }
      void await_resume() { self->tun_->rx(pair).disable_call(); }
    };
    return awaiter{this, pair};
  }

  // Sleeps until there is something for one of them, and resumes whom it is for. False: a ring has
  // news of its own.
  bool run_once() {
    std::array<pollfd, pairs + 1> set;
    bool starved = false;
    for (std::size_t i = 0; i < pairs; ++i) {
      set[i] = {tun_->rx_call(i).fd(), POLLIN, 0};
      starved = tun_->starved(i) || starved;
    }
    set[pairs] = {tun_->error_fd(), POLLIN, 0};
    ::poll(set.data(), set.size(), starved ? 1 : -1);
    for (std::size_t i = 0; i < pairs; ++i) {
      if (set[i].revents == 0 && !tun_->starved(i)) continue;
      tun_->rx_call(i).drain();
      if (const auto who = std::exchange(waiting_[i], nullptr)) who.resume();
    }
    return set[pairs].revents == 0;
  }

 private:
  vkring::device* tun_;
  std::array<std::coroutine_handle<>, pairs> waiting_;
};

static task answer(ping_stack& stack, scheduler& waits, std::size_t pair) {
  for (;;) {
    while (stack.turn(pair)) continue;
    co_await waits.next_frame(pair);
  }
}

int main(int argc, char** argv) {
  const long limit = number_of(argc, argv, 1, -1);

  ping_stack stack(pairs);
  scheduler waits(stack.tun());
  const task first = answer(stack, waits, 0);
  const task second = answer(stack, waits, 1);
  while (!stack.done(limit)) {
    if (!waits.run_once() && !stack.good()) return 1;
  }
}
