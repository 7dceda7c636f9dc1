#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# vkring-fwd, in VKRING_PROGRAMS_DIR, between two ports: no frame is lost without a reason, whatever
# the ports can do, and whatever happens to their interfaces.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

make_netns vkfwd-o # the outside host
make_netns vkfwd-p # the NIC
make_netns vkfwd-k # the kernel's stack behind the TAP
outside=vkfwd-o plane=vkfwd-p-$$ inside=vkfwd-k-$$
mac=02:00:00:00:00:01 # of a TAP that is opened again: its neighbours remember it

echo '== a NIC and a TAP'
at vkfwd-p ip link add nic0 type veth peer name wire0 netns "vkfwd-o-$$"
at vkfwd-p ip link set nic0 up
at $outside ip address add 10.9.1.2/24 dev wire0
at $outside ip link set wire0 up
start_fwd --port "tap:name=tap0,netns=$inside,ip=10.9.1.1/24,mac=$mac,queue-size=512" \
  --port "af_packet:iface=nic0,netns=$plane" --wait adaptive
ping_through $outside 10.9.1.1
tcp $outside vkfwd-k 10.9.1.1
stop_fwd 0 INT
check_balance
same 'nic0: received' "$(count 1 rx_packets)" "$(kernel_count vkfwd-p nic0 rx)"
same 'nic0: sent' "$(count 1 tx_packets)" "$(kernel_count vkfwd-p nic0 tx)"

echo '== the same past the queueing discipline, where large frames are segmented first'
start_fwd --port "tap:name=tap0,netns=$inside,ip=10.9.1.1/24,mac=$mac" \
  --port "af_packet:iface=nic0,netns=$plane,qdisc-bypass=on"
ping_through $outside 10.9.1.1
tcp $outside vkfwd-k 10.9.1.1
stop_fwd 0 INT
check_balance
[ "$(count 1 finished.gso_frames)" -gt 0 ] || failed 'nothing was segmented'

echo '== two TAPs, one of which takes no offloads'
start_fwd --port "tap:name=tap0,netns=vkfwd-o-$$,ip=10.9.2.2/24" \
  --port "tap:name=tap0,netns=$inside,ip=10.9.2.1/24,offloads=none,queue-size=64"
ping_through $outside 10.9.2.1
tcp $outside vkfwd-k 10.9.2.1
tap_rx=$(kernel_count vkfwd-k tap0 rx)
stop_fwd 0 TERM
check_balance
same 'tap0: received by the kernel' "$(count 1 tx_packets)" "$tap_rx"
[ "$(count 1 finished.gso_frames)" -gt 0 ] || failed 'nothing was segmented'
[ "$(count 1 finished.checksums)" -gt 0 ] || failed 'no checksum was completed'

echo '== two TAPs of several queues, two threads, small rings, no indirect descriptors'
cores=0,1
[ "$(nproc)" -gt 1 ] || cores=0
start_fwd --port "tap:name=tap0,netns=vkfwd-o-$$,ip=10.9.2.2/24,queues=3,queue-size=16" \
  --port "tap:name=tap0,netns=$inside,ip=10.9.2.1/24,queues=2,indirect=off,buffer-size=4096" \
  --cores $cores --wait interrupt
ping_through $outside 10.9.2.1
tcp $outside vkfwd-k 10.9.2.1
stop_fwd 0 INT
check_balance

echo '== packed rings of any size, and a split one beside them'
start_fwd --port "tap:name=tap0,netns=vkfwd-o-$$,ip=10.9.2.2/24,layout=packed,queue-size=100,queues=2" \
  --port "tap:name=tap0,netns=$inside,ip=10.9.2.1/24,queue-size=64" --wait interrupt
ping_through $outside 10.9.2.1
tcp $outside vkfwd-k 10.9.2.1
kill -USR1 "$running"
wait_for grep -q '^tap0 queue 1 tx: packed ring of 100, driver side' "$work/out" || failed 'SIGUSR1'
stop_fwd 0 INT
check_balance
jq -e '.ports[0] | .backend == "worker" and .layout == "packed" and
  any(.negotiation[]; .feature == "packed" and .taken and .offered_by == "worker")' "$work/json" \
  >/dev/null || failed 'layout=packed'

echo '== a TAP that is down and up again'
start_fwd --port "tap:name=tap0,netns=vkfwd-o-$$,ip=10.9.2.2/24" \
  --port "tap:name=tap1,netns=$inside,ip=10.9.2.1/24"
ping_through $outside 10.9.2.1
at_side $outside ping -q -i 0.002 -w 20 10.9.2.1
pinger=$helper
at vkfwd-k ip link set tap1 down
enough=$(($(kernel_count vkfwd-o tap0 tx) + 100))
has_sent() { [ "$(kernel_count vkfwd-o tap0 tx)" -gt "$enough" ]; }
wait_for has_sent || failed 'no traffic'
at vkfwd-k ip link set tap1 up
kill "$pinger"
ping_through $outside 10.9.2.1
stop_fwd 0 INT
check_balance
# vhost-net takes frames for an interface that is down, and tells nobody.
[ "$(jq -r '.ports[1].backend' "$work/json")" = vhost-net ] ||
  [ "$(count 1 drops.interface_down)" -gt 0 ] || failed 'no frame was dropped by name'

echo '== a TAP that is deleted'
start_fwd --port "tap:name=tap0,netns=vkfwd-o-$$,ip=10.9.2.2/24" \
  --port "tap:name=tap1,netns=$inside,ip=10.9.2.1/24"
ping_through $outside 10.9.2.1
at_side $outside ping -q -i 0.002 -w 20 10.9.2.1
pinger=$helper
at vkfwd-k ip link del tap1
stop_fwd 1
kill "$pinger"
[ "$(cat "$work/err")" = 'tap1: the interface was deleted' ] || failed 'not the right message'
check_balance

echo '== a NIC that is deleted'
start_fwd --port "tap:name=tap0,netns=$inside" --port "af_packet:iface=nic0,netns=$plane"
at vkfwd-p ip link set nic0 down
at vkfwd-p ip link set nic0 up
at vkfwd-p ip link del nic0
stop_fwd 1
[ "$(cat "$work/err")" = 'nic0: the interface was deleted' ] || failed 'not the right message'

echo '== killed, and started again on a persistent TAP'
at vkfwd-k ip tuntap add tap9 mode tap
for signal in KILL INT; do
  start_fwd --mode icmp-echo --port "tap:name=tap9,netns=$inside,ip=10.9.3.1/24"
  ping_through vkfwd-k 10.9.3.7
  kill "-$signal" "$running"
  wait "$running" 2>/dev/null
done
check_balance
at vkfwd-k ip link show tap9 >/dev/null || failed 'the persistent TAP is gone'
