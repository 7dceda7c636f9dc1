// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/dpdk/pmd/devargs.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>
#include <utility>

// The arguments of the DPDK driver: all of them, and what is refused and how.

using namespace vkring;

namespace {

std::string refusal(std::string_view text) {
  const auto parsed = parse_devargs(text);
  return parsed ? "" : parsed.error().message();
}
bool refused(std::string_view text, std::string_view part) {
  return refusal(text).find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("devargs: none are the defaults") {
  const port_options options = parse_devargs("").value();
  CHECK(options.queues == 1);
  CHECK(options.queue_size == 256);
  CHECK(options.backend == backend_kind::automatic);
  CHECK(options.mergeable == want::preferred);
  CHECK(options.in_order == want::off);
  CHECK_FALSE(options.mac);
}

TEST_CASE("devargs: those of virtio_user, by their names") {
  const port_options options =
      parse_devargs(
          "path=/dev/vhost-net,queues=2,queue_size=1024,mac=02:00:5e:10:00:01,iface=tap7,"
          "mrg_rxbuf=1,in_order=0,packed_vq=0,speed=10000,server=0,vectorized=0,cq=0")
          .value();
  CHECK(options.path == "/dev/vhost-net");
  CHECK(options.queues == 2);
  CHECK(options.queue_size == 1024);
  CHECK(options.mac == mac_address{2, 0, 0x5e, 0x10, 0, 1});
  CHECK(options.iface == "tap7");
  CHECK(options.mergeable == want::required);
  CHECK(options.in_order == want::off);
  CHECK_FALSE(options.packed);
  CHECK(options.speed == 10000);
}

TEST_CASE("devargs: those of its own") {
  const port_options options =
      parse_devargs("backend=worker,packed_vq=1,queue_size=300,event_idx=0,busyloop=20,"
                    "worker_cpus=1+3,mtu=9000,netns=blue,persist=1,offloads=csum+tso4-rx")
          .value();
  CHECK(options.backend == backend_kind::worker);
  CHECK(options.packed);
  CHECK(options.queue_size == 300);
  CHECK(options.event_idx == want::off);
  CHECK(options.has_busyloop);
  CHECK(options.busyloop == std::chrono::microseconds(20));
  CHECK(options.worker_cpus == std::vector<int>{1, 3});
  CHECK(options.mtu == 9000);
  CHECK(options.netns == "blue");
  CHECK(options.persist);
  CHECK(options.offloads.csum == directed_want(want::required));
  CHECK(options.offloads.tso4 == directed_want(want::off, want::required));
  CHECK(options.offloads.uso == directed_want(want::off));
}

TEST_CASE("devargs: a refusal says which argument, and what is allowed") {
  for (const auto& [text, allowed] : {
           std::pair{"queues=0", "a number from 1 to 256"},
           {"queues=257", "a number from 1 to 256"},
           {"queues=1x", "a number from 1 to 256"},
           {"queue_size=300", "a power of two"},
           {"queue_size=65536", "a number from 2 to 32768"},
           {"mac=02:00:5e:10:00", "one station"},
           {"mac=01:00:5e:10:00:01", "one station"},
           {"mac=00:00:00:00:00:00", "one station"},
           {"iface=a/b", "no '/'"},
           {"iface=sixteen-letters-", "at most 15"},
           {"mrg_rxbuf=yes", "0 or 1"},
           {"speed=12345", "one of 10 100"},
           {"server=1", "only 0"},
           {"vectorized=1", "only 0"},
           {"cq=1", "only 0"},
           {"backend=vdpa", "auto, vhost-net or worker"},
           {"busyloop=-1", "a number from 0"},
           {"worker_cpus=1+1", "each once"},
           {"worker_cpus=4096", "each once"},
           {"mtu=67", "a number from 68"},
           {"persist=2", "0 or 1"},
           {"offloads=csum+warp", "udp-tunnel"},
           {"colour=red", "known are path queues"},
           {"queues", "needs a value"},
           {"queues=", "needs a value"},
       }) {
    CAPTURE(text);
    CHECK(refused(text, text));
    CHECK(refused(text, allowed));
  }
  CHECK(refused("queues=1,queues=2", "queues=2: Invalid argument (may be given once)"));
  CHECK(refused("queues=1,", "unknown"));
  CHECK(refused(",", "unknown"));
}

TEST_CASE("devargs: what does not go together") {
  CHECK(refused("iface=foo%d,queues=2", "iface=foo%d"));
  CHECK(refusal("iface=foo%d,queues=1") == "");
  CHECK(refused("packed_vq=1,backend=vhost-net", "packed_vq=1"));
  CHECK(refused("packed_vq=1,path=/dev/vhost-net", "packed_vq=1"));
  CHECK(refusal("packed_vq=1") == "");
  CHECK(refused("backend=worker,path=/dev/vhost-net", "path=/dev/vhost-net"));
  CHECK(refusal("queues=2") == "");
}
