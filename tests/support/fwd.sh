# SPDX-License-Identifier: BSD-3-Clause
# What the tests of vkring-fwd share: namespaces of this process, the program under test, its counts.
# shellcheck shell=sh

set -u
[ "$(id -u)" = 0 ] || {
  echo 'skipped: needs root for network namespaces' >&2
  exit 77
}
fwd=$VKRING_PROGRAMS_DIR/vkring-fwd
start_by= # what start_fwd runs it by: nothing, or ip netns exec NAME
work=$(mktemp -d) || exit 1
spaces=
helpers=

clean_up() {
  status=$?
  trap - EXIT HUP INT PIPE TERM
  for each in $helpers; do { kill "$each" && wait "$each"; } 2>/dev/null; done
  for each in $spaces; do
    left=$(ip netns pids "$each")
    # Unquoted, as they are words.
    # shellcheck disable=SC2086
    [ -z "$left" ] || { ps -o pid,args $left >&2 && status=1; }
    ip netns del "$each" || status=1
  done
  rm -rf "$work"
  exit $status
}
trap clean_up EXIT
trap 'exit 1' HUP INT PIPE TERM

failed() {
  echo "FAILED: $*" >&2
  for each in out err json; do
    [ ! -s "$work/$each" ] || { echo "-- $each" && tail -n 30 "$work/$each"; } >&2
  done
  exit 1
}

# make_netns NAME: a namespace without IPv6, where no frame comes that a test did not ask for.
make_netns() {
  ip netns add "$1-$$" || failed "ip netns add $1"
  spaces="$spaces $1-$$"
  at "$1" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
  at "$1" ip link set lo up
}
at() { # NETNS COMMAND...
  namespace=$1-$$
  shift
  ip netns exec "$namespace" "$@"
}
# at_side NETNS COMMAND...: in the background, as process $helper, and ended by the end at the latest.
at_side() {
  namespace=$1-$$
  shift
  # Not by `at`: a function would run in a shell of its own, which is all that `kill` would end.
  ip netns exec "$namespace" "$@" >/dev/null 2>&1 &
  helper=$!
  helpers="$helpers $helper"
}
# Waits until COMMAND succeeds, ten seconds at most.
wait_for() {
  tries=200
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || return 1
    sleep 0.05
  done
}

# start_fwd ARGUMENTS...: runs it in the background, and returns once all ports are open.
start_fwd() {
  : >"$work/out"
  # Unquoted, as it may be several words.
  # shellcheck disable=SC2086
  $start_by "$fwd" --json "$work/json" "$@" >"$work/out" 2>"$work/err" &
  running=$!
  helpers="$helpers $running"
  # It says what it has opened once everything is.
  wait_for grep -q 'MTU' "$work/out" || failed "vkring-fwd $* does not start"
}
# stop_fwd STATUS [SIGNAL]: ends it, and checks how it ended.
stop_fwd() {
  [ -z "${2:-}" ] || kill "-$2" "$running"
  wait "$running"
  status=$?
  [ $status = "$1" ] || failed "ended with $status instead of $1"
  grep -q '^after .* s$' "$work/out" || failed 'no final table'
}

# count PORT MEMBER: the sum over the queues of a port.
count() { jq "[.ports[$1].queues[].$2] | add" "$work/json"; }
# kernel_count NETNS INTERFACE rx|tx: frames as the kernel counts them.
kernel_count() { at "$1" ip -s -j link show "$2" | jq ".[0].stats64.$3.packets"; }

same() { # TEXT NUMBER NUMBER
  [ "$2" = "$3" ] || failed "$1: $2, but $3"
  echo "  $1: $2"
}
# Everything that was received was sent or dropped by name, segments counted as what they came from.
check_balance() {
  same 'received = sent + dropped' "$(jq '[.ports[].queues[].rx_packets] | add' "$work/json")" \
    "$(jq '[.ports[].queues[] | .tx_packets + ([.drops[]] | add // 0)
      - .finished.gso_segments + .finished.gso_frames] | add' "$work/json")"
}

# iperf CLIENT SERVER_NETNS ADDRESS OPTIONS...: a run for each of OPTIONS, such as '--bytes 1M --reverse'.
iperf() {
  client=$1 address=$3
  at_side "$2" iperf3 --server --bind "$3"
  server=$helper
  wait_for at "$client" iperf3 --client "$address" --bytes 1 --connect-timeout 500 || failed 'iperf3'
  shift 3
  for options; do
    # shellcheck disable=SC2086
    timeout 60 ip netns exec "$client-$$" iperf3 --client "$address" $options >"$work/iperf" ||
      failed "iperf3 $options"
  done
  { kill "$server" && wait "$server"; } 2>/dev/null
}
# tcp CLIENT SERVER_NETNS ADDRESS [BYTES]: so many each way, 30M if nothing is said.
tcp() { iperf "$1" "$2" "$3" "--bytes ${4:-30M}" "--bytes ${4:-30M} --reverse"; }
ping_through() { # NETNS ADDRESS
  wait_for at "$1" ping -q -c 1 -W 1 "$2" || failed "no answer from $2"
  at "$1" ping -q -i 0.005 -c 50 "$2" | grep -q ' 0% packet loss' || failed "pings to $2 were lost"
}
