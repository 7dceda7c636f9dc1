// SPDX-License-Identifier: BSD-3-Clause
#include "statistics.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <initializer_list>
#include <span>
#include <utility>

namespace fwd {

namespace {

// Names of at most `width` characters to the left, numbers to the right.
std::string left(std::string_view text, std::size_t width) {
  std::string cell(text);
  if (cell.size() < width) cell.append(width - cell.size(), ' ');
  return cell;
}
std::string right(std::string_view text, std::size_t width) {
  std::string cell(text.size() < width ? width - text.size() : 0, ' ');
  return cell.append(text);
}
std::string right(std::uint64_t number, std::size_t width) {
  return right(std::to_string(number), width);
}
std::string fixed(double number, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, number);
  return text;
}

std::uint64_t sum(const std::vector<vkring::drop_count>& drops) {
  std::uint64_t all = 0;
  for (const vkring::drop_count& each : drops) all += each.frames;
  return all;
}

std::string quoted(std::string_view text) {
  std::string literal = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') literal += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      literal += escape;
    } else {
      literal += c;
    }
  }
  return literal + '"';
}
// Null for what there is none of.
std::string quoted_or_null(std::string_view text) { return text.empty() ? "null" : quoted(text); }

using member = std::pair<std::string_view, std::string>;
template <class Members>
std::string object_of(const Members& members) {
  std::string text = "{";
  for (const auto& [key, value] : members) {
    if (text.size() > 1) text += ',';
    text += quoted(key) + ':' + value;
  }
  return text + '}';
}
std::string object(std::initializer_list<member> members) { return object_of(members); }
template <class Range, class Convert>
std::string array(const Range& range, Convert&& convert) {
  std::string text = "[";
  for (const auto& each : range) {
    if (text.size() > 1) text += ',';
    text += convert(each);
  }
  return text + ']';
}
std::string number(std::uint64_t value) { return std::to_string(value); }

std::string json_of(const queue_report& queue) {
  std::vector<member> drops;
  for (const vkring::drop_count& each : queue.drops)
    drops.emplace_back(each.reason, number(each.frames));
  return object({{"rx_packets", number(queue.rx_packets)},
                 {"rx_bytes", number(queue.rx_bytes)},
                 {"tx_packets", number(queue.tx_packets)},
                 {"tx_bytes", number(queue.tx_bytes)},
                 {"drops", object_of(drops)},
                 {"kicks", number(queue.kicks)},
                 {"kicks_suppressed", number(queue.kicks_suppressed)},
                 {"calls", number(queue.calls)},
                 {"mode", quoted_or_null(queue.mode)},
                 {"broken", quoted_or_null(queue.broken)},
                 {"finished", object({{"checksums", number(queue.checksums)},
                                      {"gso_frames", number(queue.gso_frames)},
                                      {"gso_segments", number(queue.gso_segments)}})}});
}

std::string json_of(const vkring::feature_decision& decision) {
  return object({{"feature", quoted(decision.feature)},
                 {"offered_by", quoted(decision.offered_by)},
                 {"taken", decision.taken ? "true" : "false"},
                 {"reason", quoted(decision.reason)}});
}

std::string json_of(const port_report& port) {
  const auto convert = [](const auto& each) { return json_of(each); };
  return object({{"name", quoted(port.name)},
                 {"kind", quoted(port.kind)},
                 {"backend", quoted(port.backend)},
                 {"layout", quoted_or_null(port.layout)},
                 {"wait", quoted(port.wait)},
                 {"kernel", object({{"rx_dropped", number(port.kernel_rx_dropped)},
                                    {"tx_dropped", number(port.kernel_tx_dropped)}})},
                 {"negotiation", array(port.negotiation, convert)},
                 {"queues", array(port.queues, convert)}});
}

// The queues of a port as one.
queue_report total(const port_report& port) {
  queue_report all;
  for (const queue_report& each : port.queues) {
    all.rx_packets += each.rx_packets;
    all.rx_bytes += each.rx_bytes;
    all.tx_packets += each.tx_packets;
    all.tx_bytes += each.tx_bytes;
    for (const vkring::drop_count& drop : each.drops)
      add_drops(all.drops, drop.reason, drop.frames);
  }
  return all;
}

}  // namespace

