// SPDX-License-Identifier: BSD-3-Clause
#include <grp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/faulty_sys.hpp"
#include "support/private_netns.hpp"
#include "support/skip.hpp"
#include "vkring/kernel/tap.hpp"

// Opening of TUN and TAP interfaces: what options do, and every way in which the kernel refuses.

using namespace vkring;
using test::fault_book;
using test::faulty_sys;
using test::private_netns;
using test::skip;

namespace {

constexpr const char* no_netns = "may not make network namespaces";
constexpr uid_t nobody = 65534;

int value_of(const error& e) { return e.code.value(); }

bool exists(const netns& where, const std::string& name) {
  return where
      .run([&] {
        const fd socket(::socket(AF_UNIX, SOCK_DGRAM, 0));
        tun_abi::ifreq request;
        name.copy(request.name, sizeof request.name - 1);
        return ::ioctl(socket.get(), tun_abi::siocgifindex, &request) == 0;
      })
      .value();
}

std::string path_of(const netns& where) {
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(where.fd());
}

// Runs `ip` inside a namespace without a name.
bool ip(const netns& where, const std::string& arguments) {
  return std::system(("nsenter --net=" + path_of(where) + " ip " + arguments).c_str()) == 0;
}

// What `work` returns when a forked child runs it inside `where`, where it may change user, mounts
// and whatever else is a process's own.
template <class Work>
std::string in_child(const netns& where, Work&& work) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setns(where.fd(), CLONE_NEWNET) != 0) ::_exit(1);
    const std::string said = work();
    ::_exit(::write(ends[1], said.data(), said.size()) < 0);
  }
  ::close(ends[1]);
  std::string said;
  char part[512];
  for (ssize_t got; (got = ::read(ends[0], part, sizeof part)) > 0;) {
    said.append(part, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(status == 0);
  return said;
}

std::string say(const result<tap>& opened) {
  return opened ? "opened " + opened->name() : opened.error().message();
}

// An empty /dev/net of this process's own, then the node in it: machines differ in its mode.
bool own_dev_net() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", "/dev/net", "tmpfs", 0, "mode=0755") == 0;
}
bool own_node(mode_t mode, unsigned minor_number = 200) {
  return own_dev_net() &&
         ::mknod("/dev/net/tun", S_IFCHR | 0600, ::makedev(10, minor_number)) == 0 &&
         ::chmod("/dev/net/tun", mode) == 0;
}
bool become(uid_t user, gid_t group) {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(group, group, group) == 0 &&
         ::setresuid(user, user, user) == 0;
}

}  // namespace

TEST_CASE("tap: a bad name is refused before any system call, with the rule that it breaks") {
  const std::pair<const char*, const char*> cases[] = {
      {"sixteen-letters-", "a name has at most 15 characters"},
      {"a/b", "a name has no '/', ':' or white space in it"},
      {"a b", "a name has no '/', ':' or white space in it"},
      {"a\tb", "a name has no '/', ':' or white space in it"},
      {"eth0:1", "a name has no '/', ':' or white space in it"},
      {".", "'.' and '..' are no names"},
      {"..", "'.' and '..' are no names"},
      {"a%d%d", "a name has at most one %d, and no other %"},
      {"a%s", "a name has at most one %d, and no other %"},
      {"a%", "a name has at most one %d, and no other %"},
      {"%%d", "a name has at most one %d, and no other %"},
  };
  for (const auto& [name, rule] : cases) {
    CAPTURE(name);
    fault_book::get().reset();
    const auto refused = basic_tap<faulty_sys>::open({.name = name});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message() ==
          "TUNSETIFF " + std::string(name) + ": Invalid argument (" + rule + ")");
    CHECK(fault_book::get().trace().empty());
  }
  CHECK(broken_name_rule(std::string_view("a\0b", 3)) != "");
  CHECK(broken_name_rule("").empty());
  CHECK(broken_name_rule("fifteen-letters").empty());
  CHECK(broken_name_rule("tap%d").empty());
}

