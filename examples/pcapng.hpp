// SPDX-License-Identifier: BSD-3-Clause
#ifndef PCAPNG_HPP
#define PCAPNG_HPP

// Frames into a pcapng file, each with what its header asks for as a comment.
//
// Source: draft-ietf-opsawg-pcapng.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <vkring/core/error.hpp>
#include <vkring/fmt.hpp>
#include <vkring/memory/frame.hpp>

/// A capture file, of frames with one kind of link layer. What was written is there after a crash, too, but
/// for the last few frames. One thread.
class pcapng_file {
 public:
  enum class direction : std::uint32_t { inbound = 1, outbound = 2 };

  /// Makes the file anew. Errors: what fopen and writing return.
  static vkring::result<pcapng_file> create(const std::string& path, vkring::link_layer link) {
    std::FILE* const file = std::fopen(path.c_str(), "wbe");
    if (file == nullptr) return vkring::fail(errno, "fopen", path);
    pcapng_file made(file, link);
    block section(section_header);
    section.add(byte_order).add(std::uint32_t{1}).add(~std::uint64_t{0});  // 1.0, of any length
    if (auto done = made.write(section); !done) return vkring::fail(std::move(done.error()));
    return made;
  }

  /// A queue, by the name that readers show; returns its number in the file.
  vkring::result<std::uint32_t> add_queue(std::string_view name) {
    constexpr std::uint32_t ethernet = 1, raw_ip = 101;
    constexpr std::uint16_t if_name = 2, if_tsresol = 9;
    block queue(interface_description);
    queue.add(link_ == vkring::link_layer::ethernet ? ethernet : raw_ip);
    queue.add(std::uint32_t{0});  // whole frames
    queue.option(if_name, name).option(if_tsresol, "\x09").add(std::uint32_t{0});  // nanoseconds
    if (auto done = write(queue); !done) return vkring::fail(std::move(done.error()));
    return queues_++;
  }

  /// A frame that came out of a queue, or before it is given to one.
  template <class Source>
  vkring::result<void> add(std::uint32_t queue, direction way,
                           const vkring::basic_frame<Source>& frame) {
    constexpr std::uint16_t opt_comment = 1, epb_flags = 2;
    const auto now = static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
    block packet(enhanced_packet);
    packet.add(queue);
    packet.add(static_cast<std::uint32_t>(now >> 32)).add(static_cast<std::uint32_t>(now));
    packet.add(frame.size()).add(frame.size());
    frame.for_each_segment([&](std::span<const std::byte> bytes) { packet.append(bytes); });
    packet.pad();
    if (!frame.header().is_plain()) packet.option(opt_comment, fmt::format("{}", frame.header()));
    const auto flags = static_cast<std::uint32_t>(way);
    packet.option(epb_flags, {reinterpret_cast<const char*>(&flags), sizeof flags});
    return write(packet.add(std::uint32_t{0}));
  }

  /// Makes what was written visible to others.
  vkring::result<void> flush() {
    if (std::fflush(file_.get()) != 0) return vkring::fail(errno, "write", "the capture");
    return {};
  }

 private:
  static constexpr std::uint32_t section_header = 0x0a0d0d0a;
  static constexpr std::uint32_t interface_description = 1;
  static constexpr std::uint32_t enhanced_packet = 6;
  static constexpr std::uint32_t byte_order = 0x1a2b3c4d;  // readers go by how it lies there

  // One block, without the length at its end.
  struct block {
    std::vector<std::byte> bytes;

    explicit block(std::uint32_t type) { add(type).add(std::uint32_t{0}); }
    template <class Integer>
    block& add(Integer value) {
      append(std::as_bytes(std::span(&value, 1)));
      return *this;
    }
    block& option(std::uint16_t code, std::string_view value) {
      add(code).add(static_cast<std::uint16_t>(value.size()));
      append(std::as_bytes(std::span(value)));
      pad();
      return *this;
    }
    void append(std::span<const std::byte> more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
    }
    void pad() { bytes.resize((bytes.size() + 3) / 4 * 4); }
  };

  struct closer {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };

  pcapng_file(std::FILE* file, vkring::link_layer link) : file_(file), link_(link) {}

  vkring::result<void> write(block& it) {
    const auto length = static_cast<std::uint32_t>(it.bytes.size() + sizeof(std::uint32_t));
    it.add(length);
    std::copy_n(reinterpret_cast<const std::byte*>(&length), sizeof length, it.bytes.data() + 4);
    if (std::fwrite(it.bytes.data(), 1, it.bytes.size(), file_.get()) != it.bytes.size()) {
      return vkring::fail(errno, "write", "the capture");
    }
    return {};
  }

  std::unique_ptr<std::FILE, closer> file_;
  vkring::link_layer link_;
  std::uint32_t queues_ = 0;
};

#endif  // PCAPNG_HPP
