#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# The exception path with DPDK's testpmd: a port that stands for the NIC, a port of net_vkring, and the
# kernel's stack behind it. The cases are those of DPDK's old test plan for virtio_user: TCP with
# checksums and segmentation left to the port, and small packets that the kernel routes back, over one
# queue and over two. Lost are at most 20 packets, as there.
. "$VKRING_SOURCE_DIR/tests/support/testpmd.sh"

backend=vhost-net
[ -e /dev/vhost-net ] || backend=worker
make_netns vkpmd-nic
make_netns vkpmd-k
nic=net_vkring0,iface=nic0,netns=vkpmd-nic-$$,queue_size=1024,backend=worker,mac=02:00:00:00:00:08
kernel=net_vkring1,iface=tap0,netns=vkpmd-k-$$,queue_size=1024,backend=$backend,mac=02:00:00:00:00:02

echo "== TCP, with what the port can do for it, $backend"
start_testpmd "--vdev=$nic" "--vdev=$kernel" -- --rxd=1024 --txd=1024 --enable-rx-cksum
at vkpmd-nic ip address add 1.1.1.8/24 dev nic0
at vkpmd-k ip address add 1.1.1.2/24 dev tap0
tell 'set fwd csum' 'port stop all'
for port in 0 1; do
  for offload in ipv4_cksum tcp_cksum tcp_tso; do tell "port config $port tx_offload $offload on"; done
done
tell 'port start all'
for port in 0 1; do
  # The addresses are the stacks' own.
  tell "csum mac-swap off $port" "csum set ip sw $port" "csum set tcp hw $port" "tso set 1448 $port"
done
tell start
ping_through vkpmd-nic 1.1.1.2
tcp vkpmd-nic vkpmd-k 1.1.1.2 "${VKRING_TCP_BYTES:-20M}"
tell stop
same 'errors' "$(port_count 1 TX-errors)" 0
stop_testpmd

routed() { [ "$(kernel_count vkpmd-nic nic0 rx)" -ge "$1" ]; }
for queues in 1 2; do
  echo "== 64 bytes, routed back by the kernel, $queues queues"
  start_testpmd "--vdev=$nic,queues=$queues" "--vdev=$kernel,queues=$queues" -- --rxd=1024 --txd=1024 \
    --rxq=$queues --txq=$queues --nb-cores=1
  at vkpmd-k sh -c 'cd /proc/sys/net/ipv4 && echo 1 >ip_forward && for each in all tap0; do
    echo 0 >conf/$each/send_redirects; done'
  at vkpmd-nic ip address add 2.2.2.1/24 dev nic0
  at vkpmd-k ip address add 2.2.2.2/24 dev tap0
  station=10
  while [ $station != 26 ]; do
    at vkpmd-nic ip neighbour add 2.2.2.$station lladdr 02:00:00:00:00:02 nud permanent dev nic0
    at vkpmd-k ip neighbour add 2.2.2.$station lladdr 02:00:00:00:00:08 nud permanent dev tap0
    station=$((station + 1))
  done
  tell start
  before=$(kernel_count vkpmd-nic nic0 rx)
  sent=$(kernel_count vkpmd-nic nic0 tx)
  station=10
  while [ $station != 26 ]; do
    at vkpmd-nic ping -q -c 60 -i 0.002 -W 0.01 -s 22 2.2.2.$station >/dev/null
    station=$((station + 1))
  done
  sent=$(($(kernel_count vkpmd-nic nic0 tx) - sent))
  [ "$sent" -ge 960 ] || failed "sent $sent"
  wait_for routed $((before + sent - 20)) ||
    failed "of $sent came back $(($(kernel_count vkpmd-nic nic0 rx) - before))"
  echo "  of $sent came back $(($(kernel_count vkpmd-nic nic0 rx) - before))"
  tell stop
  queue=0
  while [ $queue != $queues ]; do
    packets=$(ask 'show port xstats 1' | sed -n "s/^rx_q${queue}_packets: //p")
    [ "$packets" -gt 0 ] || failed "nothing came by queue $queue"
    queue=$((queue + 1))
  done
  stop_testpmd
done
exit 0
