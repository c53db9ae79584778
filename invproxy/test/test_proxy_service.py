"""
The proxy as a service: it begins, says where, and ends in good order.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from invproxy.errors import ConfigError
from invproxy.interfaces import IAccessLog
from invproxy.proxy.service import Addresses, ProxyService
from invproxy.proxy.settings import ProxySettings
from invproxy.test.rawcalls import OURS, PLAIN, Bench, Call, idsOf
from invproxy.testing import MemoryNetwork

PUBLIC = "tcp:8080:interface=127.0.0.1"
AGENTS = "tcp:8082:interface=127.0.0.1"
ADMIN = "tcp:8081:interface=127.0.0.1"


@implementer(IAccessLog)
class Lines:
    """
    An access log in memory.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def log(self, *fields: object) -> None:
        self.lines.append(fields)


class ServiceBench(Bench):
    """
    A L{ProxyService} in the place of a bare proxy.
    """

    def __init__(self, settings: ProxySettings | None = None, **options: Any) -> None:
        self.network = MemoryNetwork()
        self.network.advance(1_800_000_000)
        self.prefix = b""
        self.lines = Lines()
        self.calls: list[Call] = []
        self.service = ProxyService(
            self.network, settings, **{"listen": [PUBLIC], "accessLog": self.lines, **options}
        )
        self.proxy = self.service.resource

    def start(self) -> Addresses:
        """
        Start it.
        """
        self.service.startService()
        return self.network.resultOf(self.service.whenReady())

    def at(self, port: int | str, data: bytes) -> Call:
        """
        Send bytes to any of its addresses.
        """
        if isinstance(port, str):
            client = self.network.client(port)
        else:
            client = self.network.client("127.0.0.1", port)
        client.send(data)
        self.network.pump()
        return self.note(Call(client, b"GET"))

    def note(self, call: Call) -> Call:
        self.calls.append(call)
        return call

    def raw(self, data: bytes, **options: Any) -> Call:
        return self.note(super().raw(data, **options))


HEALTH = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class ServiceCase(SynchronousTestCase):
    """
    What these tests share.
    """

    def bench(self, started: bool = True, **options: Any) -> ServiceBench:
        settings = options.pop("settings", {})
        bench = ServiceBench(ProxySettings(**settings), **options)
        if started:
            bench.start()
            bench.fetch(b"0" * 32) if "agentListen" not in options else None
        return bench

    def assertQuiet(self, bench: ServiceBench) -> None:
        """
        Is nothing left: no connection, no port, no delayed call?
        """
        bench.network.pump()
        self.assertEqual(bench.network.connections, [])
        self.assertEqual(bench.network.getReaders(), [])
        self.assertEqual(bench.network.getDelayedCalls(), [])


