"""
The seams: where two implementations exist, or an application would add its own.

The whole of invproxy is one shape. An B{asker} (a connection from a client, or an agent that fetched a request) calls
L{IOrigin.open} with a request head and an L{IAnswer}, and gets back an L{IUpload} for the body. An B{answerer} (a
pooled connection to a server, an in-process resource, the mailbox) calls the answer. Bodies flow through both with
back-pressure, and either side may break off::

    asker  --- open(head, answer), upload.write, upload.finish, upload.abort -->  answerer
           <-- answer.inform, .respond, .write, .finish, .fail ----------------
           --- upload.pauseAnswer, upload.resumeAnswer ----------------------->
           <-- answer.pauseUpload, answer.resumeUpload ------------------------

Rules that both sides keep, and that the contract suite in C{invproxy.test.origincontract} checks:

 - C{inform} any number of times, then C{respond} once, C{write} any number of times, C{finish} once. C{fail} may come
   instead of any of them, and is the last call.
 - C{open} may call the answer before it returns.
 - After C{abort} the answer is not called any more; after the answer's C{finish} or C{fail} the rest of the upload is
   ignored.
 - After C{respond} with a 101 both directions are raw bytes, C{finish} closes one direction, and C{fail} may still
   follow it.
 - Pausing is a request: what was already read may still come. Repeating it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from zope.interface import Attribute, Interface

from invproxy.credential import Credential
from invproxy.errors import Fault
from invproxy.http1.heads import RequestHead, ResponseHead
from invproxy.registry.records import Backend, Token

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class IPeer(Interface):
    """
    The connection on which a request came.
    """

    address: IAddress = Attribute("The address of the peer.")
    secure: bool = Attribute("Whether it came over TLS.")
    streams: bool = Attribute(
        "Whether answers go out as they are written; not so under a stock site."
    )
    memory: object = Attribute(
        "What whoever finds out end users wants to remember of it, for as long as it lasts; None at first."
    )

    def whenLost(callback: Callable[[], None]) -> Callable[[], None]:
        """
        Ask to be told when the connection is gone, even if the exchange was finished before.

        @param callback: called without arguments, once.
        @return: a function that takes the wish back.
        """

    def countAsAgent() -> None:
        """
        Take the connection out of the number of clients: it is the link of an agent.
        """

    def certificate() -> Certificate | None:
        """
        Get the certificate that the peer has shown and TLS has verified, where such are asked for.
        """


class IAnswer(Interface):
    """
    Where the answer to one request goes, and what the answerer may ask of the asker.
    """

    peer: IPeer = Attribute("The connection on which the request came.")

    def identify(requestID: str, endUser: str = "") -> None:
        """
        Say what the exchange is called and whose it is, for error answers and the access log.
        """

    def inform(head: ResponseHead) -> None:
        """
        Send an interim response (1xx but 101).
        """

    def respond(head: ResponseHead) -> None:
        """
        Send the head of the final response.
        """

    def write(data: bytes) -> None:
        """
        Send a piece of the body.
        """

    def finish(trailers: bytes = b"") -> None:
        """
        End the response.

        @param trailers: a block of trailer fields.
        """

    def fail(fault: Fault) -> None:
        """
        Break off: with an error answer if there was no C{respond}, else by cutting the response.
        """

    def pauseUpload() -> None:
        """
        Ask the asker to hold back the request body.
        """

    def resumeUpload() -> None:
        """
        Ask for more of the request body.
        """


class IUpload(Interface):
    """
    Where the body of one request goes, and what the asker may ask of the answerer.
    """

    def write(data: bytes) -> None:
        """
        Send a piece of the body.
        """

    def finish(trailers: bytes = b"") -> None:
        """
        End the request.

        @param trailers: a block of trailer fields.
        """

    def abort(fault: Fault) -> None:
        """
        Break off: the asker is gone, or its request broke the protocol, and wants no answer any more.
        """

    def pauseAnswer() -> None:
        """
        Ask the answerer to hold back the response body.
        """

    def resumeAnswer() -> None:
        """
        Ask for more of the response body.
        """


class IOrigin(Interface):
    """
    What answers requests. A Resource that also provides this gets its requests as streams from our own site.
    """

    def open(head: RequestHead, answer: IAnswer) -> IUpload:
        """
        Begin one exchange; called as soon as the head of the request is whole.

        @return: where the body goes. C{finish} is called on it even for a request without a body.
        """


class IExchange(Interface):
    """
    One request and its response, as a mailbox sees it.
    """

    id: str = Attribute("What names the exchange towards agents.")

    def claim(holder: object) -> None:
        """
        Put the exchange under a lease.

        @param holder: who has it.
        """


class ITaker(Interface):
    """
    A carrier that takes exchanges as they come, many at once.
    """

    streams: Sized = Attribute("The exchanges that it has taken and that are not over.")

    def hasRoom() -> bool:
        """
        Say whether it takes another one now.
        """

    def take(exchange: IExchange) -> None:
        """
        Take one.
        """


class IMailbox(Interface):
    """
    Per backend: the exchanges that wait, and the carriers that wait for them. The state may live in this process or in
    a store that a fleet shares.
    """

    def put(exchange: IExchange) -> None:
        """
        Queue an exchange, or hand it to a carrier that waits.

        @raise Fault: (too-many-pending) if the mailbox is full.
        """

    def claim(limit: int) -> Deferred[list[IExchange]]:
        """
        Wait for exchanges. Cancel the Deferred to stop waiting.

        @param limit: how many to take at most.
        @return: fires with one exchange or more, each under a lease.
        """

    def join(taker: ITaker) -> None:
        """
        Give exchanges to a carrier from now on.
        """

    def leave(taker: ITaker) -> None:
        """
        Give it none any more.
        """

    def distribute() -> None:
        """
        Hand out what waits, as a carrier has room again.
        """

    def requeue(exchange: IExchange) -> None:
        """
        Put an exchange back to the front: its lease ran out, or its carrier was lost before it took it over.
        """

    def withdraw(exchange: IExchange) -> None:
        """
        Take an exchange out: it is not waiting any more.
        """


class IAccessLog(Interface):
    """
    Where a line about each finished exchange goes.
    """

    def log(
        peer: str,
        user: str,
        start: float,
        method: bytes,
        target: bytes,
        minor: int,
        status: int,
        sent: int,
        duration: float,
        referer: bytes,
        userAgent: bytes,
        requestID: str,
        error: str,
    ) -> None:
        """
        Note one exchange. Called once for each, on its end, with positional arguments; it must not raise, nor wait.

        @param peer: the address of the client's connection, without its port; C{"unix"} for a UNIX socket.
        @param user: the end user, or C{""}.
        @param start: when the request began, in seconds since the epoch.
        @param method: the method, or C{b""} where no request line was understood.
        @param target: the request target, as it came.
        @param minor: the minor version of HTTP that the client spoke.
        @param status: the status of the response, or 0 if there was none.
        @param sent: how many bytes of the response's body were sent.
        @param duration: how long the exchange took, in seconds.
        @param referer: the value of Referer, or C{b""}.
        @param userAgent: the value of User-Agent, or C{b""}.
        @param requestID: the exchange's ID, or C{""}.
        @param error: the code with which it failed, or C{""}.
        """


class IMetrics(Interface):
    """
    What a proxy reports to. It is told of every request, in the thread of the reactor and with positional arguments:
    it must not raise, nor wait, and had better be quick. L{invproxy.metrics.Tally} is one.

    An application's own is told beside the proxy's. One that also has C{collect}, as collectors of prometheus_client
    do, is shown at C{/metrics}.
    """

    def requestEnded(status: int, error: str, sent: int, duration: float) -> None:
        """
        A request of a client has ended, answered by an agent or by the proxy itself, or not at all.

        @param status: the status of the response, or 0 if there was none.
        @param error: the code of the error with which it was refused or has failed, one of
            L{invproxy.errors.CODES}, or C{""}.
        @param sent: how many bytes of the response's body were sent.
        @param duration: how long it took, in seconds.
        """

    def exchangeEnded(waited: float, firstByte: float, received: int) -> None:
        """
        A request that has come as far as to wait for an agent has ended; just before C{requestEnded}.

        @param waited: seconds until an agent first took it; below 0 if none did.
        @param firstByte: seconds until the head of its response came; below 0 if none did.
        @param received: how many bytes of its body have come.
        """

    def callFailed(error: str) -> None:
        """
        A call of an agent was refused, or has failed.

        @param error: the code of the error.
        """

    def tunnelBegan(backend: str) -> None:
        """
        An agent has opened a tunnel.

        @param backend: the ID of the backend that it serves.
        """

    def connectionRefused(error: str) -> None:
        """
        A connection was refused, or what came over it at the admin endpoint.

        @param error: the code of the reason.
        """


class IBackendStore(Interface):
    """
    Where the registry's records last. All calls return Deferreds, which fail with L{invproxy.errors.StoreError} and
    nothing else. What a call that succeeded wrote is there after a crash; a call that failed changed nothing. The
    registry makes one call after another, but for C{touch}, which may come in between.

    The contract suite is in C{invproxy.test.test_registry_stores}.
    """

    def open() -> Deferred[None]:
        """
        Get ready, and bring what an older version wrote up to date. May be called again after it failed.
        """

    def close() -> Deferred[None]:
        """
        Give everything up that was opened, if anything was; never fails. C{open} may follow.
        """

    def load() -> Deferred[tuple[list[Backend], list[Token]]]:
        """
        Read everything.

        @return: fires with all backends and all tokens, in no particular order.
        """

    def putBackend(backend: Backend) -> Deferred[None]:
        """
        Keep a record, in place of the one with the same ID, whose C{lastUsed} stays.
        """

    def deleteBackend(id: str) -> Deferred[None]:
        """
        Forget a record and its tokens, if there is one.
        """

    def putToken(token: Token) -> Deferred[None]:
        """
        Keep a new token. It fails if there is one of that name, or no such backend.
        """

    def deleteToken(backend: str, name: str) -> Deferred[None]:
        """
        Forget a token, if there is one.
        """

    def touch(backends: dict[str, float], tokens: dict[tuple[str, str], float]) -> Deferred[None]:
        """
        Note when backends and tokens were last used; a later time that is kept already stays, and what does not exist
        is passed over.

        @param backends: seconds since the epoch by ID.
        @param tokens: seconds since the epoch by backend and name.
        """


class IAgentAuthenticator(Interface):
    """
    Decides which agents may serve which backends.
    """

    def authenticate(
        head: RequestHead, peer: IPeer, backend: str
    ) -> Credential | Deferred[Credential]:
        """
        Find out whether an agent may serve a backend; for each of its calls.

        @param head: the head of the call.
        @param peer: the connection on which it came.
        @param backend: the ID of the backend that it names.
        @return: in whose name the call goes on; a Deferred only where it cannot be told at once.
        @raise Fault: unauthenticated, forbidden, too-many-attempts, registry-unavailable or issuer-unavailable; a
            Deferred fails with it.
        """
