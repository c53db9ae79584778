"""
The server behind one endpoint, with a pool of kept connections.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from zope.interface import implementer

from invproxy.client.connection import ClientConnection
from invproxy.client.stream import ClientStream
from invproxy.http1.heads import RequestHead
from invproxy.http1.limits import DEFAULT_LIMITS, Limits
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.turn import turnOf


@implementer(IOrigin)
class StreamingClient:
    """
    The server behind an endpoint, as an L{IOrigin}.

    @ivar connections: all that stand.
    @ivar limits: the bounds on responses.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        limits: Limits = DEFAULT_LIMITS,
        keepTime: float = 1.5,
        maxKept: int = 256,
    ) -> None:
        """
        @param clock: what tells the time.
        @param endpoint: where the server is; bounds the time of a connection attempt.
        @param limits: the bounds on responses.
        @param keepTime: seconds for which an idle connection is kept. Servers commonly close theirs after 2 to 5, and
            a request that meets such a close may not be sent again unless it is idempotent.
        @param maxKept: how many idle connections are kept.
        """
        self.limits = limits
        self.turn = turnOf(clock)
        self.connections: set[ClientConnection] = set()
        self._clock = clock
        self._endpoint = endpoint
        self._keepTime = keepTime
        self._maxKept = maxKept
        self._kept: dict[ClientConnection, float] = {}  # until when, the longest idle first
        self._sweeping: IDelayedCall | None = None
        self._factory = Factory.forProtocol(lambda: ClientConnection(self))
        self._factory.noisy = False

    def open(self, head: RequestHead, answer: IAnswer) -> IUpload:
        stream = ClientStream(self, head, answer)
        stream.begin()
        return stream

    def connect(self) -> Deferred[IProtocol]:
        """
        Make a new connection.

        @return: fires with a L{ClientConnection}.
        """
        return self._endpoint.connect(self._factory)

    def keep(self, connection: ClientConnection) -> None:
        """
        Take back a connection that can carry another request.
        """
        self._kept[connection] = self._clock.seconds() + self._keepTime
        if len(self._kept) > self._maxKept:
            next(iter(self._kept)).close()
        if self._sweeping is None:
            self._sweeping = self._clock.callLater(self._keepTime, self._sweep)

    def takeKept(self) -> ClientConnection | None:
        """
        Give out the connection that was in use last, as it is the most likely to stand still.
        """
        now = self._clock.seconds()
        while self._kept:
            connection, until = self._kept.popitem()
            if now < until:
                return connection
            connection.close()
        return None

    def drop(self, connection: ClientConnection) -> None:
        """
        Take note that a connection can carry no other request.
        """
        self._kept.pop(connection, None)

    def forget(self, connection: ClientConnection) -> None:
        """
        Take note that a connection is gone.
        """
        self.connections.discard(connection)
        self.drop(connection)

    def _sweep(self) -> None:
        self._sweeping = None
        now = self._clock.seconds()
        for connection, until in list(self._kept.items()):
            if now < until:
                self._sweeping = self._clock.callLater(until - now, self._sweep)
                break
            connection.close()

    def close(self) -> None:
        """
        Close all connections, those in use as well: break off what is asked on them before that.
        """
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self.connections):
            connection.abort()
