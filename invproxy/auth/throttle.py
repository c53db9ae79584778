"""
Slowing down those who guess: failures to authenticate are counted for each peer, and who has had too many is refused
for a while.

What was presented does not matter to it, so callers keep one rule for the sake of everybody behind the same address:
credentials that one look-up shows to be good (a token by its hash, an entry of a cache) pass without asking here. Only
what is unknown, or costs something to check, asks first.

A success forgives no failure: who has an account would guess the neighbour's without end, one right answer after each
nine wrong ones.
"""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from invproxy.errors import TOO_MANY_ATTEMPTS, Fault
from invproxy.interfaces import IPeer
from invproxy.tables import Table

_log = Logger(namespace="invproxy.auth")

LIMIT = 10
"""Failures within L{WINDOW} after which a peer is refused."""

WINDOW = 60.0
"""Seconds in which they are counted."""

FIRST_PENALTY = 15.0
"""Seconds for which it is refused the first time; each further time it is twice as long."""

LONGEST_PENALTY = 300.0
"""Seconds for which it is refused at most."""

_FORGIVEN_AFTER = 2 * LONGEST_PENALTY
"""Seconds without a failure after which a peer is like any other again."""

_MOST_PEERS = 10000
"""Peers that are remembered; beyond that, those that failed longest ago are forgotten."""


@define(eq=False)
class _Record:
    """
    What is known of a peer.

    @ivar failedAt: when it failed last, at most L{LIMIT} times.
    @ivar underWay: attempts whose outcome is not known yet.
    @ivar blockedUntil: until when it is refused.
    @ivar penalty: for how long it was refused last, in seconds.
    @ivar touchedAt: when anything here changed.
    """

    failedAt: deque[float] = field(factory=deque)
    underWay: int = 0
    blockedUntil: float = 0.0
    penalty: float = 0.0
    touchedAt: float = 0.0


class Throttle:
    """
    Counts failures for each peer. All methods take an L{IPeer}, or, where a trusted proxy has told it, the text of
    the client's own address.
    """

    def __init__(
        self, clock: IReactorTime, mostPeers: int = _MOST_PEERS, *, name: str = "throttle"
    ) -> None:
        """
        @param clock: what tells the time.
        @param mostPeers: how many peers are remembered.
        @param name: what the table of these is called.
        """
        self._clock = clock
        self._mostPeers = mostPeers
        self._name = name
        # In the order in which they were touched last.
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def tables(self) -> list[Table]:
        """
        Tell how many peers are remembered.
        """
        return [Table(self._name, len(self._records), self._mostPeers, True)]

    def check(self, peer: IPeer | str) -> None:
        """
        See whether a peer may try; nothing is counted yet.

        @raise Fault: (too-many-attempts) with C{Retry-After} if it has failed too often.
        """
        if not self._records:
            return
        record = self._find(keyOf(peer))
        if record is None:
            return
        wait = record.blockedUntil - self._clock.seconds()
        if wait > 0:
            raise _refusal(wait)

    def attempt(self, peer: IPeer | str) -> None:
        """
        As L{check}, for what takes time to find out: until L{fail} or L{succeed} the attempt counts as failed, so that
        many at once are no more than many in a row.

        @raise Fault: (too-many-attempts) with C{Retry-After}.
        """
        self.check(peer)
        record = self._touch(keyOf(peer))
        if len(record.failedAt) + record.underWay >= LIMIT:
            raise _refusal(1.0)
        record.underWay += 1

    def succeed(self, peer: IPeer | str) -> None:
        """
        Take note that an L{attempt} was none to count.
        """
        record = self._find(keyOf(peer))
        if record is not None and record.underWay:
            record.underWay -= 1

    def fail(self, peer: IPeer | str) -> None:
        """
        Count a failure, which may end an L{attempt}.
        """
        key = keyOf(peer)
        record = self._touch(key)
        if record.underWay:
            record.underWay -= 1
        now = record.touchedAt
        if record.blockedUntil > now:
            return  # else who does not stop would never get out, nor would anybody behind the same address
        record.failedAt.append(now)
        if len(record.failedAt) < LIMIT:
            return
        record.failedAt.clear()
        record.penalty = min(record.penalty * 2 or FIRST_PENALTY, LONGEST_PENALTY)
        record.blockedUntil = now + record.penalty
        _log.warn(
            "{peer} failed to authenticate {count} times in {window:g} s: refused for {wait:g} s",
            peer=key,
            count=LIMIT,
            window=WINDOW,
            wait=record.penalty,
        )

    def _find(self, key: str) -> _Record | None:
        record = self._records.get(key)
        if record is None:
            return None
        now = self._clock.seconds()
        if now - max(record.touchedAt, record.blockedUntil) > _FORGIVEN_AFTER:
            del self._records[key]
            return None
        failedAt = record.failedAt
        while failedAt and now - failedAt[0] > WINDOW:
            failedAt.popleft()
        return record

    def _touch(self, key: str) -> _Record:
        record = self._find(key) or _Record()
        record.touchedAt = self._clock.seconds()
        self._records.pop(key, None)
        self._records[key] = record
        if len(self._records) > self._mostPeers:
            del self._records[next(iter(self._records))]
        return record


def _refusal(wait: float) -> Fault:
    seconds = math.ceil(wait)
    return Fault(
        TOO_MANY_ATTEMPTS, f"try again in {seconds} s", b"\r\nRetry-After: %d" % max(seconds, 1)
    )


def keyOf(peer: IPeer | str) -> str:
    """
    Name what failures are counted for: an IPv4 address; of IPv6 the /64, as whoever has one address has all of it;
    C{"unix"} for all peers on UNIX sockets, C{"unknown"} for all whose address is none.
    """
    host = peer if isinstance(peer, str) else getattr(peer.address, "host", None)
    return "unix" if host is None else _keyOfHost(host)


@lru_cache(maxsize=4096)
def _keyOfHost(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"  # who knows what it is: it is not for the log
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return host
