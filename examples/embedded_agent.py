"""
A web application that anybody can reach and that has no open port: it embeds the agent.

Start a proxy, and then as many of these as you like, each under a name of its own::

    twist invproxy-server
    python examples/embedded_agent.py --proxy http://127.0.0.1:8080 --backend shop

The application is a tree of Resources, as for any site of Twisted; with Klein, hand over
C{app.resource()} instead. A token for the proxy is taken from C{INVPROXY_TOKEN}.
"""

import argparse
import html
import os
import sys

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, react
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.errors import ConfigError
from invproxy.resources import ResourceOrigin
from invproxy.steady import keepSteady

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>A shop without a port</title>
<h1>A shop without a port</h1>
<p>Good day, {client}. You asked {host} for this page.</p>
<form method="post" action="orders"><input name="what" value="tea"> <button>Order</button></form>
<ul>{orders}</ul>
"""


class Shop(Resource):
    """
    The page: who you are, and what was ordered so far.
    """

    def __init__(self, orders: list[str]) -> None:
        super().__init__()
        self._orders = orders

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        items = "".join(f"<li>{html.escape(order)}</li>" for order in self._orders)
        # The client's address, not the proxy's: the agent reads the forwarding fields.
        client = getattr(request.getClientAddress(), "host", "stranger")
        host = request.getRequestHostname().decode("latin-1")
        return PAGE.format(client=client, host=html.escape(host), orders=items).encode()


class Orders(Resource):
    """
    Takes an order.
    """

    isLeaf = True

    def __init__(self, orders: list[str]) -> None:
        super().__init__()
        self._orders = orders

    def render_POST(self, request: Request) -> bytes:
        what = request.args.get(b"what", [b"nothing"])[0]
        self._orders.append(what.decode("utf-8", "replace"))
        request.redirect(b"./")
        return b""


class Count(Resource):
    """
    The number of orders, once a second, for as long as the client listens: what is written goes out
    at once, and a client that leaves is noticed.
    """

    isLeaf = True

    def __init__(self, orders: list[str], reactor: IReactorTime) -> None:
        super().__init__()
        self._orders = orders
        self._reactor = reactor

    def render_GET(self, request: Request) -> int:
        request.setHeader("Content-Type", "text/event-stream")
        tick = LoopingCall(lambda: request.write(f"data: {len(self._orders)}\n\n".encode()))
        tick.clock = self._reactor
        request.notifyFinish().addErrback(lambda _: tick.stop())
        tick.start(1.0)
        return NOT_DONE_YET


def makeShop(reactor: IReactorTime) -> Resource:
    """
    Put the application together.
    """
    orders: list[str] = []
    root = Resource()
    root.putChild(b"", Shop(orders))
    root.putChild(b"orders", Orders(orders))
    root.putChild(b"count", Count(orders, reactor))
    return root


def main(reactor: IReactorTime, *arguments: str) -> Deferred[None]:
    """
    Run the application, and the agent beside it, until a signal comes.
    """
    keepSteady(reactor)  # before anything looks at its clock
    parser = argparse.ArgumentParser(
        description="A shop that is reached through an inverting proxy."
    )
    parser.add_argument("--proxy", required=True, help="base URL of the proxy")
    parser.add_argument("--backend", required=True, help="ID under which the proxy knows the shop")
    options = parser.parse_args(arguments)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)

    origin = ResourceOrigin(makeShop(reactor), clock=reactor)
    settings = AgentSettings(token=os.environ.get("INVPROXY_TOKEN"), drainTimeout=10.0)
    try:
        agent = AgentService(reactor, options.proxy, options.backend, origin, settings)
    except ConfigError as error:
        raise SystemExit(f"embedded_agent: {error}") from None

    services = MultiService()  # whatever else the application runs belongs here, too
    agent.setServiceParent(services)
    services.startService()
    ready = agent.whenReady()
    ready.addCallback(lambda carrier: print(f"the shop is open, over {carrier}", flush=True))
    ready.addErrback(lambda _: None)  # stopped before that
    # The last requests are answered before the process ends.
    reactor.addSystemEventTrigger("before", "shutdown", services.stopService)  # type: ignore[attr-defined]
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
