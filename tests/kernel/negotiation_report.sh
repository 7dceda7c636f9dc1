#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# What vkring-probe and vkring-fwd --json, in VKRING_PROGRAMS_DIR, say of this kernel's vhost-net: one
# and the same.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"
[ -e /dev/vhost-net ] || {
  echo 'skipped: no /dev/vhost-net' >&2
  exit 77
}

"$VKRING_PROGRAMS_DIR/vkring-probe" >"$work/out" || failed 'vkring-probe'
cat "$work/out"
for line in '^/dev/vhost-net *yes *VHOST_GET_FEATURES 0x' '^vhost worker *yes ' '^vhost worker switch ' \
  '^vhost memory regions *yes *at most [0-9]* (max_mem_regions)' '^backend vhost-net  *works$'; do
  grep -q "$line" "$work/out" || failed "vkring-probe prints no line $line"
done
"$VKRING_PROGRAMS_DIR/vkring-probe" --json >"$work/probe" || failed 'vkring-probe --json'
probed() { jq -r --arg item "$1" '.findings[] | select(.item == $item).present' "$work/probe"; }

# Kernels up to 6.3 have kernel threads.
minor=$(jq -r '.kernel | split(".") | map(tonumber) | .[0] * 100 + .[1]' "$work/probe")
model=task
[ "$minor" -ge 604 ] || model=kthread
same 'worker model' "$(jq -r .vhost_worker_model "$work/probe")" $model

make_netns vknego
in_order=off
if [ "$(probed 'vhost in-order')" = true ]; then
  in_order=on
else
  "$fwd" --mode rxonly --port "tap:name=tap0,netns=vknego-$$,backend=vhost-net,in-order=on" \
    >"$work/out" 2>"$work/err"
  same 'without in-order use' "$? $(cat "$work/err")" '2 in-order: vhost-net offers no in-order use'
fi
start_fwd --mode rxonly --port "tap:name=tap0,netns=vknego-$$,backend=vhost-net,in-order=$in_order"
stop_fwd 0 INT
negotiated() {
  jq -r --arg feature "$1" \
    '.ports[0].negotiation[] | select(.feature == $feature) | .taken' "$work/json"
}
same 'backend' "$(jq -r '.ports[0].backend' "$work/json")" vhost-net
same 'in-order' "$(negotiated in-order)" "$(probed 'vhost in-order')"
same 'uso' "$(negotiated uso)" "$(probed uso)"
same 'udp-tunnel' "$(negotiated udp-tunnel)" "$(probed 'vhost udp-tunnel')"
same 'refusals without a reason' \
  "$(jq '[.ports[0].negotiation[] | select(.taken == false and .reason == "")] | length' "$work/json")" 0
