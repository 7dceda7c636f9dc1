// SPDX-License-Identifier: BSD-3-Clause
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "support/skip.hpp"
#include "support/tap_wire.hpp"
#include "vkring/kernel/event_fd.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/vhost_abi.hpp"

// Drivers that break the rules before a frame has gone anywhere, at the other side of vduse_net.
// The kernel's own one does not; vhost_vdpa lets a process be one.

using namespace vkring;
using namespace vkring::test;
namespace files = std::filesystem;

namespace {

constexpr std::uint64_t set_status = _IOW(vhost_abi::vhost, 0x72, std::uint8_t);
constexpr std::uint64_t set_vring_enable = _IOW(vhost_abi::vhost, 0x75, vhost_abi::vring_state);

constexpr std::size_t memory_bytes = 1 << 20;
constexpr std::uint64_t memory_at = 0x100000;  // as the device is to know it
constexpr std::uint16_t size = 256;

// Where a driver has its rings, and how it goes about them.
struct behaviour {
  std::uint64_t descriptors = memory_at;
  std::uint64_t available = memory_at + 0x2000;
  std::uint64_t used = memory_at + 0x3000;
  std::uint32_t rx_size = size;
  std::uint32_t start = 0;
  std::size_t memory_left = memory_bytes;  // of the file, by the time of the first kick
};

bool has_hostile_driver() {
  return files::exists("/dev/vduse/control") && files::exists("/sys/bus/vdpa/drivers/vhost_vdpa");
}

void write_text(const files::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  INFO(path.string() << " = " << text);
  CHECK(file.good());
}

// vduse_net, which first gets virtio_net for a driver.
class program {
 public:
  program()
      : output_(::popen(
            (std::string("timeout 60 " VKRING_PROGRAMS_DIR "/vduse_net --tap vkhostile --name ") +
             name + " 2>&1")
                .c_str(),
            "re")) {
    REQUIRE(output_ != nullptr);
    const std::string first = line();
    INFO(first);
    REQUIRE(first.find(": a driver took ") != first.npos);
  }
  program(const program&) = delete;
  program& operator=(const program&) = delete;
  ~program() {
    if (output_ != nullptr) ::pclose(output_);
  }

  // Its last line and how it ends, once nobody has its device open any more.
  std::string end() {
    std::string last;
    for (std::string next; !(next = line()).empty();) last = next;
    const int status = ::pclose(std::exchange(output_, nullptr));
    return std::to_string(WEXITSTATUS(status)) + ' ' + last.substr(0, last.find('\n'));
  }

  static constexpr const char* name = "vkhostile";

 private:
  std::string line() {
    char text[512];
    return std::fgets(text, sizeof text, output_) != nullptr ? text : "";
  }
  std::FILE* output_;
};

// The device in the hands of this process, instead of virtio_net's.
class driver {
 public:
  driver() {
    const files::path bus = "/sys/bus/vdpa";
    const files::path device = bus / "devices" / program::name;
    // Its probe may still be under way.
    REQUIRE(eventually([&] { return files::exists(device / "driver"); }));
    write_text(device / "driver_override", "vhost_vdpa");
    write_text(bus / "drivers/virtio_vdpa/unbind", program::name);
    write_text(bus / "drivers/vhost_vdpa/bind", program::name);
    for (const auto& each : files::directory_iterator(device)) {
      const std::string found = each.path().filename().string();
      if (found.find("vhost-vdpa-") == 0) path_ = "/dev/" + found;
    }
    REQUIRE(eventually([&] {
      node_ = fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
      return node_.get() >= 0;
    }));
    REQUIRE(::ftruncate(memory_.get(), memory_bytes) == 0);
  }

