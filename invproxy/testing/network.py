"""
A reactor whose network is in memory and whose time stands still until it is moved.

Twisted's own transports, connectors and ports run on it, over the sockets of L{invproxy.testing.sockets}: so their
buffers, producers, half closes and errors are not imitated, they are the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorPluggableNameResolver,
    IReactorSSL,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory, P
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from invproxy.testing.client import MemoryClient, MemoryClientFactory
from invproxy.testing.loop import MemoryLoop
from invproxy.testing.sockets import SEGMENT, Address, Kernel, Link, MemorySocket
from invproxy.testing.transports import TCPConnector, TCPPort, UNIXConnector, UNIXPort

T = TypeVar("T")

_log = Logger()

LOOPBACK = "127.0.0.1"


@implementer(IHostnameResolver, IHostResolution)
class _Resolver:
    """
    Finds host names in L{MemoryNetwork.hosts}.
    """

    name = ""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolutionReceiver.resolutionBegan(self)
        host = self._network.lookup(hostName)
        if host is not None:
            kind = IPv6Address if ":" in host else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return self

    def cancel(self) -> None:
        """
        It was over before it could be cancelled.
        """


@implementer(
    IReactorTime,
    IReactorCore,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorTCP,
    IReactorSSL,
    IReactorUNIX,
    IReactorPluggableNameResolver,
)
class MemoryNetwork(MemoryLoop):
    """
    A network in memory: a reactor for whatever listens and connects, and the switches and gauges of a test bench.

    Nothing happens by itself. What is written stays where it is, and what is due is not called, until C{pump} or
    C{advance}::

        network = MemoryNetwork()
        TCP4ServerEndpoint(network, 8080).listen(Factory.forProtocol(Echo))
        client = network.client("any.host.example", 8080)
        client.send(b"hello")
        network.pump()
        assert client.received == b"hello"

    Every host name is C{127.0.0.1} unless L{hosts} says otherwise. An exception out of a protocol or of a delayed call
    is logged, as the real reactor does it, so that a test by trial fails on it.

    TLS works, with C{clock=network} given to C{wrapClientTLS} and C{wrapServerTLS}; without it, Twisted writes out by
    the global reactor, as it does in an Agent of its own for C{https} and in endpoints from C{tls:} strings.

    @ivar hosts: addresses by host names; L{None} for a name that cannot be found.
    @ivar segment: how many bytes arrive at once, at most. Set it to 1 to shake parsers.
    """

    def __init__(self, *, capacity: int = SEGMENT) -> None:
        """
        @param capacity: how many bytes each direction of a connection holds in flight: what the buffers in the kernels
            and on the wire hold when the receiver does not read. Behind it the sender's own buffer fills, and its
            producer is paused at 64 KiB.
        """
        super().__init__(Kernel(capacity))
        self.hosts: dict[str, str | None] = {}
        self.nameResolver: IHostnameResolver = _Resolver(self)

    # The test bench.

    @property
    def segment(self) -> int:
        return self.kernel.segment

    @segment.setter
    def segment(self, value: int) -> None:
        self.kernel.segment = value

    @property
    def connections(self) -> list[Link]:
        """
        Every connection with an end still open, oldest first.
        """
        return self.kernel.links

    def client(
        self, host: str, port: int | None = None, *, address: str | None = None
    ) -> MemoryClient:
        """
        Connect a raw client.

        @param host: a host name or address, or the path of a UNIX socket.
        @param port: the port; L{None} for a UNIX socket.
        @param address: where the client shall seem to come from, if not from the loopback address.
        """
        client = MemoryClient(self)
        factory = MemoryClientFactory(client)
        if port is None:
            self.connectUNIX(host, factory)
        else:
            bindAddress = None if address is None else (address, 0)
            self.connectTCP(host, port, factory, bindAddress=bindAddress)
        return client

    def linkOf(self, connection: object) -> Link:
        """
        Find the connection of a transport, or of a protocol by its C{transport}.

        @raise LookupError: if it has none, or none any more.
        """
        if isinstance(connection, Link):
            return connection
        seen = connection
        for _ in range(8):
            found = getattr(seen, "socket", None)
            if isinstance(found, MemorySocket) and found.link is not None:
                return found.link
            seen = getattr(seen, "transport", None)
        raise LookupError(f"not connected: {connection!r}")

    def freeze(self, connection: object) -> None:
        """
        Let nothing arrive any more at either end: a silent link.

        @param connection: a L{Link}, a transport or a protocol.
        """
        self.linkOf(connection).frozen = True

    def thaw(self, connection: object) -> None:
        """
        Let everything arrive again.
        """
        self.linkOf(connection).frozen = False

    def cut(self, connection: object) -> None:
        """
        Break a connection for both ends; what is in flight is lost.
        """
        self.linkOf(connection).cut()

    def refuse(self, host: str, port: int | None = None) -> None:
        """
        Refuse connections although something may listen there.

        @param host: a host name or address, or the path of a UNIX socket.
        @param port: the port; L{None} for a UNIX socket.
        """
        self.kernel.refused.add(self._address(host, port))

    def ignore(self, host: str, port: int | None = None) -> None:
        """
        Leave attempts to connect without any answer, so that they time out.
        """
        self.kernel.silent.add(self._address(host, port))

    def accept(self, host: str, port: int | None = None) -> None:
        """
        Take back L{refuse} and L{ignore}.
        """
        address = self._address(host, port)
        self.kernel.refused.discard(address)
        self.kernel.silent.discard(address)

    def lookup(self, name: str) -> str | None:
        """
        Find the address of a host name.
        """
        if isIPAddress(name) or isIPv6Address(name):
            return name
        return self.hosts.get(name, LOOPBACK)

    def _address(self, host: str, port: int | None) -> Address:
        return host if port is None else (self.lookup(host) or host, port)

    # IReactorTCP, IReactorSSL, IReactorUNIX

    def listenTCP(
        self, port: Any, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        listening = TCPPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[P],
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        connector = TCPConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return cast(IConnector, connector)

    def listenSSL(
        self,
        port: Any,
        factory: IProtocolFactory,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        wrapped = TLSMemoryBIOFactory(contextFactory, False, factory, self)
        return self.listenTCP(port, wrapped, backlog, interface)

    def connectSSL(
        self,
        host: str,
        port: int,
        factory: ClientFactory[P],
        contextFactory: Any,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        wrapped: Any = TLSMemoryBIOFactory(contextFactory, True, factory, self)
        return self.connectTCP(host, port, wrapped, timeout, bindAddress)

    def listenUNIX(
        self,
        address: Any,
        factory: IProtocolFactory,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: bool = False,
    ) -> IListeningPort:
        listening = UNIXPort(address, factory, backlog, mode, self)
        listening.startListening()
        return listening

    def connectUNIX(
        self, address: Any, factory: ClientFactory[P], timeout: float = 30, checkPID: bool = False
    ) -> IConnector:
        connector = UNIXConnector(address, factory, timeout, self, False)
        connector.connect()
        return cast(IConnector, connector)

    # IReactorPluggableNameResolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    def resolve(self, name: str, timeout: Sequence[int] = (1, 3, 11, 45)) -> Deferred[str]:
        host = self.lookup(name)
        return fail(DNSLookupError(name)) if host is None else succeed(host)
