"""
C{invproxy backends}.
"""

from __future__ import annotations

import json
from typing import Any

import click

from invproxy.errors import StoreError
from invproxy.registry.records import Backend, parseBackend
from invproxy.test.clicase import CommandTestCase


class BackendsTests(CommandTestCase):
    """
    C{invproxy backends}.
    """

    def add(self, *arguments: str) -> str:
        return self.run_("backends", "add", *arguments)

    def record(self, id: str = "web") -> Any:
        return self.json("backends", "show", id)

    def test_add(self) -> None:
        """
        One visitor stands in the original's field, several in ours; all hosts and paths unless they are named.
        """
        self.add("web", "--end-user", "alice@example.com")
        self.assertEqual(
            self.record(),
            {
                "id": "web",
                "endUser": "alice@example.com",
                "backendUser": "",
                "pathPrefixes": ["/"],
                "endUsers": [],
                "hosts": [],
            },
        )
        self.add(
            *("team/a", "--end-user", "bob", "--end-user", "*@example.com"),
            *("--host", "a.example", "--host", "b.example", "--path", "/x", "--path", "/y"),
            *("--backend-user", "robot@example.com"),
        )
        self.assertEqual(
            self.record("team/a"),
            {
                "id": "team/a",
                "endUser": "",
                "backendUser": "robot@example.com",
                "pathPrefixes": ["/x", "/y"],
                "endUsers": ["bob", "*@example.com"],
                "hosts": ["a.example", "b.example"],
            },
        )
        self.add("all", "--everyone")
        self.assertEqual(self.record("all")["endUser"], "allUsers")

    def test_next(self) -> None:
        """
        What is to be done next is said on stderr; not to programs, and not where an agent has other credentials.
        """
        made = self.invoke("backends", "add", "web", "--everyone")
        self.assertEqual(made.stdout, "Backend web is added.\n")
        self.assertIn("invproxy token create web NAME", made.stderr)
        made = self.invoke("backends", "add", "b", "--everyone", "--backend-user", "x")
        self.assertEqual(made.stderr, "")
        made = self.invoke("backends", "add", "c", "--everyone", "--json")
        self.assertEqual((json.loads(made.stdout)["id"], made.stderr), ("c", ""))

    def test_addTwice(self) -> None:
        """
        Nothing that is there is overwritten.
        """
        self.add("web", "--end-user", "alice")
        said = self.fails(1, "backends", "add", "web", "--everyone")
        self.assertIn("invproxy backends edit web", said)
        self.assertEqual(self.record()["endUser"], "alice")

    def test_addForNobody(self) -> None:
        """
        Who may visit it must be said: nothing is open by omission.
        """
        self.assertIn("--everyone", self.fails(2, "backends", "add", "web"))

    def test_invalid(self) -> None:
        """
        What is wrong is called as on the command line.
        """
        for option, value in (
            ("--end-user", "a*b"),
            ("--host", "a b"),
            ("--path", "x"),
            ("--backend-user", "a\nb"),
        ):
            said = self.fails(1, "backends", "add", "web", "--everyone", option, value)
            self.assertTrue(said.startswith(f"invproxy: {option} "), said)
            self.assertEqual(said.count("\n"), 1)
        self.assertIn("ID must be", self.fails(1, "backends", "add", "a b", "--everyone"))

    def test_list(self) -> None:
        """
        A table of all of them; JSON is what the API says.
        """
        empty = self.invoke("backends", "list")
        self.assertEqual(empty.stdout, "")
        self.assertIn("invproxy backends add", empty.stderr)
        self.assertEqual(self.json("backends", "list"), [])
        self.add("web", "--end-user", "alice", "--end-user", "*@example.com", "--host", "a.example")
        self.add("all", "--everyone", "--path", "/x", "--path", "/y", "--backend-user", "robot")
        assert self.registry is not None
        self.registry.see("all")
        self.network.advance(300)
        self.assertEqual(
            self.run_("backends", "list"),
            "BACKEND  VISITORS              HOSTS      PATHS   AGENTS    SEEN\n"
            "all      everybody             any        /x, /y  robot     5 min ago\n"
            "web      alice, *@example.com  a.example  /       by token  never\n",
        )
        listed = self.json("backends", "list")
        self.assertEqual([record["id"] for record in listed], ["all", "web"])

    def test_pages(self) -> None:
        """
        All of them, however many there are.
        """
        assert self.registry is not None
        for number in range(2001):
            record = Backend(f"b{number:04}", "allUsers", "", ("/",))
            self.successResultOf(self.startOf(self.registry.put(record)))
        listed = self.json("backends", "list")
        self.assertEqual([record["id"] for record in listed], [f"b{n:04}" for n in range(2001)])

    def startOf(self, coroutine: Any) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(coroutine)

    def test_show(self) -> None:
        """
        One of them with its tokens.
        """
        self.add("web", "--end-user", "alice")
        shown = self.invoke("backends", "show", "web")
        self.assertEqual(
            shown.stdout,
            "backend     web\n"
            "visitors    alice\n"
            "hosts       any\n"
            "paths       /\n"
            "agents      by token\n"
            "tokens      none\n"
            "agent seen  never\n",
        )
        self.assertIn("invproxy token create web", shown.stderr)
        self.run_("token", "create", "web", "laptop")
        self.assertIn("tokens      laptop\n", self.run_("backends", "show", "web"))
        said = self.fails(1, "backends", "show", "nope")
        self.assertIn("invproxy backends list", said)

    def test_edit(self) -> None:
        """
        What no option names stays.
        """
        self.add("web", "--end-user", "alice", "--host", "a.example", "--path", "/a")
        edit = ("backends", "edit", "web")
        self.run_(*edit, "--add-end-user", "bob", "--add-end-user", "alice")
        self.assertEqual(self.record()["endUsers"], ["alice", "bob"])
        self.run_(*edit, "--drop-end-user", "alice", "--host", "b.example", "--host", "c.example")
        self.assertEqual(
            self.record(),
            {
                "id": "web",
                "endUser": "bob",
                "backendUser": "",
                "pathPrefixes": ["/a"],
                "endUsers": [],
                "hosts": ["b.example", "c.example"],
            },
        )
        self.run_(*edit, "--everyone", "--backend-user", "robot", "--drop-host", "b.example")
        self.run_(*edit, "--path", "/", "--add-path", "/x")
        record = self.record()
        self.assertEqual((record["endUser"], record["backendUser"]), ("allUsers", "robot"))
        self.assertEqual((record["hosts"], record["pathPrefixes"]), (["c.example"], ["/", "/x"]))
        self.run_(*edit, "--backend-user", "")
        self.assertEqual(self.record()["backendUser"], "")
        self.assertIn("as it was", self.run_(*edit, "--path", "/", "--add-path", "/x"))

    def test_badEdit(self) -> None:
        """
        What is not there cannot be dropped, and somebody must be left.
        """
        self.add("web", "--end-user", "alice")
        said = self.fails(1, "backends", "edit", "web", "--drop-host", "a.example")
        self.assertIn("--drop-host a.example", said)
        said = self.fails(1, "backends", "edit", "web", "--drop-end-user", "alice")
        self.assertIn("nobody could visit it", said)
        self.assertIn("no backend", self.fails(1, "backends", "edit", "nope", "--everyone"))
        self.assertEqual(self.record()["endUser"], "alice")

    def test_editor(self) -> None:
        """
        Without options an editor has the record.
        """
        self.add("web", "--end-user", "alice")
        seen: list[str] = []

        def edit(text: str, extension: str) -> str | None:
            seen.append(text)
            return answers.pop()

        answers: list[str | None] = []
        self.patch(click, "edit", edit)
        for answer, status, said in (
            (None, 0, "as it was"),
            ("{", 1, "not JSON"),
            ("[]", 1, "no JSON object"),
        ):
            answers.append(answer)
            result = self.invoke("backends", "edit", "web")
            self.assertEqual(result.exit_code, status)
            self.assertIn(said, result.output)
        answers.append(seen[0].replace("alice", "bob"))
        self.run_("backends", "edit", "web")
        self.assertEqual(self.record()["endUser"], "bob")

    def test_editTogether(self) -> None:
        """
        Nobody overwrites what somebody else has changed meanwhile.
        """
        self.add("web", "--end-user", "alice")

        def edit(text: str, extension: str) -> str:
            assert self.registry is not None
            record = parseBackend(json.loads(text.replace("alice", "carol")))
            self.successResultOf(self.startOf(self.registry.put(record)))
            return text.replace("alice", "bob")

        self.patch(click, "edit", edit)
        said = self.fails(1, "backends", "edit", "web")
        self.assertIn("somebody else meanwhile", said)
        self.assertEqual(self.record()["endUser"], "carol")

    def test_remove(self) -> None:
        """
        It asks first.
        """
        self.add("web", "--everyone")
        self.fails(1, "backends", "remove", "web", input="n\n")
        self.assertEqual(len(self.json("backends", "list")), 1)
        self.run_("backends", "remove", "web", input="y\n")
        self.assertEqual(self.json("backends", "list"), [])
        self.assertIn("no backend", self.fails(1, "backends", "remove", "web", "--yes"))

    def test_ids(self) -> None:
        """
        IDs with characters that mean something in addresses.
        """
        for id in ("team/a", "a:b@c~1", "../a/", "/", "a//b", "a/..", "...", "web/tokens/x"):
            self.run_("backends", "add", "--everyone", "--", id)
            self.assertEqual(self.json("backends", "show", id)["id"], id)
            self.run_("backends", "edit", id, "--add-path", "/more")
            self.assertIn("/more", self.json("backends", "show", id)["pathPrefixes"])
            self.run_("token", "create", id, "ci")
            self.assertEqual([each["name"] for each in self.json("token", "list", id)], ["ci"])
            self.run_("token", "revoke", id, "ci")
            self.assertEqual([each["id"] for each in self.json("backends", "list")], [id])
            self.run_("backends", "remove", id, "--yes")
            self.assertEqual(self.json("backends", "list"), [])

    def test_dots(self) -> None:
        """
        What would be a step through the address is no ID, and leads nowhere else.
        """
        self.run_("backends", "add", "web", "--everyone")
        self.run_("token", "create", "web", "ci")
        for id in (".", ".."):
            said = self.fails(1, "backends", "add", id, "--everyone")
            self.assertIn("ID must be 1 to 256", said)
            for words in (
                ("backends", "show", id),
                ("backends", "edit", id, "--add-path", "/x"),
                ("backends", "remove", id, "--yes"),
                ("token", "list", id),
                ("token", "create", id, "ci"),
                ("token", "revoke", id, "ci"),
            ):
                self.assertIn(f"there is no backend {id!r}", self.fails(1, *words), words)
            said = self.fails(1, "token", "revoke", "web", id)
            self.assertIn(f"'web' has no token {id!r}", said)

    def test_unavailable(self) -> None:
        """
        A store that does not work is told.
        """
        self.store.failure = StoreError("the disk is full: make room")
        said = self.fails(1, "backends", "add", "web", "--everyone")
        self.assertIn("make room", said)
