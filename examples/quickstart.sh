#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The exception path in one minute: installs what is missing, builds, and shows an outside host that
# reaches the kernel through a NIC, vkring-fwd and tap0.
#
#   outside host            this program's process              the kernel's stack
#   192.168.1.2  == veth == nic0  af_packet <-> vkring  tap0 == 192.168.1.1/24
#
# Each box is a network namespace of its own; nothing else on this machine is touched, and nothing is
# left behind. As root it needs nothing else; without root it runs in a user namespace, where packages
# have to be there already.
# Exit status: 0 all of it worked, 1 something did not, 2 this machine is not fit.
set -u

here=$(cd "$(dirname "$0")/.." && pwd) || exit 2
build=$here/build/quickstart
programs=${VKRING_PROGRAMS_DIR:-$build/examples}  # set: built already, by whoever set it
packages='cmake ninja-build g++ libexpected-dev iproute2 iperf3 iputils-ping jq'

say() { printf '\n== %s\n' "$*"; }
give_up() {
  echo "quickstart: $*" >&2
  exit 2
}

missing=
for package in $packages; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)
  [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || give_up "not installed:$missing; root can: apt-get install$missing"
  say "installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  # Unquoted, as the packages are words.
  # shellcheck disable=SC2086
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
    give_up "apt-get failed for:$missing"
fi

if [ -z "${VKRING_PROGRAMS_DIR:-}" ]; then
  say "building vkring-fwd and vkring-probe in $build"
  cmake -S "$here" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVKRING_BUILD_TESTS=OFF \
    -DVKRING_BUILD_BENCH=OFF >/dev/null || give_up "cmake failed"
  cmake --build "$build" --target vkring-fwd --target vkring-probe || give_up "the build failed"
fi

if [ "$(id -u)" != 0 ]; then
  for switch in kernel.unprivileged_userns_clone=1 user.max_user_namespaces=1000; do
    name=${switch%=*}
    value=$(cat "/proc/sys/$(echo "$name" | tr . /)" 2>/dev/null || echo 1)
    [ "$value" != 0 ] || give_up "user namespaces are off here: root can: sysctl -w $switch"
  done
  [ -r /dev/net/tun ] && [ -w /dev/net/tun ] ||
    give_up "/dev/net/tun is not open to this user; root can: chmod 0666 /dev/net/tun"
  unshare --user --map-root-user --mount --net true 2>/dev/null ||
    give_up "a user namespace was refused; root can look at:" \
      "sysctl kernel.apparmor_restrict_unprivileged_userns"
  export VKRING_PROGRAMS_DIR="$programs"
  exec unshare --user --map-root-user --mount --net --pid --fork --mount-proc \
    sh -c 'mount -t tmpfs none /run && exec "$0"' "$here/examples/quickstart.sh"
fi

# Three namespaces of our own, named after this process.
outside=vkring-outside-$$
plane=vkring-plane-$$
kernel=vkring-kernel-$$
work=$(mktemp -d) || exit 2
forwarder=
server=
clean_up() {
  trap - EXIT HUP INT PIPE TERM
  [ -z "$forwarder" ] || { kill "$forwarder" && wait "$forwarder"; } 2>/dev/null
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null
  for each in "$outside" "$plane" "$kernel"; do ip netns del "$each" 2>/dev/null; done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT PIPE TERM

failed() {
  echo "quickstart: FAILED: $*" >&2
  [ ! -f "$work/forwarder" ] || tail -n 40 "$work/forwarder" >&2
  exit 1
}
at() { # NAMESPACE COMMAND...
  namespace=$1
  shift
  ip netns exec "$namespace" "$@"
}
# Waits until COMMAND succeeds, ten seconds at most.
wait_for() {
  tries=100
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || return 1
    sleep 0.1
  done
}

say 'what this host offers (vkring-probe)'
"$programs/vkring-probe" || failed 'no backend works here'

say 'three namespaces: an outside host, a data plane with a NIC, a kernel stack'
for each in "$outside" "$plane" "$kernel"; do
  ip netns add "$each" || failed "ip netns add $each"
  # No frames but those that are asked for, so that every one can be accounted for.
  at "$each" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6' || failed "IPv6 off in $each"
  at "$each" ip link set lo up
done
at "$plane" ip link add nic0 type veth peer name wire0 netns "$outside" || failed 'veth'
at "$outside" ip address add 192.168.1.2/24 dev wire0
at "$outside" ip link set wire0 up
at "$plane" ip link set nic0 up

say 'vkring-fwd between the NIC and tap0'
set -- --port "tap:name=tap0,netns=$kernel,ip=192.168.1.1/24,queue-size=1024" \
  --port "af_packet:iface=nic0,netns=$plane" --mode io --json "$work/json"
echo "vkring-fwd $*"
"$programs/vkring-fwd" "$@" >"$work/forwarder" 2>&1 &
forwarder=$!
wait_for at "$kernel" ip link show tap0 up || failed 'tap0 did not appear'
wait_for at "$outside" ping -q -c 1 -W 1 192.168.1.1 || failed 'the kernel does not answer'

say '100 pings from outside to the kernel'
at "$outside" ping -q -i 0.01 -c 100 192.168.1.1 | tee "$work/ping"
grep -q ' 0% packet loss' "$work/ping" || failed 'pings were lost'

say 'TCP from outside into the kernel, and back (iperf3)'
# Not by `at`: a function would run in a shell of its own, which is all that `kill` would end.
ip netns exec "$kernel" iperf3 --server --bind 192.168.1.1 >"$work/server" 2>&1 &
server=$!
wait_for at "$outside" iperf3 --client 192.168.1.1 --bytes 1 --connect-timeout 500
for direction in '' --reverse; do
  # Unquoted, as it may be no word at all.
  # shellcheck disable=SC2086
  at "$outside" iperf3 --client 192.168.1.1 --time 2 --json $direction >"$work/iperf" ||
    failed "iperf3 $direction"
  jq -r --arg way "${direction:---forward}" \
    '$way + ": " + (.end.sum_received.bits_per_second / 1e7 | round / 100 | tostring) + " Gbit/s"' \
    "$work/iperf"
done
kill "$server" && wait "$server" 2>/dev/null
server=

# The kernel's counters of both interfaces, as `rx tx rx_dropped tx_dropped`, once they stand still.
kernel_counts() { # NAMESPACE INTERFACE
  before=
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    now=$(at "$1" ip -s -j link show "$2" |
      jq -r '.[0].stats64 | "\(.rx.packets) \(.tx.packets) \(.rx.dropped) \(.tx.dropped)"')
    [ "$now" != "$before" ] || break
    before=$now
    sleep 0.3
  done
  echo "$now"
}
tap_counts=$(kernel_counts "$kernel" tap0)
nic_counts=$(kernel_counts "$plane" nic0)

say 'the end of the forwarder: negotiation and statistics'
kill -INT "$forwarder"
wait "$forwarder"
status=$?
forwarder=
cat "$work/forwarder"
[ $status = 0 ] || failed "vkring-fwd ended with $status"

say 'every frame accounted for'
# Of port $1: received, sent, dropped, dropped by the kernel on the way to it.
vkring_counts() {
  jq -r --argjson port "$1" '.ports[$port] as $p | [
      ([$p.queues[].rx_packets] | add), ([$p.queues[].tx_packets] | add),
      ([$p.queues[].drops[]?] | add // 0)] | join(" ")' "$work/json"
}
balance=0
check() { # TEXT NUMBER NUMBER
  if [ "$2" = "$3" ]; then
    echo "  $1: $2"
  else
    echo "  $1: $2, but $3"
    balance=1
  fi
}
# shellcheck disable=SC2046,SC2086
{
  set -- $(vkring_counts 0) $(vkring_counts 1) $tap_counts $nic_counts
  echo "  drops in vkring: $3 at tap0, $6 at nic0; in the kernel: $9 and ${10} at tap0," \
    "${13} and ${14} at nic0"
  check 'tap0: sent by the kernel = received by vkring' "$8" "$1"
  check 'tap0: sent by vkring = received by the kernel' "$2" "$7"
  check 'nic0: received by the kernel = received by vkring' "${11}" "$4"
  check 'nic0: sent by vkring = sent by the kernel' "$5" "${12}"
  check 'tap0 to nic0: received = sent + dropped' "$1" "$(($5 + $6))"
  check 'nic0 to tap0: received = sent + dropped' "$4" "$(($2 + $3))"
}
[ $balance = 0 ] || failed 'some frames are unexplained'
say 'done: the kernel was reached through a NIC that it does not own, and no frame is unexplained'
