"""
The command C{invproxy} against an admin endpoint on a network in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred

from invproxy.admin.token import AdminToken
from invproxy.cli.commands import invproxy
from invproxy.cli.session import Session, Work
from invproxy.test.admincase import PORT, AdminTestCase

NOW = 86400.0 * 365


class CommandTestCase(AdminTestCase):
    """
    Tests that run the command.
    """

    def setUp(self) -> None:
        super().setUp()
        self.network.advance(NOW)

    def guard(self, token: str) -> str:
        """
        Serve the endpoint with a token, too.

        @return: the path of the file with it.
        """
        path: str = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write(token)
        self.serve(AdminToken(path), port=PORT + 1)
        return path

    def work(self, work: Work[Any]) -> Any:
        """
        Do what the command needs a reactor for.
        """
        results: list[Any] = []
        Deferred.fromCoroutine(work(self.network)).addBoth(results.append)
        self.network.pump()
        if not results:
            self.network.advance(31)  # nobody answers
        [result] = results
        if hasattr(result, "raiseException"):
            result.raiseException()
        return result

    def invoke(
        self,
        *arguments: str,
        input: str | None = None,
        env: Mapping[str, str | None] | None = None,
    ) -> Result:
        """
        Run the command, whatever comes of it.
        """
        session = Session(run=self.work, now=self.network.seconds)
        clean: dict[str, str | None] = dict.fromkeys(
            (
                "INVPROXY_ADMIN",
                "INVPROXY_ADMIN_TOKEN",
                "INVPROXY_ADMIN_TOKEN_FILE",
                "INVPROXY_ADMIN_CA",
            )
        )
        return CliRunner().invoke(
            invproxy, arguments, input=input, obj=session, env={**clean, **(env or {})}
        )

    def run_(self, *arguments: str, **how: Any) -> str:
        """
        Run the command and see it succeed.

        @return: what it wrote to stdout.
        """
        result = self.invoke(*arguments, **how)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """
        Run the command for JSON.
        """
        return json.loads(self.run_(*arguments, "--json"))

    def fails(self, status: int, *arguments: str, **how: Any) -> str:
        """
        Run the command and see it fail.

        @return: what it wrote to stderr.
        """
        result = self.invoke(*arguments, **how)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.assertEqual(result.exit_code, status, result.output)
        self.assertEqual(result.stdout, "")
        return result.stderr
