"""
A C{twist} command that tells what is alive in its process: C{python -m soak.program SOCKET COMMAND [OPTION ...]}.

Whoever connects to the UNIX socket gets one JSON object, L{count}, and the end. Nothing is counted unless asked for.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

_OURS = ("invproxy", "twisted")
_ALSO = frozenset(("coroutine", "generator", "socket", "DelayedCall"))
_DEFERRED = "twisted.internet.defer.Deferred"

FIRED = "Deferred that has fired"
"""What such objects are counted as; the others are waiting for something."""

_TABLES = (dict, list, set, deque, bytearray)
_SLOTS = frozenset(("member_descriptor", "getset_descriptor"))


def count(reactor: Any) -> dict[str, Any]:
    """
    Count what is alive in this process.

    @return: C{timers}, C{readers} and C{writers} of the reactor; C{files}, open descriptors; C{objects}, by the names
        of their classes, those of ours and Twisted's; C{tables}, how many entries there are in all lists, sets and so
        on that are attributes of such objects (C{module.Class.attribute}), or of our modules.
    """
    gc.collect()
    objects: Counter[str] = Counter()
    tables: Counter[str] = Counter()
    names: dict[type, tuple[str, list[str]]] = {}
    for each in gc.get_objects():
        kind = type(each)
        if isinstance(each, (type, ModuleType)):
            continue
        known = names.get(kind)
        if known is None:
            known = names[kind] = _describe(kind)
        name, slots = known
        if not name:
            continue
        if name == _DEFERRED and each.called:
            name = FIRED
        objects[name] += 1
        if not name.startswith("invproxy"):
            continue
        for attribute, value in _attributes(each, slots):
            if isinstance(value, _TABLES):
                tables[f"{name}.{attribute}"] += len(value)
    for name, module in list(sys.modules.items()):
        if name.startswith("invproxy"):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, _TABLES):
                    tables[f"{name}.{attribute}"] += len(value)
    return {
        "timers": len(reactor.getDelayedCalls()),
        "readers": len(reactor.getReaders()),
        "writers": len(reactor.getWriters()),
        "files": len(os.listdir("/proc/self/fd")),
        "objects": dict(objects),
        "tables": dict(tables),
    }


def _describe(kind: type) -> tuple[str, list[str]]:
    """
    @return: the name under which objects of a class are counted, or nothing, and the names of their slots.
    """
    module = kind.__module__ if isinstance(kind.__module__, str) else ""
    if module.partition(".")[0] not in _OURS and kind.__name__ not in _ALSO:
        return "", []
    slots = [
        name
        for each in kind.__mro__
        for name, value in vars(each).items()
        if type(value).__name__ in _SLOTS and not name.startswith("__")
    ]
    return f"{module}.{kind.__qualname__}", slots


def _attributes(each: object, slots: list[str]) -> Iterator[tuple[str, object]]:
    yield from getattr(each, "__dict__", {}).items()
    for name in slots:
        with suppress(Exception):
            yield name, getattr(each, name)


def main(path: str, arguments: list[str]) -> None:
    """
    Run the command.
    """
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory, Protocol

    class Teller(Protocol):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.write(json.dumps(count(reactor)).encode("ascii"))
            self.transport.loseConnection()

    def listen() -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        reactor.listenUNIX(path, Factory.forProtocol(Teller))  # type: ignore[attr-defined]

    reactor.callWhenRunning(listen)
    sys.argv = ["twist", "--log-format=text", *arguments]
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
