"""
The table of routes: who lands where, and that it costs the same however many records there are.
"""

from __future__ import annotations

import gc
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.registry.records import MAX_PREFIX, Backend
from invproxy.registry.routes import RouteTable


def backend(
    id: str,
    *users: str,
    paths: tuple[str, ...] = ("/",),
    hosts: tuple[str, ...] = (),
) -> Backend:
    """
    Make a record.
    """
    return Backend(id, users[0], "", paths, users[1:], hosts)


def table(*records: Backend) -> RouteTable:
    """
    Make a table.
    """
    made = RouteTable()
    for record in records:
        made.add(record)
    return made


class RouteTests(SynchronousTestCase):
    """
    L{RouteTable.find} and L{RouteTable.matches}.
    """

    def assertFound(
        self, routes: RouteTable, user: str, host: str | bytes, path: str | bytes, id: str | None
    ) -> None:
        """
        This user lands on this backend, or on none.
        """
        found = routes.find(user, host, path)
        self.assertEqual(found and found.id, id, (user, host, path))

    def test_empty(self) -> None:
        """
        Where nothing is, nothing is found.
        """
        self.assertFound(table(), "ann", "a.b", b"/", None)
        self.assertFalse(table().matches("a.b", b"/"))

    def test_segments(self) -> None:
        """
        A prefix ends where a segment does. One that ends with a slash is for what is below it alone.
        """
        routes = table(backend("a", "ann", paths=("/a",)), backend("b", "ann", paths=("/b/",)))
        for path, id in (
            ("/a", "a"),
            ("/a/", "a"),
            ("/a/x/y", "a"),
            ("/ab", None),
            ("/", None),
            ("/A", None),
            ("//a", None),
            ("/b", None),
            ("/b/", "b"),
            ("/b/x", "b"),
            ("/bx", None),
            ("", None),
            ("*", None),
        ):
            self.assertFound(routes, "ann", "h", path, id)
            self.assertFound(routes, "ann", "h", path.encode(), id)
            self.assertIs(routes.matches("h", path), id is not None)

    def test_longest(self) -> None:
        """
        The longest prefix wins, empty segments and all.
        """
        routes = table(
            backend("root", "ann"),
            backend("a", "ann", paths=("/a",)),
            backend("below", "ann", paths=("/a/",)),
            backend("deep", "ann", paths=("/a/b/c",)),
            backend("empty", "ann", paths=("/a//",)),
        )
        for path, id in (
            (b"/", "root"),
            (b"/b", "root"),
            (b"/a", "a"),
            (b"/a/", "below"),
            (b"/a/b", "below"),
            (b"/a/b/cd", "below"),
            (b"/a/b/c", "deep"),
            (b"/a/b/c/", "deep"),
            (b"/a//", "empty"),
            (b"/a//b/c", "empty"),
        ):
            self.assertFound(routes, "ann", "h", path, id)

    def test_encoding(self) -> None:
        """
        Two ways of writing a path lead to one place, an encoded slash does not.
        """
        routes = table(backend("web", "ann", paths=("/caf\u00e9", "/~x", "/%7ey", "/a/b")))
        for path, id in (
            (b"/caf%C3%A9", "web"),
            (b"/caf%c3%a9/menu", "web"),
            (b"/caf\xc3\xa9", "web"),
            (b"/%7ex", "web"),
            (b"/~y", "web"),
            (b"/%61/b", "web"),
            (b"/a%2Fb", None),
            (b"/%2561/b", None),
        ):
            self.assertFound(routes, "ann", "h", path, id)

    def test_hosts(self) -> None:
        """
        An exact host comes before the longest pattern, that before a shorter one, and no host is last, however long
        its path.
        """
        routes = table(
            backend("any", "ann", paths=("/", "/long/path")),
            backend("exact", "ann", hosts=("a.b.example.com",)),
            backend("long", "ann", hosts=("*.b.example.com",)),
            backend("short", "ann", hosts=("*.example.com",)),
            backend("six", "ann", hosts=("::1", "10.0.0.1")),
        )
        for host, id in (
            ("a.b.example.com", "exact"),
            (b"A.B.Example.com.:8080", "exact"),
            ("x.b.example.com", "long"),
            ("x.y.b.example.com", "long"),
            ("b.example.com", "short"),
            ("example.com", "any"),
            ("badexample.com", "any"),
            (".example.com", "any"),
            ("[::1]:80", "six"),
            ("[0::1]", "six"),
            ("10.0.0.1:80", "six"),
            ("", "any"),
            ("x" * 300 + ".example.com", "any"),
            (b"\xff", "any"),
        ):
            self.assertFound(routes, "ann", host, b"/long/path", id)

    def test_users(self) -> None:
        """
        The user's own comes before the domain's, that before everybody's; among equals, the smallest ID.
        """
        routes = table(
            backend("all2", "allUsers"),
            backend("all1", "allUsers"),
            backend("corp", "*@example.com"),
            backend("ann", "bob@example.org", "Ann@Example.com"),
        )
        for user, id in (
            ("ann@example.com", "ann"),
            (" ANN@example.COM ", "ann"),
            ("carl@example.com", "corp"),
            ("carl@EXAMPLE.com", "corp"),
            ("carl@sub.example.com", "all1"),
            ("carl@evil.org@example.com", "corp"),
            ("carl@example.com@evil.org", "all1"),
            ("bob@example.org", "ann"),
            ("", "all1"),
            ("  ", "all1"),
            ("@example.com", "all1"),
            ("example.com", "all1"),
        ):
            self.assertFound(routes, user, "h", b"/", id)

    def test_impostors(self) -> None:
        """
        Who comes by the name of a pattern, or of everybody, is not whom that means; nor who has a letter that becomes
        another's when it is made small.
        """
        routes = table(backend("all", "allUsers", paths=("/all",)), backend("corp", "*@corp.com"))
        self.assertFound(routes, "*@corp.com", "h", b"/", None)
        self.assertFound(routes, "allUsers", "h", b"/all", "all")
        routes = table(backend("kim", "kim@corp.com"), backend("x", "allusers"))
        self.assertFound(routes, "\u212aim@corp.com", "h", b"/", None)
        self.assertFound(routes, "allUsers", "h", b"/", None)

    def test_othersDoNotShow(self) -> None:
        """
        A longer prefix, or a better host, that is somebody else's does not hide one's own.
        """
        routes = table(
            backend("mine", "ann"),
            backend("deeper", "bob", paths=("/x",)),
            backend("better", "bob", hosts=("a.b",)),
        )
        self.assertFound(routes, "ann", "a.b", b"/x", "mine")
        self.assertFound(routes, "carl", "a.b", b"/x", None)
        self.assertTrue(routes.matches("a.b", b"/x"))

    def test_example(self) -> None:
        """
        The example of docs/registry.md.
        """
        routes = table(
            backend("ann", "ann@example.com"),
            backend("wiki", "*@example.com", paths=("/wiki",)),
            backend("home", "allUsers"),
            backend("status", "allUsers", hosts=("status.example.com",)),
        )
        for user, host, path, id in (
            ("ann@example.com", "hub.example.com", "/lab", "ann"),
            ("ann@example.com", "hub.example.com", "/wiki/Start", "wiki"),
            ("bob@example.com", "hub.example.com", "/lab", "home"),
            ("", "hub.example.com", "/wiki/Start", "home"),
            ("ann@example.com", "status.example.com", "/wiki", "status"),
        ):
            self.assertFound(routes, user, host, path, id)

    def test_replace(self) -> None:
        """
        A record that comes again replaces the former one in all its places.
        """
        routes = table(backend("web", "ann", paths=("/a", "/b"), hosts=("a.b", "*.c.d")))
        routes.add(backend("web", "bob", paths=("/b",)))
        self.assertFound(routes, "ann", "a.b", b"/a", None)
        self.assertFound(routes, "bob", "a.b", b"/b", "web")
        self.assertFalse(routes.matches("a.b", b"/a"))

    def test_remembered(self) -> None:
        """
        What was found is not what is found after a change; and not more is remembered than fits.
        """
        routes = RouteTable()
        self.assertFound(routes, "ann", "a.b", b"/x", None)
        routes.add(backend("a", "allUsers"))
        self.assertFound(routes, "ann", "a.b", b"/x", "a")
        routes.add(backend("b", "ann"))
        self.assertFound(routes, "ann", "a.b", b"/x", "b")
        routes.remove("b")
        self.assertFound(routes, "ann", "a.b", b"/x", "a")
        for number in range(5000):
            routes.find("ann", "a.b", b"/%d" % number)
        routes.find("ann", "a.b", b"/" + b"x" * 600)
        self.assertLess(len(routes._found), 4097)
        self.assertLess(max(len(path) for _, _, path in routes._found), 513)

    def test_removeLeavesNothing(self) -> None:
        """
        What is removed leaves no trace, so that memory does not grow with changes.
        """
        routes = RouteTable()
        records = [
            backend("a", "a@x", "a@x", "A@X", paths=("/a/b/c", "/a/b/", "/%61/b/")),
            backend("b", "allUsers", "*@x.y", hosts=("a.b", "*.a.b", "a.b")),
            backend("c", "ann", paths=("/a/b", "/")),
        ]
        for record in records:
            routes.add(record)
        for record in records:
            routes.remove(record.id)
            routes.remove(record.id)
        self.assertEqual((routes._hosts, routes._records, routes._patterns), ({}, {}, 0))

    def test_hostilePaths(self) -> None:
        """
        A path is looked at no further than records go, and its length alone costs nothing.
        """
        long = "/" + "a" * (MAX_PREFIX - 1)
        routes = table(backend("long", "ann", paths=(long,)), backend("root", "bob"))
        encoded = b"/" + b"%61" * (MAX_PREFIX - 1)
        self.assertFound(routes, "ann", "h", long, "long")
        self.assertFound(routes, "ann", "h", encoded, "long")
        self.assertFound(routes, "ann", "h", encoded + b"/" * 70000, "long")
        self.assertFound(routes, "ann", "h", encoded + b"%61" * 70000, None)
        self.assertFound(routes, "bob", "h", b"/" * 70000, "root")
        for path in (b"/" * 70000, b"/a" * 70000, b"/%61" * 70000, b"/\xff" * 70000):
            self.assertLess(countCalls(routes, "ann", "h." * 30000, path), 10000)


