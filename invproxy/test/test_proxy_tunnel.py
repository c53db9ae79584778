"""
The proxy's side of tunnels: their beginning, their replacement and their end; and the whole proxy with them. The
agents' ends are written by hand.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.interfaces import IAccessLog
from invproxy.proxy.service import ProxyService
from invproxy.proxy.settings import ProxySettings
from invproxy.test.benchcase import TunnelCase
from invproxy.test.rawcalls import HANDSHAKE, PLAIN, AgentTunnel, Bench, Call
from invproxy.test.scripted import RecordingOrigin
from invproxy.testing import InvertingPair, MemoryNetwork, fetch
from invproxy.testing.pair import ADMIN, PROXY
from invproxy.wire.frames import REQUEST, parseRequestPayload


def lines(name: bytes, value: bytes | None) -> bytes:
    """
    The lines of a handshake with one of them changed.

    @param value: the new value; L{None} leaves the line out.
    """
    kept = [line for line in HANDSHAKE.split(b"\r\n")[:-1] if not line.startswith(name + b":")]
    if value is not None:
        kept.append(name + b": " + value)
    return b"\r\n".join(kept) + b"\r\n"


class HandshakeTests(TunnelCase):
    """
    C{GET agent/tunnel}.
    """

    def test_accepted(self) -> None:
        """
        The answer of RFC 6455, and then a HELLO; agents are not counted as clients.
        """
        bench = self.bench()
        tunnel = bench.tunnel(greets=False)
        first, *fields = tunnel.head.decode().strip().split("\r\n")
        self.assertTrue(first.startswith("HTTP/1.1 101 "))
        found = {name.lower(): text for name, _, text in (line.partition(": ") for line in fields)}
        self.assertEqual(found.pop("connection").lower(), "upgrade")
        self.assertEqual(found.pop("upgrade").lower(), "websocket")
        self.assertEqual(found.pop("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertEqual(found.pop("sec-websocket-protocol"), "invproxy.v1")
        self.assertLessEqual(set(found), {"date"})
        assert tunnel.peer is not None
        self.assertEqual(tunnel.peer.version, "1.0")
        self.assertTrue(tunnel.peer.node)
        self.assertGreaterEqual(tunnel.peer.head, 65536)
        self.assertEqual(bench.site.clients, 0)
        self.assertEqual(len(bench.proxy.tunnels), 1)
        tunnel.greet(instance="a")
        self.assertServes(bench, tunnel)

    def test_node(self) -> None:
        """
        All tunnels of a proxy name the same node, and another proxy another.
        """
        bench = self.bench()
        one, two, other = bench.tunnel(), bench.tunnel(b"b"), self.bench().tunnel()
        assert one.peer and two.peer and other.peer
        self.assertEqual(one.peer.node, two.peer.node)
        self.assertNotEqual(one.peer.node, other.peer.node)

    def test_prefix(self) -> None:
        """
        It is served below a prefix, too.
        """
        bench = self.bench(prefix=b"/apps/proxy")
        self.assertServes(bench, bench.tunnel())

    def test_errors(self) -> None:
        """
        What is no proper handshake is an error, and no tunnel.
        """
        bench = self.bench()
        for fields in (
            b"",
            lines(b"Upgrade", None),
            lines(b"Upgrade", b"h2c"),
            lines(b"Connection", b"keep-alive"),
            lines(b"Sec-WebSocket-Key", None),
            lines(b"Sec-WebSocket-Key", b"short"),
            lines(b"Sec-WebSocket-Key", b"x" * 24),
            HANDSHAKE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            lines(b"Sec-WebSocket-Protocol", None),
            lines(b"Sec-WebSocket-Protocol", b"chat, invproxy.v2"),
        ):
            call = bench.shake(fields=fields)
            self.assertFailed(call, 400, "bad-request")
        for version in (None, b"12", b"8, 13"):
            call = bench.shake(fields=lines(b"Sec-WebSocket-Version", version))
            self.assertFailed(call, 400, "bad-request")
            self.assertEqual(call.reply.value(b"Sec-WebSocket-Version"), b"13")
        self.assertFailed(bench.shake(version=b"HTTP/1.0"), 400, "bad-request")
        self.assertEqual(len(bench.proxy.tunnels), 0)

    def test_offers(self) -> None:
        """
        Other offers than ours do no harm, and are not taken.
        """
        bench = self.bench()
        fields = lines(b"Sec-WebSocket-Protocol", b"chat, invproxy.v1,x")
        call = bench.shake(fields=fields + b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
        self.assertEqual(call.status, 101)
        self.assertEqual(call.reply.value(b"Sec-WebSocket-Protocol"), b"invproxy.v1")
        self.assertIsNone(call.reply.value(b"Sec-WebSocket-Extensions"))

    def test_methods(self) -> None:
        """
        Only GET will do.
        """
        bench = self.bench()
        for method in (b"POST", b"PUT", b"HEAD"):
            call = bench.shake(method=method, fields=HANDSHAKE + b"Content-Length: 0\r\n")
            self.assertEqual(call.status, 405)
            self.assertEqual(call.reply.value(b"Allow"), b"GET")

    def test_webPages(self) -> None:
        """
        A page in a browser, which may open WebSockets to anywhere, must not become an agent.
        """
        bench = self.bench()
        for field in (
            b"Origin: https://evil.example\r\n",
            b"ORIGIN: null\r\n",
            b"Sec-Fetch-Site: same-origin\r\n",
        ):
            self.assertFailed(bench.shake(fields=HANDSHAKE + field), 403, "forbidden")
        self.assertEqual(len(bench.proxy.tunnels), 0)

    def test_backends(self) -> None:
        """
        The backend is named as in any agent's call.
        """
        bench = self.bench()
        for backend in (None, b"", b"a b", b"x" * 257, b"\xe9"):
            self.assertFailed(bench.shake(backend), 400, "bad-request")
        self.assertEqual(bench.shake(b"a/b:c@d").status, 101)

    def test_maxBackends(self) -> None:
        """
        There are not more of them than allowed.
        """
        bench = self.bench(maxBackends=2)
        bench.tunnel(b"b")
        self.assertFailed(bench.shake(b"c"), 503, "too-many-backends")

    def test_stock(self) -> None:
        """
        Under a stock site there are none, and agents are told to poll.
        """
        for prefix in (b"", b"/apps/proxy"):
            bench = self.bench(stock=True, prefix=prefix)
            call = bench.shake()
            self.assertEqual(call.status, 404)
            self.assertEqual(len(bench.proxy.tunnels), 0)
            client = bench.ask()
            bench.respond(bench.take()[0], PLAIN)
            self.assertAnswered(client)

    def test_tooMany(self) -> None:
        """
        A backend has a most of tunnels, each for itself.
        """
        bench = self.bench(maxTunnels=2)
        tunnels = [bench.tunnel(), bench.tunnel(greets=False)]
        refused = bench.shake()
        self.assertFailed(refused, 503, "too-many-tunnels")
        self.assertEqual(refused.reply.value(b"Retry-After"), b"30")
        bench.tunnel(b"other")
        for tunnel in tunnels:
            tunnel.call.leave()
            bench.tunnel()
            self.assertFailed(bench.shake(), 503, "too-many-tunnels")

    def test_tooManyButReplaced(self) -> None:
        """
        An agent whose link was lost without a word gets its tunnel back, though its backend has as many as it may;
        nobody else gets one by that, nor more than one at a time.
        """
        bench = self.bench(maxTunnels=2)
        lost = bench.tunnel(instance="mine", slot=1)
        other = bench.tunnel(instance="other", slot=0)
        for claim in (b"mine 0", b"another 1", b"mine 1 2", b"mine -1", b"mine", b" 1", b""):
            self.assertFailed(self.claim(bench, claim), 503, "too-many-tunnels")
        call = self.claim(bench, b"mine 1")
        self.assertEqual(call.status, 101)
        self.assertFailed(self.claim(bench, b"mine 1"), 503, "too-many-tunnels")
        self.assertFalse(lost.isClosed)
        tunnel = AgentTunnel(call, bench.network)
        tunnel.greet(instance="mine", slot=1)
        self.assertTrue(lost.isClosed)
        self.assertFalse(other.isClosed)
        self.assertEqual(len(bench.proxy.tunnels), 2)
        lost.call.leave()
        other.call.leave()
        self.assertServes(bench, tunnel)
        self.assertEqual(bench.proxy.tunnels._surplus, {})

    def test_tooManyAndNotReplaced(self) -> None:
        """
        Who says it would replace a tunnel, and then does not, is sent away.
        """
        bench = self.bench(maxTunnels=1)
        stays = bench.tunnel(instance="mine", slot=0)
        for said in ({"instance": "mine", "slot": 1}, {"instance": "", "slot": 0}):
            tunnel = AgentTunnel(self.claim(bench, b"mine 0"), bench.network)
            tunnel.greet(**said)
            self.assertTrue(tunnel.isClosed)
            tunnel.call.leave()
            self.assertServes(bench, stays)
            self.assertEqual((len(bench.proxy.tunnels), bench.proxy.tunnels._surplus), (1, {}))

    def claim(self, bench: Bench, claim: bytes) -> Call:
        """
        Ask for a tunnel in the place of another one.
        """
        return bench.shake(fields=HANDSHAKE + b"X-Inverting-Proxy-Tunnel: %b\r\n" % claim)

    def test_noGreeting(self) -> None:
        """
        Who never says HELLO gets nothing, and is cut off after the link timeout.
        """
        bench = self.bench(linkTimeout=10.0)
        tunnel = bench.tunnel(greets=False)
        tunnel.answersPings = False
        client = bench.ask()
        bench.advance(9)
        self.assertFalse(tunnel.isClosed)
        bench.advance(4)
        self.assertTrue(tunnel.isClosed)
        self.assertEqual(len(bench.proxy.tunnels), 0)
        self.assertEqual(tunnel.requests, {})
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(client)

    def test_presence(self) -> None:
        """
        A backend with a tunnel is there, however long nothing happens; without it, it is not, after a while.
        """
        bench = Bench(backendTimeout=50.0)
        tunnel = bench.tunnel()
        bench.advance(3000)
        self.assertFalse(tunnel.isClosed)
        self.assertServes(bench, tunnel)
        tunnel.call.leave()
        bench.advance(51)
        self.assertFailed(bench.ask(), 503, "agent-offline")

    def test_waiting(self) -> None:
        """
        What waits when a tunnel comes goes into it at once, in order.
        """
        bench = self.bench()
        clients = [bench.ask(target=b"/%d" % number) for number in range(3)]
        tunnel = bench.tunnel()
        targets = [head.split(b" ")[1] for head in tunnel.requests.values()]
        self.assertEqual(targets, [b"/0", b"/1", b"/2"])
        for stream in tunnel.requests:
            tunnel.respond(stream)
        for client in clients:
            self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_request(self) -> None:
        """
        A REQUEST tells the ID and the end user beside the head.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client = bench.ask(target=b"/a?b", fields=b"X-Inverting-Proxy-User-ID: root\r\nX-A: b\r\n")
        [frame] = tunnel.of(REQUEST)
        outer, head = parseRequestPayload(frame.payload)
        [identifier] = bench.proxy.mailboxes.exchanges
        self.assertIn(b"X-Inverting-Proxy-Request-ID: " + identifier.encode(), outer)
        self.assertNotIn(b"root", frame.payload)
        self.assertTrue(head.startswith(b"GET /a?b HTTP/1.1\r\nHost: web.example\r\nX-A: b\r\n"))
        tunnel.respond(frame.stream)
        self.assertAnswered(client)


