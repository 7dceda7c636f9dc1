// SPDX-License-Identifier: BSD-3-Clause

// A web server on lwIP, which the kernel reaches through tap0. See options.cpp.

extern "C" {  // which this header of Debian's lacks, as does tapif.h
#include <lwipopts.h>
}
#include <fcntl.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/tcpip.h>
#include <lwip/timeouts.h>
extern "C" {
#include <netif/tapif.h>
}
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vkring/device.hpp>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/link.hpp>

#include "heap.hpp"
#include "http_server.hpp"
#include "option_pairs.hpp"
#include "options.hpp"
#include "tap_netif.hpp"

namespace lwip_example {
namespace {

using vkring::fail;
using vkring::result;

constexpr u16_t port = 80;
constexpr const char* kernel_address = "10.7.0.1/24";

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void stop_on_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop = true; };  // no SA_RESTART: it ends a wait
  for (const int each : {SIGINT, SIGTERM}) ::sigaction(each, &action, nullptr);
}

// The whole file; it stays for as long as the process.
result<std::string_view> map(const std::string& path) {
  auto file = vkring::fd::open(path, O_RDONLY, "the file to serve");
  if (!file) return fail(std::move(file.error()));
  struct stat about;
  if (::fstat(file->get(), &about) != 0) return fail(errno, "fstat", path);
  if (about.st_size == 0) return std::string_view();
  const auto size = static_cast<std::size_t>(about.st_size);
  void* const bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->get(), 0);
  if (bytes == MAP_FAILED) return fail(errno, "mmap", path);
  return std::string_view(static_cast<const char*>(bytes), size);
}

struct own_address {
  ip4_addr_t address;
  ip4_addr_t mask;

  own_address() {
    IP4_ADDR(&address, 10, 7, 0, 2);
    IP4_ADDR(&mask, 255, 255, 255, 0);
  }
};

void say_ready(std::string_view how) {
  std::printf("tap0 is up: http://10.7.0.2/ (%s)\n", std::string(how).c_str());
  std::fflush(stdout);
}

result<vkring::device> open_tap(const options& wanted, std::shared_ptr<vkring::buffer_pool> pool) {
  using vkring::want;
  vkring::device_config config;
  config.name = "tap0";
  config.backend = wanted.backend;
  config.addresses = {vkring::parse_ip_prefix(kernel_address).value()};
  config.wanted.offloads = vkring::wanted_offloads::all(want::off);
  if (wanted.offload != offloads::none) config.wanted.offloads.csum = want::required;
  if (wanted.offload == offloads::tso) {
    config.wanted.offloads.tso4.tx = want::required;
    config.wanted.offloads.tso6.tx = want::required;
  }
  return vkring::device::open(std::move(config), std::move(pool));
}

// lwIP and the device in one loop of one thread, without tcpip_thread and its lock.
result<void> serve_by_vkring(const options& wanted, http_server& server) {
  auto pool = vkring::buffer_pool::make();
  if (!pool) return fail(std::move(pool.error()));
  auto tap = open_tap(wanted, *pool);
  if (!tap) return fail(std::move(tap.error()));

  lwip_init();
  allocate_packets_from(pool->get());
  tap_netif interface(std::move(*tap), wanted.offload);
  const own_address own;
  if (!interface.add(own.address, own.mask) || !server.listen(port)) {
    return fail(std::errc::not_enough_memory, "lwIP", "tap0");
  }
  say_ready(interface.tap().backend());
  for (bool woken = false; !stop;) {
    const std::size_t received = interface.poll();
    sys_check_timeouts();
    interface.flush();
    // Woken for nothing that came: something else may be up.
    const vkring::queue_health health = woken && received == 0 ? interface.tap().health().front()
                                                               : vkring::queue_health{};
    if (!health.good()) return fail(std::errc::io_error, "lwip", "tap0", to_text(health));
    constexpr std::uint32_t longest = 1000;
    const std::chrono::milliseconds most(std::min(sys_timeouts_sleeptime(), longest));
    woken = received == 0 && interface.wait(most);
  }
  const auto sent = interface.tap().tx_statistics(0);
  const auto got = interface.tap().rx_statistics(0);
  const netif_counters& counters = interface.counters();
  std::printf(
      "received %llu frames, of which lwIP verified %llu; sent %llu frames with %llu kicks\n"
      "copied %llu packets; dropped %llu; refused %llu\n",
      static_cast<unsigned long long>(got.packets),
      static_cast<unsigned long long>(counters.unverified),
      static_cast<unsigned long long>(sent.packets), static_cast<unsigned long long>(sent.kicks),
      static_cast<unsigned long long>(counters.copied),
      static_cast<unsigned long long>(counters.in_pieces + counters.not_taken),
      static_cast<unsigned long long>(counters.refused));
  std::fflush(stdout);
  // lwIP has no end: what it still holds is in the pool, and nobody comes back for it.
  std::_Exit(0);
}

// The same server on lwIP's own interface, with lwIP's threads, to compare with.
result<void> serve_by_tapif(http_server& server) {
  // Its threads leave signals to this one.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int each : {SIGINT, SIGTERM}) ::sigaddset(&signals, each);
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  ::setenv("PRECONFIGURED_TAPIF", "tap0", 1);  // else it looks for ifconfig
  tcpip_init(nullptr, nullptr);
  static netif interface;
  const own_address own;
  LOCK_TCPIP_CORE();
  const bool added = netif_add(&interface, &own.address, &own.mask, nullptr, nullptr, &tapif_init,
                               &tcpip_input) != nullptr;
  if (added) {
    netif_set_default(&interface);
    netif_set_up(&interface);
  }
  const bool listens = added && server.listen(port);
  UNLOCK_TCPIP_CORE();
  if (!listens) return fail(std::errc::not_enough_memory, "lwIP", "tap0");

  auto link = vkring::net_link::open("tap0");
  if (!link) return fail(std::move(link.error()));
  auto done = link->add_address(vkring::parse_ip_prefix(kernel_address).value());
  if (done) done = link->set_up(true);
  if (!done) return done;
  say_ready("lwIP's tapif");
  while (!stop) ::sigsuspend(&before);
  std::_Exit(0);  // lwIP's threads have no end
}

int main_of(const std::vector<std::string_view>& arguments) {
  const auto wanted = parse(arguments);
  if (!wanted) return option_pairs::complain(wanted.error());
  if (wanted->help) {
    std::printf("%s", std::string(help_text()).c_str());
    return 0;
  }
  stop_on_signals();
  auto file = map(wanted->file);
  result<void> done;
  if (!file) {
    done = fail(std::move(file.error()));
  } else {
    static http_server server(*file);
    done = wanted->own_netif ? serve_by_vkring(*wanted, server) : serve_by_tapif(server);
  }
  if (!done) std::fprintf(stderr, "%s\n", done.error().message().c_str());
  return done ? 0 : 1;
}

}  // namespace
}  // namespace lwip_example

int main(int argc, char** argv) { return lwip_example::main_of({argv + 1, argv + argc}); }
