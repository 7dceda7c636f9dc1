#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's testpmd on a port of net_vkring and on one of DPDK's own driver, in rounds: frames of 64 bytes
# per second, as the kernel counts them at its end, with the median, the least and the most; and of each
# round the ratio to DPDK's driver. A last row is net_vkring once more: what its ratio to the first one
# strays from 1 is noise.
#
#   bench/dpdk_pmd.sh [OPTION ...] [MODE ...]
#
#   txonly           into the kernel, as many as go
#   rxonly           from the kernel, whose pktgen sends as many as go
#   io               both: what pktgen sends comes back
#
#   txonly alone unless some are named; the others need the kernel module pktgen.
#   --vm KERNEL      over vhost-net, in a virtual machine, against virtio_user. Otherwise here, and
#                    against net_tap: net_vkring has its worker then
#   --rounds N       7 unless told otherwise
#
# The thread that forwards has CPU 1, whatever serves the rings and pktgen have CPU 0. Takes the plugin
# from build/gcc-release, or VKRING_BUILD. Needs root, and Debian's dpdk-dev.
set -eu

usage() {
  echo "bench/dpdk_pmd.sh: $*" >&2
  exit 2
}
kernel= rounds=7 modes=
while [ $# != 0 ]; do
  case $1 in
    --vm | --rounds)
      [ $# -gt 1 ] || usage "$1 needs a value"
      if [ "$1" = --vm ]; then kernel=$2; else rounds=$2; fi
      shift
      ;;
    txonly | rxonly | io) modes="$modes $1" ;;
    *) usage "$1: not known; modes are txonly rxonly io" ;;
  esac
  shift
done
modes=${modes:-txonly}
case $rounds in *[!0-9]* | '' | 0) usage "--rounds $rounds: a number from 1 on" ;; esac

here=$(cd "$(dirname "$0")/.." && pwd)
plugin=${VKRING_BENCH_PLUGIN:-$(realpath "${VKRING_BUILD:-$here/build/gcc-release}")/examples/dpdk_pmd/net_vkring.so}
[ -e "$plugin" ] || usage "$plugin is not built"
testpmd=$(command -v dpdk-testpmd) || usage 'not installed: dpdk-dev'
if [ -n "$kernel" ]; then
  export VKRING_BENCH_PLUGIN="$plugin"
  set -- --with "$plugin" --with "$testpmd"
  for driver in mempool_ring net_virtio; do
    for file in /usr/lib/*/dpdk/pmds-*/librte_$driver.so.??; do set -- "$@" --with "$file"; done
  done
  # Unquoted, as the modes are words.
  # shellcheck disable=SC2086
  exec "$here/tests/vm/run" --kernel "$kernel" --memory 2048 --append hugepages=256 --seconds 1800 "$@" -- \
    "$here/bench/dpdk_pmd.sh" --rounds "$rounds" $modes
fi
[ -n "${VKRING_BENCH_NETNS:-}" ] || VKRING_BENCH_NETNS=new exec unshare --net -- "$0" --rounds "$rounds" $modes

mac=02:00:00:00:00:10
rival=net_tap memory='--no-huge -m 256'
own="--vdev=net_vkring0,iface=tap0,mac=$mac,offloads=none,worker_cpus=0,queue_size=1024"
theirs="--vdev=net_tap0,iface=tap0,mac=$mac"
if [ -e /dev/vhost-net ]; then
  rival=virtio_user memory='--in-memory -m 384'
  theirs="--vdev=virtio_user0,path=/dev/vhost-net,iface=tap0,mac=$mac,queues=1,queue_size=1024"
fi
work=$(mktemp -d)
pid=
trap 'status=$?; [ -z "$pid" ] || kill -9 "$pid"; rm -rf "$work"; exit $status' EXIT
trap 'exit 1' HUP INT PIPE TERM

wait_for() {
  tries=150
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { tail "$work/out" >&2 && usage "$row, $mode: in vain: $*"; }
    sleep 0.1
  done
}
has_carrier() { ip link show tap0 | grep -q LOWER_UP; }
exists() { grep -q tap0: /proc/net/dev; }
frames() { awk -v at="$column" '$1 == "tap0:" { print $at }' /proc/net/dev; }
flow() { [ "$(frames)" -gt 1000 ]; }

# pktgen: frames of 64 bytes into the interface, until its end.
start_pktgen() {
  echo 'add_device tap0' >/proc/net/pktgen/kpktgend_0
  for setting in 'count 0' 'clone_skb 0' 'pkt_size 64' 'delay 0' 'src_min 192.0.2.2' 'src_max 192.0.2.2' \
    'dst 192.0.2.1' 'dst_mac 02:00:00:00:00:01'; do
    echo "$setting" >/proc/net/pktgen/tap0
  done
  echo start >/proc/net/pktgen/pgctrl &
  generator=$!
}
stop_pktgen() {
  echo stop >/proc/net/pktgen/pgctrl
  wait "$generator"
  echo rem_device_all >/proc/net/pktgen/kpktgend_0
}

# measure: $row in $mode, once.
measure() {
  devices=$own
  [ "$row" != "$rival" ] || devices=$theirs
  column=3 # what the kernel has received
  [ "$mode" != rxonly ] || column=11
  # Unquoted, as they are words.
  # shellcheck disable=SC2086
  RUNTIME_DIRECTORY=$work dpdk-testpmd -l 0-1 --no-pci --no-telemetry $memory -d "$plugin" $devices -- \
    --rxd=1024 --txd=1024 --total-num-mbufs=16384 --forward-mode=$mode --stats-period 3600 --txpkts=64 \
    --eth-peer=0,$mac --tx-ip=192.0.2.1,192.0.2.2 --tx-udp=9,9 </dev/null >"$work/out" 2>&1 &
  pid=$!
  wait_for exists
  ip link set tap0 up
  wait_for has_carrier # or pktgen gives up
  [ "$mode" = txonly ] || start_pktgen
  wait_for flow
  sleep 1
  count=$(frames)
  read -r from _ </proc/uptime
  sleep 2
  count=$(($(frames) - count))
  read -r to _ </proc/uptime
  [ "$mode" = txonly ] || stop_pktgen
  kill -INT "$pid"
  wait "$pid" || usage "$row, $mode: testpmd ended with $?"
  pid=
  echo "$count $from $to" | awk '{ print $1 / ($3 - $2) }' >>"$work/$mode.$row"
}

# The median, the least and the most of what is read.
range() {
  sort -g | awk -v as="$1 [$1, $1]" '{ of[NR] = $1 }
    END { printf as, (of[int((NR + 1) / 2)] + of[int(NR / 2) + 1]) / 2, of[1], of[NR] }'
}

if [ "$modes" != txonly ] && [ "$modes" != ' txonly' ]; then
  [ -e /proc/net/pktgen ] || insmod /modules/pktgen.ko 2>/dev/null || modprobe pktgen ||
    usage 'no module pktgen'
fi
for mode in $modes; do
  round=0
  while [ $round != "$rounds" ]; do
    order="net_vkring $rival again"
    [ $((round % 2)) = 0 ] || order="again $rival net_vkring"
    for row in $order; do measure; done
    round=$((round + 1))
  done
  echo
  echo "| $mode | frames per second | of $rival |"
  echo '|---|---|---|'
  for row in "$rival" net_vkring again; do
    echo "| $row | $(range %.0f <"$work/$mode.$row") | $(paste -d ' ' "$work/$mode.$row" "$work/$mode.$rival" |
      awk '{ print $1 / $2 }' | range %.2f) |"
  done
done