class ReplacedTests(TunnelCase):
    """
    An agent whose tunnel is lost, unnoticed here, opens another.
    """

    def test_replaced(self) -> None:
        """
        The old one is closed at once.
        """
        bench = self.bench()
        old = bench.tunnel(instance="one", slot=3)
        new = bench.tunnel(instance="one", slot=3)
        assert old.closing is not None
        self.assertEqual(old.closing[0], 4000)
        self.assertTrue(old.isClosed)
        self.assertEqual(len(bench.proxy.tunnels), 1)
        self.assertServes(bench, new)

    def test_frozen(self) -> None:
        """
        Though its link takes nothing any more.
        """
        bench = self.bench()
        old = bench.tunnel(instance="one")
        bench.network.freeze(old.call.client)
        new = bench.tunnel(instance="one")
        self.assertEqual(len(bench.proxy.tunnels), 1)
        self.assertServes(bench, new)

    def test_others(self) -> None:
        """
        Those of other backends, instances and slots are not.
        """
        bench = self.bench()
        tunnels = [
            bench.tunnel(instance="one", slot=0),
            bench.tunnel(instance="one", slot=1),
            bench.tunnel(instance="two", slot=0),
            bench.tunnel(b"other", instance="one", slot=0),
        ]
        self.assertEqual([tunnel.closing for tunnel in tunnels], [None] * 4)
        self.assertEqual(len(bench.proxy.tunnels), 4)

    def test_nameless(self) -> None:
        """
        Agents that name no instance are not taken for one.
        """
        bench = self.bench()
        tunnels = [bench.tunnel(instance="") for _ in range(2)]
        self.assertEqual([tunnel.closing for tunnel in tunnels], [None] * 2)

    def test_exchanges(self) -> None:
        """
        What the old one had and may be repeated goes into the new one; what may not is lost, and told so.
        """
        bench = self.bench()
        old = bench.tunnel(instance="one")
        get, post = bench.ask(), bench.post(b"x")
        self.assertEqual(len(old.requests), 2)
        new = bench.tunnel(instance="one")
        self.assertFailed(post, 502, "agent-lost")
        self.assertEqual(len(new.requests), 1)
        new.respond(1)
        self.assertAnswered(get)

    def test_again(self) -> None:
        """
        The end of the old one takes nothing from the new one.
        """
        bench = self.bench()
        old = bench.tunnel(instance="one")
        new = bench.tunnel(instance="one")
        old.call.leave()
        bench.advance(5)
        newer = bench.tunnel(instance="one")
        assert new.closing is not None
        self.assertEqual(new.closing[0], 4000)
        self.assertServes(bench, newer)


