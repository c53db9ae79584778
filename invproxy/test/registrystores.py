"""
What tests of stores use: a reactor whose threads are the thread of the test, so that all is done when a call returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.testing import MemoryReactorClock
from twisted.python import threadpool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from invproxy.errors import StoreError
from invproxy.registry.records import Backend, Token, digestOf
from invproxy.registry.sqlite import IReactorStore, SQLiteStore


class InThisThread:
    """
    Looks like a L{twisted.python.threadpool.ThreadPool}.
    """

    def __init__(self, *args: object, **keywords: object) -> None:
        """
        As the real one.
        """

    def start(self) -> None:
        """
        Nothing to do.
        """

    def stop(self) -> None:
        """
        Likewise.
        """

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], None], function: Any, *args: Any, **keywords: Any
    ) -> None:
        """
        Call the function at once.
        """
        try:
            result = function(*args, **keywords)
        except BaseException as error:
            onResult(False, error)
        else:
            onResult(True, result)


@implementer(IReactorFromThreads)
class StoreReactor(MemoryReactorClock):
    """
    A reactor for stores.
    """

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """
        Call the function at once.
        """
        callable(*args, **kwargs)


def sqliteStore(test: SynchronousTestCase, path: str) -> SQLiteStore:
    """
    Make a SQLite store that works in the thread of the test, and is closed at its end.
    """
    test.patch(threadpool, "ThreadPool", InThisThread)
    store = SQLiteStore(path, cast(IReactorStore, StoreReactor()))
    test.addCleanup(store.close)
    return store


def storeErrorOf(test: SynchronousTestCase, deferred: Any) -> str:
    """
    The text of the L{StoreError} with which a call failed: one line that can be printed.
    """
    text = str(test.failureResultOf(deferred, StoreError).value)
    test.assertTrue(text.isprintable(), text)
    # Where the tests run is not for us to say.
    test.assertLess(len(text.replace(os.path.realpath(os.curdir), "")), 400)
    return text


def backend(id: str = "web", **changes: Any) -> Backend:
    """
    Make a record.
    """
    values: dict[str, Any] = {"endUser": "ann", "backendUser": "vm", "pathPrefixes": ("/",)}
    return Backend(id, **values | changes)


def token(backend: str = "web", name: str = "ci", **changes: Any) -> Token:
    """
    Make a token, whose secret is its name.
    """
    values: dict[str, Any] = {"digest": digestOf(f"{backend} {name}"), "created": 1000.0}
    return Token(backend, name, **values | changes)