# A naive model of the same: every record is looked at.

USERS = st.sampled_from(["", "ann@x.y", "Bob@x.y", "carl@z", "dora", "Dora", "allUsers", "*@x.y"])
GRANTS = st.sampled_from(["ann@x.y", "bob@X.y", "carl@z", "dora", "allUsers", "*@x.y", "*@z"])
HOSTS = st.sampled_from(["a.b", "*.b", "*.a.b", "c.a.b", "b", "*.c.a.b", "::1"])
ASKED = st.sampled_from(["a.b", "b", "c.a.b", "d.c.a.b", "x", "A.b:80", "[::1]", ""])
PATHS = st.lists(st.sampled_from(["", "a", "b", "%61", "ab"]), max_size=4).map(
    lambda segments: "/" + "/".join(segments)
)
RECORDS = st.builds(
    Backend,
    st.sampled_from([f"id{number}" for number in range(8)]),
    GRANTS | st.just(""),
    st.just(""),
    st.lists(PATHS, min_size=1, max_size=3).map(tuple),
    st.lists(GRANTS, max_size=2).map(tuple),
    st.lists(HOSTS, max_size=2).map(tuple),
)
STEPS = st.lists(RECORDS | RECORDS.map(lambda record: record.id), max_size=20)


def hostRank(record: Backend, host: str) -> int:
    """
    How specific the best of a record's hosts is, or 0 if none matches.
    """
    host = host.lower().removesuffix(":80").strip("[]")
    ranks = [1] if not record.hosts else []
    for pattern in record.hosts:
        if pattern == host:
            ranks.append(1000)
        elif pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) >= len(pattern):
            ranks.append(1 + len(pattern))
    return max(ranks, default=0)


