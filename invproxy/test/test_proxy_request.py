"""
C{agent/request}: how a request reaches an agent.
"""

from __future__ import annotations

import re

from invproxy.test.benchcase import BenchCase
from invproxy.test.rawcalls import OURS, PLAIN, Call, innerBlock


class RequestTests(BenchCase):
    """
    C{GET agent/request}.
    """

    def test_fields(self) -> None:
        """
        The answer says whose request it is, and when it came.
        """
        bench = self.bench()
        bench.network.advance(0.25)
        bench.ask()
        identifier, call = bench.take()
        reply = call.reply
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.value(b"X-Inverting-Proxy-Request-ID"), identifier)
        self.assertEqual(reply.value(b"X-Inverting-Proxy-User-ID"), b"")
        self.assertEqual(
            reply.value(b"X-Inverting-Proxy-Request-Start-Time"), b"2027-01-15T08:00:00.250000000Z"
        )
        self.assertEqual(reply.value(b"X-Inverting-Proxy-Features"), b"interim, upgrade")
        self.assertTrue(re.fullmatch(rb"[0-9a-f]{32}", identifier))

    def test_wireForm(self) -> None:
        """
        The body is the request as it came.
        """
        bench = self.bench()
        client = bench.post(b"\x00body", b"/a%20b?c=d", b"X-Two: 1\r\nx-TWO: \xe9\r\n")
        identifier, call = bench.take()
        head, _, body = call.reply.body.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"POST /a%20b?c=d HTTP/1.1")
        self.assertEqual(
            lines[1:5],
            [b"Host: web.example", b"X-Two: 1", b"x-TWO: \xe9", b"Content-Length: 5"],
        )
        self.assertEqual(body, b"\x00body")
        self.assertEqual(call.reply.value(b"Content-Length"), b"%d" % len(call.reply.body))
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_unknown(self) -> None:
        """
        404 for an ID that nobody knows, and for one of another backend's.
        """
        bench = self.bench()
        bench.ask()
        (identifier,) = bench.pending()
        self.assertEqual(bench.fetch(b"f" * 32).status, 404)
        self.assertEqual(bench.fetch(b"\xff").status, 404)
        self.assertEqual(bench.fetch(identifier, backend=b"other").status, 404)
        self.assertEqual(bench.fetch(identifier).status, 200)

    def test_second(self) -> None:
        """
        404 for a second fetch.
        """
        bench = self.bench()
        bench.ask()
        identifier, _ = bench.take()
        self.assertEqual(bench.fetch(identifier).status, 404)

    def test_stream(self) -> None:
        """
        The body is passed on as it comes.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 6\r\n", body=b"ab")
        _, call = bench.take()
        self.assertTrue(call.reply.body.endswith(b"\r\n\r\nab"))
        client.send(b"cd")
        self.assertTrue(call.reply.body.endswith(b"\r\n\r\nabcd"))
        self.assertFalse(call.reply.whole)
        client.send(b"ef")
        self.assertTrue(call.reply.whole)

    def test_chunked(self) -> None:
        """
        A chunked body stays chunked, with its trailers.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n")
        client.chunk(b"one")
        _, call = bench.take()
        client.chunk(b"two")
        client.end(b"X-Sum: 2\r\nX-Forwarded-For: 1.2.3.4\r\nx_real_ip: 1.2.3.4\r\n")
        reply = call.reply
        self.assertTrue(reply.whole)
        head, _, body = reply.body.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nTransfer-Encoding: chunked", head)
        self.assertIn(b"\r\nTrailer: X-Sum", head)
        self.assertEqual(body, b"3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 2\r\n\r\n")

    def test_again(self) -> None:
        """
        A fetch that broke before the request was written to its end may be made again, and gets all of it.
        """
        bench = self.bench()
        body = bytes(range(256)) * 100
        client = bench.ask(b"POST", fields=b"Content-Length: 25600\r\n", body=body[:10000])
        identifier, call = bench.take()
        call.leave()
        client.send(body[10000:20000])
        again = bench.fetch(identifier)
        self.assertEqual(again.status, 200)
        client.send(body[20000:])
        self.assertEqual(again.reply.body.partition(b"\r\n\r\n")[2], body)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_againButTooLate(self) -> None:
        """
        But not once more than 64 KiB of it have gone.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 99999\r\n", body=b"x" * 70000)
        identifier, call = bench.take()
        client.send(b"x" * 10000)
        call.leave()
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEqual(bench.fetch(identifier).status, 404)
        self.assertEmpty(bench)

    def test_neverAgain(self) -> None:
        """
        A broken fetch of a request with a body that nobody makes again is agent-lost after the claim timeout, and
        offered to nobody.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Content-Length: 4\r\n", body=b"ab")
        _, call = bench.take()
        parked = bench.poll()
        call.leave()
        self.assertEqual(client.status, 0)
        bench.advance(5.5)
        self.assertEqual((client.status, client.error), (502, "agent-lost"))
        self.assertEqual(parked.status, 0)

    def test_held(self) -> None:
        """
        No more than about 64 KiB of a body are taken from a client before an agent has come; then the rest follows.
        """
        bench = self.bench()
        size = 1 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % size, body=b"y" * size)
        self.assertLess(client.client.link.fromClient, 200_000)
        identifier, call = bench.take()
        self.assertTrue(call.reply.whole)
        self.assertEqual(len(call.reply.body.partition(b"\r\n\r\n")[2]), size)
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_slowAgent(self) -> None:
        """
        An agent that does not read stops the client; when it reads on, the rest comes.
        """
        bench = self.bench()
        size = 2 << 20
        client = bench.ask(b"POST", fields=b"Content-Length: %d\r\n" % size, body=b"y" * 1000)
        (identifier,) = bench.pending()
        agent = bench.stall(identifier)
        client.send(b"y" * (size - 1000))
        self.assertLess(client.client.link.fromClient, 600_000)
        other = bench.ask()
        bench.respond(bench.take()[0], PLAIN)
        self.assertAnswered(other)
        agent.startReading()
        bench.network.pump()
        self.assertTrue(Call(agent, b"GET").reply.whole)

    def test_expectOfTheOriginal(self) -> None:
        """
        For an agent without our additions the proxy answers 100 and strips Expect.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        self.assertEqual(client.reply.interim, [])
        _, call = bench.take()
        self.assertEqual(client.reply.interim, [100])
        self.assertNotIn(b"Expect", dict(innerBlock(call.reply.body)))
        client.send(b"hi")
        self.assertTrue(call.reply.body.endswith(b"hi"))

    def test_expectAfterTheLease(self) -> None:
        """
        So it does if the agent comes only after its lease ran out.
        """
        bench = self.bench(claimTimeout=1.0)
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        (identifier,) = bench.pending()
        bench.advance(2)
        bench.fetch(identifier)
        self.assertEqual(client.reply.interim, [100])

    def test_expectOfOurs(self) -> None:
        """
        With our additions the origin decides.
        """
        bench = self.bench()
        client = bench.ask(b"POST", fields=b"Expect: 100-continue\r\nContent-Length: 2\r\n")
        identifier, call = bench.take(OURS)
        self.assertEqual(client.reply.interim, [])
        self.assertEqual(dict(innerBlock(call.reply.body))[b"Expect"], b"100-continue")
        line = bench.respond(identifier, fields=OURS)
        line.chunk(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(client.reply.interim, [100])
        client.send(b"hi")
        self.assertTrue(call.reply.body.endswith(b"hi"))
        line.chunk(PLAIN)
        line.end()
        self.assertAnswered(client)

    def test_upgradeOfTheOriginal(self) -> None:
        """
        For an agent without our additions Upgrade is dropped.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
        identifier, call = bench.take()
        self.assertTrue(call.reply.whole)
        names = {name.lower() for name, _ in innerBlock(call.reply.body)}
        self.assertFalse(names & {b"upgrade", b"connection"})
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)
