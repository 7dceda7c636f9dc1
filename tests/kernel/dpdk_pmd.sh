#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# DPDK's testpmd on ports of net_vkring, in VKRING_PROGRAMS_DIR, in its forwarding modes, and what the
# kernel's end has seen of it. On vhost-net, or on the worker where there is none.
. "$VKRING_SOURCE_DIR/tests/support/testpmd.sh"

backend=vhost-net
[ -e /dev/vhost-net ] || backend=worker
make_netns vkpmd-k
space=vkpmd-k-$$

echo '== bad arguments'
for bad in queues=0 queue_size=300 colour=red server=1 'iface=foo%d,queues=2' backend=nobody; do
  testpmd "--vdev=net_vkring0,netns=$space,$bad" -- -i --total-num-mbufs=2048 </dev/null \
    >"$work/out" 2>&1
  grep -q 'No probed ethernet devices' "$work/out" || failed "$bad was taken"
  grep -q "net_vkring0: net_vkring ${bad%%,*}: " "$work/out" || failed "nothing said about $bad"
done
[ "$(at vkpmd-k ip -br link | wc -l)" = 1 ] || failed 'an interface was left behind'

vdev=net_vkring0,iface=tap0,netns=$space,backend=$backend,mac=02:00:00:00:00:07

# The kernel's end with an address, and a neighbour that nobody has to answer for.
give_address() {
  at vkpmd-k ip address add 192.168.1.1/24 dev tap0
  at vkpmd-k ip neighbour add 192.168.1.2 lladdr 02:00:00:00:00:02 nud permanent dev tap0
}
kernel() { kernel_count vkpmd-k tap0 "$1"; }
at_least() { [ "$(kernel "$1")" -ge "$2" ]; }
stand_still() {
  before=${now-}
  now="$(kernel rx) $(kernel tx)"
  [ "$now" = "$before" ]
}
settle() {
  now=
  wait_for stand_still || failed 'traffic without end'
}
carrier() { at vkpmd-k cat /sys/class/net/tap0/carrier 2>/dev/null; }
link_is() { ask 'show port info 0' | grep -q "Link status: $1"; }

echo "== txonly, $backend"
start_testpmd "--vdev=$vdev" -- --forward-mode=txonly
give_address
link_is up || failed 'the link is not up'
tell start
wait_for at_least rx 1000 || failed 'nothing comes'
tell stop
settle
same 'sent and taken by the kernel' "$(port_count 0 TX-packets)" "$(kernel rx)"
same 'errors' "$(port_count 0 TX-errors)" 0

echo '== rxonly'
tell 'clear port stats 0' 'set fwd rxonly' start
was=$(kernel tx)
at vkpmd-k ping -q -c 100 -i 0.002 -W 1 192.168.1.2 >/dev/null
settle
same 'sent by the kernel and received' "$(port_count 0 RX-packets)" "$(($(kernel tx) - was))"
tell stop

echo '== io, macswap, csum: each frame comes back'
for mode in io macswap csum; do
  tell "set fwd $mode" 'clear port stats 0' start
  settle
  rx=$(kernel rx)
  tx=$(kernel tx)
  at vkpmd-k ping -q -c 50 -i 0.002 -W 1 192.168.1.2 >/dev/null
  settle
  same "$mode" "$(($(kernel rx) - rx))" "$(($(kernel tx) - tx))"
  tell stop
done

echo '== icmpecho: pings are answered'
tell 'set fwd icmpecho' start
ping_through vkpmd-k 192.168.1.2

echo '== link, MAC, MTU'
at vkpmd-k ip link set tap0 down
wait_for grep -q 'link state change event' "$work/out" || failed 'no interrupt of the link'
wait_for link_is down || failed 'the port does not see that the interface is down'
at vkpmd-k ip link set tap0 up
wait_for link_is up || failed 'the port does not see that the interface is up'
tell 'mac_addr set 0 02:00:00:00:00:09'
at vkpmd-k ip link show tap0 | grep -q 02:00:00:00:00:09 || failed 'the MAC is not the port'"'"'s'
tell stop 'port stop 0'
[ "$(carrier)" = 0 ] || failed 'a stopped port has a carrier'
tell 'port config mtu 0 1400' 'port start 0'
[ "$(carrier)" = 1 ] || failed 'a started port has no carrier'
at vkpmd-k ip link show tap0 | grep -q 'mtu 1400' || failed 'the MTU is not the port'"'"'s'
at vkpmd-k ip link show tap0 | grep -q 02:00:00:00:00:09 || failed 'the MAC has changed'

echo '== stopped and started'
for round in 1 2 3 4 5 6 7 8 9 10; do
  tell 'port stop 0' 'port start 0' || failed "round $round"
done
give_address 2>/dev/null
tell 'set fwd icmpecho' start
ping_through vkpmd-k 192.168.1.2
tell stop
stop_testpmd
at vkpmd-k ip link show tap0 >/dev/null 2>&1 && failed 'the interface is still there'
exit 0