TEST_CASE("tap: the kernel completes the name") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto first = tap::open({.name = "vk%dx", .netns_fd = ns->fd()}).value();
  const auto second = tap::open({.name = "vk%dx", .netns_fd = ns->fd()}).value();
  const auto unnamed = tap::open({.netns_fd = ns->fd()}).value();
  const auto tun = tap::open({.mode = tap_mode::tun, .netns_fd = ns->fd()}).value();
  const auto longest = tap::open({.name = "fifteen-letters", .netns_fd = ns->fd()}).value();
  CHECK(first.name() == "vk0x");
  CHECK(second.name() == "vk1x");
  CHECK(unnamed.name() == "tap0");
  CHECK(tun.name() == "tun0");
  CHECK(longest.name() == "fifteen-letters");
  CHECK(exists(*ns, "vk1x"));
}

TEST_CASE("tap: each option does what it says") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto flags_of = [&](tap_options options) -> int {
    options.netns_fd = ns->fd();
    return tap::open(options).value().status().value().flags;
  };
  using namespace tun_abi;
  constexpr int usual = iff_tap | iff_no_pi | iff_vnet_hdr;
  CHECK(flags_of({}) == usual);
  CHECK(flags_of({.mode = tap_mode::tun}) == ((usual & ~iff_tap) | iff_tun));
  CHECK(flags_of({.multi_queue = true}) == (usual | iff_multi_queue));
  CHECK(flags_of({.vnet_header = false}) == (usual & ~iff_vnet_hdr));
  CHECK(flags_of({.napi = true}) == (usual | iff_napi));
  CHECK((flags_of({.persist = true}) & iff_persist) != 0);

  const auto plain = tap::open({.netns_fd = ns->fd()}).value();
  CHECK(plain.header_size().value() == 12);
  CHECK((::fcntl(plain.fd(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK(::fcntl(plain.fd(), F_GETFD) == FD_CLOEXEC);
  CHECK(tap::open({.header_size = 24, .netns_fd = ns->fd()})->header_size().value() == 24);

  const auto small = tap::open({.header_size = 9, .netns_fd = ns->fd()});
  REQUIRE_FALSE(small);
  CHECK(small.error().message() ==
        "TUNSETVNETHDRSZ tap2: Invalid argument (a header has 10, 12 or 24 bytes)");
  CHECK_FALSE(exists(*ns, "tap2"));
}

TEST_CASE("tap: several queues with a %d are one interface") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  auto queues = tap::open_queues({.name = "vk%d", .netns_fd = ns->fd()}, 4).value();
  REQUIRE(queues.size() == 4);
  for (const tap& queue : queues) {
    CHECK(queue.name() == "vk0");
    CHECK(queue.index().value() == queues[0].index().value());
    CHECK(::fcntl(queue.fd(), F_GETFD) == FD_CLOEXEC);
  }
  CHECK_FALSE(exists(*ns, "vk1"));
  queues.erase(queues.begin());
  CHECK(queues[0].open_queue().value().name() == "vk0");
  queues.clear();
  CHECK_FALSE(exists(*ns, "vk0"));
}

TEST_CASE("tap: one queue more needs multi_queue") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto single = tap::open_queues({.netns_fd = ns->fd()}, 1).value();
  CHECK(single[0].open_queue().error().message() ==
        "open_queue tap0: Operation not supported (open the first queue with multi_queue)");
}

TEST_CASE("tap: an interface that does not fit is named with what it is") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto refusal = [&](tap_options options) {
    options.netns_fd = ns->fd();
    return say(tap::open(options));
  };
  const auto single = tap::open({.name = "single", .netns_fd = ns->fd()}).value();
  const auto several =
      tap::open({.name = "several", .multi_queue = true, .netns_fd = ns->fd()}).value();
  const auto tun = tap::open({.name = "ip", .mode = tap_mode::tun, .netns_fd = ns->fd()}).value();

  CHECK(refusal({.name = "single"}) ==
        "TUNSETIFF single: Device or resource busy (its only queue is in use: close the other "
        "user, or make it multi-queue)");
  CHECK(refusal({.name = "several", .multi_queue = true, .exclusive = true}) ==
        "TUNSETIFF several: Device or resource busy (it exists: choose another name, or open it "
        "without exclusive)");
  CHECK(refusal({.name = "single", .multi_queue = true}) ==
        "TUNSETIFF single: Invalid argument (it exists with a single queue: open it without "
        "multi_queue, or make it anew)");
  CHECK(refusal({.name = "several"}) ==
        "TUNSETIFF several: Invalid argument (it exists as multi-queue: open it with "
        "multi_queue)");
  CHECK(refusal({.name = "ip"}) ==
        "TUNSETIFF ip: Invalid argument (it exists as a TUN, not as a TAP: open it as what it "
        "is, or choose another name)");
  CHECK(refusal({.name = "single", .mode = tap_mode::tun}) ==
        "TUNSETIFF single: Invalid argument (it exists as a TAP, not as a TUN: open it as what "
        "it is, or choose another name)");
  CHECK(refusal({.name = "lo"}) ==
        "TUNSETIFF lo: Invalid argument (an interface of that name exists and is no TUN or TAP: "
        "choose another name)");
  CHECK(refusal({.name = "new", .exclusive = true}) == "opened new");
}

