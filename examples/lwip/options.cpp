// SPDX-License-Identifier: BSD-3-Clause
#include "options.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace lwip_example {

using vkring::fail;
using vkring::result;

namespace {

// Sets what `value` names. False: it names nothing.
template <class T, std::size_t N>
bool choose(T& into, std::string_view value, const std::pair<std::string_view, T> (&choices)[N]) {
  const auto* const found = std::find_if(std::begin(choices), std::end(choices),
                                         [&](const auto& each) { return each.first == value; });
  if (found == std::end(choices)) return false;
  into = found->second;
  return true;
}

struct key {
  std::string_view name;
  std::string_view allowed;
  bool (*set)(options& into, std::string_view value);
};

constexpr key keys[] = {
    {"--file", "a path",
     [](options& o, std::string_view v) {
       o.file = v;
       return !v.empty();
     }},
    {"--netif", "vkring or tapif",
     [](options& o, std::string_view v) {
       return choose(o.own_netif, v, {{"vkring", true}, {"tapif", false}});
     }},
    {"--offloads", "none, csum or tso",
     [](options& o, std::string_view v) {
       return choose(o.offload, v,
                     {{"none", offloads::none}, {"csum", offloads::csum}, {"tso", offloads::tso}});
     }},
    {"--backend", "auto, vhost-net or worker",
     [](options& o, std::string_view v) {
       return choose(o.backend, v,
                     {{"auto", vkring::backend_kind::automatic},
                      {"vhost-net", vkring::backend_kind::vhost},
                      {"worker", vkring::backend_kind::worker}});
     }},
};

}  // namespace

result<options> parse(const std::vector<std::string_view>& arguments) {
  constexpr auto invalid = std::errc::invalid_argument;
  options parsed;
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    if (name == "--help") {
      parsed.help = true;
      return parsed;
    }
    const auto* const found = std::find_if(std::begin(keys), std::end(keys),
                                           [&](const key& each) { return each.name == name; });
    if (found == std::end(keys)) return fail(invalid, name, "", "not known: see --help");
    if (i + 1 == arguments.size()) return fail(invalid, name, "", "needs a value");
    const std::string_view value = arguments[i + 1];
    if (!found->set(parsed, value)) return fail(invalid, name, value, found->allowed);
    // lwIP's own does none of them, and opens the TAP itself.
    if (!parsed.own_netif && (name == "--offloads" || name == "--backend")) {
      return fail(invalid, name, value, "not with --netif tapif");
    }
  }
  if (parsed.file.empty()) return fail(invalid, "--file", "", "needed: what to serve");
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
