"""
File descriptors: as many as may be had, and what happens when there are no more; with real programs, to which few are
given, or from which some are taken away while they run.
"""

from __future__ import annotations

import os
import resource

from invproxy.descriptors import ENOUGH
from invproxy.test.losscase import LossTestCase
from invproxy.test.programs import Agent, Program, Proxy, eventually
from invproxy.test.wires import Flood, Wire

_TICKS = os.sysconf("SC_CLK_TCK")


SOFT = "-Sn 60"
"""A soft limit that is too low for what is done here."""


def mostDescriptors() -> int:
    """
    How many descriptors a program may have.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)


def limitOf(program: Program) -> int:
    """
    How many descriptors a program has room for.
    """
    return resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)[0]


def allow(program: Program, count: int) -> None:
    """
    Let a program have so many from now on.
    """
    _, hard = resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (count, hard))


def processorTime(program: Program) -> float:
    """
    How many seconds of processor time a program has used.
    """
    with open(f"/proc/{program.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class DescriptorTests(LossTestCase):
    """
    A proxy, an agent, and a flood of connections.
    """

    transport = "tunnel"

    def flood(self, proxy: Proxy, count: int) -> Flood:
        """
        Connect so many times, until the end of the test.
        """
        flood = Flood(proxy.port, count)
        self.addCleanup(flood.close)
        return flood

    def assertCalm(self, program: Program, silent: Wire, begin: int, most: int) -> None:
        """
        A program neither uses the processor, nor floods the log, while it has nothing to say.

        @param silent: a connection to which nothing may come meanwhile.
        @param begin: the first line of its output that counts.
        @param most: how many lines there may be.
        """
        before = processorTime(program)
        self.assertFalse(silent.hasMore(0.5))
        self.assertLess(processorTime(program) - before, 0.25)
        lines = program.output(begin)
        self.assertLessEqual(len(lines), most, "\n".join(lines))

    def assertStands(self, client: Wire, server: Wire) -> None:
        """
        A response that was in flight goes on.
        """
        server.send(b"5\r\nagain\r\n")
        self.assertEqual(client.readChunk(), b"again")

    def ask(self, proxy: Proxy) -> int:
        """
        Send a request on a connection of its own.

        @return: the status, or 0 if the connection was closed.
        """
        try:
            client = Wire.to(proxy.port)
            client.send(b"GET /0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if not eventually(lambda: client.hasMore() or self.origin.hasRequest(), "news"):
                return 0
            if not client.hasMore():
                self.serve(1)
            return int(client.readHead().split()[1])
        except (EOFError, ConnectionError):
            return 0

    def test_few(self) -> None:
        """
        A proxy that cannot have many takes fewer clients than its option says, and says so; a flood does not take it
        beyond that, nor does it break what is in flight. There is room for agents, too.
        """
        proxy = self.__dict__["proxy"] = self.running(
            Proxy("--access-log", "none", ulimit="-n 128")
        )
        found = proxy.waitFor(
            r"--max-connections is (\d+) instead of 10000, .* only 128 files open"
        )
        most = int(found[1])
        self.agent()
        client, server = self.stream()
        begin = len(proxy.output())
        flood = self.flood(proxy, 200)
        eventually(lambda: flood.countClosed() > 200 - 128, "those beyond are closed")
        proxy.waitFor(r"refused \(out-of-descriptors\): \d+ connections are all", begin)
        self.assertLess(proxy.countFiles(), 128 - 8)
        self.assertCalm(proxy, client, begin, 4)
        self.assertStands(client, server)
        flood.close()
        eventually(lambda: self.ask(proxy) == 200, "room")
        self.assertStands(client, server)
        self.assertGreater(most, 30)
        self.assertEqual(proxy.output(begin)[4:], [])

    def test_none(self) -> None:
        """
        A proxy asks for as many as it may have. When there is none left all the same, as others in the process have
        them, connections are closed as they come, with one line in the log for all; what stands goes on, and new
        ones are served as soon as there are some again.
        """
        proxy = self.__dict__["proxy"] = self.running(Proxy("--access-log", "none", ulimit=SOFT))
        self.assertEqual(limitOf(proxy), mostDescriptors())
        self.agent()
        client, server = self.stream()
        begin = len(proxy.output())
        allow(proxy, proxy.countFiles() + 5)
        flood = self.flood(proxy, 60)
        eventually(lambda: flood.countClosed() >= 50, "most are closed")
        self.assertCalm(proxy, client, begin, 1)
        proxy.waitFor(r"refused \(out-of-descriptors\): this process has no file descriptor", begin)
        self.assertStands(client, server)
        self.assertEqual(self.ask(proxy), 0)
        flood.close()
        eventually(lambda: self.ask(proxy) == 200, "descriptors again")
        self.assertStands(client, server)
        self.starve(proxy, client)
        self.assertStands(client, server)

    def starve(self, proxy: Proxy, client: Wire) -> None:
        """
        Where there is not even one by which to turn them away, they wait, without a busy loop, and are served within a
        second of there being some.

        @param client: one that is in the midst of a response.
        """
        begin = len(proxy.output())
        allow(proxy, 3)
        flood = self.flood(proxy, 20)
        proxy.waitFor("Could not reserve EMFILE recovery file descriptor", begin)
        self.assertCalm(
            proxy, client, begin, 60
        )  # Twisted shows, once, where it could not open one
        self.assertEqual(flood.countClosed(), 0)
        allow(proxy, mostDescriptors())
        waiting = Wire(flood.standing[-1])
        waiting.send(b"GET /0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(self.serve(1), [b"GET /0 HTTP/1.1"])
        self.assertEqual(waiting.readMessage()[1], b"GET /0 HTTP/1.1")

    def test_agent(self) -> None:
        """
        An agent asks for as many as it may have. When there is none left all the same, it answers 502 and says why;
        what stands goes on, its tunnel among it, and when there are some again it serves again.
        """
        self.configure("--access-log", "none")
        agent = self.running(self.limitedAgent(SOFT))
        self.assertEqual(limitOf(agent), mostDescriptors())
        client, server = self.stream()
        begin = len(agent.output())
        allow(agent, agent.countFiles() + 3)
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(20)]
        taken = [self.take() for _ in range(3)]
        heads = [each.readHead() for each in clients if self.isRefused(each, 17, clients)]
        self.assertEqual(len(heads), 17)
        for head in heads:
            self.assertTrue(head.startswith(b"HTTP/1.1 502 "), head)
            self.assertIn(b"X-Inverting-Proxy-Error: origin-refused\r\n", head)
        agent.waitFor("origin-refused: .*Too many open files", begin)
        self.assertCalm(agent, client, begin, 20)
        self.assertStands(client, server)
        for each, line in taken:
            each.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(line), line))
            self.origin.keep(each)
        self.assertServed([self.client(b"GET /0 HTTP/1.1")])
        allow(agent, mostDescriptors())
        self.assertServed([self.client(b"GET /%d HTTP/1.1" % number) for number in range(80)])
        self.assertStands(client, server)
        self.assertEqual(agent.count("closed|lost", begin), 0)
        client.reset()
        agent.close()
        self.origin.clear()
        self.fewForAgent(self.running(self.limitedAgent("-n 64")))

    def fewForAgent(self, agent: Agent) -> None:
        """
        One that cannot have many says so, and takes no more at once than it can; the rest waits at the proxy.
        """
        most = int(agent.waitFor(r"(\d+) requests at once are taken instead of 1000")[1])
        self.assertTrue(3 < most < 22, most)
        clients = [self.client(b"GET /%d HTTP/1.1" % number) for number in range(40)]
        eventually(lambda: self.states().get("queued") == 40 - most, "the rest waits")
        self.assertServed(clients)

    def limitedAgent(self, ulimit: str) -> Agent:
        """
        Start an agent with other limits.
        """
        carried = ("--transport", self.transport)
        return Agent(self.proxy.url, "web", self.origin.url, *carried, ulimit=ulimit)

    def isRefused(self, client: Wire, count: int, clients: list[Wire]) -> bool:
        """
        Say whether a client has been answered, once so many have.
        """
        eventually(lambda: sum(each.hasMore() for each in clients) >= count, f"{count} answers")
        return client.hasMore()