class DrainTests(TunnelCase):
    """
    A proxy that stops.
    """

    def test_drain(self) -> None:
        """
        Agents are told so; exchanges come to their ends, and then the tunnels do.
        """
        bench = self.bench()
        idle, busy = bench.tunnel(b"idle"), bench.tunnel()
        client = bench.ask()
        empty = bench.proxy.drain()
        bench.network.pump()
        self.assertEqual((idle.dismissals, busy.dismissals), ([0], [1]))
        self.assertEqual(idle.closing, (1001, "drained"))
        self.assertIsNone(busy.closing)
        self.assertFailed(bench.ask(), 503, "draining")
        self.assertNoResult(empty)
        busy.respond(1)
        self.assertAnswered(client)
        self.successResultOf(empty)
        bench.network.pump()
        self.assertEqual(busy.closing, (1001, "drained"))
        self.assertEqual(len(bench.proxy.tunnels), 0)

    def test_waiting(self) -> None:
        """
        What waits already is served still, by an agent that comes back.
        """
        bench = self.bench()
        tunnel = bench.tunnel(streams=1)
        begun, waits = bench.ask(), bench.ask()
        empty = bench.proxy.drain()
        bench.network.pump()
        again = bench.tunnel()
        again.respond(1)
        self.assertAnswered(waits)
        tunnel.respond(1)
        self.assertAnswered(begun)
        self.successResultOf(empty)

    def test_close(self) -> None:
        """
        In the end everything is cut.
        """
        bench = self.bench()
        tunnel = bench.tunnel()
        client, upload = bench.ask(), bench.post(b"x")
        bench.proxy.drain()
        bench.proxy.close()
        bench.network.pump()
        self.assertFailed(client, 503, "draining")
        self.assertFailed(upload, 502, "agent-lost")  # it may have been acted on
        assert tunnel.closing is not None
        self.assertEqual(tunnel.closing[0], 1001)
        self.assertTrue(tunnel.isClosed)
        self.assertEqual(len(bench.proxy.tunnels), 0)

    def test_nothingLeft(self) -> None:
        """
        Tunnels and exchanges that are over leave nothing behind.
        """
        bench = Bench()
        for how in ("leave", "close", "dismiss", "violate"):
            tunnel = bench.tunnel()
            client = bench.ask()
            tunnel.respond(1)
            self.assertAnswered(client)
            client.client.close()
            bench.ask().leave()
            if how == "leave":
                tunnel.call.leave()
            elif how == "close":
                tunnel.close()
            elif how == "dismiss":
                tunnel.dismiss(2)
            else:
                tunnel.sendRaw(b"\xff" * 20)
            bench.advance(3)
            self.assertTrue(tunnel.isClosed, how)
            tunnel.call.client.close()
            bench.network.pump()
            self.assertEqual(len(bench.proxy.tunnels), 0)
            self.assertEqual(bench.proxy.tunnels._counts, {})
            self.assertEqual(bench.proxy.tunnels._places, {})
            self.assertEqual(len(bench.proxy._deadlines._watched), 0)
            self.assertEqual(bench.network.connections, [])
            self.assertEmpty(bench)