def pathRank(record: Backend, path: str) -> int:
    """
    How long the longest of a record's prefixes is that matches, or 0 if none does.
    """
    path = path.replace("%61", "a")
    lengths = [0]
    for prefix in record.pathPrefixes:
        prefix = prefix.replace("%61", "a")
        if path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/"):
            lengths.append(len(prefix))
    return max(lengths)


def userRank(record: Backend, user: str) -> int:
    """
    How specific the best of a record's users is, or 0 if it is for others.
    """
    ranks = []
    for grant in (record.endUser, *record.endUsers):
        if grant == "allUsers":
            ranks.append(1)
        elif user in ("", "allUsers", "*@x.y"):
            continue
        elif grant.startswith("*@") and user.lower().endswith(grant[1:].lower()):
            ranks.append(2)
        elif grant == user or ("@" in grant and grant.lower() == user.lower()):
            ranks.append(3)
    return max(ranks, default=0)


def naively(records: list[Backend], user: str, host: str, path: str) -> Backend | None:
    """
    Choose a backend by looking at all records.
    """
    best: tuple[tuple[int, int, int], Backend] | None = None
    for record in sorted(records, key=lambda record: record.id):
        rank = (hostRank(record, host), pathRank(record, path), userRank(record, user))
        if all(rank) and (best is None or rank > best[0]):
            best = (rank, record)
    return best and best[1]


