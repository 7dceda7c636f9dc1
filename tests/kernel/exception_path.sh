#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# docs/exception-path.md step by step, with the programs in VKRING_PROGRAMS_DIR. One namespace is the
# machine of that page, with its NIC, eth1, and tap0; another one is the outside host. tap0 is on
# vhost-net, or on the worker where there is none. Nothing is lost, and all have counted the same.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

backend=vhost-net
[ -e /dev/vhost-net ] || backend=worker
PATH=$VKRING_PROGRAMS_DIR:$PATH
make_netns vkpath-o # the outside host
make_netns vkpath-m # the machine
start_by="ip netns exec vkpath-m-$$"
at vkpath-m ip link add eth1 type veth peer name eth0 netns "vkpath-o-$$"
at vkpath-o ip address add 192.168.1.2/24 dev eth0
at vkpath-o ip link set dev eth0 address 02:00:00:00:00:02 up
at vkpath-m ip link set dev eth1 arp off up
# Both hosts know each other, so that no frame comes but those that a step sends.
at vkpath-o ip neighbour add 192.168.1.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0

# What the kernel has counted: frames into and out of tap0 and eth1, and bytes out of eth1.
counts() {
  at vkpath-m ip -s -j link show | jq -r '
    def of(name): .[] | select(.ifname == name).stats64;
    [(of("tap0") | .rx.packets, .tx.packets), (of("eth1") | .rx.packets, .tx.packets, .tx.bytes)] |
    join(" ")'
}
stand_still() {
  before=$now
  now=$(counts)
  [ "$now" = "$before" ]
}

