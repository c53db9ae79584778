"""
A line that delays packets: C{python -m benchmarks.line NAME NAME --delay MS} makes two TUN devices, prints C{line
ready}, and carries each packet from one to the other that many milliseconds later; with C{--loss PERCENT}, not all of
them. It does what netem does on a pair of veth devices, for kernels without netem. It needs the right to make network
devices.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time
from argparse import ArgumentParser
from collections import deque
from random import Random

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6 = 1, 2, 4

_LONGEST = (1 << 16) + 10
"""Bytes of the longest packet, with the header about its segments and checksum that is passed on with it."""

_BATCH = 64
"""Packets that are taken from one side before the other has its turn."""


def openDevice(name: str, *, segments: bool = False) -> int:
    """
    Make a TUN device for packets of up to 64 KiB, which the kernel would cut into segments later.

    @param name: its name.
    @param segments: whether packets come as short as they are on a real line.
    @return: the file descriptor through which its packets come and go; the device is gone when it is closed.
    """
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode("ascii"), flags))
    offload = 0 if segments else _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6
    fcntl.ioctl(device, _TUNSETOFFLOAD, offload)
    return device


class Direction:
    """
    The packets that are under way from one device to the other.
    """

    def __init__(self, source: int, destination: int, delay: float, loss: float = 0.0) -> None:
        """
        @param source: the file descriptor that packets come from.
        @param destination: the one that they go to.
        @param delay: how many seconds later.
        @param loss: the share of packets that get lost, from 0 to 1.
        """
        self._source = source
        self._destination = destination
        self._delay = delay
        self._loss = loss
        self._random = Random(0)  # the same losses each time, as far as the packets are
        self._packets: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """
        Take packets that came.
        """
        due = time.monotonic() + self._delay
        for _ in range(_BATCH):
            try:
                packet = os.read(self._source, _LONGEST)
            except BlockingIOError:
                return
            if not self._loss or self._random.random() >= self._loss:
                self._packets.append((due, packet))

    def release(self) -> None:
        """
        Let packets arrive that are due.
        """
        now = time.monotonic()
        packets = self._packets
        while packets and packets[0][0] <= now:
            _, packet = packets.popleft()
            try:
                os.write(self._destination, packet)
            except OSError:
                # The device is not up (yet, or any more): as on any line, the packet is lost.
                continue

    def wait(self) -> float:
        """
        Say in how many seconds the next packet is due.
        """
        return max(0.0, self._packets[0][0] - time.monotonic()) if self._packets else 60.0


def main() -> None:
    """
    Carry packets until the end.
    """
    parser = ArgumentParser(prog="python -m benchmarks.line")
    parser.add_argument("names", nargs=2, metavar="NAME")
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--loss", type=float, default=0.0, help="of a hundred packets")
    options = parser.parse_args()
    near, far = (openDevice(name, segments=options.loss > 0) for name in options.names)
    delay, loss = options.delay / 1000, options.loss / 100
    directions = {
        near: Direction(near, far, delay, loss),
        far: Direction(far, near, delay, loss),
    }
    poll = select.epoll()
    for device in directions:
        poll.register(device, select.EPOLLIN)
    print("line ready", flush=True)
    while True:
        for device, _ in poll.poll(min(direction.wait() for direction in directions.values())):
            directions[device].take()
        for direction in directions.values():
            direction.release()


if __name__ == "__main__":
    main()
