"""
Registries of any size, as a platform that gives every user a backend has them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from json import dumps
from pathlib import Path

from invproxy.registry.records import Backend, Token, digestOf, parseBackend
from invproxy.registry.sqlite import APPLICATION_ID, MIGRATIONS


def backends(count: int) -> list[Backend]:
    """
    Make records: one half for one user each, a quarter for everybody on hosts of their own, a quarter for the users of
    a domain below paths of their own. Those of a number are the same in every registry that is large enough.
    """
    return [parseBackend(_record(number)) for number in range(count)]


def _record(number: int) -> dict[str, object]:
    shared: dict[str, object] = {"id": f"b{number}", "backendUser": "", "pathPrefixes": ["/"]}
    if number % 4 == 1:
        return {**shared, "endUser": "allUsers", "hosts": [f"h{number}.apps.example.com"]}
    if number % 4 == 3:
        paths = [f"/teams/t{number}/notebooks"]
        return {**shared, "endUser": f"*@t{number}.example.com", "pathPrefixes": paths}
    return {**shared, "endUser": f"user{number}@example.com"}


def tokens(count: int, among: int) -> list[Token]:
    """
    Make tokens, spread over so many backends. The secret of each is its name.
    """
    return [
        Token(f"b{number % among}", f"t{number}", digestOf(f"t{number}"), 1.8e9)
        for number in range(count)
    ]


def writeDatabase(path: Path, backends: list[Backend], tokens: list[Token]) -> None:
    """
    Write a database as the server would have it after all of that was put.
    """
    with closing(sqlite3.connect(path)) as connection:
        for statement in (each for step in MIGRATIONS for each in step):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.executemany(
            "INSERT INTO backends VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    each.id,
                    each.endUser,
                    each.backendUser,
                    dumps(each.pathPrefixes),
                    dumps(each.endUsers),
                    dumps(each.hosts),
                    each.lastUsed,
                )
                for each in backends
            ],
        )
        connection.executemany(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?)",
            [
                (each.backend, each.name, each.digest, each.created, each.expires, each.lastUsed)
                for each in tokens
            ],
        )
        connection.commit()
