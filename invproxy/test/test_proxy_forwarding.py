"""
What the proxy sends on of a client's request: methods, targets, and the fields that tell where it came from.
"""

from __future__ import annotations

from ipaddress import ip_network

from invproxy.test.benchcase import PublicCase
from invproxy.test.rawcalls import OURS, PLAIN, innerBlock


class MethodTests(PublicCase):
    """
    Methods and targets.
    """

    def test_notAllowed(self) -> None:
        """
        CONNECT and TRACE: 405.
        """
        bench = self.bench()
        self.assertError(
            bench.raw(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"), 405, "method-not-allowed"
        )
        self.assertError(bench.ask(b"TRACE"), 405, "method-not-allowed")
        self.assertEmpty(bench)

    def test_anyOther(self) -> None:
        """
        Any other method is passed on.
        """
        bench = self.bench()
        for method in (b"GET", b"PROPFIND", b"get", b"M-SEARCH"):
            line, _ = self.forwarded(bench, bench.ask(method, b"/a"))
            self.assertEqual(line, method + b" /a HTTP/1.1")

    def test_optionsStar(self) -> None:
        """
        C{OPTIONS *} is passed on as it is, and routes as C{/}.
        """
        bench = self.bench()
        client = bench.raw(b"OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n", method=b"OPTIONS")
        self.assertEqual(self.forwarded(bench, client)[0], b"OPTIONS * HTTP/1.1")

    def test_maxForwards(self) -> None:
        """
        Max-Forwards of OPTIONS is counted down; at 0 the answer is ours. Other methods keep theirs.
        """
        bench = self.bench()
        client = bench.ask(b"OPTIONS", fields=b"Max-Forwards: 2\r\n")
        self.assertIn((b"max-forwards", b"1"), self.forwarded(bench, client)[1])
        client = bench.ask(b"OPTIONS", fields=b"Max-Forwards: 0\r\n")
        self.assertAnswered(client, b"")
        client = bench.ask(fields=b"Max-Forwards: 0\r\n")
        self.assertIn((b"max-forwards", b"0"), self.forwarded(bench, client)[1])
        self.assertError(bench.ask(b"OPTIONS", fields=b"Max-Forwards: x\r\n"), 400, "bad-request")
        self.assertEmpty(bench)

    def test_absoluteForm(self) -> None:
        """
        Absolute-form is sent on in origin-form, with Host set to its authority, and routed by that.
        """
        bench = self.bench()
        bench.fetch(b"0", backend=b"other")
        client = bench.raw(b"GET http://web.example:81/a?b HTTP/1.1\r\nHost: other\r\n\r\n")
        line, fields = self.forwarded(bench, client)
        self.assertEqual(line, b"GET /a?b HTTP/1.1")
        self.assertEqual(dict(fields)[b"host"], b"web.example:81")

    def test_reserved(self) -> None:
        """
        C{/.invproxy/} is the proxy's own, in any form of the target.
        """
        bench = self.bench()
        self.assertError(bench.ask(target=b"/.invproxy/any"), 404, "no-backend")
        client = bench.raw(b"GET http://web/.invproxy/ HTTP/1.1\r\nHost: web\r\n\r\n")
        self.assertError(client, 404, "no-backend")
        self.assertEmpty(bench)

    def test_agentPathsInAbsoluteForm(self) -> None:
        """
        So are the agents' paths.
        """
        bench = self.bench()
        client = bench.raw(b"GET http://web/agent/pending HTTP/1.1\r\nHost: web\r\n\r\n")
        self.assertError(client, 400, "bad-request")

    def test_loop(self) -> None:
        """
        508 for a request that came by here before.
        """
        bench = self.bench()
        _, fields = self.forwarded(bench, bench.ask())
        via = dict(fields)[b"via"]
        self.assertError(bench.ask(fields=b"Via: 1.0 any, %b (hi)\r\n" % via), 508, "loop-detected")
        self.assertError(bench.ask(fields=b"vIA: 1.1 x\r\nVia: %b\r\n" % via), 508, "loop-detected")
        self.forwarded(bench, bench.ask(fields=b"Via: 1.1 invproxy-00000000\r\n"))
        self.assertEmpty(bench)

    def test_oldClient(self) -> None:
        """
        HTTP/1.0: chunked is undone, and the connection closed at the end; or reset, if the response broke.
        """
        for end in (b"0\r\n\r\n", b""):
            bench = self.bench()
            client = bench.raw(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
            identifier, _ = bench.take(OURS)
            call = bench.respond(identifier, fields=OURS)
            call.chunk(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            if end:
                call.chunk(end)
                call.end()
                self.assertTrue(client.client.ended)
            else:
                call.leave()
                self.assertFalse(client.client.ended)
                self.assertIsNotNone(client.client.closed)
            head, _, body = bytes(client.client.received).partition(b"\r\n\r\n")
            self.assertNotIn(b"chunked", head)
            self.assertEqual(body, b"ab")


class ForwardingTests(PublicCase):
    """
    What is added and dropped.
    """

    SPOOFED = (
        b"Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
        b"X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 1.2.3.4\r\n"
        b"x_forwarded_for: 1.2.3.4\r\nX-Inverting-Proxy-User-ID: root\r\n"
        b"X-Inverting-Proxy-Anything: 1\r\nX_Inverting_Proxy_User_ID: root\r\nX-User: root\r\n"
        b"X-Harmless: yes\r\n"
    )

    def test_spoofed(self) -> None:
        """
        What an untrusted peer says of itself is replaced by what is known.
        """
        bench = self.bench(userHeader=b"X-User")
        _, fields = self.forwarded(bench, bench.ask(fields=self.SPOOFED, address="192.0.2.9"))
        pseudonym = dict(fields)[b"via"]
        self.assertEqual(
            fields,
            [
                (b"host", b"web.example"),
                (b"x-harmless", b"yes"),
                (b"forwarded", b"for=192.0.2.9;host=web.example;proto=http"),
                (b"x-forwarded-for", b"192.0.2.9"),
                (b"x-forwarded-host", b"web.example"),
                (b"x-forwarded-proto", b"http"),
                (b"via", pseudonym),
            ],
        )
        self.assertTrue(pseudonym.startswith(b"1.1 invproxy-"))

    def test_notByConnection(self) -> None:
        """
        A client cannot have the proxy's own fields taken out as hop-by-hop fields.
        """
        bench = self.bench()
        client = bench.ask(fields=b"Connection: X-Forwarded-For, Via, Forwarded\r\n")
        names = dict(self.forwarded(bench, client)[1])
        self.assertLessEqual({b"x-forwarded-for", b"via", b"forwarded"}, set(names))

    def test_trusted(self) -> None:
        """
        What a trusted proxy says is kept and continued, and so is the end user that it names.
        """
        bench = self.bench(userHeader=b"X-User", trustedProxies=(ip_network("192.0.2.0/24"),))
        client = bench.ask(
            fields=b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-User: a@b\r\n"
            b"X-Inverting-Proxy-User-ID: root\r\n",
            address="192.0.2.9",
        )
        identifier, fetch = bench.take()
        self.assertEqual(fetch.reply.value(b"X-Inverting-Proxy-User-ID"), b"a@b")
        fields = [(name.lower(), text) for name, text in innerBlock(fetch.reply.body)]
        self.assertIn((b"x-forwarded-for", b"1.2.3.4, 192.0.2.9"), fields)
        self.assertIn((b"x-forwarded-proto", b"https"), fields)
        self.assertNotIn(b"x-inverting-proxy-user-id", dict(fields))
        bench.respond(identifier, PLAIN)
        self.assertAnswered(client)

    def test_untrusted(self) -> None:
        """
        Peers outside the trusted networks name nobody.
        """
        bench = self.bench(
            userHeader=b"X-User", trustedProxies=(ip_network("192.0.2.0/24"), ip_network("::1/128"))
        )
        bench.ask(fields=b"X-User: a@b\r\n", address="198.51.100.1")
        _, fetch = bench.take()
        self.assertEqual(fetch.reply.value(b"X-Inverting-Proxy-User-ID"), b"")
        self.assertNotIn(b"X-User", fetch.reply.body)

    def test_userTwice(self) -> None:
        """
        A trusted proxy that lets the client's own user header through beside its own is not believed.
        """
        bench = self.bench(userHeader=b"X-User", trustedProxies=(ip_network("192.0.2.0/24"),))
        fields = b"X-User: mallory\r\nX-User: alice\r\n"
        call = bench.ask(fields=fields, address="192.0.2.9")
        self.assertEqual((call.status, call.error), (400, "bad-request"))

    def test_trailers(self) -> None:
        """
        Trailers are held to the same; those of a trusted proxy keep more.
        """
        trailers = b"X-Forwarded-For: 1.2.3.4\r\nX-Inverting-Proxy-User-ID: root\r\nX-Sum: 1\r\n"
        for trusted in (False, True):
            networks = (ip_network("127.0.0.0/8"),) if trusted else ()
            bench = self.bench(trustedProxies=networks)
            client = bench.ask(b"POST", fields=b"Transfer-Encoding: chunked\r\n")
            client.end(trailers)
            _, fetch = bench.take()
            end = fetch.reply.body.partition(b"\r\n\r\n")[2]
            kept = b"X-Forwarded-For: 1.2.3.4\r\n" if trusted else b""
            self.assertEqual(end, b"0\r\n%bX-Sum: 1\r\n\r\n" % kept)

    def test_hopByHop(self) -> None:
        """
        Hop-by-hop fields end here; C{TE: trailers} is made anew.
        """
        bench = self.bench()
        client = bench.ask(
            fields=b"Connection: keep-alive, X-Mine, TE\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
            b"TE: trailers, gzip\r\nProxy-Authorization: x\r\nX-Yours: 2\r\nTrailer: X-T\r\n"
        )
        names = dict(self.forwarded(bench, client)[1])
        self.assertFalse(set(names) & {b"x-mine", b"keep-alive", b"proxy-authorization"})
        self.assertEqual(names[b"te"], b"trailers")
        self.assertEqual(names[b"connection"], b"TE")
        self.assertEqual((names[b"x-yours"], names[b"trailer"]), (b"2", b"X-T"))

    def test_requestsAlone(self) -> None:
        """
        Nothing is added to responses, but a Date where there is none.
        """
        bench = self.bench()
        client = bench.ask()
        bench.respond(bench.take()[0], PLAIN)
        names = {line.partition(b":")[0] for line in client.reply.fields.split(b"\r\n") if line}
        self.assertEqual(names, {b"Content-Length", b"Date"})
        client = bench.ask()
        date = b"HTTP/1.1 200 OK\r\ndate: yesterday\r\nContent-Length: 2\r\n\r\nok"
        bench.respond(bench.take()[0], date)
        self.assertEqual(client.reply.fields, b"\r\ndate: yesterday\r\nContent-Length: 2")
