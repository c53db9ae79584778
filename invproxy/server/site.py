"""
The site: what all connections of one streaming HTTP server share.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory
from zope.interface import implementer

from invproxy.deadlines import Deadlines
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.interfaces import IOrigin
from invproxy.refusals import Refusals
from invproxy.server.channel import Channel
from invproxy.server.crowd import Crowd, TurnedAway
from invproxy.server.stream import ServerStream
from invproxy.steady import wallOf
from invproxy.tables import Table
from invproxy.turn import turnOf


def _never(head: RequestHead) -> bool:
    return False


def ignore(stream: ServerStream) -> None:
    """
    Take no notice of the end of a stream.
    """


@implementer(IProtocolNegotiationFactory)
class StreamingSite(Factory):
    """
    A factory of L{Channel}s that hand their requests to an L{IOrigin}; to serve a tree of Resources, hand it a
    L{invproxy.resources.ResourceOrigin}.

    @ivar origin: what answers the requests.
    @ivar clock: what tells the time.
    @ivar deadlines: the deadlines of the connections.
    @ivar turn: what collects what they write.
    @ivar crowd: how many clients are connected, agents' links left out, and who else may be.
    @ivar refusals: what counts the connections that are closed without an answer.
    @ivar closing: whether each connection of a client ends with its next answer.
    @ivar ended: whether each connection does, as there will be nothing more to answer.
    @ivar takesCertificates: whether certificates that peers have shown count.
    """

    noisy = False

    def __init__(
        self,
        origin: IOrigin,
        clock: IReactorTime,
        *,
        limits: Limits = DEFAULT_LIMITS,
        headTimeout: float = 30.0,
        idleTimeout: float = 300.0,
        maxConnections: int = 10000,
        isAgentCall: Callable[[RequestHead], bool] = _never,
        streamEnded: Callable[[ServerStream], None] = ignore,
        takesCertificates: bool = False,
        crowd: Crowd | None = None,
        minPace: float = 0.0,
        name: str = "connections",
    ) -> None:
        """
        @param origin: what answers the requests.
        @param clock: what tells the time.
        @param limits: bounds on requests.
        @param headTimeout: seconds for the head of a request, and for the first one to begin; 0 is for ever.
        @param idleTimeout: seconds for which a kept connection may wait for its next request; 0 is for ever.
        @param maxConnections: how many clients may be connected, unless C{crowd} says so.
        @param isAgentCall: tells the requests that are served even when there are too many clients.
        @param streamEnded: called with each stream when its answer has ended, however.
        @param takesCertificates: whether its endpoints ask peers for certificates, and verify those that they get.
        @param crowd: who may be connected.
        @param minPace: how many bytes a second clients must send of a body, and take of an answer, at least; 0 is any.
        @param name: what the table of its clients is called.
        """
        self.origin = origin
        self.clock = clock
        self._wall = wallOf(clock)
        self.limits = limits
        self.headTimeout = headTimeout
        self.idleTimeout = idleTimeout
        self.isAgentCall = isAgentCall
        self.streamEnded = streamEnded
        self.takesCertificates = takesCertificates
        self.minPace = minPace
        self.deadlines = Deadlines(clock)
        self.turn = turnOf(clock)
        self.crowd = crowd or Crowd(Refusals(clock), maxConnections)
        self.refusals = self.crowd.refusals
        self._name = name
        self._channels: set[Channel] = set()
        self._drained: list[Deferred[None]] = []
        self.closing = self.ended = False
        self._dateAt = -1
        self._date = b""

    def acceptableProtocols(self) -> list[bytes]:
        """
        What is offered by ALPN (RFC 7301).
        """
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Channel | TurnedAway:
        return TurnedAway() if self.crowd.turnsAway(addr) else Channel(self)

    @property
    def clients(self) -> int:
        """
        How many clients are connected, agents' links left out.
        """
        return self.crowd.count

    def admit(self, channel: Channel) -> tuple[str, str]:
        """
        Take note of a new connection.

        @return: as for L{Crowd.enter}.
        """
        self._channels.add(channel)
        channel.closing = self.closing
        return self.crowd.enter(channel.transport)

    def forget(self, channel: Channel) -> None:
        """
        Take note that a connection is gone.
        """
        self._channels.discard(channel)
        self.crowd.makeRoom()
        self.deadlines.forget(channel)
        if self._drained and not self._channels:
            self.deadlines.stop()
            drained, self._drained = self._drained, []
            for each in drained:
                each.callback(None)

    def countClients(self) -> int:
        """
        Count the clients that are connected.
        """
        return self.clients

    def countLinks(self) -> int:
        """
        Count the connections that are agents' links.
        """
        return len(self._channels) - self.clients

    def tables(self) -> list[Table]:
        """
        Tell how many clients are connected, in all and from the address with most of them.
        """
        return self.crowd.tables(self._name)

    def date(self) -> bytes:
        """
        The Date field of this second (RFC 9110, section 6.6.1), as a block.
        """
        now = int(self._wall())
        if now != self._dateAt:
            self._dateAt = now
            self._date = b"\r\nDate: " + formatdate(now, usegmt=True).encode("ascii")
        return self._date

    def refuseMore(self) -> None:
        """
        Let the connections of clients end with their next answers; those that ask for nothing stay, and so do
        agents' links.
        """
        self.closing = True
        for channel in self._channels:
            channel.refuseMore()

    def drain(self) -> Deferred[None]:
        """
        Close the connections that ask for nothing and did not do so a moment ago, and the others after their answers.

        @return: fires when all are closed.
        """
        self.closing = self.ended = True
        for channel in list(self._channels):
            channel.drain()
        if not self._channels:
            self.deadlines.stop()
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def abort(self) -> None:
        """
        Close all connections now.
        """
        for channel in list(self._channels):
            channel.abort()
        self.deadlines.stop()
