// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_PREFLIGHT_HPP
#define VKRING_KERNEL_PREFLIGHT_HPP

// What this host offers and lacks for vkring, and what to do about each thing it lacks.

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vkring/core/error.hpp"
#include "vkring/kernel/fd.hpp"
#include "vkring/kernel/kernel_version.hpp"
#include "vkring/kernel/sys.hpp"
#include "vkring/kernel/tap.hpp"
#include "vkring/kernel/vhost_abi.hpp"
#include "vkring/net/tun_offload.hpp"

namespace vkring::inline v0 {

/// One thing that was looked for.
struct finding {
  std::string item;    ///< what: `/dev/net/tun`, `CAP_NET_ADMIN`, `uso`, ...
  bool present;        ///< it is here and may be used
  std::string detail;  ///< what was found, or why not
  std::string remedy;  ///< what to do when it is missing; says so if it can be done without
};

/// How vhost-net runs the far end of the rings.
enum class vhost_worker : std::uint8_t {
  kthread,  ///< up to 6.3: a kernel thread in the owner's cgroups, not among its threads
  task,     ///< since 6.4: a thread of the owner's process, with the CPUs of the owner's caller
};

/// Whether a backend can serve rings here, and if not why not.
struct backend_verdict {
  bool usable = false;  ///< it can
  std::string reason;   ///< why not; empty if it can
};

/// What `preflight` found.
struct preflight_report {
  kernel_version kernel;                             ///< as uname says
  vhost_worker worker_model = vhost_worker::task;    ///< what vhost threads are
  std::vector<finding> findings;                     ///< in the order in which they were looked for
  std::uint16_t tun_flags = 0;                       ///< TUNGETFEATURES: tun_abi::iff
  std::optional<std::uint32_t> tun_offloads = {};    ///< tun_offload, measured on a TAP
  std::optional<std::uint64_t> vhost_features = {};  ///< VHOST_GET_FEATURES
  backend_verdict worker;                            ///< threads of this process
  backend_verdict vhost_net;                         ///< the kernel

  /// Null when nothing of that name was looked for.
  [[nodiscard]] const finding* find(std::string_view item) const noexcept {
    for (const finding& each : findings) {
      if (each.item == item) return &each;
    }
    return nullptr;
  }
};

/// What `preflight` may do.
struct preflight_options {
  /// Make a TAP for a moment: the one sure way to know that it is allowed, and its offloads.
  bool make_tap = true;
};

namespace detail {

inline constexpr unsigned vhost_version_1 = 32;
inline constexpr unsigned vhost_in_order = 35;

// struct __user_cap_header_struct and __user_cap_data_struct of capability.h, version 3.
struct capability_header {
  std::uint32_t version = 0x20080522;
  int thread = 0;  // the calling one
};
struct capability_words {
  std::uint32_t effective = 0;
  std::uint32_t permitted = 0;
  std::uint32_t inheritable = 0;
};
inline constexpr unsigned cap_net_admin = 12;
inline constexpr ino_t initial_user_namespace = 0xeffffffd;

template <class Sys>
class examination {
 public:
  explicit examination(const preflight_options& options) : options_(options) {}

  preflight_report run() {
    kernel();
    net_admin();
    tun();
    vhost();
    hugepages();
    io_uring();
    verdicts();
    return std::move(report_);
  }

 private:
  void add(std::string_view item, bool present, std::string detail, std::string_view remedy = {}) {
    report_.findings.push_back({std::string(item), present, std::move(detail),
                                present ? std::string{} : std::string(remedy)});
  }
  // An error's own hint is the remedy, its reason the detail.
  void add_missing(std::string_view item, const error& why, std::string_view remedy) {
    add(item, false, why.operation + " " + why.object + ": " + why.code.message(),
        why.hint.empty() ? remedy : std::string_view(why.hint));
  }

  void kernel() {
    utsname about{};
    if (const int reason = error_of(Sys::uname(&about)); reason != 0) {
      return add_missing("kernel", fail(reason, "uname").value(), {});
    }
    report_.kernel = parse_kernel_version(about.release);
    report_.worker_model =
        report_.kernel >= kernel_version{6, 4} ? vhost_worker::task : vhost_worker::kthread;
    add("kernel", true, about.release);
  }

  void net_admin() {
    capability_header header;
    std::array<capability_words, 2> words;
    constexpr std::uint32_t bit = 1U << cap_net_admin;
    constexpr std::string_view remedy =
        "run as root, or `setcap cap_net_admin+ep PROGRAM`, or inside `unshare -Urn`; without it "
        "only a persistent TAP works: `ip tuntap add tap0 mode tap user USER`";
    if (const int reason = error_of(Sys::capget(&header, words.data())); reason != 0) {
      return add_missing("CAP_NET_ADMIN", fail(reason, "capget").value(), remedy);
    }
    struct ::stat user {};
    const bool initial =
        Sys::stat("/proc/self/ns/user", &user) != 0 || user.st_ino == initial_user_namespace;
    has_net_admin_ = (words[0].effective & bit) != 0;
    std::string detail = has_net_admin_                    ? "effective"
                         : (words[0].permitted & bit) != 0 ? "permitted, but not effective"
                                                           : "not permitted";
    if (!initial) detail += ", in a user namespace of its own";
    add("CAP_NET_ADMIN", has_net_admin_, std::move(detail), remedy);
  }

