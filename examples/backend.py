"""
A small web application, the backend of C{make demo}::

    python examples/backend.py [PORT]

C{/} is a page, C{/time} an endless stream of server-sent events, C{/echo} answers with what it
was sent. It knows nothing of any proxy.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import LoopingCall, react
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Behind an inverting proxy</title>
<style>body { font: 1.1em/1.6 system-ui, sans-serif; max-width: 36em; margin: 3em auto; }</style>
<h1>It works</h1>
<p>This page comes from a backend that opened no port to you: its agent fetched your request
from the proxy, and sent this answer back.</p>
<p>The backend's clock, by server-sent events: <b id="clock">&hellip;</b></p>
<form method="post" action="echo"><input name="say" value="hello"> <button>Echo</button></form>
<script>
  new EventSource("time").onmessage = (event) => {
    document.getElementById("clock").textContent = event.data;
  };
</script>
"""


class Page(Resource):
    """
    One page.
    """

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return PAGE.encode()


class Time(Resource):
    """
    The time, once a second, for as long as the client listens.
    """

    isLeaf = True

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._now = now

    def render_GET(self, request: Request) -> int:
        request.setHeader("Content-Type", "text/event-stream")
        request.setHeader("Cache-Control", "no-store")
        tick = LoopingCall(lambda: request.write(f"data: {self._now():%H:%M:%S}\n\n".encode()))
        request.notifyFinish().addErrback(lambda _: tick.stop())
        tick.start(1.0)
        return NOT_DONE_YET


class Echo(Resource):
    """
    The body of a POST, or the target of a GET.
    """

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "text/plain")
        return request.uri

    def render_POST(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "text/plain")
        assert request.content is not None
        body: bytes = request.content.read()
        return body


def makeRoot() -> Resource:
    """
    The whole application as one Resource.
    """
    root = Resource()
    root.putChild(b"", Page())
    root.putChild(b"time", Time(datetime.now))
    root.putChild(b"echo", Echo())
    return root


async def main(reactor: Any, port: str = "3000") -> None:
    """
    Serve it on the loopback interface until a signal comes; port 0 takes a free one.
    """
    endpoint = TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1")
    listening = await endpoint.listen(Site(makeRoot()))
    print(f"backend ready: http://127.0.0.1:{listening.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