TEST_CASE("tap: more than 256 queues") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  auto queues = tap::open_queues({.netns_fd = ns->fd()}, 256).value();
  REQUIRE(queues[255].detach_queue());
  CHECK(queues[0].open_queue().error().message() ==
        "TUNSETIFF tap0: Argument list too long (it has 256 queues, attached and detached ones, "
        "and can have no more)");
  queues.pop_back();
  CHECK(queues[0].open_queue());
}

TEST_CASE("tap: a persistent interface survives close, and is attached to again") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const tap_options options{.name = "stays", .persist = true, .netns_fd = ns->fd()};
  const auto mac = tap::open(options).value().mac().value();
  REQUIRE(exists(*ns, "stays"));
  {
    tap_options again = options;
    again.persist = false;
    const auto attached = tap::open(again).value();
    CHECK(attached.mac().value() == mac);
    CHECK(attached.status().value().has(tun_abi::iff_persist));
  }
  CHECK(exists(*ns, "stays"));
  CHECK(tap::open(options).value().set_persist(false));
  CHECK_FALSE(exists(*ns, "stays"));
}

TEST_CASE("tap: from a descriptor, if it is what was asked for") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  using ftap = basic_tap<faulty_sys>;
  auto& book = fault_book::get();
  const auto hand_over = [](const auto& opened) {
    return basic_fd<faulty_sys>(faulty_sys::fcntl(opened.fd(), F_DUPFD_CLOEXEC));
  };
  const auto refusal = [&](basic_fd<faulty_sys> given, const tap_options& options) {
    const auto made = ftap::from_fd(std::move(given), options);
    return made ? "opened" : made.error().message();
  };
  {
    const auto original = tap::open({.name = "given", .netns_fd = ns->fd()}).value();
    book.reset();
    ::fcntl(original.fd(), F_SETFL, O_RDWR);
    {
      const auto mine = ftap::from_fd(hand_over(original), {.name = "given"}).value();
      CHECK(mine.name() == "given");
      CHECK(mine.header_size().value() == 12);
      CHECK((::fcntl(mine.fd(), F_GETFL) & O_NONBLOCK) != 0);
    }
    CHECK(refusal(hand_over(original), {.mode = tap_mode::tun}) ==
          "TUNGETIFF given: Invalid argument (it is a TAP: say so in mode)");
    CHECK(refusal(hand_over(original), {.name = "other"}) ==
          "TUNGETIFF given: Invalid argument (it is not other)");
    CHECK(refusal(hand_over(original), {.multi_queue = true}) ==
          "TUNGETIFF given: Invalid argument (it was opened without IFF_MULTI_QUEUE)");
    CHECK(refusal(hand_over(original), {.vnet_header = false}) ==
          "TUNGETIFF given: Invalid argument (it was opened with IFF_VNET_HDR)");
    CHECK(refusal(hand_over(original), {.name = "given%d"}) == "opened");

    const auto bare = tap::open({.vnet_header = false, .netns_fd = ns->fd()}).value();
    CHECK(refusal(hand_over(bare), {}) ==
          "TUNGETIFF tap0: Invalid argument (it was opened without IFF_VNET_HDR)");
  }
  auto with_pi = basic_fd<faulty_sys>(
      ns->run([] { return faulty_sys::open("/dev/net/tun", O_RDWR); }).value());
  tun_abi::ifreq request;
  request.flags = tun_abi::iff_tap | tun_abi::iff_vnet_hdr;
  REQUIRE(::ioctl(with_pi.get(), tun_abi::tunsetiff, &request) == 0);
  CHECK(refusal(std::move(with_pi), {}) ==
        "TUNGETIFF tap0: Invalid argument (it was opened without IFF_NO_PI)");

  basic_fd<faulty_sys> unattached(faulty_sys::open("/dev/net/tun", O_RDWR));
  const std::string number = std::to_string(unattached.get());
  CHECK(refusal(std::move(unattached), {}) ==
        "TUNGETIFF fd " + number +
            ": File descriptor in bad state (no interface is attached to it: perhaps it was "
            "deleted)");
  for (auto make : {+[] { return faulty_sys::open("/dev/null", O_RDWR); },
                    +[] { return faulty_sys::socket(AF_UNIX, SOCK_DGRAM, 0); },
                    +[] { return faulty_sys::eventfd(0, 0); }, +[] { return -1; }}) {
    const std::string text = refusal(basic_fd<faulty_sys>(make()), {});
    CAPTURE(text);
    CHECK(text.find("it is no descriptor of /dev/net/tun") != text.npos);
  }
  CHECK(book.clean());
}

