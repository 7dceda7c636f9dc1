// SPDX-License-Identifier: BSD-3-Clause

// The command line of vkring-fwd. A program is no library, so its sources are part of this test.
#include "../../examples/vkring-fwd/help.cpp"
#include "../../examples/vkring-fwd/options.cpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <string_view>
#include <vector>

using namespace fwd;
using arguments = std::vector<std::string_view>;

namespace {

options parsed(const arguments& given) {
  auto done = parse(given);
  INFO((done ? std::string() : usage_text(done.error())));
  REQUIRE(done);
  return *std::move(done);
}
// The line that a wrong command line gets.
std::string complaint(const arguments& given) {
  const auto done = parse(given);
  if (done) return "no complaint";
  CHECK(is_usage(done.error()));
  return usage_text(done.error());
}
// A command line with a space between any two arguments.
arguments words(std::string_view line) {
  arguments split;
  for (std::size_t end = 0; !line.empty(); line.remove_prefix(end)) {
    end = std::min(line.find(' '), line.size());
    split.push_back(line.substr(0, end));
    end += end == line.size() ? 0 : 1;
  }
  return split;
}
// The same for one port, of a mode that one port is enough for.
std::string port_complaint(std::string_view port) {
  return complaint({"--mode", "rxonly", "--port", port});
}
tap_options parsed_tap(std::string_view port) {
  return std::get<tap_options>(parsed({"--mode", "rxonly", "--port", port}).ports.at(0));
}

}  // namespace

TEST_CASE("fwd options: the example of the contract") {
  const options o =
      parsed({"--port", "tap:name=tap0,backend=auto,queues=1,queue-size=256", "--port",
              "af_packet:iface=eth1", "--mode", "io", "--stats-period", "1", "--json", "out.json",
              "--duration", "10", "--cores", "0,1", "--wait", "adaptive"});
  REQUIRE(o.ports.size() == 2);
  CHECK(o.action == options::what::run);
  CHECK(o.mode == traffic_mode::io);
  CHECK(o.wait == wait_mode::adaptive);
  CHECK(o.stats_period == std::chrono::seconds(1));
  CHECK(o.duration == std::chrono::seconds(10));
  CHECK(o.json == "out.json");
  CHECK(o.cores == std::vector{0, 1});
  CHECK(std::get<tap_options>(o.ports[0]).name == "tap0");
  CHECK(std::get<packet_options>(o.ports[1]).iface == "eth1");
}

TEST_CASE("fwd options: every key of a tap port") {
  const tap_options tap = parsed_tap(
      "tap:name=t%d,netns=/run/netns/a,backend=worker,layout=split,queues=2,queue-size=512,"
      "mac=02:00:5e:10:00:01,mtu=9000,ip=fd00::1/64,offloads=csum+tso4-rx,mrg=off,event-idx=on,"
      "indirect=off,in-order=on,busyloop=0,buffer-size=4096,worker-cpus=0+1");
  CHECK(tap.name == "t%d");
  CHECK(tap.netns == "/run/netns/a");
  CHECK(tap.backend == vkring::backend_kind::worker);
  CHECK(tap.layout == layout_choice::split);
  CHECK(tap.queues == 2);
  CHECK(tap.queue_size == 512);
  CHECK(vkring::mac_text(tap.mac.value()) == "02:00:5e:10:00:01");
  CHECK(tap.mtu == 9000);
  CHECK(vkring::ip_text(tap.ip.value()) == "fd00::1/64");
  CHECK(tap.offloads.csum == vkring::directed_want(vkring::want::required));
  CHECK(tap.offloads.tso4 == vkring::directed_want(vkring::want::off, vkring::want::required));
  CHECK_FALSE(tap.default_offloads);
  CHECK(tap.mergeable == false);
  CHECK(tap.event_idx == true);
  CHECK(tap.indirect == false);
  CHECK(tap.in_order == true);
  CHECK(tap.busyloop == std::chrono::microseconds(0));
  CHECK(tap.buffer_size == 4096);
  CHECK(tap.worker_cpus == std::vector{0, 1});
}

TEST_CASE("fwd options: what is not given is left to the library") {
  const tap_options tap = parsed_tap("tap");
  CHECK(tap.name == "vkring%d");
  CHECK(tap.queues == 1);
  CHECK(tap.queue_size == 256);
  CHECK(tap.default_offloads);
  CHECK_FALSE(tap.mac);
  CHECK_FALSE(tap.busyloop);
  CHECK_FALSE(tap.in_order);
  CHECK(parsed({"--mode", "rxonly", "--port", "tap"}).buffer_size == 2048);
  CHECK(parsed_tap("tap:offloads=auto").default_offloads);
}

