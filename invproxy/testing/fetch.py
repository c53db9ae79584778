"""
One HTTP request over a network in memory, and everything of its response.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from invproxy.errors import Fault
from invproxy.http1.fields import items, join, values
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseRequest
from invproxy.http1.readers import ResponseReader
from invproxy.testing.network import MemoryNetwork

Fields = Iterable[tuple[bytes, bytes]]


@frozen
class Response:
    """
    A response as it came.

    @ivar status: the status code.
    @ivar reason: the reason phrase.
    @ivar fields: names and values in order; but not those that concern the connection alone.
    @ivar body: the body, without its transfer coding.
    @ivar trailers: the fields of the trailer section.
    @ivar interim: the status codes of the interim responses before it.
    """

    status: int
    reason: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(factory=list)
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(factory=list)
    interim: list[int] = field(factory=list)

    def values(self, name: bytes) -> list[bytes]:
        """
        Look up a field.

        @param name: its name in any case.
        @return: its values in order.
        """
        return values(join(self.fields), name)


class ResponseLost(Exception):
    """
    The connection ended before the response did, or what came was not HTTP.

    @ivar partial: what had come of the response, or L{None} if its head had not.
    @ivar reason: why the connection is gone, or what was wrong.
    """

    def __init__(self, partial: Response | None, reason: BaseException | None) -> None:
        super().__init__(partial, reason)
        self.partial = partial
        self.reason = reason


class _Asker(Protocol):
    """
    Sends one request, and is what a L{ResponseReader} tells.
    """

    def __init__(self, request: bytes, head: RequestHead) -> None:
        self._request = request
        self._reader = ResponseReader(DEFAULT_LIMITS, head, self)
        self._interim: list[int] = []
        self._head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._trailers = b""
        self._finished = False
        self.done: Deferred[Response] = Deferred(self._cancel)

    def _cancel(self, deferred: Deferred[Response]) -> None:
        self._leave()

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
        except Fault as fault:
            self._lose(fault)
        if self._finished:
            self._succeed()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # A body that lasts until the end is whole only if the end is a clean one.
        if reason.check(type(connectionDone.value)) and self._reader.eof():
            self._succeed()
        else:
            self._lose(reason.value)

    def _response(self) -> Response | None:
        head = self._head
        if head is None:
            return None
        return Response(
            head.status,
            head.reason[1:],
            list(items(head.fields)),
            b"".join(self._body),
            list(items(self._trailers)),
            self._interim,
        )

    def _succeed(self) -> None:
        if not self.done.called:
            response = self._response()
            assert response is not None
            self._leave()
            self.done.callback(response)

    def _lose(self, reason: BaseException | None) -> None:
        if not self.done.called:
            self._leave()
            self.done.errback(ResponseLost(self._response(), reason))

    # What the reader calls.

    def inform(self, head: ResponseHead) -> None:
        self._interim.append(head.status)

    def respond(self, head: ResponseHead) -> None:
        self._head = head

    def write(self, data: bytes) -> None:
        self._body.append(data)

    def finish(self, trailers: bytes = b"") -> None:
        self._trailers = trailers
        self._finished = True


def fetch(
    network: MemoryNetwork,
    where: tuple[str, int] | str,
    method: bytes = b"GET",
    target: bytes = b"/",
    fields: Fields = (),
    body: bytes = b"",
    *,
    trailers: Fields | None = None,
) -> Deferred[Response]:
    """
    Send one request on a connection of its own.

    @param network: the network, which must be pumped for anything to happen.
    @param where: host and port, or the path of a UNIX socket.
    @param method: the method.
    @param target: the request target.
    @param fields: names and values in order. C{Host}, and C{Content-Length} for a body, are put before them if they are
        not among them.
    @param body: the whole body.
    @param trailers: names and values of trailer fields; if there are any, or an empty list, the body is chunked.
    @return: fires with the response once it is whole; fails with L{ResponseLost} or with why there is no connection.
        Cancel it to abort the connection.
    @raise Fault: if the request is not valid HTTP. Send such a thing by L{MemoryNetwork.client}.
    """
    given = list(fields)
    names = {name.lower() for name, _ in given}
    before = []
    if b"host" not in names:
        before.append(
            (b"Host", b"localhost" if isinstance(where, str) else where[0].encode("idna"))
        )
    if trailers is not None:
        before.append((b"Transfer-Encoding", b"chunked"))
        chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        body = b"%b0%b\r\n\r\n" % (chunk, join(trailers))
    elif body and not names & {b"content-length", b"transfer-encoding"}:
        before.append((b"Content-Length", b"%d" % len(body)))
    head = b"%b %b HTTP/1.1%b\r\n\r\n" % (method, target, join(before + given))
    asker = _Asker(head + body, parseRequest(head, DEFAULT_LIMITS))
    endpoint: IStreamClientEndpoint
    if isinstance(where, str):
        endpoint = UNIXClientEndpoint(network, where)
    else:
        endpoint = TCP4ClientEndpoint(network, *where)
    connecting = connectProtocol(endpoint, asker)
    return connecting.addCallback(lambda connected: connected.done)  # type: ignore[no-any-return]