TEST_CASE("tap: opened in another namespace, the caller stays where he is") {
  const auto there = private_netns();
  if (!there) return skip(no_netns);
  const auto before = test::this_netns();
  const auto opened = tap::open({.name = "vkthere", .multi_queue = true, .netns_fd = there->fd()});
  REQUIRE(opened);
  CHECK(test::this_netns() == before);
  CHECK(exists(*there, "vkthere"));
  CHECK_FALSE(exists(netns::current().value(), "vkthere"));
  CHECK(opened->netns().value().run(&test::this_netns).value() ==
        there->run(&test::this_netns).value());
  CHECK(opened->open_queue().value().index().value() == opened->index().value());

  const auto no_namespace = tap::open({.netns_fd = ::fileno(stderr)});
  REQUIRE_FALSE(no_namespace);
  CHECK(no_namespace.error().operation == "setns");
  CHECK(test::this_netns() == before);
}

TEST_CASE("tap: an interface that was moved or renamed is found again") {
  const auto here = private_netns();
  const auto there = private_netns();
  if (!here || !there) return skip(no_netns);
  const auto moved =
      basic_tap<faulty_sys>::open({.name = "moves", .multi_queue = true, .netns_fd = here->fd()})
          .value();
  REQUIRE(ip(*here, "link set dev moves netns " + path_of(*there)));
  REQUIRE(ip(*there, "link set dev moves name settled"));
  CHECK(moved.status().value().name == "settled");
  const auto index = moved.index().value();
  CHECK(index > 0);
  {
    const auto another = moved.open_queue().value();
    CHECK(another.name() == "settled");
    CHECK(another.index().value() == index);
  }

  // Whoever may not ask for the namespace looks in his own, and must not take another for it.
  fault_book::get().reset({.reason = EPERM, .request = tun_abi::tungetdevnetns, .times = 99});
  CHECK(value_of(moved.index().error()) == ENODEV);
  const auto decoy =
      tap::open({.name = "settled", .multi_queue = true, .netns_fd = here->fd()}).value();
  const auto looked = here->run([&] { return moved.index(); });
  REQUIRE_FALSE(looked);
  CHECK(looked.error().message() ==
        "SIOCGIFHWADDR settled: No such device (it is in another network namespace: needs "
        "CAP_NET_ADMIN there)");
  CHECK(value_of(here->run([&] { return moved.open_queue(); }).error()) == ENODEV);
  CHECK(there->run([&] { return moved.index(); }).value() == index);
  fault_book::get().reset();
}

