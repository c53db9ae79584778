"""
For tests, ours and those of applications: a whole inverting proxy on a network in memory.

L{InvertingPair} is a proxy and an agent before something that answers requests. L{MemoryNetwork} is the reactor below
it, whose connections need no sockets and whose time is moved by hand; L{MemoryClient} is a client that sends and
receives plain bytes on it, and L{fetch} sends one HTTP request.
"""

from invproxy.testing.client import MemoryClient
from invproxy.testing.fetch import Response, ResponseLost, fetch
from invproxy.testing.loop import NeverQuiet, StillWaiting
from invproxy.testing.network import MemoryNetwork
from invproxy.testing.pair import InvertingPair
from invproxy.testing.sockets import Link

__all__ = [
    "InvertingPair",
    "Link",
    "MemoryClient",
    "MemoryNetwork",
    "NeverQuiet",
    "Response",
    "ResponseLost",
    "StillWaiting",
    "fetch",
]
