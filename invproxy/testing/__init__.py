"""
For tests, ours and those of applications: a network in memory.

L{MemoryNetwork} is a reactor whose connections need no sockets and whose time is moved by hand, L{MemoryClient} a
client that sends and receives plain bytes on it, and L{fetch} sends one HTTP request.
"""

from invproxy.testing.client import MemoryClient
from invproxy.testing.fetch import Response, ResponseLost, fetch
from invproxy.testing.loop import NeverQuiet, StillWaiting
from invproxy.testing.network import MemoryNetwork
from invproxy.testing.sockets import Link

__all__ = [
    "Link",
    "MemoryClient",
    "MemoryNetwork",
    "NeverQuiet",
    "Response",
    "ResponseLost",
    "StillWaiting",
    "fetch",
]
