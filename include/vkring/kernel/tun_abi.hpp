// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_KERNEL_TUN_ABI_HPP
#define VKRING_KERNEL_TUN_ABI_HPP

// The kernel's numbers and structures for TUN and TAP interfaces (if_tun.h, if.h, ethtool.h).

#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>

/// Own definitions, as the kernel's headers of a distribution lag behind its kernels and clash with
/// <net/if.h>. _IOR and _IOW come from <sys/ioctl.h> and know each architecture's encoding.
namespace vkring::inline v0::tun_abi {

/// struct sock_filter and sock_fprog: a classic BPF program.
struct filter_instruction {
  std::uint16_t code;
  std::uint8_t jump_true, jump_false;
  std::uint32_t operand;
};
struct filter_program {
  unsigned short count;
  filter_instruction* instructions;
};
inline constexpr std::uint16_t bpf_load_half = 0x28;  // in network order, whatever lies there
inline constexpr std::uint16_t bpf_load_word = 0x20;
inline constexpr std::uint16_t bpf_jump_if_equal = 0x15;
inline constexpr std::uint16_t bpf_return = 0x06;

inline constexpr unsigned long tunsetiff = _IOW('T', 202, int);
inline constexpr unsigned long tunsetpersist = _IOW('T', 203, int);
inline constexpr unsigned long tunsetowner = _IOW('T', 204, int);
inline constexpr unsigned long tunsetgroup = _IOW('T', 206, int);
inline constexpr unsigned long tungetfeatures = _IOR('T', 207, unsigned);
inline constexpr unsigned long tunsetoffload = _IOW('T', 208, unsigned);
inline constexpr unsigned long tunsettxfilter = _IOW('T', 209, unsigned);
inline constexpr unsigned long tungetiff = _IOR('T', 210, unsigned);
inline constexpr unsigned long tungetsndbuf = _IOR('T', 211, int);
inline constexpr unsigned long tunsetsndbuf = _IOW('T', 212, int);
inline constexpr unsigned long tunattachfilter = _IOW('T', 213, filter_program);
inline constexpr unsigned long tundetachfilter = _IOW('T', 214, filter_program);
inline constexpr unsigned long tungetvnethdrsz = _IOR('T', 215, int);
inline constexpr unsigned long tunsetvnethdrsz = _IOW('T', 216, int);
inline constexpr unsigned long tunsetqueue = _IOW('T', 217, int);
inline constexpr unsigned long tunsetvnetle = _IOW('T', 220, int);
inline constexpr unsigned long tungetvnetle = _IOR('T', 221, int);
inline constexpr unsigned long tunsetsteeringebpf = _IOR('T', 224, int);
inline constexpr unsigned long tunsetfilterebpf = _IOR('T', 225, int);
inline constexpr unsigned long tunsetcarrier = _IOW('T', 226, int);
inline constexpr unsigned long tungetdevnetns = _IO('T', 227);
inline constexpr unsigned long siocsifhwaddr = 0x8924;
inline constexpr unsigned long siocgifhwaddr = 0x8927;
inline constexpr unsigned long siocgifindex = 0x8933;
inline constexpr unsigned long siocethtool = 0x8946;

/// Flags of TUNSETIFF, TUNGETIFF, TUNGETFEATURES and TUNSETQUEUE.
enum iff : std::uint16_t {
  iff_tun = 0x0001,
  iff_tap = 0x0002,
  iff_napi = 0x0010,
  iff_napi_frags = 0x0020,
  iff_no_carrier = 0x0040,
  iff_multi_queue = 0x0100,
  iff_attach_queue = 0x0200,
  iff_detach_queue = 0x0400,
  iff_persist = 0x0800,
  iff_no_pi = 0x1000,
  iff_one_queue = 0x2000,
  iff_vnet_hdr = 0x4000,
  iff_tun_excl = 0x8000,
};

inline constexpr std::size_t ifnamsiz = 16;
inline constexpr std::uint16_t arphrd_ether = 1;

/// struct ifreq, with the members that are used here and the size that all of them need.
struct ifreq {
  struct map {
    unsigned long start, end;
    unsigned short base;
    unsigned char irq, dma, port;
  };
  char name[ifnamsiz] = {};
  union {
    map largest = {};
    std::uint16_t flags;
    int index;
    sockaddr hardware;
    void* data;
  };
};
static_assert(sizeof(ifreq) == ifnamsiz + sizeof(ifreq::map));

inline constexpr std::size_t tx_filter_max = 256;
inline constexpr std::uint16_t tx_filter_all_multicast = 1;

/// struct tun_filter, with room for as many addresses as vkring passes.
struct tx_filter {
  std::uint16_t flags;
  std::uint16_t count;
  std::array<std::array<std::uint8_t, 6>, tx_filter_max> addresses;
};

inline constexpr std::uint32_t ethtool_gdrvinfo = 3;

/// struct ethtool_drvinfo: for a tun device, driver is "tun" and bus_info "tun" or "tap".
struct driver_info {
  std::uint32_t command = ethtool_gdrvinfo;
  char driver[32] = {};
  char version[32] = {};
  char firmware[32] = {};
  char bus_info[32] = {};
  char rest[64] = {};
};
static_assert(sizeof(driver_info) == 196);

}  // namespace vkring::inline v0::tun_abi

#endif  // VKRING_KERNEL_TUN_ABI_HPP