TEST_CASE("tap: without rights, only an interface of one's own") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto make = [&](const char* name, std::optional<uid_t> owner, std::optional<gid_t> group) {
    return tap::open({.name = name,
                      .owner = owner,
                      .group = group,
                      .persist = true,
                      .netns_fd = ns->fd()})
        .has_value();
  };
  REQUIRE(make("mine", nobody, std::nullopt));
  REQUIRE(make("ours", std::nullopt, nobody));
  REQUIRE(make("theirs", nobody - 1, std::nullopt));
  REQUIRE(make("both", nobody, nobody - 1));

  const auto as_nobody = [&](const std::string& name) {
    return in_child(*ns, [&]() -> std::string {
      if (!own_node(0666) || !become(nobody, nobody)) return "not nobody";
      return say(tap::open({.name = name}));
    });
  };
  constexpr const char* refusal =
      ": Operation not permitted (needs CAP_NET_ADMIN, or a persistent TAP that you own)";
  CHECK(as_nobody("mine") == "opened mine");
  CHECK(as_nobody("ours") == "opened ours");
  CHECK(as_nobody("theirs") == std::string("TUNSETIFF theirs") + refusal);
  CHECK(as_nobody("both") == std::string("TUNSETIFF both") + refusal);
  CHECK(as_nobody("new") == std::string("TUNSETIFF new") + refusal);

  // What needs no more rights once attached: index, another queue, offloads.
  REQUIRE(tap::open({.name = "queues",
                     .multi_queue = true,
                     .owner = nobody,
                     .persist = true,
                     .netns_fd = ns->fd()}));
  CHECK(in_child(*ns, [&]() -> std::string {
          if (!own_node(0666) || !become(nobody, nobody)) return "not nobody";
          const auto first = tap::open({.name = "queues", .multi_queue = true});
          if (!first) return say(first);
          if (const auto second = first->open_queue(); !second) return say(second);
          if (const auto index = first->index(); !index) return index.error().message();
          if (const auto taken = first->probe_offloads(); !taken) return taken.error().message();
          return "all of it";
        }) == "all of it");
}

TEST_CASE("tap: a user namespace is enough") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const auto said = in_child(*ns, []() -> std::string {
    if (!own_node(0666) || !become(nobody, nobody)) return "not nobody";
    if (::prctl(PR_SET_DUMPABLE, 1) != 0) return "not dumpable";
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return "skip";
    return say(tap::open({}));
  });
  if (said == "skip") return skip("may not make user namespaces");
  CHECK(said == "opened tap0");
}

TEST_CASE("tap: each state of /dev/net/tun has its hint") {
  const auto ns = private_netns();
  if (!ns) return skip(no_netns);
  const std::string node = "open /dev/net/tun: ";
  CHECK(in_child(*ns,
                 []() -> std::string { return own_dev_net() ? say(tap::open({})) : "no mount"; }) ==
        node +
            "No such file or directory (load the module with `modprobe tun`, then if need "
            "be `mknod /dev/net/tun c 10 200`; a container needs --device /dev/net/tun)");
  CHECK(in_child(*ns,
                 []() -> std::string {
                   if (!own_node(0600) || !become(nobody, nobody)) return "not nobody";
                   return say(tap::open({}));
                 }) == node +
                           "Permission denied (needs permission to read and write it: `chmod 0666 "
                           "/dev/net/tun`)");
  CHECK(in_child(*ns, []() -> std::string {
          return own_node(0600, 254) ? say(tap::open({})) : "no mount";
        }) == node + "No such device (the kernel has no tun driver: load it with `modprobe tun`)");
}
