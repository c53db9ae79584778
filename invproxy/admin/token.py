"""
The bearer token of the admin endpoint, out of a file that may change at any time.
"""

from __future__ import annotations

import hmac
import os
import re
from hashlib import sha256

from twisted.logger import Logger

from invproxy.errors import ConfigError

_log = Logger(namespace="invproxy.admin")

SHORTEST = 16
"""Characters that a token has at least: what a person makes up in less is guessed."""

LONGEST = 1024
"""Characters that it has at most."""

_isToken = re.compile(rf"[\x21-\x7e]{{{SHORTEST},{LONGEST}}}", re.ASCII).fullmatch

_ALLOWED = (
    f"must hold one token of {SHORTEST} to {LONGEST} printable ASCII characters without spaces;"
    " this makes one: openssl rand -hex 32"
)


class AdminToken:
    """
    The token in a file. The file is looked at for each request, and read again when it is another or has changed.
    While it cannot be read, or holds no token, nobody gets in: an administrator who takes it away means that.
    """

    def __init__(self, path: str) -> None:
        """
        @param path: of the file.
        @raise ConfigError: if it cannot be read, or holds no token; the text says what is allowed.
        """
        self._path = path
        self._version: tuple[int, ...] = ()
        self._digest = b""
        self._failing = False
        self._refresh()

    def isReadable(self) -> bool:
        """
        Say whether there is a token, as of now. Why not, is logged once.
        """
        try:
            self._refresh()
        except ConfigError as error:
            if not self._failing:
                _log.error("the admin API lets nobody in: {path} {why}", path=self._path, why=error)
            self._failing = True
            return False
        if self._failing:
            _log.info("the admin API has its token again, from {path}", path=self._path)
        self._failing = False
        return True

    def matches(self, given: bytes) -> bool:
        """
        Compare in a time that tells nothing. Call L{isReadable} first.

        @param given: what somebody says is the token.
        """
        return hmac.compare_digest(sha256(given).digest(), self._digest)

    def _refresh(self) -> None:
        try:
            found = os.stat(self._path)
            version = (
                found.st_dev,
                found.st_ino,
                found.st_mtime_ns,
                found.st_ctime_ns,
                found.st_size,
            )
            if version == self._version:
                return
            self._version, self._digest = (), b""
            with open(self._path, "rb") as file:
                content = file.read(LONGEST + 100)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"cannot be read: {why}") from None
        token = content.strip().decode("latin-1")
        if not _isToken(token):
            raise ConfigError(_ALLOWED)
        self._digest = sha256(token.encode("ascii")).digest()
        self._version = version