TEST_CASE("fwd options: keys of an af_packet port") {
  const options o =
      parsed({"--mode", "rxonly", "--port", "af_packet:iface=eth1,netns=a,qdisc-bypass=on"});
  const auto& packet = std::get<packet_options>(o.ports.at(0));
  CHECK(packet.netns == "a");
  CHECK(packet.qdisc_bypass);
  CHECK(port_complaint("af_packet") == "iface: an af_packet port needs one");
  CHECK(port_complaint("af_packet:iface=0123456789abcdef") ==
        "iface=0123456789abcdef: a name of 1 to 15 characters without /");
  CHECK(port_complaint("af_packet:iface=a/b") ==
        "iface=a/b: a name of 1 to 15 characters without /");
  CHECK(port_complaint("af_packet:iface=e,qdisc-bypass=yes") == "qdisc-bypass=yes: one of on off");
  CHECK(port_complaint("af_packet:iface=e,queues=2") ==
        "queues=2: unknown key; known are iface netns qdisc-bypass");
}

TEST_CASE("fwd options: the size of a queue") {
  const std::string rule = ": a split ring needs a power of two from 1 to 32768";
  for (const char* good : {"1", "2", "256", "32768"}) {
    CHECK(port_complaint("tap:queue-size=" + std::string(good)) == "no complaint");
  }
  for (const char* bad : {"100", "0", "3", "65536", "-1", "+256", "256k", "0x100", " 256", "256.0",
                          "18446744073709551617", "ring"}) {
    CHECK(port_complaint("tap:queue-size=" + std::string(bad)) ==
          "queue-size=" + std::string(bad) + rule);
  }
  // Whichever key comes first.
  CHECK(port_complaint("tap:queue-size=3,layout=packed") == "no complaint");
  CHECK(port_complaint("tap:layout=packed,queue-size=100") == "no complaint");
  CHECK(port_complaint("tap:queue-size=32769,layout=packed") ==
        "queue-size=32769: a packed ring has 1 to 32768 entries");
}

TEST_CASE("fwd options: values that are refused, by key and value alone") {
  const auto [port, line] = GENERATE(table<const char*, const char*>({
      {"tap:name=sixteen_letters_", "name=sixteen_letters_: a name has at most 15 characters"},
      {"tap:name=a/b", "name=a/b: a name has no '/', ':' or white space in it"},
      {"tap:name=%d%d", "name=%d%d: a name has at most one %d, and no other %"},
      {"tap:backend=vhost", "backend=vhost: one of auto vhost-net worker"},
      {"tap:layout=packed,backend=vhost-net",
       "layout=packed: vhost-net offers no packed ring in any Linux kernel: leave it to "
       "backend=worker"},
      {"tap:layout=ring", "layout=ring: one of split packed"},
      {"tap:queues=0", "queues=0: a number from 1 to 256"},
      {"tap:queues=257", "queues=257: a number from 1 to 256"},
      {"tap:mtu=67", "mtu=67: a number from 68 to 65521 bytes"},
      {"tap:mtu=65522", "mtu=65522: a number from 68 to 65521 bytes"},
      {"tap:mrg=1", "mrg=1: one of on off"},
      {"tap:event-idx=ON", "event-idx=ON: one of on off"},
      {"tap:indirect=no", "indirect=no: one of on off"},
      {"tap:in-order=true", "in-order=true: one of on off"},
      {"tap:busyloop=-1", "busyloop=-1: a number from 0 to 1000000 microseconds"},
      {"tap:buffer-size=63", "buffer-size=63: a number from 64 to 1048576 bytes"},
      {"tap:worker-cpus=1024",
       "worker-cpus=1024: CPU numbers from 0 to 1023, each once, with + between them"},
      {"tap:worker-cpus=0+0",
       "worker-cpus=0+0: CPU numbers from 0 to 1023, each once, with + between them"},
      {"tap:worker-cpus=0+1", "worker-cpus=0+1: at most as many as there are queue pairs: 1"},
      {"tap:ip=192.168.1.1",
       "ip=192.168.1.1: an address and its prefix length, such as 192.168.1.1/24 or fd00::1/64"},
      {"tap:queue_size=256",
       "queue_size=256: unknown key; known are name netns backend layout queues queue-size mac mtu "
       "ip offloads mrg event-idx indirect in-order busyloop buffer-size worker-cpus"},
      {"tap:name=a,queues=1,name=a", "name=a: a key may be given once"},
      {"tap:name", "name: needs a value"},
      {"tap:name=", "name=: needs a value"},
      {"tap:netns=", "netns=: needs a value"},
      {"tap:name=a,,queues=1", "--port: nothing before or after a comma"},
      {"tap:name=a,", "--port: nothing before or after a comma"},
      {"tun:name=a", "--port tun: a port is tap:KEY=VALUE,... or af_packet:KEY=VALUE,..."},
  }));
  CHECK(port_complaint(port) == line);
}

TEST_CASE("fwd options: addresses that no interface can have") {
  const std::string bad = GENERATE("02:00:5e:10:00", "01:00:5e:10:00:01", "00:00:00:00:00:00",
                                   "ff:ff:ff:ff:ff:ff", "02-00-5e-10-00-01", "x");
  CHECK(port_complaint("tap:mac=" + bad) ==
        "mac=" + bad +
            ": a unicast address, six pairs of hexadecimal digits with : between them, such as "
            "02:00:5e:10:00:01");
}

