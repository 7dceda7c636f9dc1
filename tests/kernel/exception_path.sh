#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# An outside host reaches the kernel through a NIC that belongs to vkring-fwd, in VKRING_PROGRAMS_DIR,
# and tap0 on vhost-net, or on the worker where there is none. Nothing is lost, and both ends have
# counted the same.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

backend=vhost-net
[ -e /dev/vhost-net ] || backend=worker
make_netns vkpath-o # the outside host
make_netns vkpath-p # the NIC
make_netns vkpath-k # the kernel's stack behind tap0
at vkpath-p ip link add nic0 type veth peer name wire0 netns "vkpath-o-$$"
at vkpath-o ip address add 192.168.1.2/24 dev wire0
at vkpath-o ip link set wire0 address 02:00:00:00:00:02 up
at vkpath-p ip link set nic0 up
# Both know each other, so that no frame comes but those that a test sends.
at vkpath-o ip neighbour add 192.168.1.1 lladdr 02:00:00:00:00:01 nud permanent dev wire0

counts() { # what the kernel has counted: into and out of tap0, into and out of nic0
  echo "$(kernel_count vkpath-k tap0 rx) $(kernel_count vkpath-k tap0 tx)" \
    "$(kernel_count vkpath-p nic0 rx) $(kernel_count vkpath-p nic0 tx)"
}
stand_still() {
  before=$now
  now=$(counts)
  [ "$now" = "$before" ]
}

for queues in 1 2; do
  echo "== $backend, queues=$queues"
  # An interface that stays, so that its counters can be read at the end.
  several=
  [ $queues = 1 ] || several=multi_queue
  # shellcheck disable=SC2086
  at vkpath-k ip tuntap add tap0 mode tap vnet_hdr $several
  start_fwd --mode io --port "tap:name=tap0,netns=vkpath-k-$$,ip=192.168.1.1/24,\
mac=02:00:00:00:00:01,backend=$backend,queues=$queues,queue-size=1024" \
    --port "af_packet:iface=nic0,netns=vkpath-p-$$"
  at vkpath-k ip neighbour add 192.168.1.2 lladdr 02:00:00:00:00:02 nud permanent dev tap0
  # shellcheck disable=SC2046
  set -- $(counts)
  ping_through vkpath-o 192.168.1.1
  ping_through vkpath-k 192.168.1.2
  tcp vkpath-o vkpath-k 192.168.1.1 10M
  now=
  wait_for stand_still || failed 'traffic without end'
  stop_fwd 0 INT
  check_balance
  same 'backend' "$(jq -r '.ports[0].backend' "$work/json")" $backend
  same 'drops' "$(jq '[.ports[].queues[].drops[]] | add // 0' "$work/json")" 0
  before="$*"
  # shellcheck disable=SC2046
  set -- $(counts)
  for each in $before; do
    came="${came-} $(($1 - each))"
    shift
  done
  # shellcheck disable=SC2086
  set -- $came
  came=
  same 'tap0: sent by vkring, received by the kernel' "$(count 0 tx_packets)" "$1"
  same 'tap0: received by vkring, sent by the kernel' "$(count 0 rx_packets)" "$2"
  same 'nic0: received by vkring, received by the kernel' "$(count 1 rx_packets)" "$3"
  same 'nic0: sent by vkring, sent by the kernel' "$(count 1 tx_packets)" "$4"
  at vkpath-k ip link del tap0
done
