#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Programs of nobody's in each of the ways of docs/unprivileged.md answer the kernel's ping. Below `as`
# stand the commands of that page.
set -u

namespace=vkring-unprivileged-$$
work=$(mktemp -d) || exit 1
program=
trap 'kill $program 2>/dev/null; ip netns del "$namespace" 2>/dev/null; rm -rf "$work"' EXIT
chmod 755 "$work"
# The folder of the build need not be open to all.
for each in tap_ping ping_given vkring-fwd tun_helper; do cp "$VKRING_PROGRAMS_DIR/$each" "$work"; done
skip() {
  echo "unprivileged: $1"
  printf 'kernel_unprivileged: %s\n' "$1" >>"${VKRING_SKIP_LOG:-/dev/null}"
  exit 77
}
[ -e /dev/net/tun ] || skip 'no /dev/net/tun'
case $(stat -c %a /dev/net/tun) in *[67]) ;; *) skip '/dev/net/tun is not for all' ;; esac

inside="ip netns exec $namespace"
new_namespace() {
  ip netns del "$namespace" 2>/dev/null
  ip netns add "$namespace" || exit 1
}
# as COMMAND: in the namespace, as whoever it says; /run is a folder of this test.
as() {
  line=$(printf '%s' "$1" | sed "s|/run/|$work/|g")
  PATH=$work:$PATH $inside sh -ec "$line"
}
# start COMMAND: likewise, and goes on.
start() {
  line=$(printf '%s' "$1" | sed "s|/run/|$work/|g; s|^|exec |")
  PATH=$work:$PATH $inside sh -c "$line" >"$work/out" 2>&1 &
  program=$!
}
# eventually COMMAND...: it succeeds within a while.
eventually() {
  tries=200
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ $tries != 0 ] || return 1
    sleep 0.1
  done
}
# check WHAT ADDRESS: whoever has it answers three echo requests.
check() {
  eventually $inside ping -c 1 -W 1 "$2" && $inside ping -c 3 -i 0.1 -W 2 "$2" >"$work/ping"
  if ! grep -qs ' 0% packet loss' "$work/ping"; then
    echo "$1: no answer from $2"
    cat "$work/out"
    exit 1
  fi
  kill "$program"
  wait "$program" 2>/dev/null
  rm "$work/ping"
  echo "$1: answers"
}

new_namespace
start 'tun_helper /run/tun0.sock tun0 10.8.0.1/24'
helper=$program
eventually test -S "$work/tun0.sock" || { cat "$work/out" && exit 1; }
as 'chown nobody /run/tun0.sock'
start 'setpriv --reuid=nobody --regid=nogroup --clear-groups ping_given /run/tun0.sock'
check 'a queue from a helper' 10.8.0.2
wait "$helper" || { echo 'the helper failed' && exit 1; }

new_namespace
as 'ip tuntap add dev tap0 mode tap user nobody vnet_hdr
ip address add 10.9.0.1/24 dev tap0
ip link set tap0 up'
start 'setpriv --reuid=nobody --regid=nogroup --clear-groups vkring-fwd --port tap:name=tap0 --mode icmp-echo'
check 'a persistent TAP' 10.9.0.7

new_namespace
start 'setpriv --bounding-set=-all,+net_admin --inh-caps=-all tap_ping'
check 'CAP_NET_ADMIN alone' 10.9.0.2

nobody='setpriv --reuid=nobody --regid=nogroup --clear-groups'
$nobody unshare --user --map-root-user true 2>/dev/null || skip 'user namespaces are not for all here'
PATH=$work:$PATH
# The network is one that only the process names.
$nobody \
  unshare --user --map-root-user --net tap_ping >"$work/out" 2>&1 &
program=$!
inside="nsenter --net=/proc/$program/ns/net"
check 'a user namespace' 10.9.0.2
