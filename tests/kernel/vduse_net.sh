#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The kernel's own driver, virtio_net, at the driver side of vkring's rings, by way of vduse_net in
# VKRING_PROGRAMS_DIR: frames go between two interfaces in two namespaces, over either layout.
. "$VKRING_SOURCE_DIR/tests/support/fwd.sh"

usage() { # TEXT OPTION...
  expected=$1
  shift
  "$VKRING_PROGRAMS_DIR/vduse_net" "$@" >"$work/out" 2>"$work/err"
  same "vduse_net $*" "$? $(cat "$work/err")" "2 $expected"
}
usage '--layout round: split or packed' --layout round
usage '--queue-size 255: a split ring needs a power of two from 1 to 32768' --queue-size 255
usage '--indirect: needs a value' --indirect
usage '--queues: not known: see --help' --queues 2

[ -e /dev/vduse/control ] && [ -d /sys/bus/vdpa/drivers/virtio_vdpa ] || {
  echo 'skipped: no VDUSE, or no virtio_vdpa' >&2
  exit 77
}

make_netns driver
make_netns device
device=/sys/bus/vdpa/devices/vkring-$$

# start OPTION...: runs it with an interface in each of the namespaces.
start() {
  echo "vduse_net $*"
  : >"$work/out"
  "$VKRING_PROGRAMS_DIR/vduse_net" --name "vkring-$$" --tap "vktap-$$" "$@" \
    >"$work/out" 2>"$work/err" &
  running=$!
  helpers="$helpers $running"
  wait_for grep -q 'a driver took' "$work/out" || failed 'no driver comes'
  wait_for sh -c "ls $device/virtio*/net/*/address" || failed 'no interface'
  same driver "$(basename "$(readlink -f "$device"/virtio*/driver)")" virtio_net
  ip link set "vktap-$$" netns "device-$$" || failed "ip link set vktap-$$"
  set_up device "vktap-$$" 10.9.0.2
  set_up_driver
}
set_up_driver() {
  interface=$(basename "$(echo "$device"/virtio*/net/*)")
  wait_for ip link set "$interface" netns "driver-$$" || failed "ip link set $interface"
  set_up driver "$interface" 10.9.0.1
}
set_up() { # NETNS INTERFACE ADDRESS
  # The usual queue drops what it has had for long, as happens on a machine that is short of time.
  at "$1" tc qdisc replace dev "$2" root pfifo || failed "tc $2"
  at "$1" ip addr add "$3/24" dev "$2"
  at "$1" ip link set "$2" up
}
# Ends it: the interface is gone then, and nothing was dropped.
stop() {
  kill -INT "$running"
  wait "$running"
  same 'exit status' $? 0
  [ ! -s "$work/err" ] || failed 'it complains'
  [ ! -e "$device" ] && [ ! -e "/dev/vduse/vkring-$$" ] || failed 'the device is still there'
  same 'dropped' "$(sed -n 's/^  dropped, .*: //p' "$work/out" | sort -u)" 0
}

# taken BIT: whether the driver has accepted this feature, as the kernel says.
taken() {
  cut -c $(($1 + 1)) "$device"/virtio*/features | sed 's/0/off/; s/1/on/'
}
packed=34 event_idx=29 indirect=28 in_order=35 mergeable=15 csum=0 guest_tso4=7 host_tso4=11

# copy FROM_NETNS TO_NETNS ADDRESS: a megabyte by TCP, and what arrives is what was sent.
head -c 1000000 /dev/urandom >"$work/sent"
mkfifo "$work/open" && exec 3<>"$work/open"
copy() {
  # With an input that does not end: the sender is the one to end the connection.
  ip netns exec "$2-$$" busybox nc -l -p 5002 >"$work/came" <&3 &
  receiver=$!
  helpers="$helpers $receiver"
  wait_for sh -c "ip netns exec $1-$$ timeout 10 busybox nc $3 5002 <$work/sent" ||
    failed "no TCP from $1 to $3"
  wait "$receiver"
  cmp "$work/sent" "$work/came" >&2 || failed "$1 sent something else to $3"
}
pings() { # NETNS ADDRESS
  wait_for at "$1" ping -q -c 1 -W 1 "$2" || failed "no answer from $2"
  # Without a deadline it waits no longer for the last answer than it deems the way to be.
  at "$1" ping -i 0.01 -c 50 -w 30 "$2" >"$work/ping" || failed "no 50 answers from $2"
  at "$1" ping -i 0.1 -c 5 -w 30 -s 9000 "$2" >>"$work/ping" || failed "no large answers from $2"
  ! grep -q 'wrong data' "$work/ping" || failed 'answers that are none'
}
# Whether all that the kernel has given to the one interface has come out of the other.
has_arrived() {
  [ "$(kernel_count device "vktap-$$" tx)" = "$(kernel_count driver "$interface" rx)" ] &&
    [ "$(kernel_count device "vktap-$$" rx)" -ge "$(kernel_count driver "$interface" tx)" ]
}
# traffic: pings, and copies both ways.
traffic() {
  pings driver 10.9.0.2
  copy driver device 10.9.0.2
  copy device driver 10.9.0.1
  wait_for has_arrived || failed 'frames are lost'
}

for layout in split packed; do
  [ $layout = split ] && on=off || on=on
  start --layout $layout
  same packed "$(taken $packed)" $on
  for bit in $event_idx $indirect $mergeable $csum $guest_tso4 $host_tso4; do
    same "bit $bit" "$(taken $bit)" on
  done
  traffic
  pings device 10.9.0.1
  tcp driver device 10.9.0.2 10M
  # The driver goes and comes back, to fresh rings.
  virtio=$(basename "$device"/virtio*)
  echo "$virtio" >/sys/bus/virtio/drivers/virtio_net/unbind || failed unbind
  echo "$virtio" >/sys/bus/virtio/drivers/virtio_net/bind || failed bind
  set_up_driver
  pings driver 10.9.0.2
  stop

  start --layout $layout --event-idx off --indirect off --offloads off
  same packed "$(taken $packed)" $on
  for bit in $event_idx $indirect $csum $guest_tso4 $host_tso4; do
    same "bit $bit" "$(taken $bit)" off
  done
  traffic
  stop

  # Long chains in the ring itself, either way.
  start --layout $layout --mergeable off --indirect off --in-order on
  same packed "$(taken $packed)" $on
  same indirect "$(taken $indirect)" off
  same mergeable "$(taken $mergeable)" off
  [ "$(uname -r | cut -d. -f1)" -ge 7 ] && known=on || known=off
  same in-order "$(taken $in_order)" $known
  traffic
  stop
done

start --layout packed --queue-size 255 --mergeable off
same packed "$(taken $packed)" on
traffic
tcp driver device 10.9.0.2 10M
stop
