#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's testpmd on several ports of net_vkring, in VKRING_PROGRAMS_DIR, and ports of several queues: what
# virtio_user gets wrong there.
. "$VKRING_SOURCE_DIR/tests/support/testpmd.sh"

backend=vhost-net
[ -e /dev/vhost-net ] || backend=worker
make_netns vkpmd-a
make_netns vkpmd-b
port_a=net_vkring0,iface=tap0,netns=vkpmd-a-$$,backend=$backend
port_b=net_vkring1,iface=tap0,netns=vkpmd-b-$$,backend=$backend

# pings_to_many NETNS: to 64 stations, which the kernel spreads over the queues.
pings_to_many() {
  at "$1" ip address add 192.168.1.1/24 dev tap0
  last=65
  while [ $last -gt 1 ]; do
    at "$1" ip neighbour add 192.168.1.$last lladdr 02:00:00:00:00:02 nud permanent dev tap0
    at "$1" ping -q -c 4 -i 0.002 -W 0.01 192.168.1.$last >/dev/null
    last=$((last - 1))
  done
}
port_has() { [ "$(port_count 0 RX-packets)" = "$1" ]; }

# Testpmd polls no receive queue beyond the last transmit queue.
for queues in '1 4' '2 2'; do
  # shellcheck disable=SC2086
  set -- $queues
  echo "== 64 flows over $1 receive and $2 transmit queues of 4"
  start_testpmd "--vdev=$port_a,queues=4" -- --rxq="$1" --txq="$2" --forward-mode=rxonly
  tell start
  pings_to_many vkpmd-a
  wait_for port_has "$(kernel_count vkpmd-a tap0 tx)" || failed 'frames were lost'
  same 'sent by the kernel and received' "$(kernel_count vkpmd-a tap0 tx)" \
    "$(port_count 0 RX-packets)"
  tell stop
  stop_testpmd
done

echo '== two ports, each with its own MAC, answer what the kernel pings'
start_testpmd "--vdev=$port_a" "--vdev=$port_b" -- --forward-mode=icmpecho
tell start
for each in vkpmd-a vkpmd-b; do
  at $each ip address add 192.168.1.1/24 dev tap0
  at $each ip neighbour add 192.168.1.2 lladdr 02:00:00:00:00:02 nud permanent dev tap0
  ping_through $each 192.168.1.2
done
tell stop

echo '== a port comes and goes'
round=0
rounds=100
[ $backend = worker ] || rounds=10 # vhost-net is in virtual machines, which take ten times as long
while [ $round != $rounds ]; do
  tell 'port stop 1' 'port close 1' 'device detach net_vkring1'
  at vkpmd-b ip link show tap0 >/dev/null 2>&1 && failed "round $round: the interface stays"
  tell "port attach $port_b" 'port start 1'
  link=$(at vkpmd-b cat /sys/class/net/tap0/carrier 2>/dev/null)
  [ "$link" = 1 ] || failed "round $round: no carrier"
  round=$((round + 1))
done
stop_testpmd

offload() { at vkpmd-a ethtool -k tap0 | sed -n "s/^$1: //p"; }
for option in '' --enable-rx-cksum --enable-lro; do
  echo "== offloads: ${option:-none}"
  # shellcheck disable=SC2086
  start_testpmd "--vdev=$port_a" -- $option
  csum=on
  tso=off
  [ -n "$option" ] || csum=off
  [ "$option" != --enable-lro ] || tso=on
  same 'checksums' "$(offload tx-checksumming)" $csum
  same 'TSO' "$(offload tcp-segmentation-offload)" $tso
  stop_testpmd
done
exit 0