  // Sets it all up and kicks, and stays until the device leaves the bus, which waits for it.
  void be(const behaviour& how) {
    call(vhost_abi::set_owner, nullptr);
    std::uint64_t bits = std::uint64_t{1} << 1;
    call(vhost_abi::set_backend_features, &bits);
    status(3);
    call(vhost_abi::get_features, &bits);
    call(vhost_abi::set_features, &bits);
    status(0xb);

    void* const at =
        ::mmap(nullptr, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
    REQUIRE(at != MAP_FAILED);
    constexpr std::uint8_t update = 2, read_write = 3;
    const vhost_abi::message mapped{
        vhost_abi::iotlb_message_v2,
        0,
        {memory_at, memory_bytes, reinterpret_cast<std::uintptr_t>(at), read_write, update}};
    REQUIRE(::write(node_.get(), &mapped, sizeof mapped) == sizeof mapped);
    REQUIRE(::munmap(at, memory_bytes) == 0);

    const event_fd kick = event_fd::create().value();
    for (std::uint32_t index = 0; index != 2; ++index) {
      vhost_abi::vring_state number{index, index == 0 ? how.rx_size : size};
      call(vhost_abi::set_vring_num, &number);
      vhost_abi::vring_state start{index, how.start};
      call(vhost_abi::set_vring_base, &start);
      vhost_abi::vring_addresses places{index, 0, how.descriptors, how.used, how.available, 0};
      call(vhost_abi::set_vring_addr, &places);
      vhost_abi::vring_file kicks{index, kick.fd()};
      call(vhost_abi::set_vring_kick, &kicks);
      vhost_abi::vring_state on{index, 1};
      call(set_vring_enable, &on);
    }
    REQUIRE(::ftruncate(memory_.get(), static_cast<off_t>(how.memory_left)) == 0);
    status(0xf);
    kick.signal();
    REQUIRE(eventually([&] { return !files::exists(path_); }));
  }

 private:
  void call(std::uint64_t request, void* argument) {
    INFO(std::hex << request);
    REQUIRE(::ioctl(node_.get(), request, argument) >= 0);
  }
  void status(std::uint8_t bits) { call(set_status, &bits); }

  std::string path_;
  fd node_;
  fd memory_{::memfd_create("driver", MFD_CLOEXEC)};
};

// How vduse_net ends with such a driver.
std::string end_with(const behaviour& how) {
  program running;
  driver{}.be(how);
  return running.end();
}

}  // namespace

TEST_CASE("vduse hostile: rings that lie in no memory, or in too little, are refused by name") {
  if (!has_hostile_driver()) return skip("no VDUSE, or no vhost_vdpa");
  CHECK(end_with({.descriptors = 0x9000000}) == "1 VDUSE_IOTLB_GET_FD vkhostile: Invalid argument");
  CHECK(end_with({.available = ~std::uint64_t{1}}) ==
        "1 VDUSE_IOTLB_GET_FD vkhostile: Invalid argument");
  CHECK(end_with({.used = memory_at + memory_bytes - 8}) ==
        "1 ring 0x1ffff8: Bad address (the driver has not so much memory there)");
  CHECK(end_with({.memory_left = memory_bytes / 2}) ==
        "1 madvise 0x100000: Bad address (the driver's memory has pages that are not there)");
}

TEST_CASE("vduse hostile: rings that are none are refused by name") {
  if (!has_hostile_driver()) return skip("no VDUSE, or no vhost_vdpa");
  CHECK(end_with({.descriptors = memory_at + 8}) ==
        "1 ring 0x100008: Invalid argument (the driver has not aligned it)");
  CHECK(end_with({.rx_size = size / 2}) ==
        "1 driver tx queue: Protocol error (it is not as long as the other one)");
  CHECK(end_with({.start = 5}) ==
        "1 driver rx queue: Protocol error (it goes on with a ring that was in use)");
}

TEST_CASE("vduse hostile: buffers that are not in the lent pages are refused by name") {
  if (!has_hostile_driver()) return skip("no VDUSE, or no vhost_vdpa");
  CHECK(end_with({}) ==
        "1 VDUSE_IOTLB_GET_INFO 0x100000: Operation not supported (the driver is none of this "
        "kernel's "
        "own: bind virtio_vdpa instead of vhost_vdpa)");
}
