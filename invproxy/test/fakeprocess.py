"""
A process in memory: its reactor, how it ends, and a service that runs in it.
"""

import io
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactorClock

from invproxy.lifecycle import Lifecycle


class Reactor(MemoryReactorClock):
    """
    A reactor that knows whether it runs, and keeps its triggers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.isUp = False
        self.stops = 0
        self.ended: list[Callable[[], Any]] = []

    def stop(self) -> None:
        if not self.isUp:
            raise ReactorNotRunning
        self.isUp = False
        self.stops += 1

    def callWhenRunning(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        if self.isUp:
            callable(*args, **kw)
        else:
            super().callWhenRunning(callable, *args, **kw)

    def run(self) -> None:
        self.isUp = True
        for hook, args, kw in self.whenRunningHooks:
            hook(*args, **kw)

    def callFromThread(self, callable: Callable[..., Any], *args: Any, **kw: Any) -> None:
        callable(*args, **kw)

    def addSystemEventTrigger(
        self, phase: str, eventType: str, callable: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        assert (phase, eventType) == ("after", "shutdown")
        self.ended.append(callable)


@define
class Process:
    """
    What a command does to its process.
    """

    stdout: io.StringIO = field(factory=io.StringIO)
    stderr: io.StringIO = field(factory=io.StringIO)
    handlers: dict[int, Any] = field(factory=dict)
    atEnd: list[Callable[[], None]] = field(factory=list)
    statuses: list[int] = field(factory=list)

    def lifecycle(self, reactor: Reactor) -> Lifecycle:
        return Lifecycle(
            reactor,  # type: ignore[arg-type]
            "program",
            stdout=self.stdout,
            stderr=self.stderr,
            register=self.atEnd.append,
            exit=self.statuses.append,
            setHandler=self.handlers.__setitem__,
        )

    def end(self) -> list[int]:
        for each in self.atEnd:
            each()
        return self.statuses


class FakeService(Service):
    """
    A service that is ready when told so.
    """

    def __init__(self, *args: Any, **kw: Any) -> None:
        self.args = args
        self.kw = kw
        self.ready: Deferred[Any] = Deferred()

    def whenReady(self) -> Deferred[Any]:
        return self.ready
