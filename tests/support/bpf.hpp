// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_SUPPORT_BPF_HPP
#define VKRING_TESTS_SUPPORT_BPF_HPP

// BPF programs of a few instructions, for what takes a loaded one.

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <initializer_list>

#include "vkring/kernel/fd.hpp"

namespace vkring::test {

inline constexpr const char* no_bpf = "may not load BPF programs";

/// Loads a program of type SOCKET_FILTER; none when this user may not, or it is wrong.
inline fd load_socket_filter(std::initializer_list<bpf_insn> program) {
  bpf_attr attributes{};
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<std::uint64_t>(program.begin());
  attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
  attributes.license = reinterpret_cast<std::uint64_t>("BSD");
  return fd(static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes)));
}

/// A program that says `value` of every frame.
inline fd load_constant(int value) {
  return load_socket_filter({{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value},
                             {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}});
}
/// One that says what the byte at `offset` of the frame is; 0 when it is shorter.
inline fd load_byte_at(int offset) {
  return load_socket_filter({{BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0},
                             {BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, offset},
                             {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}});
}

}  // namespace vkring::test

#endif  // VKRING_TESTS_SUPPORT_BPF_HPP
