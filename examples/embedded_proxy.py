"""
An application that lets machines of its users be seen below its own address: it embeds the proxy, says itself which
backends there are, and lets agents in by keys that it makes itself, and keeps nowhere.

Start it, write the key that it shows for a machine into a file, and start an agent there::

    python examples/embedded_proxy.py ann bob
    twist invproxy-agent --proxy http://127.0.0.1:9860 --backend ann --origin http://127.0.0.1:3000 --token-file ann.key
"""

import hashlib
import hmac
import os
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import react
from zope.interface import implementer

from invproxy.auth.agents import bearerOf, unauthenticated
from invproxy.credential import TOKEN, Credential
from invproxy.errors import REGISTRY_UNAVAILABLE, Fault
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAgentAuthenticator, IPeer
from invproxy.proxy.links import Links
from invproxy.proxy.polling import Guard
from invproxy.proxy.root import ProxyResource
from invproxy.registry.changes import Unavailable
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import ALL_USERS, Backend
from invproxy.registry.registry import Registry
from invproxy.server import StreamingSite
from invproxy.steady import keepSteady


@implementer(IAgentAuthenticator)
class DerivedKeys:
    """
    Lets agents in by keys that follow from the name of their backend and a secret of the application.
    """

    def __init__(self, registry: Registry, secret: bytes) -> None:
        self._registry = registry
        self._secret = secret

    def keyOf(self, backend: str) -> str:
        return hmac.new(self._secret, backend.encode("ascii"), hashlib.sha256).hexdigest()

    def authenticate(self, head: RequestHead, peer: IPeer, backend: str) -> Credential:
        # Called for each call of an agent; what takes time may give a Deferred.
        key = bearerOf(head) or b""
        if not hmac.compare_digest(key, self.keyOf(backend).encode("ascii")):
            raise unauthenticated("this is not the key of this backend")
        try:
            if self._registry.backendUserOf(backend) is None:
                raise unauthenticated("there is no such backend any more")
        except Unavailable:
            raise Fault(REGISTRY_UNAVAILABLE) from None
        return Credential(TOKEN, "derived", backend)


def makeProxy(reactor: IReactorTime, registry: Registry, keys: DerivedKeys) -> ProxyResource:
    """
    Put the proxy together. Its agents are cut off as soon as their backend is deleted.
    """
    links = Links(reactor)
    registry.observe(links.changed)
    return ProxyResource(reactor, guard=Guard(keys, links), registry=registry)


def main(reactor: IReactorTime, *names: str) -> Deferred[None]:
    """
    Serve the machines of these users, each at a path of its own, until a signal comes.
    """
    keepSteady(reactor)  # before anything looks at its clock
    # Your own store may keep them where your users already are; the registry has them in memory.
    store = MemoryStore([Backend(name, ALL_USERS, "", (f"/{name}",)) for name in names])
    registry = Registry(store, reactor)
    registry.start()
    keys = DerivedKeys(registry, os.environ.get("SECRET", "change me").encode())
    site = StreamingSite(makeProxy(reactor, registry, keys), reactor)
    serverFromString(reactor, "tcp:9860:interface=127.0.0.1").listen(site)
    for name in names:
        print(name, keys.keyOf(name), flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
