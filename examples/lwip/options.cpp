// SPDX-License-Identifier: BSD-3-Clause
#include "options.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "option_pairs.hpp"

namespace lwip_example {

using option_pairs::usage_error;
using option_pairs::verdict;
using vkring::result;

namespace {

// Sets what `value` names, one of those that are `allowed`.
template <class T, std::size_t N>
verdict choose(T& into, std::string_view value, std::string_view allowed,
               const std::pair<std::string_view, T> (&choices)[N]) {
  const auto* const found = std::find_if(std::begin(choices), std::end(choices),
                                         [&](const auto& each) { return each.first == value; });
  if (found == std::end(choices)) return verdict(allowed);
  into = found->second;
  return {};
}

constexpr option_pairs::key<options> keys[] = {
    {"--file",
     [](options& o, std::string_view v) -> verdict {
       o.file = v;
       return v.empty() ? "a path" : "";
     }},
    {"--netif",
     [](options& o, std::string_view v) {
       return choose(o.own_netif, v, "vkring or tapif", {{"vkring", true}, {"tapif", false}});
     }},
    {"--offloads",
     [](options& o, std::string_view v) {
       return choose(o.offload, v, "none, csum or tso",
                     {{"none", offloads::none}, {"csum", offloads::csum}, {"tso", offloads::tso}});
     }},
    {"--backend",
     [](options& o, std::string_view v) {
       return choose(o.backend, v, "auto, vhost-net or worker",
                     {{"auto", vkring::backend_kind::automatic},
                      {"vhost-net", vkring::backend_kind::vhost},
                      {"worker", vkring::backend_kind::worker}});
     }},
};

}  // namespace

result<options> parse(const std::vector<std::string_view>& arguments) {
  auto parsed = option_pairs::read(keys, arguments);
  if (!parsed || parsed->help) return parsed;
  // lwIP's own does none of them, and opens the TAP itself.
  for (std::size_t i = 0; !parsed->own_netif && i < arguments.size(); i += 2) {
    if (arguments[i] == "--offloads" || arguments[i] == "--backend") {
      return usage_error(arguments[i], arguments[i + 1], "not with --netif tapif");
    }
  }
  if (parsed->file.empty()) return usage_error("--file", "", "needed: what to serve");
  return parsed;
}

std::string_view help_text() noexcept {
  return R"(lwip: a web server on the user-space TCP/IP stack lwIP, for the kernel's side of tap0

  lwip --file FILE [OPTION VALUE ...]

  --file FILE                    what GET answers with, and PUT is compared with
  --netif vkring|tapif           lwIP's interface: this example's, or lwIP's own (vkring)
  --offloads none|csum|tso       what lwIP leaves to the kernel: nothing, the checksums of TCP and UDP,
                                 or also to cut up what was sent at once (tso)
  --backend auto|vhost-net|worker

The kernel is 10.7.0.1, lwIP 10.7.0.2, until SIGINT or SIGTERM. Needs CAP_NET_ADMIN.
Exit status: 0; 1 after a failure; 2 for wrong usage.
)";
}

}  // namespace lwip_example