void add_drops(std::vector<vkring::drop_count>& to, std::string_view reason, std::uint64_t frames) {
  if (frames == 0) return;
  const auto found = std::find_if(
      to.begin(), to.end(), [&](const vkring::drop_count& each) { return each.reason == reason; });
  if (found == to.end()) {
    to.push_back({reason, frames});
  } else {
    found->frames += frames;
  }
}

std::string final_table(const report& all) {
  constexpr std::size_t wide = 16;
  std::string text = "after " + fixed(all.seconds, 1) + " s\n" + left("port", 16) +
                     right("queue", 6) + right("rx packets", wide) + right("rx bytes", wide) +
                     right("tx packets", wide) + right("tx bytes", wide) + right("drops", 12) +
                     right("kicks", 12) + right("spared", 12) + right("calls", 12) + "  mode\n";
  for (const port_report& port : all.ports) {
    std::size_t index = 0;
    for (const queue_report& queue : port.queues) {
      text += left(port.name, 16) + right(index++, 6) + right(queue.rx_packets, wide) +
              right(queue.rx_bytes, wide) + right(queue.tx_packets, wide) +
              right(queue.tx_bytes, wide) + right(sum(queue.drops), 12) + right(queue.kicks, 12) +
              right(queue.kicks_suppressed, 12) + right(queue.calls, 12) + "  " +
              std::string(queue.mode.empty() ? "-" : queue.mode) + '\n';
      for (const vkring::drop_count& each : queue.drops) {
        text += "    dropped " + number(each.frames) + ": " + std::string(each.reason) + '\n';
      }
      if (queue.checksums != 0) {
        text += "    finished in software: " + number(queue.checksums) + " checksums\n";
      }
      if (queue.gso_frames != 0) {
        text += "    finished in software: " + number(queue.gso_frames) + " GSO frames into " +
                number(queue.gso_segments) + " segments\n";
      }
      if (!queue.trouble.empty()) text += "    " + queue.trouble + '\n';
    }
    if (port.kernel_rx_dropped + port.kernel_tx_dropped != 0) {
      text += "    the kernel dropped " + number(port.kernel_rx_dropped) +
              " frames in its rx and " + number(port.kernel_tx_dropped) + " in its tx direction\n";
    }
  }
  return text;
}

std::string period_table(const report& before, const report& now) {
  const double seconds = now.seconds - before.seconds;
  const auto rate = [&](std::uint64_t was, std::uint64_t is, double unit, int digits) {
    return right(fixed(static_cast<double>(is - was) / unit / std::max(seconds, 1e-9), digits), 14);
  };
  std::string text = left(fixed(now.seconds, 1) + " s", 16) + right("rx packets/s", 14) +
                     right("rx Mbit/s", 14) + right("tx packets/s", 14) + right("tx Mbit/s", 14) +
                     right("drops", 10) + '\n';
  for (std::size_t i = 0; i < now.ports.size(); ++i) {
    const queue_report was = total(before.ports[i]);
    const queue_report is = total(now.ports[i]);
    constexpr double megabit = 1e6 / 8;
    text += left(now.ports[i].name, 16) + rate(was.rx_packets, is.rx_packets, 1, 0) +
            rate(was.rx_bytes, is.rx_bytes, megabit, 1) +
            rate(was.tx_packets, is.tx_packets, 1, 0) +
            rate(was.tx_bytes, is.tx_bytes, megabit, 1) +
            right(sum(is.drops) - sum(was.drops), 10) + '\n';
  }
  return text;
}

std::string json(const report& all) {
  return object(
             {{"seconds", fixed(all.seconds, 3)},
              {"ports", array(all.ports, [](const port_report& each) { return json_of(each); })}}) +
         '\n';
}

std::string negotiation_table(const port_report& port) {
  std::string text;
  for (const vkring::feature_decision& each : port.negotiation) text += "  " + each.text() + '\n';
  return text;
}

}  // namespace fwd
