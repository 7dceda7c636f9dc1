#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# vkring-fwd, in VKRING_PROGRAMS_DIR: its exit status, its one line about wrong usage, its JSON, and
# the modes that need one port.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

make_netns vkfwd-a

# refuses STATUS LINE ARGUMENTS...: LINE is a pattern; nothing else is printed.
refuses() {
  expected=$1 pattern=$2
  shift 2
  timeout 20 "$fwd" "$@" >"$work/out" 2>"$work/err"
  status=$?
  [ $status = "$expected" ] || failed "$* ended with $status"
  [ "$(wc -l <"$work/err")" = 1 ] && [ ! -s "$work/out" ] || failed "$* printed more than a line"
  line=$(cat "$work/err")
  # Unquoted, as it is a pattern.
  # shellcheck disable=SC2254
  case $line in
    $pattern) ;;
    *) failed "$*: \"$line\"" ;;
  esac
}

echo '== wrong usage'
a=vkfwd-a-$$
refuses 2 'queue-size=100: a split ring needs a power of two from 1 to 32768' \
  --port tap:queue-size=100
refuses 2 'iface=nothing0: no such interface here' --mode rxonly --port af_packet:iface=nothing0
refuses 2 'iface=nothing0: no such interface in that namespace' \
  --mode rxonly --port "af_packet:iface=nothing0,netns=$a"
refuses 2 'netns=nowhere: *' --mode rxonly --port tap:netns=nowhere
[ -e /dev/vhost-net ] || refuses 1 'open /dev/vhost-net: No such file or directory (*modprobe vhost_net*)' \
  --mode rxonly --port "tap:netns=$a,backend=vhost-net"
refuses 2 'queue-size=0: a packed ring has 1 to 32768 entries' --port tap:queue-size=0,layout=packed
refuses 2 'layout=packed: vhost-net offers no packed ring in any Linux kernel: *' \
  --port tap:layout=packed,backend=vhost-net
refuses 2 'tso4: needs csum' --mode rxonly --port "tap:netns=$a,offloads=tso4"
refuses 2 'buffer-size=1000: an MTU of 9000 needs *' \
  --mode rxonly --port "tap:netns=$a,mtu=9000,mrg=off,buffer-size=1000"
refuses 2 '--cores 1023: no CPU *' --mode rxonly --port "tap:netns=$a" --cores 1023
refuses 2 'worker-cpus=1023: no CPU *' --mode rxonly --port "tap:netns=$a,worker-cpus=1023"
refuses 2 "--json $work/no/file: No such file or directory" \
  --mode rxonly --port "tap:netns=$a" --json "$work/no/file"
refuses 2 '--tx-size 1515: at most 1514 with the MTU of t0' \
  --mode txonly --tx-size 1515 --port "tap:name=t0,netns=$a"
refuses 1 'TUNSETIFF lo: Invalid argument (*)' --mode rxonly --port "tap:name=lo,netns=$a"
[ -z "$(at vkfwd-a ip -br link show type tun)" ] || failed 'an interface is left'
"$fwd" --help | grep -q -- '--port' || failed '--help'
"$fwd" --version | grep -Eq '^vkring-fwd [0-9]+\.[0-9]+\.[0-9]+$' || failed '--version'

echo '== icmp-echo'
start_fwd --mode icmp-echo --wait interrupt --stats-period 1 \
  --port "tap:name=tap0,netns=$a,ip=10.9.1.1/24,mac=02:00:00:00:09:01,queues=2"
at vkfwd-a ping -q -i 0.005 -c 100 10.9.1.77 | grep -q ' 0% packet loss' || failed 'ping'
at vkfwd-a ping -q -i 0.005 -c 3 -s 5000 10.9.1.78 | grep -q ' 0% packet loss' || failed 'long ping'
at vkfwd-a ip link show tap0 | grep -q 02:00:00:00:09:01 || failed 'mac='
kill -USR1 "$running"
wait_for grep -q '^tap0 queue 1 rx: split ring of 256, driver side' "$work/out" || failed 'SIGUSR1'
wait_for grep -q '^tap0  *[0-9]* ' "$work/out" || failed '--stats-period'
stop_fwd 0 INT
check_balance
[ "$(count 0 tx_packets)" -ge 112 ] || failed 'too few answers'

echo '== the form of the JSON'
backend=worker
[ ! -e /dev/vhost-net ] || backend=vhost-net
jq -e --arg backend $backend '
  def all_of(names): (keys | sort) == (names | sort);
  def count: type == "number" and . >= 0;
  all_of(["seconds", "ports"]) and (.seconds | count) and (.ports | length == 1) and
  all(.ports[]; all_of(["name", "kind", "backend", "layout", "wait", "kernel", "negotiation",
                        "queues"]) and
    .name == "tap0" and .kind == "tap" and .backend == $backend and .layout == "split" and
    .wait == "interrupt" and (.kernel | all_of(["rx_dropped", "tx_dropped"])) and
    (.negotiation | length > 10) and
    all(.negotiation[]; all_of(["feature", "offered_by", "taken", "reason"]) and
      (.taken | type == "boolean") and .taken == (.reason == "")) and
    (.queues | length == 2) and
    all(.queues[]; all_of(["rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "drops", "kicks",
                           "kicks_suppressed", "calls", "mode", "broken", "finished"]) and
      (.rx_packets | count) and (.drops | type == "object") and .mode == "fast" and
      .broken == null))' "$work/json" >/dev/null || failed 'JSON'

echo '== txonly, paced'
start_fwd --mode txonly --rate 5000 --tx-size 100 --duration 1 --wait adaptive \
  --port "tap:name=tap0,netns=$a,ip=10.9.1.1/24,busyloop=0"
stop_fwd 0
sent=$(count 0 tx_packets)
jq -e ".seconds * 5000 + 1 >= $sent and $sent > 100" "$work/json" >/dev/null || failed "$sent frames"
same 'bytes' "$(count 0 tx_bytes)" "$((sent * 100))"

echo '== txonly, macswap and rxonly over a veth pair'
at vkfwd-a ip link add nic0 type veth peer name nic1
at vkfwd-a ip link set nic0 up
at vkfwd-a ip link set nic1 up
"$fwd" --mode macswap --port "af_packet:iface=nic1,netns=$a" --json "$work/swapper" \
  >"$work/swapper.out" 2>&1 &
swapper=$!
helpers="$helpers $swapper"
wait_for grep -q 'MTU' "$work/swapper.out" || failed 'macswap'
start_fwd --mode txonly --rate 5000 --duration 1 --port "af_packet:iface=nic0,netns=$a,qdisc-bypass=on"
stop_fwd 0
sent=$(count 0 tx_packets)
all_back() { [ "$(kernel_count vkfwd-a nic1 tx)" = "$sent" ]; }
wait_for all_back || failed 'frames that did not come back'
kill "$swapper"
wait "$swapper" || failed 'macswap ended badly'
for each in rx_packets tx_packets; do
  same "swapped, $each" "$(jq ".ports[0].queues[0].$each" "$work/swapper")" "$sent"
done
start_fwd --mode rxonly --port "af_packet:iface=nic1,netns=$a"
"$fwd" --mode txonly --rate 5000 --duration 1 --port "af_packet:iface=nic0,netns=$a" \
  >"$work/sender" || failed 'txonly'
stop_fwd 0 TERM
same 'received' "$(count 0 rx_packets)" "$(($(kernel_count vkfwd-a nic1 rx) - sent))"
