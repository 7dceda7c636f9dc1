// SPDX-License-Identifier: BSD-3-Clause

// Says what this host offers to vkring, and for each missing piece what to do.
//
//   vkring-probe [--json]     exit status 0: at least one backend works; 1: none; 2: bad usage

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vkring/kernel/preflight.hpp>

namespace {

using vkring::backend_verdict;
using vkring::finding;
using vkring::preflight_report;

std::string quoted(std::string_view text) {
  std::string made = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') made += '\\';
    if (static_cast<unsigned char>(c) >= ' ') made += c;
  }
  return made + '"';
}

std::string_view worker_model(const preflight_report& found) {
  return found.worker_model == vkring::vhost_worker::task ? "task" : "kthread";
}

std::string json(const backend_verdict& verdict) {
  return std::string(R"({"usable":)") + (verdict.usable ? "true" : "false") + R"(,"reason":)" +
         quoted(verdict.reason) + '}';
}

std::string json(const preflight_report& found) {
  std::string text = R"({"kernel":")" + std::to_string(found.kernel.major) + '.' +
                     std::to_string(found.kernel.minor) + R"(","vhost_worker_model":)" +
                     quoted(worker_model(found)) + R"(,"tun_flags":)" +
                     std::to_string(found.tun_flags) + R"(,"tun_offloads":)" +
                     (found.tun_offloads ? std::to_string(*found.tun_offloads) : "null") +
                     R"(,"vhost_features":)" +
                     (found.vhost_features ? std::to_string(*found.vhost_features) : "null") +
                     R"(,"backends":{"worker":)" + json(found.worker) + R"(,"vhost-net":)" +
                     json(found.vhost_net) + R"(},"findings":[)";
  for (const finding& each : found.findings) {
    if (&each != &found.findings.front()) text += ',';
    text += R"({"item":)" + quoted(each.item) + R"(,"present":)" +
            (each.present ? "true" : "false") + R"(,"detail":)" + quoted(each.detail) +
            R"(,"remedy":)" + quoted(each.remedy) + '}';
  }
  return text + "]}\n";
}

void print(const char* name, const backend_verdict& verdict) {
  std::printf("backend %-10s %s%s%s\n", name, verdict.usable ? "works" : "does not work",
              verdict.reason.empty() ? "" : ": ", verdict.reason.c_str());
}

void print(const preflight_report& found) {
  std::size_t width = 0;
  for (const finding& each : found.findings) width = std::max(width, each.item.size());
  std::printf("kernel %u.%u; vhost-net's workers would be of the %s kind\n", found.kernel.major,
              found.kernel.minor, std::string(worker_model(found)).c_str());
  for (const finding& each : found.findings) {
    std::printf("%-*s  %-3s  %s\n", static_cast<int>(width), each.item.c_str(),
                each.present ? "yes" : "no", each.detail.c_str());
    if (!each.present && !each.remedy.empty()) {
      std::printf("%-*s       -> %s\n", static_cast<int>(width), "", each.remedy.c_str());
    }
  }
  print("worker", found.worker);
  print("vhost-net", found.vhost_net);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view option = argc > 1 ? argv[1] : "";
  if (argc > 2 || (argc == 2 && option != "--json")) {
    std::fprintf(stderr, "vkring-probe: %s: only --json is known\n", argv[argc - 1]);
    return 2;
  }
  const preflight_report found = vkring::preflight();
  if (option == "--json") {
    std::fputs(json(found).c_str(), stdout);
  } else {
    print(found);
  }
  return found.worker.usable || found.vhost_net.usable ? 0 : 1;
}
