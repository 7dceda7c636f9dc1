// SPDX-License-Identifier: BSD-3-Clause

// A loop that never sleeps, as a dataplane with a CPU of its own has it. No call is ever asked for, so no
// system call is made for what comes.
//
//   ping_poll [ANSWERS]     ends after so many; without an argument, never

#include <chrono>

#include "arguments.hpp"
#include "ping_stack.hpp"

int main(int argc, char** argv) {
  using clock = std::chrono::steady_clock;
  const long limit = number_of(argc, argv, 1, -1);

  ping_stack stack;
  stack.tun().rx(0).disable_call();
  auto next_look = clock::now();
  while (!stack.done(limit)) {
    stack.turn(0);
    // The other things that a program does stand here; this one looks after its rings.
    if (clock::now() < next_look) continue;
    if (!stack.good()) return 1;
    next_look += std::chrono::seconds(1);
  }
}