TEST_CASE("fwd options: offloads") {
  CHECK(port_complaint("tap:offloads=none") == "no complaint");
  CHECK(port_complaint("tap:offloads=csum+lro").starts_with("offloads=csum+lro: auto, none, or"));
  CHECK(port_complaint("tap:offloads=csum+csum").starts_with("offloads=csum+csum: "));
  CHECK(complaint({"--port", "tap:offloads=csum+udp-tunnel", "--port", "af_packet:iface=e"}) ==
        "offloads=udp-tunnel: -tx only, as the other port is af_packet, which cannot send such "
        "frames");
  CHECK(complaint({"--port", "tap:offloads=csum+udp-tunnel", "--port", "tap"}) == "no complaint");
}

TEST_CASE("fwd options: options that are refused") {
  constexpr struct {
    std::string_view given;
    std::string_view line;
  } refused[] = {
      {"", "--port: needs one at least, such as tap:name=tap0 or af_packet:iface=eth1"},
      {"--frobnicate", "--frobnicate: unknown option; --help lists them"},
      {"tap:name=a", "tap:name=a: unknown option; --help lists them"},
      {"--port", "--port: needs a value"},
      {"--mode", "--mode: needs a value"},
      {"--mode bridge", "--mode bridge: one of io macswap txonly rxonly icmp-echo"},
      {"--mode io --mode io", "--mode io: an option may be given once"},
      {"--wait spin", "--wait spin: one of poll interrupt adaptive"},
      {"--stats-period 0", "--stats-period 0: a number from 1 to 1000000000 seconds"},
      {"--duration 1s", "--duration 1s: a number from 1 to 1000000000 seconds"},
      {"--tx-size 41", "--tx-size 41: a number from 42 to 65535 bytes"},
      {"--rate 0", "--rate 0: a number from 1 to 1000000000 frames per second"},
      {"--cores 0,0", "--cores 0,0: CPU numbers from 0 to 1023, each once, with , between them"},
      {"--cores 0,", "--cores 0,: CPU numbers from 0 to 1023, each once, with , between them"},
      {"--port tap",
       "--mode io: forwards between ports 0 and 1, 2 and 3, ..., so it needs an even number of "
       "them"},
      {"--port tap:name=a --port tap:name=a", "name=a: another port has it already"},
      {"--port af_packet:iface=e --port af_packet:iface=e", "iface=e: another port has it already"},
      {"--port tap --port tap --tx-size 64", "--tx-size: means something with --mode txonly only"},
      {"--port tap --port tap --rate 1", "--rate: means something with --mode txonly only"},
      {"--port tap --port tap --cores 0,1,2",
       "--cores: at most as many as there are queues to receive from: 2"},
      {"--port tap:buffer-size=4096 --port tap:buffer-size=2048",
       "buffer-size=2048: all ports share their buffers, and another one has 4096"},
      {"--mode txonly --tx-size 3000 --port tap",
       "--tx-size 3000: a frame of txonly lies in one buffer, of 2048 bytes (buffer-size)"},
      {"--mode icmp-echo --port af_packet:iface=e",
       "--mode icmp-echo: for tap ports only: on a network it would answer for every address"},
  };
  CHECK(complaint({"--port", ""}) == "--port: needs a value");
  for (const auto& [given, line] : refused) {
    CAPTURE(given);
    CHECK(complaint(words(given)) == line);
  }
}

TEST_CASE("fwd options: two ports that are not the same") {
  CHECK(complaint({"--port", "tap:name=a", "--port", "tap:name=a,netns=x"}) == "no complaint");
  CHECK(complaint({"--port", "tap:name=a%d", "--port", "tap:name=a%d"}) == "no complaint");
  CHECK(complaint({"--port", "af_packet:iface=a", "--port", "tap:name=a"}) == "no complaint");
  CHECK(parsed({"--port", "tap:buffer-size=4096", "--port", "tap"}).buffer_size == 4096);
}

TEST_CASE("fwd options: help and version") {
  CHECK(parsed({"--help"}).action == options::what::help);
  CHECK(parsed({"--version"}).action == options::what::version);
  CHECK(parsed({"--mode", "rxonly", "--help", "--nonsense"}).action == options::what::help);
  for (const auto& each : main_keys) {
    CAPTURE(each.name);
    CHECK(help_text().find(each.name) != std::string_view::npos);
  }
  for (const auto& each : tap_keys) {
    CAPTURE(each.name);
    CHECK(help_text().find(std::string(each.name) + '=') != std::string_view::npos);
  }
  for (const auto& each : packet_keys) {
    CAPTURE(each.name);
    CHECK(help_text().find(std::string(each.name) + '=') != std::string_view::npos);
  }
}
