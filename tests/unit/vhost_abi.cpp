// SPDX-License-Identifier: BSD-3-Clause
#include "vkring/kernel/vhost_abi.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <string>

namespace abi = vkring::vhost_abi;

namespace {

struct named_value {
  const char* name;
  unsigned long value;
};

}  // namespace

// From vhost_abi.c.
extern "C" const named_value uapi_vhost[];

TEST_CASE("vhost_abi: constants and layouts are those of the installed kernel headers") {
  const std::map<std::string, unsigned long> own = {
      {"VHOST_GET_FEATURES", abi::get_features},
      {"VHOST_SET_FEATURES", abi::set_features},
      {"VHOST_SET_OWNER", abi::set_owner},
      {"VHOST_RESET_OWNER", abi::reset_owner},
      {"VHOST_SET_MEM_TABLE", abi::set_mem_table},
      {"VHOST_SET_LOG_BASE", abi::set_log_base},
      {"VHOST_SET_LOG_FD", abi::set_log_fd},
      {"VHOST_SET_VRING_NUM", abi::set_vring_num},
      {"VHOST_SET_VRING_ADDR", abi::set_vring_addr},
      {"VHOST_SET_VRING_BASE", abi::set_vring_base},
      {"VHOST_GET_VRING_BASE", abi::get_vring_base},
      {"VHOST_SET_VRING_ENDIAN", abi::set_vring_endian},
      {"VHOST_GET_VRING_ENDIAN", abi::get_vring_endian},
      {"VHOST_SET_VRING_KICK", abi::set_vring_kick},
      {"VHOST_SET_VRING_CALL", abi::set_vring_call},
      {"VHOST_SET_VRING_ERR", abi::set_vring_err},
      {"VHOST_SET_VRING_BUSYLOOP_TIMEOUT", abi::set_vring_busyloop_timeout},
      {"VHOST_GET_VRING_BUSYLOOP_TIMEOUT", abi::get_vring_busyloop_timeout},
      {"VHOST_SET_BACKEND_FEATURES", abi::set_backend_features},
      {"VHOST_GET_BACKEND_FEATURES", abi::get_backend_features},
      {"VHOST_NET_SET_BACKEND", abi::net_set_backend},
      {"VHOST_GET_FEATURES_ARRAY", abi::get_features_array},
      {"VHOST_SET_FEATURES_ARRAY", abi::set_features_array},
      {"VHOST_SET_FORK_FROM_OWNER", abi::set_fork_from_owner},
      {"VHOST_GET_FORK_FROM_OWNER", abi::get_fork_from_owner},
      {"VHOST_IOTLB_MSG_V2", abi::iotlb_message_v2},
      {"sizeof addr", sizeof(abi::vring_addresses)},
      {"addr used", offsetof(abi::vring_addresses, used)},
      {"addr avail", offsetof(abi::vring_addresses, available)},
      {"sizeof region", sizeof(abi::memory_region)},
      {"region host", offsetof(abi::memory_region, host)},
      {"sizeof memory", sizeof(abi::memory_head)},
      {"sizeof message", sizeof(abi::message)},
      {"message iotlb", offsetof(abi::message, iotlb)},
      {"iotlb host", offsetof(abi::iotlb_message, host)},
      {"iotlb type", offsetof(abi::iotlb_message, type)},
  };
  std::size_t compared = 0;
  for (const named_value* each = uapi_vhost; each->name != nullptr; ++each, ++compared) {
    CAPTURE(each->name);
    REQUIRE(own.count(each->name) == 1);
    CHECK(own.at(each->name) == each->value);
  }
  CHECK(compared > 30);
}

// Newer than the headers of Debian 12.
static_assert(abi::get_features_array == 0x8008af83 && abi::set_features_array == 0x4008af83);
static_assert(abi::set_fork_from_owner == 0x4001af84 && abi::get_fork_from_owner == 0x8001af85);
