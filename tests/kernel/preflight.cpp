// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/preflight.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <string_view>

#include "support/faulty_sys.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"

// What the preflight finds on this machine, and on machines that are pretended by the syscall seam.

using namespace vkring;
using test::fault_book;
using test::faulty_sys;
using test::private_netns;
using test::skip;

namespace {

constexpr const char* no_netns = "may not make network namespaces";

const finding& found(const preflight_report& report, std::string_view item) {
  const finding* const it = report.find(item);
  INFO(item);
  REQUIRE(it != nullptr);
  return *it;
}

// In a namespace of its own, as the preflight makes a TAP.
template <class Sys>
preflight_report preflight_in(const netns& ns, const preflight_options& options = {}) {
  return ns.run([&] { return preflight<Sys>(options); }).value();
}

// A machine whose /dev/vhost-net is played by /dev/null, of a kernel of choice.
template <int Major, int Minor>
struct vhost_machine : faulty_sys {
  static int open(const char* path, int flags, mode_t mode = 0) noexcept {
    const bool vhost = std::string_view(path) == "/dev/vhost-net";
    return faulty_sys::open(vhost ? "/dev/null" : path, flags, mode);
  }
  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    if (request != 0x8008af00) return faulty_sys::ioctl(fd, request, argument);
    *static_cast<std::uint64_t*>(argument) = 0x33d008000;
    return 0;
  }
  static int uname(utsname* into) noexcept {
    std::snprintf(into->release, sizeof into->release, "%d.%d.7-test", Major, Minor);
    return 0;
  }
};

// A machine where one path cannot be opened.
template <int Reason>
struct closed_tun : faulty_sys {
  static int open(const char* path, int flags, mode_t mode = 0) noexcept {
    if (std::string_view(path) != "/dev/net/tun") return faulty_sys::open(path, flags, mode);
    errno = Reason;
    return -1;
  }
};

// A user without capabilities, who may open /dev/net/tun.
struct plain_user : faulty_sys {
  static int capget(void*, void*) noexcept { return 0; }
  static int ioctl(int fd, unsigned long request, void* argument) noexcept {
    if (request != tun_abi::tunsetiff) return faulty_sys::ioctl(fd, request, argument);
    errno = EPERM;
    return -1;
  }
};

struct no_io_uring : faulty_sys {
  static int io_uring_setup(unsigned, void*) noexcept {
    errno = EPERM;
    return -1;
  }
};

}  // namespace

TEST_CASE("preflight: this machine") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  fault_book::get().reset();
  const auto report = preflight_in<faulty_sys>(*ns);
  CHECK(fault_book::get().clean());
  CHECK(report.kernel >= kernel_version{5, 10});
  CHECK(found(report, "kernel").present);
  CHECK(found(report, "CAP_NET_ADMIN").present);
  CHECK(found(report, "/dev/net/tun").present);
  CHECK((report.tun_flags & tun_abi::iff_multi_queue) != 0);
  CHECK(found(report, "TAP").present);
  REQUIRE(report.tun_offloads);
  CHECK((*report.tun_offloads & tun_offload::csum) != 0);
  CHECK(found(report, "csum+tso").present);
  CHECK(report.worker.usable);
  CHECK(report.worker.reason.empty());
  CHECK(report.vhost_net.usable == report.vhost_features.has_value());
  CHECK(report.vhost_net.reason.empty() == report.vhost_net.usable);
  CHECK(report.find("nothing of the kind") == nullptr);
  for (const finding& each : report.findings) {
    CAPTURE(each.item, each.detail);
    CHECK_FALSE(each.detail.empty());
    CHECK(each.remedy.empty() == each.present);
  }
}

TEST_CASE("preflight: without making a TAP, offloads are told by the kernel's version") {
  fault_book::get().reset();
  const auto old = preflight<vhost_machine<6, 1>>({.make_tap = false});
  CHECK_FALSE(old.tun_offloads);
  CHECK(old.find("TAP") == nullptr);
  CHECK(found(old, "csum+tso").present);
  CHECK_FALSE(found(old, "uso").present);
  CHECK_FALSE(found(old, "udp-tunnel").present);
  CHECK(found(old, "uso").detail == "by the kernel's version, not measured");
  CHECK(found(old, "uso").remedy == "can be done without; needs Linux 6.2 or newer");
  const auto later = preflight<vhost_machine<6, 2>>({.make_tap = false});
  CHECK(found(later, "uso").present);
  CHECK_FALSE(found(later, "udp-tunnel").present);
  CHECK(found(preflight<vhost_machine<6, 17>>({.make_tap = false}), "udp-tunnel").present);
}