# start vkring-fwd ARGUMENTS...: as the page has it, between tap0 and eth1; then tap0 gets its address.
start() {
  shift
  start_fwd "$@"
  at_start=$(counts)
  at vkpath-m ip address add 192.168.1.1/24 dev tap0
  at vkpath-m ip link set dev tap0 up
  at vkpath-m ip link set dev tap0 address 02:00:00:00:00:01
  at vkpath-m ip neighbour add 192.168.1.2 lladdr 02:00:00:00:00:02 nud permanent dev tap0
}
# finish: ends it once nothing moves any more. Then tap_... and nic_... are what vkring-fwd has counted
# on tap0 and eth1, and left_... is what has left eth1, as the kernel has counted.
finish() {
  now=
  wait_for stand_still || failed 'traffic without end'
  stop_fwd 0 INT
  check_balance
  # Unquoted, as they are words.
  # shellcheck disable=SC2046
  set -- $(jq -r 'def sum(f): map(f) | add;
    (.ports[].queues | sum(.rx_packets), sum(.rx_bytes), sum(.tx_packets), sum(.tx_bytes),
      sum(.finished.checksums), sum(.finished.gso_frames)),
    .ports[0].backend, ([.ports[].queues[].drops[]] | add // 0), .ports[1].kernel.tx_dropped' \
    "$work/json")
  tap_rx=$1 tap_rx_bytes=$2 tap_tx=$3 tap_tx_bytes=$4 tap_checksums=$5 tap_gso_frames=$6
  shift 6
  nic_rx=$1 nic_tx=$3 nic_tx_bytes=$4 nic_checksums=$5 nic_gso_frames=$6
  shift 6
  kernel_dropped=$3
  same 'backend' "$1" $backend
  same 'drops' "$2" 0
  # shellcheck disable=SC2086
  set -- $now $at_start
  same 'tap0: sent by vkring, received by the kernel' "$tap_tx" $(($1 - $6))
  same 'tap0: received by vkring, sent by the kernel' "$tap_rx" $(($2 - $7))
  same 'eth1: received by vkring, received by the kernel' "$nic_rx" $(($3 - $8))
  left=$(($4 - $9)) left_bytes=$(($5 - ${10}))
}
# The frames that left are those of vkring, but for what the driver had no room for.
nic_took_all() {
  same 'eth1: sent by vkring, sent or dropped by the kernel' "$nic_tx" $((left + kernel_dropped))
}
beyond_mtu() { # TEXT BYTES FRAMES
  mean=$(($2 / $3))
  [ $mean -gt 1514 ] || failed "$1: $mean bytes on average"
  echo "  $1: $mean bytes on average"
}
within_mtu() { # TEXT BYTES FRAMES
  mean=$(($2 / $3))
  [ $mean -le 1514 ] || failed "$1: $mean bytes on average"
  echo "  $1: $mean bytes on average"
}
# taken FEATURES...: the negotiation's word for tap0.
taken() {
  jq -e --arg all "$*" '.ports[0].negotiation as $lines | $all | split(" ") |
    all(.[]; . as $one | any($lines[]; .feature == $one and .taken))' "$work/json" >/dev/null ||
    failed "not taken: one of $*"
}

echo '== the forwarder, and tap0'
start vkring-fwd --port tap:name=tap0,queue-size=1024 --port af_packet:iface=eth1
at vkpath-m ethtool -i tap0 | grep -q '^driver: tun$' || failed 'tap0 is no TAP'
ping_through vkpath-o 192.168.1.1
ping_through vkpath-m 192.168.1.2
tcp vkpath-o vkpath-m 192.168.1.1 10M
grep -q 'queue pair of 1024' "$work/out" || failed 'queue-size=1024'
finish
nic_took_all

echo '== a second forwarder behind tap0, and traffic through both'
start vkring-fwd --port tap:name=tap0,queue-size=1024 --port af_packet:iface=eth1
# start_second vkring-fwd ARGUMENTS...: its statistics go to files of their own.
start_second() {
  shift
  $start_by "$fwd" --json "$work/second" "$@" >"$work/second.out" 2>&1 &
  second=$!
  helpers="$helpers $second"
  wait_for grep -q 'MTU' "$work/second.out" || failed 'the second forwarder does not start'
}
start_second vkring-fwd --mode macswap --port af_packet:iface=tap0
came=$(kernel_count vkpath-o eth0 rx)
# Fewer than any queue of the kernel's on the way holds, so that nobody has to be quick.
at vkpath-o vkring-fwd --mode txonly --rate 400 --duration 2 --port af_packet:iface=eth0 \
  --json "$work/sender" >"$work/sender.out" || failed 'the sender'
sent=$(jq '.ports[0].queues[0].tx_packets' "$work/sender")
[ "$sent" -gt 10 ] || failed "$sent frames were sent"
all_back() { [ "$(kernel_count vkpath-o eth0 rx)" = $((came + sent)) ]; }
wait_for all_back || failed "not all of $sent frames came back"
kill -INT "$second"
wait "$second" || failed 'the second forwarder ended badly'
finish
nic_took_all
same 'sent by the outside host, received by the first at eth1' "$nic_rx" "$sent"
same 'sent by the first into tap0' "$tap_tx" "$sent"
for each in rx tx; do
  same "the second at tap0, $each" "$(jq ".ports[0].queues[0].${each}_packets" "$work/second")" \
    "$sent"
done
same 'the second, drops' "$(jq '[.ports[].queues[].drops[]] | add // 0' "$work/second")" 0
same 'received by the first from tap0' "$tap_rx" "$sent"
same 'sent by the first to the outside host' "$nic_tx" "$sent"

echo '== transmit checksum and TSO'
start vkring-fwd --port tap:name=tap0,queue-size=1024,offloads=csum-tx+tso4-tx+tso6-tx \
  --port af_packet:iface=eth1
iperf vkpath-o vkpath-m 192.168.1.1 '--bytes 10M' '--udp --bitrate 10M --bytes 500K'
finish
nic_took_all
taken csum-tx tso4-tx tso6-tx
beyond_mtu 'tap0: sent by vkring' "$tap_tx_bytes" "$tap_tx"
within_mtu 'tap0: received by vkring' "$tap_rx_bytes" "$tap_rx"
same 'finished in software' "$tap_checksums $tap_gso_frames" '0 0'

echo '== large receive, passed on'
start vkring-fwd --port tap:name=tap0,queue-size=1024,offloads=csum+tso4+tso6 \
  --port af_packet:iface=eth1
at vkpath-m ethtool -k tap0 | grep -q '^tcp-segmentation-offload: on' || failed 'no TSO on tap0'
iperf vkpath-o vkpath-m 192.168.1.1 '--bytes 10M --reverse'
finish
nic_took_all
taken csum tso4 tso6
beyond_mtu 'tap0: received by vkring' "$tap_rx_bytes" "$tap_rx"
beyond_mtu 'eth1: sent by the kernel' "$left_bytes" "$left"
same 'finished in software' "$nic_checksums $nic_gso_frames" '0 0'

echo '== large receive, for a NIC that cannot segment'
at vkpath-m ethtool -K eth1 tso off tx off >/dev/null
start vkring-fwd --port tap:name=tap0,queue-size=1024,offloads=csum+tso4+tso6 \
  --port af_packet:iface=eth1
iperf vkpath-o vkpath-m 192.168.1.1 '--bytes 10M --reverse'
finish
beyond_mtu 'eth1: sent by vkring' "$nic_tx_bytes" "$nic_tx"
within_mtu 'eth1: sent by the kernel' "$left_bytes" "$left"

echo '== the same past the queueing discipline, where vkring-fwd segments'
start vkring-fwd --port tap:name=tap0,queue-size=1024 --port af_packet:iface=eth1,qdisc-bypass=on
iperf vkpath-o vkpath-m 192.168.1.1 '--bytes 10M --reverse'
finish
nic_took_all
beyond_mtu 'tap0: received by vkring' "$tap_rx_bytes" "$tap_rx"
within_mtu 'eth1: sent by vkring' "$nic_tx_bytes" "$nic_tx"
grep 'finished in software: [0-9]* GSO frames into [0-9]* segments' "$work/out" ||
  failed 'nothing was segmented'
at vkpath-m ethtool -K eth1 tso on tx on >/dev/null

echo '== receive checksum'
at vkpath-m ethtool -K eth1 rx on
start vkring-fwd --port tap:name=tap0,queue-size=1024,offloads=csum \
  --port af_packet:iface=eth1
iperf vkpath-o vkpath-m 192.168.1.1 '--bytes 4M'
finish
same 'tap0: checksums finished in software' "$tap_checksums" 0
start vkring-fwd --port tap:name=tap0,queue-size=1024,offloads=none \
  --port af_packet:iface=eth1
iperf vkpath-o vkpath-m 192.168.1.1 '--bytes 4M'
finish
grep 'finished in software: [0-9]* checksums' "$work/out" || failed 'no checksum was finished'

echo '== two queue pairs'
start vkring-fwd --port tap:name=tap0,queue-size=1024,queues=2 --port af_packet:iface=eth1
tcp vkpath-o vkpath-m 192.168.1.1 10M
finish
nic_took_all

echo '== two queue pairs on both sides'
start_fwd --port "tap:name=tap0,queue-size=1024,queues=2,ip=192.168.2.1/24" \
  --port "tap:name=tap1,netns=vkpath-o-$$,queue-size=1024,queues=2,ip=192.168.2.2/24"
# Of so many connections some go to each queue.
iperf vkpath-o vkpath-m 192.168.2.1 '--bytes 4M --parallel 24'
stop_fwd 0 INT
check_balance
same 'drops' "$(jq '[.ports[].queues[].drops[]] | add // 0' "$work/json")" 0
jq -e 'all(.ports[].queues[]; .rx_packets > 0 and .tx_packets > 0)' "$work/json" >/dev/null ||
  failed 'a queue without traffic'

echo '== no wrong checksum in any of it'
csum_errors() { # NETNS: what its kernel found wrong in what it received
  # The shell is not to expand it.
  # shellcheck disable=SC2016
  at "$1" awk '{ for (i = 2; i <= NF; ++i) if ($i == "InCsumErrors") { getline; sum += $i } }
    END { print sum + 0 }' /proc/net/snmp
}
for each in vkpath-o vkpath-m; do same "$each" "$(csum_errors $each)" 0; done