  void tun() {
    auto node = basic_fd<Sys>::open(tun_node, O_RDWR | O_NONBLOCK, tun_node_hint);
    if (!node) {
      tun_error_ = node.error().message();
      return add_missing(tun_node, node.error(), "load the module with `modprobe tun`");
    }
    unsigned features = 0;
    const int reason = error_of(Sys::ioctl(node->get(), tun_abi::tungetfeatures, &features));
    report_.tun_flags = static_cast<std::uint16_t>(features);
    const bool enough = (features & tun_abi::iff_vnet_hdr) != 0;
    if (!enough) tun_error_ = "TUNGETFEATURES does not offer IFF_VNET_HDR";
    add(tun_node, reason == 0 && enough, "TUNGETFEATURES " + hex(features),
        "needs a kernel whose tun driver has IFF_VNET_HDR and IFF_MULTI_QUEUE");
    if (enough && options_.make_tap) {
      make_tap();
    } else if (enough && !has_net_admin_) {
      tun_error_ = "CAP_NET_ADMIN is not effective";
    }
    offload_groups();
  }

  void make_tap() {
    const auto tap = basic_tap<Sys>::open({.name = "vkprobe%d"});
    if (!tap) {
      tun_error_ = tap.error().message();
      return add_missing("TAP", tap.error(), {});
    }
    add("TAP", true, "can be made here");
    if (const auto offloads = tap->probe_offloads()) report_.tun_offloads = *offloads;
  }

  // Measured where a TAP could be made, else what kernels of this version have.
  void offload_groups() {
    struct group {
      std::string_view item;
      std::uint32_t bits;
      kernel_version since;
      std::string_view remedy;
    };
    constexpr group groups[] = {
        {"csum+tso",
         tun_offload::csum | tun_offload::tso4 | tun_offload::tso6,
         {2, 6},
         "frames arrive checksummed and one packet at a time, which is slower"},
        {"uso",
         tun_offload::uso4 | tun_offload::uso6,
         {6, 2},
         "can be done without; needs Linux 6.2 or newer"},
        {"udp-tunnel",
         tun_offload::udp_tunnel | tun_offload::udp_tunnel_csum,
         {6, 17},
         "can be done without; needs Linux 6.17 or newer"}};
    for (const group& each : groups) {
      const auto& measured = report_.tun_offloads;
      const bool present =
          measured ? (*measured & each.bits) == each.bits : report_.kernel >= each.since;
      add(each.item, present,
          measured ? "TUNSETOFFLOAD " + hex(*measured) : "by the kernel's version, not measured",
          each.remedy);
    }
  }

  void vhost() {
    constexpr std::string_view path = "/dev/vhost-net";
    auto node = basic_fd<Sys>::open(std::string(path), O_RDWR, vhost_hint);
    std::uint64_t features = 0;
    auto asked = !node ? result<int>(fail(node.error()))
                       : sys_result(retry_interrupted([&] {
                                      return Sys::ioctl(node->get(), vhost_abi::get_features, &features);
                                    }),
                                    "VHOST_GET_FEATURES", path, "it is not the vhost-net device");
    if (!asked) {
      vhost_error_ = asked.error().message();
      add_missing(path, asked.error(), "load the module with `modprobe vhost_net`");
    } else {
      report_.vhost_features = features;
      if ((features >> vhost_version_1 & 1) == 0) vhost_error_ = "it does not offer VERSION_1";
      add(path, true, "VHOST_GET_FEATURES " + hex(features));
    }
    struct ::stat module {};
    const bool loaded = Sys::stat("/sys/module/vhost_net", &module) == 0;
    add("vhost_net module", loaded || asked,
        loaded  ? "loaded"
        : asked ? "built in"
                : "not loaded",
        "`modprobe vhost_net`, on the host if this is a container or a small VM");
    if (!asked) return;
    const bool task = report_.worker_model == vhost_worker::task;
    add("vhost worker", true,
        task ? "a thread of the owner's process (6.4 and newer): it counts against its limits and "
               "inherits the CPU affinity of the thread that opens the device"
             : "a kernel thread (6.3 and older): not among the owner's threads");
    vhost_extras(node->get(), features);
  }

