// SPDX-License-Identifier: BSD-3-Clause
#include "vdpa_bus.hpp"

#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vkring/kernel/fd.hpp>
#include <vkring/kernel/netlink.hpp>
#include <vkring/kernel/sys.hpp>

namespace vduse_net {

using vkring::fail;
using vkring::netlink_request;
using vkring::posix;
using vkring::result;

namespace {

constexpr std::uint8_t newest_version = 2;  // of the controller of generic netlink

void add_text(netlink_request& request, std::uint16_t kind, const std::string& text) {
  request.attribute(kind, std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

// The number by which this kernel knows the family "vdpa".
result<std::uint16_t> find_family(vkring::netlink& socket) {
  const genlmsghdr about{CTRL_CMD_GETFAMILY, newest_version, 0};
  netlink_request request(GENL_ID_CTRL, 0, about);
  add_text(request, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
  std::uint16_t family = 0;
  auto done = socket.exchange(
      request, "netlink family", VDPA_GENL_NAME,
      [&](const auto& header, std::span<const std::byte> body) {
        if (header.nlmsg_type != GENL_ID_CTRL || body.size() < GENL_HDRLEN) return;
        vkring::for_each_netlink_attribute(
            body.subspan(GENL_HDRLEN), [&](std::uint16_t kind, std::span<const std::byte> value) {
              if (kind != CTRL_ATTR_FAMILY_ID || value.size() != sizeof family) return;
              std::memcpy(&family, value.data(), sizeof family);
            });
      });
  if (!done) return fail(std::move(done.error()));
  if (family == 0) return fail(EBADMSG, "netlink family", VDPA_GENL_NAME);
  return family;
}

// Sends a command about the device `name` of VDUSE.
result<void> command(vdpa_command what, std::string_view operation, const std::string& name) {
  auto opened = vkring::fd::adopt(vkring::sys_result(
      posix::socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), "socket", "NETLINK_GENERIC"));
  if (!opened) return fail(std::move(opened.error()));
  vkring::netlink socket(std::move(*opened));
  const auto family = find_family(socket);
  if (!family) return fail(family.error());
  const genlmsghdr about{static_cast<std::uint8_t>(what), VDPA_GENL_VERSION, 0};
  netlink_request request(*family, 0, about);
  if (what == VDPA_CMD_DEV_NEW) add_text(request, VDPA_ATTR_MGMTDEV_DEV_NAME, "vduse");
  add_text(request, VDPA_ATTR_DEV_NAME, name);
  return socket.exchange(request, operation, name);
}

}  // namespace

result<void> attach(const std::string& name) {
  return command(VDPA_CMD_DEV_NEW, "VDPA_CMD_DEV_NEW", name);
}

result<void> detach(const std::string& name) {
  return command(VDPA_CMD_DEV_DEL, "VDPA_CMD_DEV_DEL", name);
}

}  // namespace vduse_net
