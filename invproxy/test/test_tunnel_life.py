"""
The life of a tunnel: every input in every state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from automat import NoTransition
from twisted.trial.unittest import SynchronousTestCase

from invproxy.tunnel.life import GOING_AWAY, Life, makeLife
from invproxy.wire.hello import Hello
from invproxy.wire.websocket import PROTOCOL_ERROR

HELLO = Hello(node="n")


class FakeCore:
    """
    Writes down what it is moved to.

    @ivar moves: in order.
    @ivar during: called in the midst of each.
    """

    def __init__(self) -> None:
        self.moves: list[tuple[object, ...]] = []
        self.during: Callable[[], None] = lambda: None

    def _move(self, *move: object) -> None:
        self.moves.append(move)
        during, self.during = self.during, lambda: None
        during()

    def become(self, hello: Hello) -> None:
        self._move("become", hello)

    def sayGoAway(self) -> None:
        self._move("sayGoAway")

    def leave(self) -> None:
        self._move("leave")

    def turnAway(self, last: int) -> None:
        self._move("turnAway", last)

    def shut(self, code: int, reason: str) -> None:
        self._move("shut", code, reason)

    def end(self, reason: str) -> None:
        self._move("end", reason)


INPUTS: dict[str, Callable[[Life], None]] = {
    "greet": lambda life: life.greet(HELLO),
    "drain": lambda life: life.drain(),
    "dismiss": lambda life: life.dismiss(7),
    "empty": lambda life: life.empty(),
    "close": lambda life: life.close(4000, "enough"),
    "lose": lambda life: life.lose("gone"),
}

WAYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "greeting": ((),),
    "ready": (("greet",), ("greet", "empty")),
    "draining": (
        ("greet", "drain"),
        ("greet", "dismiss"),
        ("greet", "drain", "drain"),
    ),
    "closed": (
        ("drain",),
        ("close",),
        ("lose",),
        ("greet", "greet"),
        ("greet", "drain", "empty"),
        ("greet", "dismiss", "empty"),
        ("greet", "close"),
        ("greet", "drain", "lose"),
    ),
}
"""How each state is reached."""

SECOND = ("shut", PROTOCOL_ERROR, "a second HELLO")

TABLE: dict[str, dict[str, tuple[tuple[object, ...] | None, str]]] = {
    "greeting": {
        "greet": (("become", HELLO), "ready"),
        "drain": (("leave",), "closed"),
        "empty": (None, "greeting"),
        "close": (("shut", 4000, "enough"), "closed"),
        "lose": (("end", "gone"), "closed"),
    },
    "ready": {
        "greet": (SECOND, "closed"),
        "drain": (("sayGoAway",), "draining"),
        "dismiss": (("turnAway", 7), "draining"),
        "empty": (None, "ready"),
        "close": (("shut", 4000, "enough"), "closed"),
        "lose": (("end", "gone"), "closed"),
    },
    "draining": {
        "greet": (SECOND, "closed"),
        "drain": (None, "draining"),
        "dismiss": (("turnAway", 7), "draining"),
        "empty": (("shut", GOING_AWAY, "drained"), "closed"),
        "close": (("shut", 4000, "enough"), "closed"),
        "lose": (("end", "gone"), "closed"),
    },
    "closed": dict.fromkeys(INPUTS, (None, "closed")),
}
"""What each input moves in each state, and where it leads."""


def fingerprint(life: Life, core: FakeCore) -> str:
    """
    Find out in which state it is, by what no other state does; it is closed after that.
    """
    before = len(core.moves)
    life.empty()
    if core.moves[before:]:
        return "draining"
    life.drain()
    [*moved] = core.moves[before:]
    if not moved:
        return "closed"
    state = {"sayGoAway": "ready", "leave": "greeting"}[str(moved[0][0])]
    life.close(4001, "end of the test")
    return state


class LifeTests(SynchronousTestCase):
    """
    L{makeLife}.
    """

    def test_table(self) -> None:
        """
        All transitions: each input in each state, however that was reached.
        """
        for state, ways in WAYS.items():
            for way in ways:
                for name, act in INPUTS.items():
                    core = FakeCore()
                    life = makeLife(core)
                    for step in way:
                        INPUTS[step](life)
                    core.moves.clear()
                    if name not in TABLE[state]:
                        self.assertRaises(NoTransition, act, life)
                        self.assertEqual(core.moves, [])
                        self.assertEqual(fingerprint(life, core), state)
                        continue
                    act(life)
                    move, after = TABLE[state][name]
                    self.assertEqual(core.moves, [move] if move else [], (way, name))
                    self.assertEqual(fingerprint(life, core), after, (way, name))

    def test_tableIsWhole(self) -> None:
        """
        It names each input in each state, but for the GOAWAY of a peer that has not said who it is: no frame is read
        before the HELLO.
        """
        self.assertEqual(set(TABLE), set(WAYS))
        for row in TABLE.values():
            missing = {"dismiss"} if row is TABLE["greeting"] else set()
            self.assertEqual(set(row), set(INPUTS) - missing)
        public = {name for name in vars(Life) if not name.startswith("_")}
        self.assertEqual(public, set(INPUTS))

    def test_closedForGood(self) -> None:
        """
        Once closed, nothing moves any more.
        """
        core = FakeCore()
        life = makeLife(core)
        life.greet(HELLO)
        life.close(1000, "x")
        core.moves.clear()
        for _ in range(2):
            for act in INPUTS.values():
                act(life)
        self.assertEqual(core.moves, [])

    def test_inTheMidst(self) -> None:
        """
        An input in the midst of a move comes after it.
        """
        for state, ways in WAYS.items():
            for first, act in INPUTS.items():
                for second, later in INPUTS.items():
                    core = FakeCore()
                    life = makeLife(core)
                    for step in ways[0]:
                        INPUTS[step](life)
                    core.moves.clear()
                    if first not in TABLE[state]:
                        continue
                    move, between = TABLE[state][first]
                    if move is None:
                        continue
                    core.during = partial(later, life)
                    act(life)
                    follows, after = TABLE[between][second]
                    self.assertEqual(core.moves, [move, *([follows] if follows else [])])
                    self.assertEqual(fingerprint(life, core), after)

    def test_endsOnce(self) -> None:
        """
        Whatever comes in whatever order, the core is told of the end once and of nothing after it.
        """
        names = list(INPUTS)
        for number in range(6**4):
            core = FakeCore()
            life = makeLife(core)
            for place in range(4):
                with contextlib.suppress(NoTransition):
                    INPUTS[names[number // 6**place % 6]](life)
            ends = [at for at, move in enumerate(core.moves) if move[0] in ("shut", "end")]
            self.assertLessEqual(len(ends), 1)
            if ends:
                self.assertEqual(ends, [len(core.moves) - 1])
            self.assertLessEqual(sum(move[0] == "become" for move in core.moves), 1)
            self.assertLessEqual(sum(move[0] == "sayGoAway" for move in core.moves), 1)

    def test_many(self) -> None:
        """
        Each tunnel has a life of its own.
        """
        cores = [FakeCore(), FakeCore()]
        lives = [makeLife(core) for core in cores]
        lives[0].greet(HELLO)
        lives[0].drain()
        lives[1].greet(HELLO)
        lives[0].empty()
        self.assertEqual(cores[1].moves, [("become", HELLO)])
