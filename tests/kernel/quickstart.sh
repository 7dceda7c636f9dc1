#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The quickstart as a user runs it, with the programs in VKRING_PROGRAMS_DIR; afterwards no network
# namespace, interface or process of its own is left.
set -u

left_behind() {
  # Named as the script names them: other tests may be running.
  ip netns list | grep -E '^vkring-(outside|plane|kernel)-' | sort
  ip -o link show | grep -c .
  pgrep -f 'netns=vkring-(kernel|plane)-|iperf3 .* 192\.168\.1\.1' | sort
}
before=$(left_behind)
"$VKRING_SOURCE_DIR/examples/quickstart.sh" </dev/null || exit 1
after=$(left_behind)
if [ "$before" != "$after" ]; then
  printf 'left behind:\n%s\nwhere there was:\n%s\n' "$after" "$before" >&2
  exit 1
fi
