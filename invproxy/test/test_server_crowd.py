"""
Who may be connected: the bounds of a site, what becomes of those beyond them, and how that is counted and told.
"""

from __future__ import annotations

import gc
import inspect
import os
import weakref
from ipaddress import ip_network
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, Logger
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.trial.unittest import SynchronousTestCase

from invproxy import refusals as refusalsModule
from invproxy.errors import OUT_OF_DESCRIPTORS, TOO_MANY_CONNECTIONS
from invproxy.metrics import Tally
from invproxy.proxy.service import ProxyService
from invproxy.proxy.settings import ProxySettings
from invproxy.refusals import Refusals
from invproxy.server import StreamingSite
from invproxy.server.accepting import Doorkeeper, guardPort
from invproxy.server.crowd import Crowd, Room
from invproxy.test.serving import GET, PORT, PlayedOrigin, ServerTestCase, ok, post, statuses
from invproxy.testing import MemoryNetwork


def at(host: str) -> IAddress:
    """
    An address.
    """
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, 1)


class Connected:
    """
    A transport from somewhere.
    """

    def __init__(self, address: IAddress) -> None:
        self._address = address

    def getPeer(self) -> IAddress:
        return self._address


class CrowdTests(SynchronousTestCase):
    """
    The bounds themselves.
    """

    def setUp(self) -> None:
        self.refusals = Refusals(Clock())

    def crowd(self, most: int = 100, **options: Any) -> Crowd:
        """
        Make one.
        """
        return Crowd(self.refusals, most, **options)

    def enter(self, crowd: Crowd, *hosts: str) -> list[tuple[str, bool]]:
        """
        Let connections come.

        @return: for which address each is counted, and whether there is room for it.
        """
        entered = [crowd.enter(Connected(at(host))) for host in hosts]
        return [(key, not why) for key, why in entered]

    def test_addresses(self) -> None:
        """
        IPv4 addresses count one by one, also as IPv6; IPv6 by networks of 64 bits.
        """
        crowd = self.crowd(mostOfOne=2)
        hosts = ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "192.0.2.1")
        self.assertEqual([room for _, room in self.enter(crowd, *hosts)], [True, True, True, False])
        hosts = ("2001:db8::1", "2001:db8::2:3", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::1")
        self.assertEqual([room for _, room in self.enter(crowd, *hosts)], [True, True, False, True])

    def test_nobodys(self) -> None:
        """
        UNIX sockets and addresses that many share are not counted by address; no bound on one counts none.
        """
        crowd = self.crowd(mostOfOne=1, isShared=lambda host: host == "192.0.2.1")
        self.assertEqual(self.enter(crowd, *["192.0.2.1"] * 5), [("", True)] * 5)
        for _ in range(5):
            self.assertEqual(crowd.enter(Connected(UNIXAddress(None))), ("", ""))
        self.assertEqual(self.enter(self.crowd(), *["192.0.2.9"] * 5), [("", True)] * 5)
        self.assertEqual(crowd.count, 10)

    def test_leave(self) -> None:
        """
        Who leaves makes room, and leaves nothing behind.
        """
        crowd = self.crowd(mostOfOne=1)
        [(key, _), (other, isRoom)] = self.enter(crowd, "192.0.2.1", "192.0.2.1")
        self.assertFalse(isRoom)
        crowd.leave(key)
        crowd.leave(other)
        self.assertEqual((crowd.count, crowd._of), (0, {}))
        self.assertEqual(self.enter(crowd, "192.0.2.1"), [("192.0.2.1", True)])

    def test_room(self) -> None:
        """
        Several sites share the connections that a process can have; agents take them, too.
        """
        room = Room(3)
        one, two = self.crowd(room=room), self.crowd(room=room)
        [(key, _), _] = self.enter(one, "192.0.2.1", "192.0.2.1")
        one.leave(key)  # an agent's
        self.enter(two, "192.0.2.2")
        self.assertTrue(one.turnsAway(at("192.0.2.3")))
        self.assertTrue(two.turnsAway(at("192.0.2.3")))
        self.assertEqual(self.refusals.counts, {"out-of-descriptors": 2})
        one.makeRoom()
        self.assertFalse(two.turnsAway(at("192.0.2.3")))

    def test_settings(self) -> None:
        """
        Without other word one address has a quarter of all connections, but as many as a browser needs; this machine
        and trusted proxies have any number.
        """
        for settings, most in (
            (ProxySettings(), 2500),
            (ProxySettings(maxConnections=40), 16),
            (ProxySettings(maxPerAddress=7), 7),
            (ProxySettings(maxPerAddress=0), 0),
        ):
            self.assertEqual(settings.mostPerAddress(), most)
        settings = ProxySettings(trustedProxies=(ip_network("192.0.2.0/28"),))
        for host, isShared in (
            ("127.0.0.1", True),
            ("127.9.9.9", True),
            ("::1", True),
            ("::ffff:127.0.0.1", True),
            ("192.0.2.15", True),
            ("192.0.2.16", False),
            ("::12", False),
            ("::1:2", False),
            ("2001:db8::1", False),
        ):
            self.assertEqual(settings.isShared(host), isShared, host)

    def test_relayed(self) -> None:
        """
        Behind the PROXY protocol who connects is the load balancer, which is not counted by address.
        """
        network = MemoryNetwork()
        crowd = self.crowd(mostOfOne=2)
        site = StreamingSite(None, network, crowd=crowd)  # type: ignore[arg-type]
        network.listenTCP(PORT, HAProxyWrappingFactory(site))
        clients = [network.client("a", PORT, address="192.0.2.1") for _ in range(20)]
        network.pump()
        self.assertEqual((crowd.count, crowd._of), (20, {}))
        self.assertFalse(any(client.ended for client in clients))
        for client in clients:
            client.abort()
        network.pump()
        self.assertEqual(crowd.count, 0)

    def test_relayedTurnedAway(self) -> None:
        """
        Nor does one stay that is turned away there.
        """
        network = MemoryNetwork()
        crowd = self.crowd(room=Room(1))
        site = StreamingSite(None, network, crowd=crowd)  # type: ignore[arg-type]
        network.listenTCP(PORT, HAProxyWrappingFactory(site))
        clients = [network.client("a", PORT) for _ in range(3)]
        network.pump()
        self.assertEqual([client.closed is not None for client in clients], [False, True, True])
        self.assertEqual(len(network.connections), 1)
        self.assertEqual(self.refusals.counts, {"out-of-descriptors": 2})

    def test_service(self) -> None:
        """
        All endpoints of a proxy have bounds: for agents as for clients, and a smaller one for administrators.
        """
        network = MemoryNetwork()
        settings = ProxySettings(maxConnections=100, maxPerAddress=20, maxSockets=300)
        proxy = ProxyService(
            network,
            settings,
            listen=["tcp:1"],
            agentListen=["tcp:2"],
            adminListen="tcp:3",
        )
        proxy.startService()
        network.resultOf(proxy.whenReady())
        found = {}
        for port in (1, 2, 3):
            clients = [network.client("a", port, address="192.0.2.1") for _ in range(100)]
            network.pump()
            found[port] = sum(client.closed is None for client in clients)
        self.assertEqual(found, {1: 28, 2: 28, 3: 72})
        for number in range(300):
            network.client("a", 1 + number % 2, address=f"198.51.{number // 250}.{number % 250}")
        network.pump()
        self.assertEqual(proxy._room.taken, 300)
        self.assertIn("out-of-descriptors", proxy.refusals.counts)
        network.advance(31)
        self.assertEqual(proxy._room.taken, 0)
        network.resultOf(proxy.stopService())


class Broken(StringTransport):
    """
    A transport of which something cannot be had.
    """

    def registerProducer(self, producer: object, streaming: bool) -> None:
        raise OSError("Invalid argument")


class BrokenTests(SynchronousTestCase):
    """
    Connections that cannot even be set up.
    """

    def test_counted(self) -> None:
        """
        Are counted in and out once, like others.
        """
        room = Room()
        crowd = Crowd(Refusals(Clock()), 100, room=room)
        site = StreamingSite(PlayedOrigin(), Clock(), crowd=crowd)
        channel = site.buildProtocol(at("192.0.2.1"))
        self.assertRaises(OSError, channel.makeConnection, Broken())
        self.assertEqual((crowd.count, room.taken, site.countLinks()), (1, 1, 0))
        channel.connectionLost()
        self.assertEqual((crowd.count, room.taken, site.countLinks()), (0, 0, 0))


class GoneTests(SynchronousTestCase):
    """
    Connections that are gone.
    """

    def test_nothingKept(self) -> None:
        """
        Their transports go with them, and what these had still to send: a crowd that was sent away leaves nothing
        behind until garbage is collected. That is so before, within, and after a request.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        for data, isAnswered in (
            (b"", False),
            (GET[:-4], False),
            (GET, False),
            (GET, True),
            (post(5) + b"abc", False),
            (post(5) + b"abc", True),
        ):
            origin = PlayedOrigin()
            clock = Clock()
            site = StreamingSite(origin, clock, minPace=1000.0)
            channel = site.buildProtocol(at("192.0.2.1"))
            transport = StringTransport()
            channel.makeConnection(transport)
            channel.dataReceived(data)
            if isAnswered:
                origin.played[0].answer.respond(ok(5))
                origin.played[0].answer.write(b"abc")
            gone = weakref.ref(transport)
            clock.advance(0)
            transport.unregisterProducer()  # as transports do
            channel.connectionLost()
            origin.played.clear()
            del channel, transport
            self.assertIsNone(gone(), (data, isAnswered))


class AgentsInCrowdTests(ServerTestCase):
    """
    Agents of one address.
    """

    def test_agents(self) -> None:
        """
        Are served beyond the bound on it, and are not counted any more then.
        """
        crowd = Crowd(Refusals(self.network), 100, mostOfOne=2)
        self.serve(PORT + 1, crowd=crowd, isAgentCall=lambda head: head.target == b"/agent")
        agents = []
        for _ in range(30):
            client = self.network.client("a", PORT + 1, address="192.0.2.1")
            client.send(GET.replace(b"/ ", b"/agent "))
            self.network.pump()
            self.origin.played[-1].answer.peer.countAsAgent()
            agents.append(client)
        self.assertEqual((len(self.origin.played), crowd.count, crowd._of), (30, 0, {}))
        clients = [self.network.client("a", PORT + 1, address="192.0.2.1") for _ in range(3)]
        for client in clients:
            client.send(GET)
        self.network.pump()
        self.assertEqual(statuses(clients[-1].take()), [503])
        self.assertEqual(len(self.origin.played), 32)
        for client in (*agents, *clients):
            client.abort()
        self.network.pump()
        self.assertGone()


class RefusalsTests(SynchronousTestCase):
    """
    Counted each time, and told now and then.
    """

    def test_told(self) -> None:
        """
        The log has one line a minute for each reason, which says how many others there were.
        """
        lines: list[LogEvent] = []
        self.patch(refusalsModule, "_log", Logger(observer=cast(ILogObserver, lines.append)))
        clock = Clock()
        tally = Tally()
        refusals = Refusals(clock, tally)
        for number in range(100):
            refusals.refuse(TOO_MANY_CONNECTIONS, f"number {number}")
            refusals.refuse(OUT_OF_DESCRIPTORS, "none")
            clock.advance(0.5)
        clock.advance(10)
        refusals.refuse(TOO_MANY_CONNECTIONS, "again")
        refusals.count(OUT_OF_DESCRIPTORS)
        self.assertEqual(refusals.counts, {"too-many-connections": 101, "out-of-descriptors": 101})
        told = {code: count for code, count in tally._refused.items() if count}
        self.assertEqual(told, refusals.counts)
        self.assertEqual(
            [(event["code"], event["why"], event["more"]) for event in lines],
            [
                ("too-many-connections", "number 0", ""),
                ("out-of-descriptors", "none", ""),
                ("too-many-connections", "again", "; 99 others since the last such line"),
            ],
        )


class FakePort:
    """
    A port that says what is asked of it.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.connected = True

    def stopReading(self) -> None:
        self.asked.append("stop")

    def startReading(self) -> None:
        self.asked.append("start")


class DoorkeeperTests(SynchronousTestCase):
    """
    What a port does that cannot accept.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.refusals = Refusals(self.clock)
        self.port = FakePort()
        self.doorkeeper = Doorkeeper(self.port, self.clock, self.refusals)
        self.isOut = True
        self.patch(os, "open", self.open)

    def open(self, *ignored: object) -> int:
        if self.isOut:
            raise OSError("none")
        return os.dup(0)

    def test_rest(self) -> None:
        """
        It rests for a second, and for as long as there is nothing to accept with; once for several failures.
        """
        for _ in range(3):
            self.doorkeeper(
                {
                    "log_format": "Could not accept new connection ({acceptError})",
                    "acceptError": "EMFILE",
                }
            )
        self.assertEqual(self.port.asked, ["stop"])
        self.clock.advance(1)
        self.assertEqual(self.port.asked, ["stop", "stop"])
        self.isOut = False
        self.clock.advance(1)
        self.assertEqual(self.port.asked, ["stop", "stop", "start"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """
        A port that was closed meanwhile stays so.
        """
        self.doorkeeper(
            {
                "log_format": "Could not accept new connection ({acceptError})",
                "acceptError": "ENFILE",
            }
        )
        self.port.connected = False
        self.clock.advance(1)
        self.assertEqual((self.port.asked, self.clock.getDelayedCalls()), (["stop"], []))

    def test_counted(self) -> None:
        """
        Those that were closed are counted; what else a port says is not for the log.
        """
        for text in (
            "EMFILE encountered; releasing reserved file descriptor.",
            "EMFILE recovery: Closed socket from {address}",
            "EMFILE recovery: Closed socket from {address}",
            "Re-reserving EMFILE recovery file descriptor.",
        ):
            self.doorkeeper({"log_format": text, "address": ("192.0.2.1", 1)})
        self.assertEqual(self.refusals.counts, {"out-of-descriptors": 2})
        self.assertEqual(self.port.asked, [])

    def test_texts(self) -> None:
        """
        Twisted says it in these words, and guarded ports are asked to say it to us.
        """
        source = inspect.getsource(tcp)
        self.assertIn('"Could not accept new connection ({acceptError})"', source)
        self.assertIn('"EMFILE recovery:" " Closed socket from {address}"', source)
        port = tcp.Port(0, Factory())
        guardPort(port, self.clock, self.refusals)
        self.assertIsInstance(port._logger.observer, Doorkeeper)
        guardPort(object(), self.clock, self.refusals)  # type: ignore[arg-type]