@implementer(IAccessLog)
class Recorder:
    """
    An access log that remembers.
    """

    def __init__(self) -> None:
        self.targets: list[tuple[bytes, int]] = []

    def log(self, *about: Any) -> None:
        self.targets.append((about[4], about[6]))

    def close(self) -> None:
        pass


class ServiceTests(SynchronousTestCase):
    """
    The whole proxy, with real agents.
    """

    def status(self, pair: InvertingPair) -> dict[str, Any]:
        """
        What C{/api/status} says of the only backend.
        """
        asked = fetch(pair.network, ADMIN, target=b"/api/status", fields=[(b"Host", b"localhost")])
        [backend] = json.loads(pair.network.resultOf(asked).body)["backends"]
        assert isinstance(backend, dict)
        return backend

    def test_status(self) -> None:
        """
        C{/api/status} counts tunnels and what they carry.
        """
        origin = RecordingOrigin()
        network = MemoryNetwork()
        with InvertingPair(origin, network=network, transport="tunnel") as pair:
            self.assertEqual(self.status(pair)["tunnels"], 1)
            self.assertEqual(self.status(pair)["polls"], 0)
            asked = pair.fetch()
            network.pump()
            self.assertEqual(self.status(pair)["exchanges"], {"fetched": 1})
            origin.uploads[0].reply()
            network.resultOf(asked)
            network.advance(400)
            found = self.status(pair)
            self.assertEqual((found["online"], found["secondsSinceSeen"]), (True, 0))
            network.resultOf(pair.agent.stopService())
            network.pump()
            self.assertEqual(self.status(pair)["tunnels"], 0)

    def test_accessLog(self) -> None:
        """
        The access log shows requests, and no tunnels.
        """
        log = Recorder()
        origin = RecordingOrigin()
        with InvertingPair(origin, transport="tunnel", accessLog=log) as pair:
            asked = pair.fetch(target=b"/a")
            pair.network.pump()
            origin.uploads[0].reply()
            pair.network.resultOf(asked)
            refused = fetch(pair.network, PROXY, target=b"/agent/tunnel")
            self.assertEqual(pair.network.resultOf(refused).status, 400)
            pair.network.advance(1000)
        self.assertEqual(log.targets, [(b"/a", 200)])

    def test_maxConnections(self) -> None:
        """
        Tunnels are not counted as clients, nor closed as idle ones.
        """
        origin = RecordingOrigin()
        settings = ProxySettings(maxConnections=1, idleTimeout=10.0)
        with InvertingPair(origin, transport="tunnel", proxySettings=settings) as pair:
            pair.network.advance(100)
            asked = pair.fetch()
            pair.network.pump()
            refused = pair.request()
            self.assertEqual(refused.status, 503)
            origin.uploads[0].reply()
            self.assertEqual(pair.network.resultOf(asked).status, 200)
            self.assertEqual(self.status(pair)["tunnels"], 1)

    def test_agentListen(self) -> None:
        """
        With an endpoint for agents alone, tunnels are made there, and not where clients are.
        """
        network = MemoryNetwork()
        proxy = ProxyService(
            network,
            listen=["tcp:8080:interface=127.0.0.1"],
            agentListen=["tcp:8082:interface=127.0.0.1"],
        )
        proxy.startService()
        network.resultOf(proxy.whenReady())
        found = {}
        for port in (8080, 8082):
            client = network.client("p.test", port)
            client.send(
                b"GET /agent/tunnel HTTP/1.1\r\nHost: p\r\nX-Inverting-Proxy-Backend-ID: web\r\n"
                + HANDSHAKE
                + b"\r\n"
            )
            network.pump()
            found[port] = bytes(client.received).split(b" ")[1]
        self.assertEqual(found, {8080: b"404", 8082: b"101"})
        self.assertEqual(len(proxy.resource.tunnels), 1)
        network.resultOf(proxy.stopService())
        network.advance(3)
        self.assertEqual(network.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """
        After its stop nothing is left of a proxy with tunnels, whether agents take the end or not.
        """
        for frozen in (False, True):
            pair = InvertingPair(RecordingOrigin(), transport="tunnel")
            pair.start()
            [link] = pair.network.connections
            link.frozen = frozen
            pair.network.resultOf(pair.proxy.stopService())
            link.frozen = False
            pair.network.resultOf(pair.agent.stopService())
            pair.network.advance(3)
            self.assertEqual(pair.network.connections, [])
            self.assertEqual(pair.network.getDelayedCalls(), [])