class ModelTests(SynchronousTestCase):
    """
    The table beside the model.
    """

    @settings(max_examples=250)
    @given(STEPS, st.lists(st.tuples(USERS, ASKED, PATHS), min_size=1, max_size=8))
    def test_model(self, steps: list[Backend | str], asked: list[tuple[str, str, str]]) -> None:
        """
        Whatever is added, replaced and removed, both choose the same; and when all is removed, nothing is left.
        """
        routes = RouteTable()
        records: dict[str, Backend] = {}
        for step in steps:
            if isinstance(step, str):
                routes.remove(step)
                records.pop(step, None)
            else:
                routes.add(step)
                records[step.id] = step
        for user, host, path in asked:
            self.assertEqual(
                routes.find(user, host, path),
                naively(list(records.values()), user, host, path),
                (user, host, path),
            )
            anybody = [
                record
                for record in records.values()
                if record.users() and hostRank(record, host) and pathRank(record, path)
            ]
            self.assertEqual(routes.matches(host, path), bool(anybody), (host, path))
        for id in records:
            routes.remove(id)
        self.assertEqual((routes._hosts, routes._patterns), ({}, 0))


class CostTests(SynchronousTestCase):
    """
    What a search costs.
    """

    def test_independentOfRecords(self) -> None:
        """
        However many records there are, a search looks at as many places and lists as before, counted in calls of
        Python functions.
        """
        counts = []
        for size in (10, 3000):
            routes = RouteTable()
            for number in range(size):
                user, host = f"user{number}@example.com", f"h{number}.example.com"
                routes.add(backend(f"own{number}", user))
                routes.add(backend(f"host{number}", "allUsers", hosts=(host,)))
                routes.add(backend(f"path{number}", user, paths=(f"/p{number}/x", f"/{number}")))
            counts.append(
                [
                    countCalls(routes, user, host, path)
                    for user, host, path in (
                        ("user7@example.com", "other", b"/p7/x/y"),
                        ("user7@example.com", "h7.example.com", b"/"),
                        ("nobody", "h9.example.com", b"/p9/x/y"),
                        ("nobody", "nowhere", b"/nowhere"),
                    )
                ]
            )
        self.assertEqual(counts[0], counts[1])


def countCalls(routes: RouteTable, user: str, host: str, path: bytes) -> int:
    """
    Count the calls of functions, built-in ones too, that a search makes.
    """
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # or callbacks of the collector would be counted, too
    sys.setprofile(note)
    try:
        routes.find(user, host, path)
    finally:
        sys.setprofile(before)
        gc.enable()
    return count
