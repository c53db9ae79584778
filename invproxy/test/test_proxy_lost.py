"""
Agents that go away, and the clocks of exchanges.
"""

from __future__ import annotations

from invproxy.test.benchcase import BenchCase
from invproxy.test.rawcalls import OURS, PLAIN, idsOf


class LostAgentTests(BenchCase):
    """
    What becomes of exchanges whose agents go away.
    """

    def test_lifeline(self) -> None:
        """
        The loss of the open call before the head of a response is agent-lost at once.
        """
        for method in (b"POST", b"GET"):
            bench = self.bench()
            client = bench.ask(method)
            identifier, _ = bench.take(OURS)
            bench.respond(identifier, fields=OURS).leave()
            self.assertEqual((client.status, client.error), (502, "agent-lost"))
            self.assertEmpty(bench)

    def test_anotherAgent(self) -> None:
        """
        A GET is given to another agent that waits.
        """
        bench = self.bench()
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        other = bench.poll(fields=OURS)
        bench.respond(identifier, fields=OURS).leave()
        self.assertEqual(idsOf(other), [identifier])
        self.assertEqual(bench.fetch(identifier, OURS).status, 200)
        bench.respond(identifier, PLAIN, OURS)
        self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_notAnotherAgent(self) -> None:
        """
        But not what may have had an effect.
        """
        for method, fields, body in (
            (b"POST", b"", b""),
            (b"PUT", b"Content-Length: 1\r\n", b"x"),
            (b"PATCH", b"", b""),
            (b"GET", b"Connection: Upgrade\r\nUpgrade: echo\r\n", b""),
        ):
            bench = self.bench()
            client = bench.ask(method, fields=fields, body=body)
            identifier, _ = bench.take(OURS)
            other = bench.poll(fields=OURS)
            bench.respond(identifier, fields=OURS).leave()
            self.assertEqual((client.status, client.error), (502, "agent-lost"), method)
            self.assertEqual(other.status, 0)
            self.assertEmpty(bench)

    def test_notForEver(self) -> None:
        """
        A request over which three agents died is not given to a fourth.
        """
        bench = self.bench()
        client = bench.ask()
        poll = bench.poll()
        for number in range(3):
            self.assertEqual(client.status, 0, number)
            (identifier,) = idsOf(poll)
            bench.fetch(identifier, OURS)
            poll = bench.poll()
            bench.respond(identifier, fields=OURS).leave()
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEqual(poll.status, 0)

    def test_afterTheHead(self) -> None:
        """
        Once the head has come, the response is cut.
        """
        for inner in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nab",
        ):
            bench = self.bench()
            client = bench.ask()
            identifier, _ = bench.take(OURS)
            bench.poll(fields=OURS)
            call = bench.respond(identifier, fields=OURS)
            call.chunk(inner)
            call.leave()
            self.assertEqual(client.status, 200)
            self.assertTrue(client.isCut)
            self.assertEmpty(bench)

    def test_neverOpened(self) -> None:
        """
        An agent of ours that does not open the lifeline soon is lost, and what it still fetches is cut.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 9\r\n", body=b"abc")
        _, fetch = bench.take(OURS)
        bench.advance(5.5)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertTrue(fetch.isCut)
        self.assertEmpty(bench)

    def test_slowThenOther(self) -> None:
        """
        An exchange that was given to another agent is answered once: by whoever is first.
        """
        bench = self.bench()
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        other = bench.poll(fields=OURS)
        bench.advance(5.5)
        self.assertEqual(idsOf(other), [identifier])
        self.assertEqual(bench.respond(identifier, PLAIN, OURS).status, 404)
        self.assertEqual(client.status, 0)
        bench.fetch(identifier, OURS)
        bench.respond(identifier, PLAIN, OURS)
        self.assertAnswered(client)

    def test_originalsRepetition(self) -> None:
        """
        The original makes a call again that broke before the head of a response was whole; it is taken.
        """
        bench = self.bench()
        client = bench.ask(b"POST")
        identifier, _ = bench.take()
        first = bench.respond(identifier)
        first.chunk(PLAIN[:10])
        first.leave()
        self.assertEqual(client.status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)
        self.assertEmpty(bench)

    def test_withoutLifeline(self) -> None:
        """
        An agent without our additions is lost after two poll timeouts without any call for its backend.
        """
        bench = self.bench(pollTimeout=10.0)
        client = bench.ask()
        bench.take()
        bench.advance(19.5)
        self.assertEqual(client.status, 0)
        bench.advance(1)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEmpty(bench)

    def test_callsProveLife(self) -> None:
        """
        Any call for the backend, and a poll that waits, counts as life.
        """
        bench = self.bench(pollTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take()
        for _ in range(5):
            bench.advance(15)
            bench.fetch(b"0" * 32)
        for _ in range(5):
            bench.poll()
            bench.advance(15)
        self.assertEqual(client.status, 0)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_betweenPollAndFetch(self) -> None:
        """
        An agent that is killed between the two loses nothing: another, or its restart, gets the requests.
        """
        bench = self.bench()
        clients = [bench.post(b"x") for _ in range(3)]
        poll = bench.poll(fields=OURS)
        ids = idsOf(poll)
        poll.leave()
        self.assertEqual(bench.pending(fields=OURS), ids)
        for identifier in ids:
            bench.fetch(identifier, OURS)
            bench.respond(identifier, PLAIN, OURS)
        for client in clients:
            self.assertAnswered(client)


class ClockTests(BenchCase):
    """
    The clocks.
    """

    def test_queue(self) -> None:
        """
        Nobody fetches it in time.
        """
        bench = self.bench(queueTimeout=10.0)
        client = bench.ask()
        bench.advance(9.9)
        self.assertEqual(client.status, 0)
        bench.advance(0.5)
        self.assertEqual((client.status, client.error), (504, "queue-timeout"))
        self.assertEqual(bench.poll().status, 0)
        self.assertEmpty(bench)

    def test_queueAcrossLeases(self) -> None:
        """
        Leases that run out do not stretch it.
        """
        bench = self.bench(queueTimeout=12.0)
        client = bench.ask()
        for _ in range(2):
            self.assertEqual(len(bench.pending()), 1)
            bench.advance(5.3)
        self.assertEqual(client.status, 0)
        bench.advance(2)
        self.assertEqual(client.error, "queue-timeout")

    def test_queueAmongPolls(self) -> None:
        """
        Nor do they while agents ask all the time and never fetch, so that it is never in the queue for long.
        """
        for method in (b"GET", b"POST"):
            bench = self.bench(queueTimeout=12.0)
            polls = [bench.poll() for _ in range(9)]
            client = bench.ask(method)
            bench.advance(14)
            self.assertEqual(client.status, 0)
            bench.advance(3.5)
            self.assertEqual((client.status, client.error), (504, "queue-timeout"))
            self.assertEqual(sum(bool(poll.status) for poll in polls), 3)
            self.assertEmpty(bench)

    def test_queueAfterLoss(self) -> None:
        """
        What an agent has fetched, and others only ask for, has had an agent: nobody says that it had none.
        """
        bench = self.bench(queueTimeout=12.0)
        polls = [bench.poll(fields=OURS) for _ in range(9)]
        client = bench.ask()
        [identifier] = [each for poll in polls if poll.status for each in idsOf(poll)]
        bench.fetch(identifier, OURS)
        bench.advance(5.5)  # it never opens the lifeline
        bench.advance(14)
        self.assertEqual(client.status, 0)
        bench.advance(3.5)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEmpty(bench)

    def test_response(self) -> None:
        """
        No first byte in time, where that is limited; interim responses are none.
        """
        bench = self.bench(responseTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(9)
        call.chunk(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        self.assertEqual(client.status, 0)
        bench.advance(1.5)
        self.assertEqual((client.status, client.error), (504, "origin-timeout"))
        self.assertEqual(call.status, 404)
        self.assertEmpty(bench)

    def test_noIdleBeforeFirstByte(self) -> None:
        """
        The wait for the first byte has no end by default.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(3600)
        self.assertEqual(client.status, 0)
        call.chunk(PLAIN)
        call.end()
        self.assertAnswered(client)

    def test_idle(self) -> None:
        """
        No byte for too long after the head: the response is cut, in time.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask()
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        call.chunk(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        for _ in range(5):
            bench.advance(9)
            call.chunk(b"x")
        bench.advance(9.9)
        self.assertFalse(client.isClosed)
        bench.advance(0.5)
        self.assertTrue(client.isCut)
        self.assertEqual(call.status, 404)
        self.assertEmpty(bench)

    def test_stalledBody(self) -> None:
        """
        A client that stops in the middle of its body: 408, in time.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask(b"POST", fields=b"Content-Length: 99\r\n")
        identifier, fetch = bench.take(OURS)
        bench.respond(identifier, fields=OURS)
        for _ in range(5):
            bench.advance(9)
            client.send(b"x")
        bench.advance(9.9)
        self.assertEqual(client.status, 0)
        bench.advance(0.5)
        self.assertEqual((client.status, client.error), (408, "head-timeout"))
        self.assertTrue(fetch.isCut)
        self.assertEmpty(bench)

    def test_heldUpByAgent(self) -> None:
        """
        It is not the client's fault that the agent does not take more; its clock starts when it may send again.
        """
        bench = self.bench(idleTimeout=10.0)
        size = 1 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % (size + 1), body=b"a")
        (identifier,) = bench.pending()
        agent = bench.stall(identifier)
        bench.respond(identifier, fields=OURS)
        client.send(b"x" * (size - 1))
        bench.advance(60)
        self.assertEqual(client.status, 0)
        agent.startReading()
        bench.network.pump()
        bench.advance(9)
        self.assertEqual(client.status, 0)
        bench.advance(1.5)
        self.assertEqual(client.status, 408)

    def test_waitsForLeave(self) -> None:
        """
        Nor that it waits for the 100 for which it asked.
        """
        bench = self.bench(idleTimeout=10.0)
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(60)
        self.assertEqual(client.status, 0)
        call.chunk(b"HTTP/1.1 100 Continue\r\n\r\n")
        bench.advance(9)
        self.assertEqual(client.status, 0)
        bench.advance(1.5)
        self.assertEqual(client.status, 408)

    def test_off(self) -> None:
        """
        Clocks that are off never run out.
        """
        bench = self.bench(
            queueTimeout=0, claimTimeout=0, idleTimeout=0, responseTimeout=0, backendTimeout=9999
        )
        client = bench.ask()
        bench.advance(1000)
        identifier, _ = bench.take(OURS)
        call = bench.respond(identifier, fields=OURS)
        bench.advance(1000)
        call.chunk(PLAIN[:-1])
        bench.advance(1000)
        call.chunk(PLAIN[-1:])
        call.end()
        self.assertAnswered(client)

    def test_noClaimClock(self) -> None:
        """
        Without a claim timeout an agent that never comes back is still noticed.
        """
        for fields in (b"", OURS):
            bench = self.bench(claimTimeout=0, pollTimeout=10.0)
            client = bench.ask()
            bench.take(fields)
            bench.advance(21)
            self.assertEqual(client.error, "agent-lost")

    def test_nothingLeft(self) -> None:
        """
        Exchanges and polls that are over are not kept until their deadlines.
        """
        bench = self.bench()
        for _ in range(5):
            client = bench.ask()
            bench.respond(bench.take()[0], PLAIN)
            self.assertAnswered(client)
        bench.poll().leave()
        bench.ask().leave()
        self.assertEqual(bench.proxy._deadlines._watched, {})
