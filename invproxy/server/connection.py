"""
A connection of the HTTP server, whatever is said over it: who is at its other end, for what it waits, and how it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from invproxy.interfaces import IPeer
from invproxy.losses import LossObservers
from invproxy.transport import Outlet, StreamTransport, watchPeer

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from invproxy.server.site import StreamingSite


@implementer(IPeer)
class Connection(Protocol):
    """
    One connection from a client or an agent.

    @ivar site: what all connections of this server share.
    @ivar isAgent: whether it is the link of an agent.
    @ivar closing: whether the connection ends with the present answer.
    """

    transport: StreamTransport  # type: ignore[assignment]
    closing = False
    isAgent = False
    secure = False
    streams = True
    memory: object = None
    askedAt = 0.0
    _outlet: Outlet
    _address: IAddress | None = None
    _surplus = ""  # why there is no room for it
    _countedFor = ""  # the address
    _ending = False  # what is written still goes out, and that is all
    _lost = False
    _over = False  # no more requests are answered
    _since = 0.0
    _patience = 0.0

    def __init__(self, site: StreamingSite) -> None:
        """
        @param site: what all connections of this server share.
        """
        self.site = site
        self._observers = LossObservers()
        self._overdue: Callable[[Any], None] = Connection.close

    # As a peer.

    @property
    def address(self) -> IAddress:
        """
        Where it comes from; behind the PROXY protocol, what that says.
        """
        if self._address is None:
            self._address = self.transport.getPeer()
        return self._address

    def whenLost(self, callback: Callable[[], None]) -> Callable[[], None]:
        return self._observers.add(callback)

    def countAsAgent(self) -> None:
        if not self.isAgent and not self._lost:
            self.isAgent = True
            self._surplus = ""
            self.site.crowd.leave(self._countedFor)
            self.closing = self.site.ended
            watchPeer(self.transport)

    def certificate(self) -> Certificate | None:
        if not self.site.takesCertificates:
            return None
        shown = getattr(self.transport, "getPeerCertificate", lambda: None)()
        return None if shown is None else cast("Certificate", shown.to_cryptography())

    # Its end.

    def close(self) -> None:
        """
        Close once everything is written.
        """
        if not self._ending and not self._lost:
            self._ending = self._over = True
            self._await(self.site.idleTimeout, Connection.abort)
            self._outlet.close()

    def abort(self) -> None:
        """
        Close now, whatever is still to be written.
        """
        if not self._lost:
            self._ending = self._over = True
            self._outlet.abort()

    # For what it waits.

    def _await(self, seconds: float, overdue: Callable[[Any], None]) -> None:
        """
        Wait for the next thing, and for nothing else any more.

        @param seconds: how long; 0 is for ever.
        @param overdue: what to do then, called with this connection.
        """
        self._since = now = self.site.clock.seconds()
        self._patience = seconds
        self._overdue = overdue
        if seconds and not 0.0 < self.askedAt <= now + seconds:
            self.site.deadlines.watch(self, now + seconds)

    def checkDeadline(self, now: float) -> float:
        """
        Act if the wait has been too long.

        @param now: the present time in seconds.
        @return: when to ask again, or 0.
        """
        if not self._patience:
            return 0.0
        if now < self._since + self._patience:
            return self._since + self._patience
        self._patience = 0.0
        self._overdue(self)
        return 0.0