class StartTests(ServiceCase):
    """
    L{ProxyService.startService} and L{ProxyService.whenReady}.
    """

    def test_interface(self) -> None:
        """
        It is a service.
        """
        verifyObject(IService, self.bench(False).service)

    def test_addresses(self) -> None:
        """
        It says where it listens, with real ports and addresses that can be used.
        """
        bench = self.bench(
            False,
            listen=["tcp:0", "unix:/run/p.sock", "tcp6:8085:interface=\\:\\:1", "tcp:8086"],
            agentListen=[AGENTS],
            adminListen=ADMIN,
        )
        before = bench.service.whenReady()
        self.assertNoResult(before)
        addresses = bench.start()
        self.assertEqual(self.successResultOf(before), addresses)
        self.assertRegex(addresses.public[0], r"^http://127\.0\.0\.1:[1-9][0-9]+$")
        self.assertEqual(
            addresses.public[1:],
            ["unix:/run/p.sock", "http://[::1]:8085", "http://127.0.0.1:8086"],
        )
        self.assertEqual(addresses.agents, ["http://127.0.0.1:8082"])
        self.assertEqual(addresses.admin, "http://127.0.0.1:8081")

    def test_works(self) -> None:
        """
        A request goes through, on a UNIX socket too, and leaves a line in the access log; an agent's calls leave none.
        """
        bench = self.bench(listen=[PUBLIC, "unix:/run/p.sock"])
        client = bench.ask(fields=b"User-Agent: me\r\nReferer: there\r\n", target=b"/a")
        unix = bench.at("/run/p.sock", b"GET /b HTTP/1.1\r\nHost: web\r\n\r\n")
        for identifier in bench.pending():
            bench.fetch(identifier)
            bench.respond(identifier, PLAIN)
        self.assertEqual((client.status, unix.status), (200, 200))
        first, second = bench.lines.lines
        self.assertEqual(
            first[:11],
            ("127.0.0.1", "", 1_800_000_000, b"GET", b"/a", 1, 200, 2, 0, b"there", b"me"),
        )
        self.assertEqual((len(str(first[11])), first[12]), (32, ""))
        self.assertEqual((second[0], second[4]), ("unix", b"/b"))

    def test_loggedErrors(self) -> None:
        """
        Errors are logged with their codes; so is a request that was none, and a client that left.
        """
        bench = self.bench()
        bench.ask(b"TRACE")
        bench.raw(b"nonsense\r\n\r\n")
        bench.ask().leave()
        self.assertEqual(
            [(line[6], line[12]) for line in bench.lines.lines],
            [(405, "method-not-allowed"), (400, "bad-request"), (0, "client-gone")],
        )

    def test_pollsThatBreak(self) -> None:
        """
        An agent that leaves while it polls is nothing of note.
        """
        bench = self.bench()
        bench.poll().leave()
        self.assertEqual(bench.lines.lines, [])

    def test_loggedClient(self) -> None:
        """
        Behind trusted proxies the log names the client that they tell of: the last that is none of them.
        """
        settings = {"trustedProxies": (ip_network("127.0.0.0/8"),)}
        for told, named in (
            (b"203.0.113.7", "203.0.113.7"),
            (b"198.51.100.1, 203.0.113.7, 127.0.0.2", "203.0.113.7"),
            (b"203.0.113.7, rubbish", "rubbish"),
            (b"127.0.0.9", "127.0.0.9"),
        ):
            bench = self.bench(settings=settings)
            bench.ask(fields=b"X-Forwarded-For: %b\r\n" % told).leave()
            self.assertEqual([line[0] for line in bench.lines.lines], [named])

    def test_loggedLiar(self) -> None:
        """
        What a peer says that is no trusted proxy is not believed, be it a client that gets around them.
        """
        told = b"X-Forwarded-For: 203.0.113.7\r\n"
        for settings, listen, address, named in (
            ({"trustedProxies": (ip_network("10.0.0.0/8"),)}, PUBLIC, None, "127.0.0.1"),
            ({"trustUnixPeers": True}, PUBLIC, "198.51.100.1", "198.51.100.1"),
            ({"trustUnixPeers": True}, "unix:/run/public", None, "203.0.113.7"),
            (
                {"trustedProxies": (ip_network("10.0.0.0/8"),)},
                "unix:/run/public",
                None,
                "unix",
            ),
        ):
            bench = self.bench(started=False, settings=settings, listen=[listen])
            bench.start()
            data = b"GET / HTTP/1.1\r\nHost: web\r\n%b\r\n" % told
            if listen == PUBLIC:
                call = bench.raw(data, address=address)
            else:
                call = bench.at("/run/public", data)
            self.assertEqual(call.status, 503)
            self.assertEqual([line[0] for line in bench.lines.lines], [named])

    def test_agentListen(self) -> None:
        """
        With addresses for agents the public ones serve no agent.
        """
        bench = self.bench(listen=[PUBLIC], agentListen=[AGENTS])
        poll = (
            b"GET /agent/pending HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n\r\n"
        )
        self.assertEqual(bench.at(8080, poll).status, 404)
        parked = bench.at(8082, poll)
        self.assertEqual(parked.status, 0)
        client = bench.ask()
        self.assertEqual(len(idsOf(parked)), 1)
        self.assertEqual(client.status, 0)
        self.assertEqual(bench.at(8082, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").status, 404)

    def test_onlyOwnNames(self) -> None:
        """
        In open mode pages in a browser on this machine become no agents, wherever agents connect.
        """
        call = b"GET /agent/%b HTTP/1.1\r\nHost: %b\r\nX-Inverting-Proxy-Backend-ID: web\r\n\r\n"
        for endpoints, port in (([], 8080), ([AGENTS], 8082)):
            bench = ServiceBench(onlyOwnNames=True, agentListen=endpoints)
            bench.start()
            for path in (b"pending", b"request", b"tunnel"):
                refused = bench.at(port, call % (path, b"evil.example:8080"))
                self.assertEqual((refused.status, refused.error), (403, "forbidden"))
            self.assertEqual(list(bench.proxy.mailboxes), [])
            self.assertEqual(bench.at(port, call % (b"pending", b"localhost")).status, 0)
            self.assertEqual(len(list(bench.proxy.mailboxes)), 1)

    def test_admin(self) -> None:
        """
        The admin endpoint is another address; it is ready while the proxy is.
        """
        bench = self.bench(adminListen=ADMIN)
        self.assertEqual(bench.at(8081, HEALTH % b"readyz").status, 200)
        self.assertEqual(bench.at(8081, HEALTH % b"healthz").status, 200)
        self.assertEqual(bench.at(8081, HEALTH % b"api/status").status, 200)
        self.assertIsNone(self.bench(False).start().admin)

    def test_takenPort(self) -> None:
        """
        A taken port fails, and leaves nothing behind that listens.
        """
        bench = self.bench(False, listen=["tcp:8083:interface=127.0.0.1", PUBLIC])
        taken = bench.network.listenTCP(8080, bench.service._sites["public"])
        bench.service.startService()
        bench.network.pump()
        failure = self.failureResultOf(bench.service.whenReady(), CannotListenError)
        self.assertEqual(failure.value.port, 8080)
        self.failureResultOf(bench.service.whenReady(), CannotListenError)
        self.assertIsNotNone(bench.at(8083, b"").client.closed)
        self.successResultOf(bench.service.stopService())
        taken.stopListening()
        self.assertQuiet(bench)

    def test_badEndpoint(self) -> None:
        """
        An endpoint that is none is a L{ConfigError} that names it.
        """
        for description in ("none:8080", "tcp:x", ""):
            bench = self.bench(False, listen=[description])
            bench.service.startService()
            failure = self.failureResultOf(bench.service.whenReady(), ConfigError)
            self.assertIn(repr(description), str(failure.value))

    def test_maxConnections(self) -> None:
        """
        Clients are counted, agents are not.
        """
        bench = self.bench(settings={"maxConnections": 2})
        polls = [bench.poll() for _ in range(5)]
        bench.ask()
        bench.ask()
        surplus = bench.ask()
        self.assertEqual((surplus.status, surplus.error), (503, "too-many-connections"))
        self.assertEqual([poll.status for poll in polls].count(200), 2)
        self.assertEqual(bench.fetch(b"1").status, 404)

    def test_maxAdministrators(self) -> None:
        """
        The admin endpoint has a bound of its own, which has nothing to do with that of clients.
        """
        bench = self.bench(settings={"maxConnections": 2}, adminListen=ADMIN)
        calls = [bench.at(8081, HEALTH % b"healthz") for _ in range(257)]
        self.assertEqual([call.status for call in calls], [200] * 256 + [503])
        self.assertEqual(calls[-1].error, "too-many-connections")
        self.assertEqual(bench.service.refusals.counts, {"too-many-connections": 1})


class StopTests(ServiceCase):
    """
    L{ProxyService.stopService}.
    """

    def stop(self, bench: ServiceBench) -> Deferred[None]:
        stopped: Deferred[None] = bench.service.stopService()
        bench.network.pump()
        return stopped

    def test_nothingInFlight(self) -> None:
        """
        At once, with parked polls sent away and idle connections closed, and no clock left behind; but a client that
        has just come may still say what it wants.
        """
        bench = self.bench(adminListen=ADMIN, agentListen=[AGENTS])
        idle = bench.at(8080, b"")
        poll = bench.at(
            8082,
            b"GET /agent/pending HTTP/1.1\r\nHost: a\r\nX-Inverting-Proxy-Backend-ID: web\r\n\r\n",
        )
        bench.advance(2)
        new = bench.at(8080, b"")
        stopped = self.stop(bench)
        self.assertEqual((poll.status, poll.error), (503, "draining"))
        self.assertTrue(idle.isClosed and poll.isClosed)
        self.assertFalse(new.isClosed)
        bench.advance(1.25)
        self.assertTrue(new.isClosed)
        self.closeAll(bench)
        self.successResultOf(stopped)
        self.assertQuiet(bench)

    def test_neverStarted(self) -> None:
        """
        Or before it was started.
        """
        bench = self.bench(False)
        self.successResultOf(bench.service.stopService())
        self.assertQuiet(bench)

    def test_drains(self) -> None:
        """
        Exchanges in flight come to their ends, with all the calls that take; new ones are refused; it is not ready.
        """
        bench = self.bench(adminListen=ADMIN)
        fetched, queued = bench.ask(), bench.ask()
        first, second = bench.pending()
        bench.fetch(first)
        stopped = self.stop(bench)
        self.assertEqual(bench.at(8081, HEALTH % b"readyz").status, 503)
        refused = bench.ask()
        self.assertEqual((refused.status, refused.error), (503, "draining"))
        bench.advance(5)
        self.assertNoResult(stopped)
        self.assertEqual(bench.respond(first, PLAIN).status, 200)
        self.assertEqual(fetched.status, 200)
        bench.fetch(second, OURS)
        call = bench.respond(second, fields=OURS)
        call.chunk(PLAIN[:-1])
        bench.advance(5)
        self.assertNoResult(stopped)
        call.chunk(PLAIN[-1:])
        call.end()
        self.assertEqual((queued.reply.body, call.status), (b"ok", 200))
        self.assertIsNotNone(bench.at(8080, b"").client.closed)
        self.closeAll(bench)
        self.successResultOf(stopped)
        self.assertQuiet(bench)

    def closeAll(self, bench: ServiceBench) -> None:
        """
        Close the clients' ends of connections that the proxy has closed.
        """
        for call in bench.calls:
            if call.client.ended:
                call.client.close()
        bench.network.pump()

    def test_bounded(self) -> None:
        """
        But not for longer than the drain timeout; then all is cut.
        """
        bench = self.bench(settings={"drainTimeout": 10.0})
        queued, fetched, responding = (bench.ask() for _ in range(3))
        _, second, third = bench.pending()
        bench.fetch(second, OURS)
        bench.fetch(third, OURS)
        bench.respond(second, fields=OURS)
        call = bench.respond(third, fields=OURS)
        call.chunk(PLAIN[:-1])
        bench.poll()
        stopped = self.stop(bench)
        bench.advance(9.9)
        self.assertNoResult(stopped)
        self.assertFalse(responding.isClosed)
        bench.advance(0.2)
        self.assertTrue(responding.isCut)
        self.assertEqual((queued.error, fetched.error), ("draining", "draining"))
        self.assertTrue(queued.isClosed and fetched.isClosed)
        bench.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(bench.proxy.mailboxes.exchanges, {})
        self.closeAll(bench)
        self.assertQuiet(bench)

    def test_upgradedIsCut(self) -> None:
        """
        Upgraded connections are given the same time.
        """
        bench = self.bench(settings={"drainTimeout": 10.0})
        client = bench.ask(fields=b"Connection: upgrade\r\nUpgrade: echo\r\n")
        (identifier,) = bench.pending()
        fetch = bench.fetch(identifier, OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        stopped = self.stop(bench)
        bench.advance(5)
        client.send(b"x")
        self.assertTrue(fetch.reply.body.endswith(b"x"))
        bench.advance(5)
        self.assertTrue(client.isClosed)
        bench.advance(1)
        self.successResultOf(stopped)
        self.closeAll(bench)
        self.assertQuiet(bench)

    def test_clientDoesNotRead(self) -> None:
        """
        A client that does not read its answer does not stop it from stopping.
        """
        bench = self.bench(settings={"drainTimeout": 10.0})
        client = bench.ask()
        client.client.stopReading()
        (identifier,) = bench.pending()
        bench.fetch(identifier)
        call = bench.respond(identifier)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 80000\r\n\r\n" + b"x" * 60000)
        call.chunk(b"x" * 20000)
        call.end()
        self.assertEqual(call.status, 200)
        stopped = self.stop(bench)
        bench.advance(9)
        self.assertNoResult(stopped)
        bench.advance(1.5)
        self.assertNoResult(stopped)
        bench.advance(1)
        self.successResultOf(stopped)
        client.leave()
        self.closeAll(bench)
        self.assertQuiet(bench)

    def test_keptConnections(self) -> None:
        """
        Clients on kept connections hear with their next answers that these end: with that of the exchange in flight,
        or with a refusal; also just after the last exchange has ended. None of them meets a closed door.
        """
        bench = self.bench()
        flying, begun, idle, late = (bench.ask() for _ in range(4))
        bench.pending()
        flyingID, begunID, idleID, lateID = bench.proxy.mailboxes.exchanges
        for identifier in (idleID, lateID):
            bench.fetch(identifier.encode())
            bench.respond(identifier.encode(), PLAIN)
        for identifier in (flyingID, begunID):
            bench.fetch(identifier.encode(), OURS)
        call = bench.respond(begunID.encode(), fields=OURS)
        call.chunk(PLAIN[:-1])
        stopped = self.stop(bench)
        idle.client.received.clear()
        idle.send(HEALTH % b"")
        self.assertRefusedForGood(idle)
        bench.respond(flyingID.encode(), PLAIN)
        self.assertEqual(flying.status, 200)
        self.assertTrue(self.saysClose(flying))
        self.assertTrue(flying.isClosed)
        call.chunk(PLAIN[-1:])
        call.end()
        self.assertEqual((begun.reply.body, self.saysClose(begun)), (b"ok", False))
        begun.client.received.clear()
        begun.send(HEALTH % b"")
        self.assertRefusedForGood(begun)
        late.client.received.clear()
        late.send(HEALTH % b"")
        self.assertTrue(late.isClosed)
        self.closeAll(bench)
        self.successResultOf(stopped)
        self.assertQuiet(bench)

    def saysClose(self, call: Call) -> bool:
        """
        Does the reply say that the connection ends with it?
        """
        return b"\r\nConnection: close\r\n" in call.client.received

    def assertRefusedForGood(self, call: Call) -> None:
        """
        The client was told that the proxy is stopping, when to try again, and that the connection ends.
        """
        self.assertEqual((call.status, call.error), (503, "draining"))
        self.assertEqual(call.reply.value(b"Retry-After"), b"1")
        self.assertTrue(self.saysClose(call))
        self.assertTrue(call.isClosed)

    def test_agents(self) -> None:
        """
        Agents that offer to wait are refused, unless something waits for them; what they need to bring exchanges to
        their ends is served on connections that go on.
        """
        bench = self.bench()
        parked = bench.poll()
        flying = bench.ask(fields=b"X-Inverting-Proxy-Backend: web\r\n")
        (identifier,) = idsOf(parked)
        waiting = bench.poll()
        stopped = self.stop(bench)
        self.assertRefusedForGood(waiting)
        self.assertRefusedForGood(bench.poll())
        agent = bench.fetch(identifier, OURS)
        self.assertFalse(agent.isClosed)
        shaken = bench.shake()
        self.assertEqual((shaken.status, shaken.error), (503, "draining"))
        bench.proxy.mailboxes.exchanges[identifier.decode()].refuse()
        self.assertEqual(idsOf(bench.poll()), [identifier])
        bench.fetch(identifier)
        bench.respond(identifier, PLAIN)
        self.assertEqual(flying.status, 200)
        self.closeAll(bench)
        bench.advance(2.5)
        self.successResultOf(stopped)