TEST_CASE("preflight: a machine with vhost-net") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  fault_book::get().reset();
  const auto old = preflight_in<vhost_machine<6, 3>>(*ns);
  CHECK(old.vhost_features == 0x33d008000);
  CHECK(old.vhost_net.usable);
  CHECK(found(old, "/dev/vhost-net").detail == "VHOST_GET_FEATURES 0x33d008000");
  CHECK(found(old, "vhost_net module").present);
  CHECK(old.worker_model == vhost_worker::kthread);
  CHECK(found(old, "vhost worker").detail.find("a kernel thread") == 0);
  CHECK_FALSE(found(old, "vhost worker switch").present);
  CHECK_FALSE(found(old, "vhost in-order").present);
  CHECK(found(old, "vhost udp-tunnel").detail == "VHOST_GET_FEATURES_ARRAY is not known");
  CHECK(found(old, "vhost memory regions").detail.find("max_mem_regions") != std::string::npos);
  const auto later = preflight_in<vhost_machine<6, 4>>(*ns);
  CHECK(later.worker_model == vhost_worker::task);
  CHECK(found(later, "vhost worker").detail.find("a thread of the owner's process") == 0);
  CHECK(fault_book::get().clean());
}

TEST_CASE("preflight: no /dev/net/tun, nothing works, and why") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto missing = preflight_in<closed_tun<ENOENT>>(*ns);
  CHECK_FALSE(missing.worker.usable);
  CHECK_FALSE(missing.vhost_net.usable);
  CHECK(missing.worker.reason.find("open /dev/net/tun: No such file or directory") == 0);
  CHECK(found(missing, "/dev/net/tun").detail == "open /dev/net/tun: No such file or directory");
  CHECK(found(missing, "/dev/net/tun").remedy.find("modprobe tun") != std::string::npos);
  CHECK(missing.find("TAP") == nullptr);
  const auto closed = preflight_in<closed_tun<EACCES>>(*ns);
  CHECK(found(closed, "/dev/net/tun").remedy.find("chmod 0666 /dev/net/tun") != std::string::npos);
}

TEST_CASE("preflight: a user without rights is told what he may do") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto report = preflight_in<plain_user>(*ns);
  CHECK_FALSE(found(report, "CAP_NET_ADMIN").present);
  CHECK(found(report, "CAP_NET_ADMIN").detail.find("not permitted") == 0);
  CHECK(found(report, "CAP_NET_ADMIN").remedy.find("ip tuntap add") != std::string::npos);
  CHECK(found(report, "/dev/net/tun").present);
  CHECK_FALSE(found(report, "TAP").present);
  CHECK(found(report, "TAP").remedy == "needs CAP_NET_ADMIN, or a persistent TAP that you own");
  CHECK_FALSE(report.worker.usable);
  CHECK(report.worker.reason.find("TUNSETIFF vkprobe%d: Operation not permitted") == 0);
  const auto careful = preflight_in<plain_user>(*ns, {.make_tap = false});
  CHECK_FALSE(careful.worker.usable);
  CHECK(careful.worker.reason == "CAP_NET_ADMIN is not effective");
}

TEST_CASE("preflight: a forbidden io_uring can be done without") {
  const auto report = preflight<no_io_uring>({.make_tap = false});
  CHECK_FALSE(found(report, "io_uring").present);
  CHECK(found(report, "io_uring").remedy.find("can be done without") == 0);
}

TEST_CASE("preflight: whatever call fails, it is a finding and nothing leaks") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  auto& book = fault_book::get();
  book.reset();
  static_cast<void>(preflight_in<faulty_sys>(*ns));
  const std::size_t calls = book.trace().size();
  REQUIRE(calls >= 15);
  for (std::size_t n = 1; n <= calls; ++n) {
    for (const int reason : {EPERM, EIO, ENOMEM, EMFILE}) {
      CAPTURE(n, reason);
      book.reset({.reason = reason, .nth = n});
      const auto report = preflight_in<faulty_sys>(*ns);
      CHECK(book.refused() == 1);
      CHECK(book.clean());
      CHECK(report.findings.size() >= 7);
      for (const finding& each : report.findings) CHECK_FALSE(each.detail.empty());
      CHECK(report.worker.usable == report.worker.reason.empty());
    }
  }
  book.reset();
}
