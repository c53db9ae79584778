"""
Slowing down those who guess: failures to authenticate are counted for each peer, and who has had too many is refused
for a while.

What was presented does not matter to it, so callers keep one rule for the sake of everybody behind the same address:
credentials that one look-up shows to be good (a token by its hash, an entry of a cache) pass without asking here. Only
what is unknown, or costs something to check, asks first.

A success forgives no failure: who has an account would guess the neighbour's without end, one right answer after each
nine wrong ones.

Where what is right cannot be told by one look, a neighbor would lock out whoever comes for the first time. There
failures are counted for each name at each peer, and for the peer as a whole by a wider bound: L{FairThrottle}.
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

WIDE_LIMIT = 100
"""Failures of all names together within L{WINDOW} after which a L{FairThrottle} refuses a peer as a whole."""

WIDE_LONGEST_PENALTY = 60.0
"""Seconds for which it does at most: those who suffer are many, and mostly have done nothing."""

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
    the client's own address; and, where one of several there is meant, what tells it from the others.
    """

    def __init__(
        self,
        clock: IReactorTime,
        mostPeers: int = _MOST_PEERS,
        *,
        limit: int = LIMIT,
        longestPenalty: float = LONGEST_PENALTY,
        name: str = "throttle",
    ) -> None:
        """
        @param clock: what tells the time.
        @param mostPeers: how many peers are remembered.
        @param limit: failures within L{WINDOW} after which one is refused.
        @param longestPenalty: seconds for which it is refused at most.
        @param name: what the table of these is called.
        """
        self._clock = clock
        self._mostPeers = mostPeers
        self._limit = limit
        self._longestPenalty = longestPenalty
        self._name = name
        # In the order in which they were touched last.
        self._records: dict[tuple[str, bytes], _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def tables(self) -> list[Table]:
        """
        Tell how many peers are remembered.
        """
        return [Table(self._name, len(self._records), self._mostPeers, True)]

    def check(self, peer: IPeer | str, who: bytes = b"") -> None:
        """
        See whether a peer may try; nothing is counted yet.

        @param who: one of several there.
        @raise Fault: (too-many-attempts) with C{Retry-After} if it has failed too often.
        """
        if not self._records:
            return
        record = self._find((keyOf(peer), who))
        if record is None:
            return
        wait = record.blockedUntil - self._clock.seconds()
        if wait > 0:
            raise _refusal(wait)

    def attempt(self, peer: IPeer | str, who: bytes = b"") -> None:
        """
        As L{check}, for what takes time to find out: until L{fail} or L{succeed} the attempt counts as failed, so that
        many at once are no more than many in a row.

        @raise Fault: (too-many-attempts) with C{Retry-After}.
        """
        self.check(peer, who)
        record = self._touch((keyOf(peer), who))
        if len(record.failedAt) + record.underWay >= self._limit:
            raise _refusal(1.0)
        record.underWay += 1

    def succeed(self, peer: IPeer | str, who: bytes = b"") -> None:
        """
        Take note that an L{attempt} was none to count.
        """
        key = keyOf(peer), who
        record = self._find(key)
        if record is not None and record.underWay:
            record.underWay -= 1
            if not (record.underWay or record.failedAt or record.penalty):
                del self._records[key]

    def fail(self, peer: IPeer | str, who: bytes = b"") -> None:
        """
        Count a failure, which may end an L{attempt}.
        """
        place = keyOf(peer)
        record = self._touch((place, who))
        if record.underWay:
            record.underWay -= 1
        now = record.touchedAt
        if record.blockedUntil > now:
            return  # else who does not stop would never get out, nor would anybody behind the same address
        record.failedAt.append(now)
        if len(record.failedAt) < self._limit:
            return
        record.failedAt.clear()
        record.penalty = min(record.penalty * 2 or FIRST_PENALTY, self._longestPenalty)
        record.blockedUntil = now + record.penalty
        _log.warn(
            "{peer} failed to authenticate {count} times{who} in {window:g} s: refused for {wait:g} s",
            peer=place,
            count=self._limit,
            who=" as the same user" if who else "",
            window=WINDOW,
            wait=record.penalty,
        )

    def _find(self, key: tuple[str, bytes]) -> _Record | None:
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

    def _touch(self, key: tuple[str, bytes]) -> _Record:
        record = self._find(key) or _Record()
        record.touchedAt = self._clock.seconds()
        self._records.pop(key, None)
        self._records[key] = record
        if len(self._records) > self._mostPeers:
            del self._records[next(iter(self._records))]
        return record


class FairThrottle:
    """
    Counts failures for each of those who are behind one peer, so that none of them suffers from what another does; and,
    by a wider bound, for the peer as a whole, or whoever takes another name each time would never be stopped. The
    methods are those of L{Throttle}.
    """

    def __init__(self, clock: IReactorTime, *, name: str = "throttle") -> None:
        """
        @param clock: what tells the time.
        @param name: what the table of these is called; that of their peers is called the same with C{_peers} behind it.
        """
        self._each = Throttle(clock, name=name)
        self._all = Throttle(
            clock,
            limit=WIDE_LIMIT,
            longestPenalty=WIDE_LONGEST_PENALTY,
            name=f"{name}_peers",
        )

    def tables(self) -> list[Table]:
        """
        Tell how many are remembered.
        """
        return self._each.tables() + self._all.tables()

    def check(self, peer: IPeer | str, who: bytes) -> None:
        """
        See whether somebody may try; nothing is counted yet.

        @param who: what tells them from others at the same peer: what they say, or a hash of it; never C{b""}.
        @raise Fault: (too-many-attempts) with C{Retry-After} if they have failed too often, or all there have.
        """
        self._all.check(peer)
        self._each.check(peer, who)

    def attempt(self, peer: IPeer | str, who: bytes) -> None:
        """
        As L{check}, for what takes time to find out: until L{fail} or L{succeed} the attempt counts as failed.

        @raise Fault: (too-many-attempts) with C{Retry-After}.
        """
        self._all.attempt(peer)
        try:
            self._each.attempt(peer, who)
        except Fault:
            self._all.succeed(peer)
            raise

    def succeed(self, peer: IPeer | str, who: bytes) -> None:
        """
        Take note that an L{attempt} was none to count.
        """
        self._all.succeed(peer)
        self._each.succeed(peer, who)

    def fail(self, peer: IPeer | str, who: bytes) -> None:
        """
        Count a failure, which may end an L{attempt}.
        """
        self._all.fail(peer)
        self._each.fail(peer, who)


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
