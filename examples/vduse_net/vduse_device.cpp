// SPDX-License-Identifier: BSD-3-Clause
#include "vduse_device.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>
#include <vkring/kernel/sys.hpp>

namespace vduse_net {

using vkring::fail;
using vkring::feature_set;
using vkring::posix;
using vkring::result;
using vkring::retry_interrupted;
using vkring::sys_result;

namespace {

constexpr const char* control_node = "/dev/vduse/control";
constexpr std::uint32_t virtio_net_id = 1;
constexpr std::uint32_t virtqueue_alignment = 4096;
// struct virtio_net_config. No feature is offered that gives a meaning to any of its fields.
constexpr std::size_t config_bytes = 24;

std::string_view create_hint(int reason) {
  switch (reason) {
    case EINVAL:
      return "network devices need Linux 6.10";
    case EPERM:
      return "needs CAP_NET_ADMIN";
    case EEXIST:
      return "choose another name, or end the program that has it";
    default:
      return {};
  }
}

result<void> without_value(result<int> returned) {
  if (!returned) return fail(std::move(returned.error()));
  return {};
}

}  // namespace

result<vduse_device> vduse_device::create(const std::string& name, const feature_set& offered,
                                          std::uint16_t queue_size) {
  auto control =
      vkring::fd::open(control_node, O_RDWR, "load the module with `modprobe vduse`, as root");
  if (!control) return fail(std::move(control.error()));
  const auto call_control = [&](unsigned long request, void* argument, std::string_view what) {
    return without_value(sys_result(
        retry_interrupted([&] { return posix::ioctl(control->get(), request, argument); }), what,
        name, create_hint));
  };
  std::uint64_t version = 0;  // the one that all kernels have
  if (auto done = call_control(VDUSE_SET_API_VERSION, &version, "VDUSE_SET_API_VERSION"); !done) {
    return fail(std::move(done.error()));
  }
  alignas(vduse_dev_config) std::byte bytes[sizeof(vduse_dev_config) + config_bytes] = {};
  vduse_dev_config config{};
  name.copy(config.name, sizeof config.name - 1);
  config.device_id = virtio_net_id;
  config.features = offered.words()[0];
  config.vq_num = 2;
  config.vq_align = virtqueue_alignment;
  config.config_size = config_bytes;
  std::memcpy(bytes, &config, sizeof config);
  if (auto done = call_control(VDUSE_CREATE_DEV, bytes, "VDUSE_CREATE_DEV"); !done) {
    return fail(std::move(done.error()));
  }

  vduse_device made(name, std::move(*control));
  auto node = vkring::fd::open("/dev/vduse/" + name, O_RDWR | O_NONBLOCK);
  if (!node) return fail(std::move(node.error()));
  made.device_ = std::move(*node);
  for (const queue each : {queue::rx, queue::tx}) {
    vduse_vq_config about{};
    about.index = static_cast<std::uint32_t>(each);
    about.max_size = queue_size;
    if (auto done = made.call_device(VDUSE_VQ_SETUP, &about, "VDUSE_VQ_SETUP"); !done) {
      return fail(std::move(done.error()));
    }
  }
  return made;
}

vduse_device::~vduse_device() {
  if (!control_) return;  // moved from
  static_cast<void>(device_.close());
  char name[VDUSE_NAME_MAX] = {};
  name_.copy(name, sizeof name - 1);
  static_cast<void>(
      retry_interrupted([&] { return posix::ioctl(control_.get(), VDUSE_DESTROY_DEV, name); }));
}

result<std::optional<vduse_dev_request>> vduse_device::next_request() {
  vduse_dev_request request{};
  const auto got =
      retry_interrupted([&] { return posix::read(device_.get(), &request, sizeof request); });
  if (vkring::error_of(got) == EAGAIN) return std::optional<vduse_dev_request>();
  if (auto read = sys_result(got, "read", "/dev/vduse/" + name_); !read) {
    return fail(std::move(read.error()));
  }
  if (got != sizeof request) return fail(EBADMSG, "read", "/dev/vduse/" + name_);
  return std::optional(request);
}

result<void> vduse_device::answer(const vduse_dev_request& request, bool accepted) {
  vduse_dev_response response{};
  response.request_id = request.request_id;
  response.result = accepted ? VDUSE_REQ_RESULT_OK : VDUSE_REQ_RESULT_FAILED;
  auto written = sys_result(
      retry_interrupted([&] { return posix::write(device_.get(), &response, sizeof response); }),
      "write", "/dev/vduse/" + name_);
  if (!written) return fail(std::move(written.error()));
  return {};
}

result<feature_set> vduse_device::accepted() const {
  std::uint64_t bits = 0;
  if (auto done = call_device(VDUSE_DEV_GET_FEATURES, &bits, "VDUSE_DEV_GET_FEATURES"); !done) {
    return fail(std::move(done.error()));
  }
  return feature_set::from_words(bits);
}

result<vduse_vq_info> vduse_device::info(queue which) const {
  vduse_vq_info about{};
  about.index = static_cast<std::uint32_t>(which);
  if (auto done = call_device(VDUSE_VQ_GET_INFO, &about, "VDUSE_VQ_GET_INFO"); !done) {
    return fail(std::move(done.error()));
  }
  return about;
}

result<void> vduse_device::set_kick(queue which, const vkring::event_fd& kick) const {
  vduse_vq_eventfd event{static_cast<std::uint32_t>(which), kick.fd()};
  return call_device(VDUSE_VQ_SETUP_KICKFD, &event, "VDUSE_VQ_SETUP_KICKFD");
}

result<void> vduse_device::call(queue which) const {
  auto index = static_cast<std::uint32_t>(which);
  return call_device(VDUSE_VQ_INJECT_IRQ, &index, "VDUSE_VQ_INJECT_IRQ");
}

result<vkring::fd> vduse_device::file_at(std::uint64_t address, vduse_iotlb_entry& entry) const {
  entry = {};
  entry.start = entry.last = address;
  return vkring::fd::adopt(sys_result(
      retry_interrupted([&] { return posix::ioctl(device_.get(), VDUSE_IOTLB_GET_FD, &entry); }),
      "VDUSE_IOTLB_GET_FD", name_));
}

result<vduse_iova_info> vduse_device::lowest_range() const {
  vduse_iova_info about{};
  about.last = ~std::uint64_t{0};
  if (auto done = call_device(VDUSE_IOTLB_GET_INFO, &about, "VDUSE_IOTLB_GET_INFO"); !done) {
    return fail(std::move(done.error()));
  }
  return about;
}

result<void> vduse_device::lend(const vkring::region& pages) const {
  vduse_iova_umem about{};
  about.uaddr = reinterpret_cast<std::uintptr_t>(pages.bytes().data());
  about.size = pages.bytes().size();
  return call_device(VDUSE_IOTLB_REG_UMEM, &about, "VDUSE_IOTLB_REG_UMEM",
                     {ENOMEM, "raise the limit on locked memory (ulimit -l)"});
}

void vduse_device::take_back(const vkring::region& pages) const noexcept {
  vduse_iova_umem about{};
  about.size = pages.bytes().size();
  static_cast<void>(retry_interrupted(
      [&] { return posix::ioctl(device_.get(), VDUSE_IOTLB_DEREG_UMEM, &about); }));
}

result<void> vduse_device::call_device(unsigned long request, void* argument, std::string_view what,
                                       const vkring::hint_for& hint) const {
  return without_value(
      sys_result(retry_interrupted([&] { return posix::ioctl(device_.get(), request, argument); }),
                 what, name_, hint));
}

}  // namespace vduse_net
