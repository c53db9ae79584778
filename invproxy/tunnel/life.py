"""
The life of a tunnel: greeting, ready, draining, closed.
"""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder

from invproxy.wire.hello import Hello
from invproxy.wire.websocket import PROTOCOL_ERROR

INTERNAL = 1011
"""The close code for what is our own fault."""

GOING_AWAY = 1001
"""The close code of whoever stops, or has no more use for the tunnel."""

REPLACED = 4000
"""The close code of a tunnel whose agent has opened another in its place."""


UNAUTHORIZED = 4401
"""The close code of a tunnel whose agent's credentials are not good any more."""


class Life(Protocol):
    """
    What happens to a tunnel.
    """

    def greet(self, hello: Hello) -> None:
        """
        The peer's HELLO has come.
        """

    def drain(self) -> None:
        """
        We stop: no new streams, but those that are open come to their end.
        """

    def dismiss(self, last: int) -> None:
        """
        The peer stops: its GOAWAY has come, which names the last stream that it takes.
        """

    def empty(self) -> None:
        """
        No stream is open.
        """

    def close(self, code: int, reason: str) -> None:
        """
        Close the tunnel now, and say why.
        """

    def lose(self, reason: str) -> None:
        """
        The link is gone, or the peer has closed the tunnel.
        """


class Core(Protocol):
    """
    What the life moves: the session.
    """

    def become(self, hello: Hello) -> None:
        """
        Be ready.
        """

    def sayGoAway(self) -> None:
        """
        Tell the peer that there will be no new streams.
        """

    def leave(self) -> None:
        """
        Tell the peer, which may already be ready, that no stream was begun, and close.
        """

    def turnAway(self, last: int) -> None:
        """
        Take note that the peer takes no stream beyond one.
        """

    def shut(self, code: int, reason: str) -> None:
        """
        Send a Close frame, end the link, and give up the streams.
        """

    def end(self, reason: str) -> None:
        """
        Give up the streams: the link is gone.
        """


_builder = TypeMachineBuilder(Life, Core)  # type: ignore[type-abstract]
_greeting = _builder.state("greeting")
_ready = _builder.state("ready")
_draining = _builder.state("draining")
_closed = _builder.state("closed")


@_greeting.upon(Life.greet).to(_ready)
def _become(life: Life, core: Core, hello: Hello) -> None:
    core.become(hello)


@_greeting.upon(Life.drain).to(_closed)
def _leave(life: Life, core: Core) -> None:
    core.leave()


@_ready.upon(Life.drain).to(_draining)
def _sayGoAway(life: Life, core: Core) -> None:
    core.sayGoAway()


@_ready.upon(Life.dismiss).to(_draining)
@_draining.upon(Life.dismiss).to(_draining)
def _turnAway(life: Life, core: Core, last: int) -> None:
    core.turnAway(last)


@_ready.upon(Life.greet).to(_closed)
@_draining.upon(Life.greet).to(_closed)
def _refuseGreeting(life: Life, core: Core, hello: Hello) -> None:
    core.shut(PROTOCOL_ERROR, "a second HELLO")


@_draining.upon(Life.empty).to(_closed)
def _finish(life: Life, core: Core) -> None:
    core.shut(GOING_AWAY, "drained")


@_greeting.upon(Life.close).to(_closed)
@_ready.upon(Life.close).to(_closed)
@_draining.upon(Life.close).to(_closed)
def _shut(life: Life, core: Core, code: int, reason: str) -> None:
    core.shut(code, reason)


@_greeting.upon(Life.lose).to(_closed)
@_ready.upon(Life.lose).to(_closed)
@_draining.upon(Life.lose).to(_closed)
def _end(life: Life, core: Core, reason: str) -> None:
    core.end(reason)


_greeting.upon(Life.empty).loop().returns(None)
_ready.upon(Life.empty).loop().returns(None)
_draining.upon(Life.drain).loop().returns(None)
_closed.upon(Life.greet).loop().returns(None)
_closed.upon(Life.drain).loop().returns(None)
_closed.upon(Life.dismiss).loop().returns(None)
_closed.upon(Life.empty).loop().returns(None)
_closed.upon(Life.close).loop().returns(None)
_closed.upon(Life.lose).loop().returns(None)

makeLife = _builder.build()
"""Make the L{Life} of a L{Core}."""
