// SPDX-License-Identifier: BSD-3-Clause
#include "options.hpp"

namespace fwd {

std::string_view help_text() noexcept {
  return R"(vkring-fwd: moves frames between kernel interfaces that end in user space

  vkring-fwd --port PORT [--port PORT ...] [OPTION ...]

Ports
  tap:KEY=VALUE,...        a TAP of this program, served through virtio rings
    name=vkring%d          one %d becomes a free number; an existing persistent TAP is taken over
    netns=NAME|PATH        the network namespace to make it in
    backend=auto|vhost-net|worker     who serves the far end of the rings
    layout=split|packed    of the rings; packed ones are served by the worker
    queues=1               queue pairs, 1 to 256
    queue-size=256         descriptors of each ring, up to 32768; split: a power of two
    mac=MAC  mtu=BYTES  ip=192.168.1.1/24        set on the interface
    offloads=auto|none|csum+tso4+tso6+ecn+uso    a list is required as it is; see the report
    mrg=on|off  event-idx=on|off  indirect=on|off  in-order=on|off    on: required
    busyloop=MICROSECONDS  how long the far end polls before it sleeps
    buffer-size=2048       bytes; the same for all ports, as they share the buffers
    worker-cpus=0+1        CPUs of the threads at the far end, of vhost-net or of the worker
  af_packet:KEY=VALUE,...  an existing interface, through a packet socket
    iface=NAME             required
    netns=NAME|PATH        where it is
    qdisc-bypass=on|off    on: frames go to the driver without queueing, and are segmented here, as
                           the kernel does not on that way; frames that the driver has no room
                           for are dropped, and the interface must not be deleted meanwhile: a
                           defect of Linux, see docs/vkring-fwd.md (default: off)

Modes (--mode)
  io          from port 0 to 1 and back, 2 to 3 and back, ...; queue i to queue i mod n
  macswap     back to the port they came from, with the Ethernet addresses swapped
  txonly      sends UDP frames of --tx-size bytes (64), --rate frames per second and queue
  rxonly      takes frames and drops them
  icmp-echo   answers ARP, neighbour solicitations and pings for every address that a tap port's
              kernel asks for but its own (ip=)

Options
  --wait poll|interrupt|adaptive    never sleep; sleep when idle; poll for a while, then sleep
                           (default: adaptive)
  --cores 0,1              one thread on each of these CPUs, queues spread over them (default: one
                           thread, not pinned)
  --stats-period SECONDS   a table of rates that often; there is a final table in any case
  --duration SECONDS       stop by itself (default: at SIGINT or SIGTERM)
  --json FILE              the final statistics, and what was negotiated and why
  --help, --version

Frames that the other port cannot take as they are get their checksum completed, or are segmented.
A port that is set down drops frames, by name in the statistics, and goes on when it is up again.
When the interface of a port is deleted, the program prints the final table and ends with status 1.
SIGUSR1 prints the rings.

Exit status: 0 done, 1 failure at run time, 2 wrong usage.
)";
}

}  // namespace fwd
