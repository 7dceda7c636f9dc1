// SPDX-License-Identifier: BSD-3-Clause

// vduse_net: a network interface of this kernel, driven by virtio_net and served by vkring.
// See options.cpp.

#include <signal.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/sys.hpp>

#include "option_pairs.hpp"
#include "options.hpp"
#include "session.hpp"

namespace vduse_net {
namespace {

using vkring::fail;
using vkring::result;

result<vkring::fd> take_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int each : {SIGINT, SIGTERM}) ::sigaddset(&signals, each);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return vkring::fd::adopt(
      vkring::sys_result(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
}

result<void> run(const options& wanted) {
  auto signals = take_signals();
  if (!signals) return fail(std::move(signals.error()));
  auto opened = session::open(wanted);
  if (!opened) return fail(std::move(opened.error()));
  auto done = (*opened)->run(signals->get());
  std::printf("%s", (*opened)->summary().c_str());
  std::fflush(stdout);  // before the complaint, if there is one
  return done;
}

int main_of(const std::vector<std::string_view>& arguments) {
  const auto parsed = parse(arguments);
  if (!parsed) return option_pairs::complain(parsed.error());
  if (parsed->help) {
    std::printf("%s", std::string(help_text()).c_str());
    return 0;
  }
  const auto done = run(*parsed);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}

}  // namespace
}  // namespace vduse_net

int main(int argc, char** argv) {
  return vduse_net::main_of(std::vector<std::string_view>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
