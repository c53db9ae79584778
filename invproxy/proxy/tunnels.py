"""
All tunnels of a proxy: how many there are, and which one takes the place of which.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from invproxy.errors import TOO_MANY_TUNNELS, Fault
from invproxy.mailbox import Mailbox
from invproxy.metrics import Tally
from invproxy.tables import Table
from invproxy.tunnel.life import GOING_AWAY
from invproxy.wire.frames import FrameError
from invproxy.wire.handshake import Claim
from invproxy.wire.hello import Hello

if TYPE_CHECKING:
    from invproxy.proxy.tunneling import ProxySession

_Place = tuple[str, str, str, str, int]
"""A backend, by what and as whom its agent is known, which run of it, and which of its tunnels."""

_AT_ONCE: Final = 10
"""Agents at least that hear at once that the proxy is stopping."""

_STEP: Final = 0.02
"""Seconds until the next ones do."""

_STEPS: Final = 50
"""In about so many steps, at most, all do."""


def _fullness(session: ProxySession) -> float:
    streams, most = session.room()
    return streams / most if most else 0.0


def _placeOf(session: ProxySession, claim: Claim | Hello) -> _Place:
    # By who it is, too, and not by what it says alone: no agent takes the place of another one.
    name = session.mailbox.backend, session.credential.kind, session.credential.name
    return *name, claim.instance, claim.slot


class Tunnels:
    """
    All tunnels of a proxy.

    @ivar node: names this proxy.
    """

    def __init__(self, most: int, metrics: Tally | None = None) -> None:
        """
        @param most: how many there may be for each backend.
        @param metrics: told of each new one.
        """
        self.node = secrets.token_hex(4)
        self._most = most
        self._metrics = metrics
        self._sessions: dict[ProxySession, None] = {}
        # Those in excess, each with the place that it is to take over.
        self._surplus: dict[ProxySession, _Place] = {}
        self._counts: dict[Mailbox, int] = {}
        self._places: dict[_Place, ProxySession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[ProxySession]:
        return iter(list(self._sessions))

    def countStreams(self) -> int:
        """
        Count the exchanges that all of them have.
        """
        return sum(len(session.streams) for session in self._sessions)

    def tables(self) -> list[Table]:
        """
        Tell how many tunnels serve the backend that has most, and how many exchanges are in the fullest of all.
        """
        fullest = max(self._sessions, key=_fullness, default=None)
        streams, most = (0, None) if fullest is None else fullest.room()
        return [
            Table("tunnels", max(self._counts.values(), default=0), self._most),
            Table("streams", streams, most),
        ]

    def add(self, session: ProxySession, claim: Claim | None = None) -> None:
        """
        Take note of a new one, which has not said HELLO yet.

        @param claim: whose it says to be already, if it does. Where its backend has as many as it may, one that
            replaces another is let in: most likely that other one is lost, though nobody here has noticed.
        @raise Fault: (too-many-tunnels) if its backend has too many.
        """
        count = self._counts.get(session.mailbox, 0)
        if count >= self._most:
            place = claim and _placeOf(session, claim)
            if place is None or place not in self._places or place in self._surplus.values():
                raise Fault(TOO_MANY_TUNNELS, f"{self._most} tunnels serve this backend")
            self._surplus[session] = place
        self._counts[session.mailbox] = count + 1
        self._sessions[session] = None
        if self._metrics is not None:
            self._metrics.tunnelBegan(session.mailbox.backend)

    def admit(self, session: ProxySession) -> ProxySession | None:
        """
        Give a tunnel its place.

        @return: the one that has had it, if there is any: most likely it is lost, though nobody has noticed yet.
        @raise FrameError: if it was let in as it would replace one, and does not.
        """
        assert session.peer is not None
        place = _placeOf(session, session.peer)
        if self._surplus.pop(session, place) != place:
            raise FrameError("a HELLO that does not name the tunnel which it is to replace")
        if not session.peer.instance:
            return None  # an agent that does not say who it is replaces nobody
        before = self._places.get(place)
        self._places[place] = session
        return before if before is not None and before.isReady else None

    def forget(self, session: ProxySession) -> None:
        """
        Take note that one is over.
        """
        self._surplus.pop(session, None)
        if session in self._sessions:
            del self._sessions[session]
            self._counts[session.mailbox] -= 1
            if not self._counts[session.mailbox]:
                del self._counts[session.mailbox]
        if session.peer is not None:
            place = _placeOf(session, session.peer)
            if self._places.get(place) is session:
                del self._places[place]

    def drain(self, clock: IReactorTime) -> Deferred[None]:
        """
        Tell all agents that this proxy is stopping, and they may go elsewhere: one after the other if there are many,
        so that wherever they go they do not come at once.

        @param clock: what tells the time.
        @return: fires when all were told.
        """
        told: Deferred[None] = Deferred()
        size = max(_AT_ONCE, len(self._sessions) // _STEPS)
        self._dismiss(clock, told, list(self._sessions), size)
        return told

    def _dismiss(
        self, clock: IReactorTime, told: Deferred[None], sessions: list[ProxySession], size: int
    ) -> None:
        for session in sessions[:size]:
            session.life.drain()
        rest = sessions[size:]
        if rest:
            clock.callLater(_STEP, self._dismiss, clock, told, rest, size)
        else:
            told.callback(None)

    def close(self) -> None:
        """
        Close all.
        """
        for session in self:
            session.life.close(GOING_AWAY, "the proxy is stopping")
