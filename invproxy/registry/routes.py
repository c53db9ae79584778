"""
Which backend a request is for: a table from (end user, host, path) to records, made of dictionaries alone, so that ten
thousand records cost what ten do.

Records stand by host; below each host, by path, in a tree with one level for each segment; at each place in the tree,
by end user. A search goes through the hosts that match, from the most specific to "any", walks down the tree along
the segments of the path, and looks on the way back, from the longest prefix to the shortest, who may visit what there
is::

    host "app.example.com"  --  ""  --  "team"  --  "notebooks"
                                         |
                                        exact prefix "/team":  alice -> web-a, bob -> web-b, allUsers -> web
                                        below "/team/":        *@example.com -> web-c
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from operator import attrgetter

from attrs import define, field

from invproxy.registry.records import (
    ALL_USERS,
    MAX_PREFIX,
    Backend,
    canonicalHost,
    canonicalPath,
    canonicalUser,
)
from invproxy.tables import Table

_byID = attrgetter("id")

_ANY = ""
"""Stands for any host."""

_LONGEST_HOST = 253
"""How many characters the name of a host has at most (RFC 1035, section 2.3.4)."""

_LONGEST_PATH = 4 * MAX_PREFIX
"""As far as a path is looked at. It is at least a third as long in its canonical form: longer than any prefix."""


@define(eq=False)
class _Place:
    """
    What is at one path prefix of one host.

    @ivar users: records by exact users, by domains as C{*@example.com}, and for everybody by L{ALL_USERS}; those of
        each are in the order of their IDs, and there are never none.
    """

    users: dict[str, list[Backend]] = field(factory=dict)

    def add(self, user: str, record: Backend) -> None:
        insort(self.users.setdefault(user, []), record, key=_byID)

    def remove(self, user: str, record: Backend) -> None:
        records = self.users[user]
        del records[bisect_left(records, record.id, key=_byID)]
        if not records:
            del self.users[user]

    def choose(self, users: tuple[str, ...]) -> Backend | None:
        for user in users:
            records = self.users.get(user)
            if records is not None:
                return records[0]
        return None


@define(eq=False)
class _Node:
    """
    One segment of a path.

    @ivar children: the next segments.
    @ivar here: what has the prefix that ends with this segment.
    @ivar below: what has the prefix that ends with the slash after it.
    """

    children: dict[bytes, _Node] = field(factory=dict)
    here: _Place | None = None
    below: _Place | None = None

    def isEmpty(self) -> bool:
        return not (self.children or self.here or self.below)


_MOST_KEPT = 4096
"""Requests whose backends are remembered."""

_LONGEST_KEPT = 512
"""How long user, host and path of such a request may be together."""


class RouteTable:
    """
    Chooses backends for requests.

    Among the records that the end user may visit and whose host matches, the choice falls on the most specific host (an
    exact one before a pattern, a longer pattern before a shorter one, no host last), then on the longest path prefix,
    then on an exact user before a pattern before L{ALL_USERS}, then on the smallest ID.
    """

    def __init__(self) -> None:
        self._records: dict[str, Backend] = {}
        self._hosts: dict[str, _Node] = {}
        self._patterns = 0
        # What was found lately, until anything changes: the same pages are asked for again and again.
        self._found: dict[tuple[str, str | bytes, str | bytes], Backend | None] = {}

    def add(self, record: Backend) -> None:
        """
        Take a record in, in place of the one with the same ID.
        """
        self.remove(record.id)
        users = record.users()
        if not users:
            return
        self._records[record.id] = record
        self._found.clear()
        for host in _hostsOf(record):
            root = self._hosts.get(host)
            if root is None:
                root = self._hosts[host] = _Node()
                self._patterns += host.startswith("*")
            for path in _pathsOf(record):
                place = _grow(root, path)
                for user in users:
                    place.add(user, record)

    def remove(self, id: str) -> None:
        """
        Take a record out; nothing happens if there is none.

        @param id: its ID.
        """
        record = self._records.pop(id, None)
        if record is None:
            return
        self._found.clear()
        for host in _hostsOf(record):
            root = self._hosts[host]
            for path in _pathsOf(record):
                _prune(root, path, record)
            if root.isEmpty():
                del self._hosts[host]
                self._patterns -= host.startswith("*")

    def tables(self) -> list[Table]:
        """
        Tell how many choices are remembered.
        """
        return [Table("routes", len(self._found), _MOST_KEPT, True)]

    def find(self, user: str, host: str | bytes, path: str | bytes) -> Backend | None:
        """
        Choose the backend for a request.

        @param user: the end user, or C{""} for somebody who is not signed in.
        @param host: the value of Host, with or without a port.
        @param path: the path of the target, as it came.
        @return: the record, or L{None} if there is nothing here that this user may visit.
        """
        key = (user, host, path)
        if key in self._found:
            return self._found[key]
        record = self._choose(user, host, path)
        if len(user) + len(path) + len(host) <= _LONGEST_KEPT:
            if len(self._found) >= _MOST_KEPT:
                self._found.clear()
            self._found[key] = record
        return record

    def _choose(self, user: str, host: str | bytes, path: str | bytes) -> Backend | None:
        users = _namesOf(user)
        path = canonicalPath(path[:_LONGEST_PATH])
        for root in self._roots(host):
            for place in _walk(root, path):
                record = place.choose(users)
                if record is not None:
                    return record
        return None

    def matches(self, host: str | bytes, path: str | bytes) -> bool:
        """
        Say whether there is anything here that anybody may visit.

        @param host: as in L{find}.
        @param path: as in L{find}.
        """
        path = canonicalPath(path[:_LONGEST_PATH])
        return any(_walk(root, path) for root in self._roots(host))

    def _roots(self, host: str | bytes) -> Iterator[_Node]:
        """
        The trees of the hosts that match, the most specific first.
        """
        hosts = self._hosts
        if len(hosts) > (_ANY in hosts):
            name = canonicalHost(host)
            if (root := hosts.get(name)) is not None:
                yield root
            if self._patterns and len(name) <= _LONGEST_HOST:
                at = name.find(".")
                while at > 0:
                    if (root := hosts.get(f"*{name[at:]}")) is not None:
                        yield root
                    at = name.find(".", at + 1)
        if (root := hosts.get(_ANY)) is not None:
            yield root


def _hostsOf(record: Backend) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.hosts)) or (_ANY,)


def _pathsOf(record: Backend) -> tuple[bytes, ...]:
    # Two ways of writing one path are one.
    return tuple(dict.fromkeys(canonicalPath(prefix) for prefix in record.pathPrefixes))


def _namesOf(user: str) -> tuple[str, ...]:
    """
    By which names an end user is among those who may visit, the most specific first.
    """
    if not user:
        return (ALL_USERS,)
    user = canonicalUser(user)
    local, _, domain = user.rpartition("@")
    # Whoever comes by the name of a pattern is not meant by it.
    if user.startswith("*@") or not user:
        return (ALL_USERS,)
    return (user, f"*@{domain}", ALL_USERS) if local else (user, ALL_USERS)


def _grow(root: _Node, path: bytes) -> _Place:
    """
    Find the place of a prefix, and make the way there.
    """
    node = root
    *segments, last = path.split(b"/")
    for segment in segments if not last else [*segments, last]:
        node = node.children.setdefault(segment, _Node())
    if last:
        node.here = node.here or _Place()
        return node.here
    node.below = node.below or _Place()
    return node.below


def _prune(root: _Node, path: bytes, record: Backend) -> None:
    """
    Take a record from the place of a prefix, and from the way there what leads nowhere any more.
    """
    *segments, last = path.split(b"/")
    way = [(root, b"")]
    for segment in segments if not last else [*segments, last]:
        way.append((way[-1][0].children[segment], segment))
    node = way[-1][0]
    place = node.here if last else node.below
    assert place is not None
    for user in record.users():
        place.remove(user, record)
    if not place.users:
        if last:
            node.here = None
        else:
            node.below = None
    for (parent, _), (child, segment) in zip(way[-2::-1], way[:0:-1], strict=True):
        if not child.isEmpty():
            break
        del parent.children[segment]


def _walk(root: _Node, path: bytes) -> list[_Place]:
    """
    List the places of all prefixes that a path has, the longest first. It goes no deeper than records do, however many
    segments the path has.
    """
    places: list[_Place] = []
    node: _Node | None = root
    begin = 0
    while True:
        end = path.find(b"/", begin)
        segment = path[begin:] if end < 0 else path[begin:end]
        node = node.children.get(segment) if node else None
        if node is None:
            break
        if node.here is not None:
            places.append(node.here)
        if end < 0:
            break
        if node.below is not None:
            places.append(node.below)
        begin = end + 1
    places.reverse()
    return places
