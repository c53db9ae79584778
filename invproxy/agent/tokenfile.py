"""
An agent's token in a file, which somebody may renew: Kubernetes does so with those of service accounts, every hour.
"""

from __future__ import annotations

import os
import re

from twisted.logger import Logger

_log = Logger(namespace="invproxy.agent")

_MOST_BYTES = 16384

isToken = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII).fullmatch
"""Match what can be a token."""


class TokenFile:
    """
    A file that holds a token, and nothing else but white space around it.
    """

    def __init__(self, path: str) -> None:
        """
        @param path: its path.
        """
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._problem = ""

    def __call__(self) -> str | None:
        """
        Read it, if it has changed since it was read last.

        @return: the token; L{None} if it has not changed, or has no token now, which the log says.
        """
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen == self._seen:
                return None
            with open(self._path, "rb") as file:
                text = file.read(_MOST_BYTES).strip().decode("latin-1")
        except (OSError, ValueError) as error:
            self._note(getattr(error, "strerror", None) or str(error))
            return None
        if not isToken(text):
            self._note("it holds no token")
            return None
        self._seen = seen
        self._note("")
        return text

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            _log.warn(
                "token file {path} cannot be read again, the token in use stays: {why}",
                path=self._path,
                why=problem,
            )
        self._problem = problem