  // What not every kernel's vhost-net has, and how much it takes.
  void vhost_extras(int device, std::uint64_t features) {
    std::uint8_t mode = 0;
    const bool has_switch = error_of(retry_interrupted([&] {
                              return Sys::ioctl(device, vhost_abi::get_fork_from_owner, &mode);
                            })) == 0;
    add("vhost worker switch", has_switch,
        has_switch ? std::string(mode == 0 ? "kthread" : "task") + " unless asked for the other one"
                   : "VHOST_GET_FORK_FROM_OWNER is not known",
        "can be done without; Linux has it since 6.17, and some older ones");
    vhost_abi::features_array all;
    const bool has_array = error_of(retry_interrupted([&] {
                             return Sys::ioctl(device, vhost_abi::get_features_array, &all);
                           })) == 0;
    constexpr std::uint64_t tunnel_bits = 0xa;  // 65 and 67
    const std::uint64_t more = has_array ? all.words[1] : 0;
    add("vhost in-order", (features >> vhost_in_order & 1) != 0,
        "VHOST_GET_FEATURES " + hex(features), "can be done without; needs Linux 6.18 or newer");
    add("vhost udp-tunnel", (more & tunnel_bits) == tunnel_bits,
        has_array ? "VHOST_GET_FEATURES_ARRAY " + hex(more) + " beyond bit 63"
                  : "VHOST_GET_FEATURES_ARRAY is not known",
        "can be done without; needs Linux 6.17 or newer");
    auto regions = read_text("/sys/module/vhost/parameters/max_mem_regions");
    if (!regions) {
      return add_missing("vhost memory regions", regions.error(),
                         "can be done without; the kernel's default is 64");
    }
    regions->erase(std::min(regions->find('\n'), regions->size()));
    add("vhost memory regions", true, "at most " + *regions + " (max_mem_regions)");
  }

  static std::string_view vhost_hint(int reason) {
    switch (reason) {
      case ENOENT:
      case ENODEV:
      case ENXIO:
        return "load the module with `modprobe vhost_net`; a container needs --device "
               "/dev/vhost-net";
      case EACCES:
        return "needs permission to read and write it: join its group (kvm), or `chmod 0666 "
               "/dev/vhost-net`; if its mode allows it, SELinux or AppArmor forbids it";
      case EPERM:
        return "a container needs --device /dev/vhost-net";
      default:
        return {};
    }
  }

  void hugepages() {
    constexpr std::string_view remedy =
        "can be done without: normal pages are used; `echo 64 > /proc/sys/vm/nr_hugepages`";
    const auto text = read_text("/proc/meminfo");
    if (!text) return add_missing("hugepages", text.error(), remedy);
    struct ::stat mount {};
    const bool mounted = Sys::stat("/dev/hugepages", &mount) == 0;
    const unsigned long free = field(*text, "HugePages_Free:");
    add("hugepages", free > 0,
        std::to_string(free) + " free of " + std::to_string(field(*text, "HugePages_Total:")) +
            " of " + std::to_string(field(*text, "Hugepagesize:")) + " kB; /dev/hugepages " +
            (mounted ? "exists" : "does not exist (not needed)"),
        remedy);
  }

  void io_uring() {
    // With no parameters to read the call fails in any case, and how it fails tells.
    const int reason = error_of(Sys::io_uring_setup(1, nullptr));
    const bool missing = reason == ENOSYS || reason == EPERM || reason == EACCES;
    add("io_uring", !missing,
        reason == ENOSYS ? "not in this kernel"
        : missing        ? "forbidden by sysctl, seccomp or a security module"
                         : "available",
        reason == ENOSYS ? "can be done without; needs a kernel with CONFIG_IO_URING"
                         : "can be done without; `sysctl kernel.io_uring_disabled=0`, or a seccomp "
                           "profile that allows it");
  }

  void verdicts() {
    report_.worker = {tun_error_.empty(), tun_error_};
    report_.vhost_net = {vhost_error_.empty() && tun_error_.empty(),
                         vhost_error_.empty() ? tun_error_ : vhost_error_};
  }

  static result<std::string> read_text(const std::string& path) {
    auto file = basic_fd<Sys>::open(path, O_RDONLY);
    if (!file) return fail(std::move(file.error()));
    std::string text(16384, '\0');
    auto got = sys_result(
        retry_interrupted([&] { return Sys::read(file->get(), text.data(), text.size()); }), "read",
        path);
    if (!got) return fail(std::move(got.error()));
    text.resize(static_cast<std::size_t>(*got));
    return text;
  }
  // The number after `name` in a text of lines, 0 if there is none.
  static unsigned long field(std::string_view text, std::string_view name) {
    unsigned long value = 0;
    const auto at = text.find(name);
    if (at == text.npos) return value;
    const auto begin = text.find_first_not_of(' ', at + name.size());
    if (begin != text.npos) {
      std::from_chars(text.data() + begin, text.data() + text.size(), value);
    }
    return value;
  }
  static std::string hex(std::uint64_t value) {
    char digits[16];
    const auto end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
    return "0x" + std::string(digits, end);
  }

  preflight_options options_;
  preflight_report report_;
  bool has_net_admin_ = false;
  std::string tun_error_;  // why no TAP can be had, empty if one can
  std::string vhost_error_;
};

}  // namespace detail

/// Looks at everything that vkring needs or can use. Never fails: what cannot be found out is a
/// finding. Everything it opens is closed again, and a TAP that it makes is gone on return.
template <class Sys = posix>
[[nodiscard]] preflight_report preflight(const preflight_options& options = {}) {
  return detail::examination<Sys>(options).run();
}

}  // namespace vkring::inline v0

#endif  // VKRING_KERNEL_PREFLIGHT_HPP
