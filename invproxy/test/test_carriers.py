"""
Carriers keep the contract of origins: to whoever asks it, a proxy with an agent is an origin, whichever way the
exchanges go.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.settings import AgentSettings
from invproxy.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CLIENT_GONE,
    INTERNAL,
    ORIGIN_REFUSED,
    ORIGIN_TIMEOUT,
    Code,
    Fault,
)
from invproxy.http1.fields import items
from invproxy.http1.framing import CHUNKED
from invproxy.http1.heads import RequestHead, ResponseHead, responseHead
from invproxy.interfaces import IAnswer, IOrigin, IUpload
from invproxy.proxy.settings import ProxySettings
from invproxy.test.directorigin import DirectArrival, DirectOrigin, DirectUpload
from invproxy.test.helpers import RecordingAnswer, requestHead
from invproxy.test.origincontract import Arrival, Fields, StreamingOriginContract, grouped
from invproxy.test.scripted import RecordingOrigin
from invproxy.testing import InvertingPair

if TYPE_CHECKING:
    _Base = SynchronousTestCase
else:
    _Base = object

ADDED = frozenset(
    (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
)
"""What the proxy adds to requests."""

PIECE = bytes(range(256)) * 64

MOST = 2 << 20
"""Bytes of a body that may be on their way when somebody has asked to spare them."""


class CarriedArrival(DirectArrival):
    """
    An arrival less what the proxy has added to it.
    """

    def fields(self) -> Fields:
        return [(name, value) for name, value in super().fields() if name.lower() not in ADDED]


class CarriedOrigin(DirectOrigin):
    """
    The backend behind the agent.
    """

    def open(self, head: RequestHead, answer: IAnswer) -> DirectUpload:
        upload = super().open(head, answer)
        assert isinstance(upload, DirectUpload)
        self.arrivals[-1] = CarriedArrival(head, upload)
        self.answers.append(answer)
        return upload

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[IAnswer] = []


class CarrierContract(StreamingOriginContract):
    """
    What holds on top of that for what the exchanges of a proxy and its agent have in common.

    @cvar transport: the carrier.
    @cvar segment: how many bytes arrive at once.
    """

    transport = ""
    segment = 65536

    def makeOrigin(self) -> IOrigin:
        self.direct = CarriedOrigin()
        self.pair = pair = InvertingPair(self.direct, transport=self.transport)
        pair.start()
        pair.network.segment = self.segment
        self.addCleanup(self.stop, pair)
        self.assertEqual(self.successResultOf(pair.agent.whenReady()), self.transport)
        return pair.proxy.resource

    def stop(self, pair: InvertingPair) -> None:
        """
        Stop everything, and see that nothing is left.
        """
        for arrival in self.direct.arrivals:
            arrival.cut()
        pair.stop()
        self.assertEqual(pair.proxy.resource.mailboxes.exchanges, {})
        self.assertEqual(pair.network.connections, [])
        self.assertEqual(pair.network.getDelayedCalls(), [])

    def arrivals(self) -> list[Arrival]:
        return list(self.direct.arrivals)

    def settle(self) -> None:
        self.pair.network.pump()

    def fill(self, write: Callable[[bytes], None], isHeld: Callable[[], bool]) -> int:
        """
        Write until asked to hold it back.

        @return: how many bytes that took.
        """
        size = 0
        while not isHeld():
            write(PIECE)
            self.settle()
            size += len(PIECE)
            self.assertLess(size, MOST)
        return size

    def test_answerHeldBack(self) -> None:
        """
        The backend is asked to pause once its answer dams up, and to go on when there is room, and nothing is lost.
        """
        answer, arrival = self.arrive(requestHead())
        upload = answer.upload
        assert upload is not None
        arrival.respond(200)
        self.settle()
        size = 0
        for _ in range(3):
            upload.pauseAnswer()
            self.settle()
            size += self.fill(arrival.write, arrival.held)
            for _ in range(2):
                upload.resumeAnswer()
                self.settle()
                self.assertFalse(arrival.held())
        arrival.finish()
        self.settle()
        self.assertEqual(answer.body, PIECE * (size // len(PIECE)))
        self.assertTrue(answer.finished)
        self.assertEqual(answer.violations, [])

    def test_othersGoOn(self) -> None:
        """
        While one answer dams up, others pass.
        """
        answer, arrival = self.arrive(requestHead())
        assert answer.upload is not None
        arrival.respond(200)
        answer.upload.pauseAnswer()
        self.settle()
        size = self.fill(arrival.write, arrival.held)
        for number in range(1, 4):
            other = RecordingAnswer()
            other.ask(self.origin, requestHead())
            self.settle()
            arrival = self.arrivals()[number]
            arrival.respond(200)
            arrival.write(b"other")
            arrival.finish()
            self.settle()
            self.assertEqual((other.body, other.finished), (b"other", True))
        self.assertLess(len(answer.body), size)
        answer.upload.resumeAnswer()
        self.settle()
        self.assertEqual(len(answer.body), size)

    def test_uploadHeldBack(self) -> None:
        """
        The asker is asked to pause once its body dams up, and to go on, and nothing is lost.
        """
        answer, upload, arrival = self.arriveStreaming(requestHead(b"POST", framing=CHUNKED))
        size = 0
        for _ in range(3):
            arrival.holdUpload(True)
            self.settle()
            size += self.fill(upload.write, lambda: answer.uploadHeld)
            arrival.holdUpload(False)
            self.settle()
            self.assertFalse(answer.uploadHeld)
        upload.finish()
        self.settle()
        self.assertEqual(arrival.body(), PIECE * (size // len(PIECE)))
        self.assertTrue(arrival.ended())

    def test_abortWhileHeldBack(self) -> None:
        """
        Whatever dams up goes when its exchange does.
        """
        answer, arrival = self.arrive(requestHead())
        assert answer.upload is not None
        arrival.respond(200)
        self.settle()
        answer.upload.pauseAnswer()
        self.fill(arrival.write, arrival.held)
        answer.abort(Fault(CLIENT_GONE))
        self.settle()
        self.assertTrue(arrival.gone())
        self.assertEqual(answer.violations, [])

    def test_errors(self) -> None:
        """
        What goes wrong at the backend is told by its own code.
        """
        codes: list[Code] = [ORIGIN_REFUSED, ORIGIN_TIMEOUT]
        for code in codes:
            answer, _ = self.arrive(requestHead())
            self.direct.answers[0].fail(Fault(code, "with details"))
            self.settle()
            assert answer.fault is not None
            self.assertIs(answer.fault.code, code)

    def test_upgrade(self) -> None:
        """
        After a 101 bytes go both ways, and each direction has its own end.
        """
        for clientFirst in (True, False):
            fields = [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")]
            answer, upload, arrival = self.arriveStreaming(requestHead(fields=fields))
            upload.finish()  # of the request
            self.settle()
            [backend] = self.direct.answers
            backend.respond(ResponseHead(101, b" Go", upgrade=b"echo"))
            backend.write(b"hello")
            self.settle()
            assert answer.head is not None
            self.assertEqual((answer.head.status, answer.head.upgrade), (101, b"echo"))
            self.assertEqual(answer.body, b"hello")
            body = PIECE * 40
            upload.write(body)
            backend.write(body)
            self.settle()
            self.assertEqual((arrival.body(), answer.body), (body, b"hello" + body))
            ends = [upload.finish, backend.finish]
            if not clientFirst:
                ends.reverse()
            ends[0]()
            self.settle()
            self.assertEqual(answer.finished, not clientFirst)
            (backend if clientFirst else upload).write(b"more")
            self.settle()
            self.assertTrue((answer.body if clientFirst else arrival.body()).endswith(b"more"))
            ends[1]()
            self.settle()
            self.assertTrue(answer.finished)
            self.assertFalse(arrival.gone())
            self.assertEqual(self.pair.proxy.resource.mailboxes.exchanges, {})
            self.assertEqual(answer.violations, [])

    def test_upgradeBroken(self) -> None:
        """
        A connection that breaks after a 101 breaks at the other end.
        """
        for clientFirst in (True, False):
            fields = [(b"Connection", b"Upgrade"), (b"Upgrade", b"echo")]
            answer, _, arrival = self.arriveStreaming(requestHead(fields=fields))
            [backend] = self.direct.answers
            backend.respond(ResponseHead(101, b" Go", upgrade=b"echo"))
            self.settle()
            if clientFirst:
                answer.abort(Fault(CLIENT_GONE))
                self.settle()
                self.assertTrue(arrival.gone())
            else:
                arrival.cut()
                self.settle()
                self.assertIsNotNone(answer.fault)
                self.assertFalse(answer.finished)
            self.assertEqual(answer.violations, [])

    def test_many(self) -> None:
        """
        Many exchanges at once do not get into each other's way.
        """
        self.origin = self.makeOrigin()
        answers = []
        for number in range(120):
            answer = RecordingAnswer()
            head = requestHead(b"POST", b"/%d" % number, framing=3)
            answer.ask(self.origin, head, b"%03d" % number)
            answers.append(answer)
        for _ in range(4):
            self.pair.network.advance(1)
        arrivals = self.direct.arrivals
        self.assertEqual(len(arrivals), 120)
        for arrival in arrivals:
            self.assertEqual(arrival.target, b"/%d" % int(arrival.body()))
            arrival.respond(200)
        for arrival in reversed(arrivals):
            arrival.write(arrival.body() * 1000)
            arrival.finish()
        self.settle()
        for number, answer in enumerate(answers):
            self.assertEqual(answer.body, b"%03d" % number * 1000)
            self.assertTrue(answer.finished)


class Settings(_Base):
    """
    What an agent's settings do, whichever way the exchanges come.

    @cvar transport: the carrier.
    """

    transport = ""

    def pair(
        self, proxySettings: ProxySettings | None = None, **settings: Any
    ) -> tuple[InvertingPair, RecordingOrigin]:
        """
        Start a proxy, and an agent with these settings.
        """
        origin = RecordingOrigin()
        pair = InvertingPair(
            origin,
            transport=self.transport,
            proxySettings=proxySettings,
            agentSettings=AgentSettings(**settings),
        )
        pair.start()
        self.addCleanup(pair.stop)
        return pair, origin

    def arrive(
        self, proxySettings: ProxySettings | None = None, **settings: Any
    ) -> dict[bytes, list[bytes]]:
        """
        Send a request, and answer it.

        @return: the fields with which it arrived.
        """
        pair, origin = self.pair(proxySettings, **settings)
        fields = [
            (b"Host", b"web.example"),
            (b"Authorization", b"Basic eDp5"),
            (b"X-User", b"alice"),
            (b"X-Inverting-Proxy-User-ID", b"root"),
        ]
        asked = pair.fetch(fields=fields)
        pair.network.pump()
        [upload] = origin.uploads
        upload.reply()
        self.assertEqual(pair.network.resultOf(asked).body, b"hi")
        return grouped(items(upload.head.fields))

    def test_adaptation(self) -> None:
        """
        Requests are changed as it is asked for, and else not at all.
        """
        trusting = ProxySettings(trustedProxies=(ip_network("127.0.0.0/8"),), userHeader=b"X-User")
        found = self.arrive(trusting)
        self.assertEqual(found[b"host"], [b"web.example"])
        self.assertEqual(found[b"authorization"], [b"Basic eDp5"])
        self.assertNotIn(b"x-inverting-proxy-user-id", found)
        found = self.arrive(
            trusting, forwardUserID=True, stripCredentials=True, rewriteHost=b"inner:81"
        )
        self.assertEqual(found[b"host"], [b"inner:81"])
        self.assertNotIn(b"authorization", found)
        self.assertEqual(found[b"x-inverting-proxy-user-id"], [b"alice"])
        found = self.arrive(forwardUserID=True)
        self.assertEqual(found.get(b"x-inverting-proxy-user-id", [b""]), [b""])

    def test_originTimeout(self) -> None:
        """
        An origin that does not begin to answer in time is given up, and the client told so.
        """
        pair, origin = self.pair(originTimeout=5.0)
        asked = pair.fetch()
        pair.network.advance(4.7)
        self.assertNoResult(asked)
        pair.network.advance(1)
        response = self.successResultOf(asked)
        self.assertEqual(response.status, 504)
        self.assertEqual(response.values(b"X-Inverting-Proxy-Error"), [b"origin-timeout"])
        assert origin.uploads[0].fault is not None

    def test_originTimeoutPutOff(self) -> None:
        """
        An interim response, or more of the request, gives it time anew; once it has begun, it may take any.
        """
        pair, origin = self.pair(originTimeout=5.0)
        client = pair.client()
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
        for _ in range(3):
            pair.network.advance(4)
            client.send(b"x")
        pair.network.advance(4)
        [upload] = origin.uploads
        upload.answer.inform(ResponseHead(103, b" Early"))
        pair.network.advance(4)
        upload.answer.respond(responseHead(200, b"OK", length=2))
        pair.network.advance(100)
        upload.answer.write(b"ok")
        upload.answer.finish()
        pair.network.pump()
        self.assertTrue(client.received.endswith(b"\r\n\r\nok"), client.received)
        self.assertIsNone(upload.fault)
        client.close()

    def test_maxExchanges(self) -> None:
        """
        No more is worked on at once than is allowed; what is more waits its turn.
        """
        pair, origin = self.pair(maxExchanges=2)
        asked = [pair.fetch() for _ in range(5)]
        for turn in range(5):
            pair.network.advance(6)
            self.assertEqual(len(origin.uploads), min(5, turn + 2))
            origin.uploads[turn].reply()
        for each in asked:
            self.assertEqual(pair.network.resultOf(each).body, b"hi")

    def test_failing(self) -> None:
        """
        An origin that raises is asked once, and the client gets a 500.
        """
        pair, origin = self.pair()
        opened = origin.open

        def failing(head: RequestHead, answer: IAnswer) -> IUpload:
            if head.target == b"/fails":
                raise ZeroDivisionError
            return opened(head, answer)

        self.patch(origin, "open", failing)
        response = pair.request(target=b"/fails")
        failures = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual((response.status, len(failures)), (500, 1))
        asked = pair.fetch()
        pair.network.pump()
        origin.uploads[0].reply()
        self.assertEqual(pair.network.resultOf(asked).body, b"hi")

    def test_failingUploads(self) -> None:
        """
        An origin that raises on the body of a request, or at its end, fails this exchange alone.
        """
        pair, origin = self.pair()
        other = pair.fetch(target=b"/other")
        pair.network.pump()

        def fail(*args: object) -> None:
            raise ZeroDivisionError

        opened = origin.open

        def failing(head: RequestHead, answer: IAnswer) -> IUpload:
            upload = opened(head, answer)
            setattr(upload, head.target[1:].decode(), fail)
            return upload

        self.patch(origin, "open", failing)
        for target in (b"/write", b"/finish"):
            response = pair.request(b"POST", target, body=b"body")
            self.assertEqual(response.status, 500)
            if self.transport == "tunnel":
                self.assertEqual(response.values(b"X-Inverting-Proxy-Error"), [b"internal"])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertIsNotNone(origin.uploads[-1].fault)
        self.assertNoResult(other)
        origin.uploads[0].reply()
        self.assertEqual(pair.network.resultOf(other).body, b"hi")

    def test_faults(self) -> None:
        """
        What an origin fails with is what the client is told, and the origin is asked once.
        """
        codes: list[Code] = [INTERNAL, ORIGIN_TIMEOUT, BODY_TOO_LARGE, BAD_REQUEST]
        for code in codes:
            pair, origin = self.pair()
            asked = pair.fetch()
            pair.network.pump()
            origin.uploads[0].answer.fail(Fault(code))
            self.assertEqual(pair.network.resultOf(asked).status, code.status)
            self.assertEqual(len(origin.uploads), 1)


class TunnelSettingsTests(Settings, SynchronousTestCase):
    """
    Over a tunnel.
    """

    transport = "tunnel"

    def test_faults(self) -> None:
        super().test_faults()


class PollSettingsTests(Settings, SynchronousTestCase):
    """
    Over polls.
    """

    transport = "poll"


class TunnelTests(CarrierContract, SynchronousTestCase):
    """
    Over a tunnel.
    """

    transport = "tunnel"


class PollTests(CarrierContract, SynchronousTestCase):
    """
    Over polls.
    """

    transport = "poll"


class TunnelInPiecesTests(TunnelTests):
    """
    Over a tunnel whose bytes come in small pieces.
    """

    segment = 300


class PollInPiecesTests(PollTests):
    """
    Over polls whose bytes come in small pieces.
    """

    segment = 300
