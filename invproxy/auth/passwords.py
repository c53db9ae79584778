"""
A file of users and hashed passwords: made by C{invproxy passwd}, and checked for HTTP Basic by
C{--auth scrypt-file:PATH}.

A line is C{user:$scrypt$ln=15,r=8,p=1$SALT$HASH}, with salt and hash in base64 without padding; each line carries the
cost that it was made with (RFC 7914), so that a later version may ask for more. Empty lines and those that begin with
C{#} are passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from invproxy.errors import ConfigError
from invproxy.files import readSmall

_log = Logger(namespace="invproxy.auth")

_COST = (15, 8, 1)
"""What hashing costs unless a line says otherwise: C{ln}, C{r} and C{p}."""

_MOST_MEMORY = 256 << 20
"""Bytes that one check may take: a line that asks for more is a slip."""

LONGEST = 1024
"""Characters of a password: longer ones would cost those who do not know any, too."""

_LARGEST_FILE = 16 << 20
_AT_ONCE = 2
"""Checks that run at the same time: each takes a processor, and some 32 MiB, for a moment."""

_LINE = re.compile(
    r"(?P<user>[^:]+):\$scrypt\$ln=(?P<ln>[0-9]{1,2}),r=(?P<r>[0-9]{1,3}),p=(?P<p>[0-9]{1,3})"
    r"\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<hash>[A-Za-z0-9+/]+)",
    re.ASCII,
).fullmatch


@frozen
class Hashed:
    """
    A hashed password.

    @ivar ln: how many times the cost is doubled: the binary logarithm of scrypt's N.
    @ivar r: scrypt's block size.
    @ivar p: how many times in parallel.
    @ivar salt: the salt.
    @ivar digest: the hash.
    """

    ln: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def matches(self, password: bytes | str) -> bool:
        """
        Say whether this is the hash of a password. It takes a good part of a second.
        """
        isSame = hmac.compare_digest(self.digest, self.derive(password))
        # To scrypt, zeros at the end make no difference (RFC 2104 fills up keys with them).
        return isSame and b"\0" not in _prepared(password)

    def derive(self, password: bytes | str) -> bytes:
        """
        Hash a password at the same cost with the same salt.
        """
        cost = 1 << self.ln
        return hashlib.scrypt(
            _prepared(password),
            salt=self.salt,
            n=cost,
            r=self.r,
            p=self.p,
            maxmem=128 * self.r * (cost + self.p + 2) + (1 << 20),
            dklen=len(self.digest),
        )

    def encode(self) -> str:
        """
        Write it as it stands in a file after the user's name and a colon.
        """
        salt, digest = _base64(self.salt), _base64(self.digest)
        return f"$scrypt$ln={self.ln},r={self.r},p={self.p}${salt}${digest}"


def _prepared(password: bytes | str) -> bytes:
    """
    Bring a password into one form (RFC 8265, OpaqueString): what looks the same is the same on every keyboard.
    """
    try:
        text = password.decode("utf-8") if isinstance(password, bytes) else password
        return unicodedata.normalize("NFC", text).encode("utf-8")
    except UnicodeError:
        return password if isinstance(password, bytes) else password.encode("utf-8", "replace")


def _isTooLong(password: bytes) -> bool:
    """
    Say whether this is longer than any password is: bringing it into one form takes time by the square of its length,
    in which no other thread runs.
    """
    if len(password) <= LONGEST:
        return False
    try:
        return len(password) > 4 * LONGEST or len(password.decode("utf-8")) > LONGEST
    except UnicodeDecodeError:
        return True


def _base64(data: bytes) -> str:
    return b64encode(data).rstrip(b"=").decode("ascii")


def _unbase64(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), validate=True)


def hashPassword(password: str, *, cost: tuple[int, int, int] = _COST) -> str:
    """
    Hash a password for a line of the file.

    @param password: the password.
    @param cost: C{ln}, C{r} and C{p} of L{Hashed}; with each 1 more of C{ln} it takes twice the time and the memory.
    @return: what comes after the user's name and a colon.
    @raise ConfigError: if it has a NUL character.
    """
    if "\0" in password:
        raise ConfigError("a password must not have a NUL character")
    blank = Hashed(*cost, secrets.token_bytes(16), bytes(32))
    return Hashed(*cost, blank.salt, blank.derive(password)).encode()


def checkUser(user: str) -> str:
    """
    See whether a name can be that of a user.

    @return: the name.
    @raise ConfigError: if it cannot be; the text says what is allowed.
    """
    if not user or user != user.strip() or ":" in user or user[0] == "#":
        raise ConfigError("a user's name must not be empty, begin with #, or have a colon")
    if not user.isprintable() or len(user.encode("utf-8", "replace")) > 200:
        raise ConfigError("a user's name must be printable, and at most 200 bytes long")
    return user


def parsePasswords(text: str) -> dict[str, Hashed]:
    """
    Read the content of a file.

    @raise ConfigError: if a line is wrong; the text names it, and shows nothing of a password.
    """
    users: dict[str, Hashed] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            user, hashed = parseLine(line)
        except ConfigError as error:
            raise ConfigError(f"line {number}: {error}") from None
        if user in users:
            raise ConfigError(f"line {number}: the user {user!r} stands on an earlier line, too")
        users[user] = hashed
    return users


def parseLine(line: str) -> tuple[str, Hashed]:
    """
    Read one line.

    @return: the user's name and the hash.
    @raise ConfigError: if it is wrong.
    """
    matched = _LINE(line)
    if matched is None:
        raise ConfigError(
            "must be user:$scrypt$ln=..,r=..,p=..$salt$hash, as invproxy passwd writes it"
        )
    ln, r, p = (int(matched[name]) for name in ("ln", "r", "p"))
    try:
        salt, digest = _unbase64(matched["salt"]), _unbase64(matched["hash"])
    except ValueError:
        raise ConfigError("the salt and the hash must be in base64") from None
    if not (1 <= ln <= 24 and r >= 1 and 1 <= p <= 64) or 128 * r << ln > _MOST_MEMORY:
        raise ConfigError(
            f"ln={ln},r={r},p={p} is out of bounds: at most 256 MiB (128 * r * 2**ln bytes), p 64"
        )
    if not 8 <= len(salt) <= 64 or not 16 <= len(digest) <= 64:
        raise ConfigError("the salt must have 8 to 64 bytes, and the hash 16 to 64")
    return checkUser(matched["user"]), Hashed(ln, r, p, salt, digest)


def readPasswords(path: str) -> dict[str, Hashed]:
    """
    Read a file.

    @raise ConfigError: if it cannot be read or a line is wrong.
    """
    try:
        content = readSmall(path, _LARGEST_FILE)
    except ConfigError as error:
        raise ConfigError(f"{path!r} {error}") from None
    try:
        return parsePasswords(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path!r} is not UTF-8") from None
    except ConfigError as error:
        raise ConfigError(f"{path!r}, {error}") from None


@implementer(ICredentialsChecker)
class ScryptFileChecker:
    """
    Checks names and passwords against such a file, which is read anew when it was changed. If it then has a mistake,
    the log says so, and what it said before stands.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, path: str, defer: Callable[..., Deferred[bool]] = deferToThread) -> None:
        """
        @param path: the file.
        @param defer: runs a function off the reactor's thread.
        @raise ConfigError: if it cannot be read or a line is wrong.
        """
        self._path = path
        self._defer = defer
        self._turns = DeferredSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._state = _stateOf(path)
        self._users = readPasswords(path)
        self._nobody = _Nobody.among(self._users)

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """
        Check a name and a password.

        @return: fires with the name, or fails with L{UnauthorizedLogin}.
        """
        username, password = credentials.username, credentials.password
        checked: Deferred[bool] = self._turns.run(self._defer, self._check, username, password)

        def judge(isRight: bool) -> bytes | tuple[()]:
            if not isRight:
                raise UnauthorizedLogin
            return username

        return checked.addCallback(judge)

    def _check(self, username: bytes, password: bytes) -> bool:
        # In a thread. Whether the user exists must not show in how long this takes.
        if _isTooLong(password):
            return False
        users = self._refreshed()
        try:
            hashed = users.get(username.decode("utf-8"))
        except UnicodeDecodeError:
            hashed = None
        if hashed is None:
            self._nobody.named(username).matches(password)
            return False
        return hashed.matches(password)

    def _refreshed(self) -> dict[str, Hashed]:
        with self._lock:
            state = _stateOf(self._path)
            if state != self._state:
                self._state = state
                try:
                    self._users = readPasswords(self._path)
                except ConfigError as error:
                    _log.error("{error}; what it said before stands", error=str(error))
                else:
                    self._nobody = _Nobody.among(self._users)
                    _log.info("{path} was changed, and read anew", path=self._path)
            return self._users


def _stateOf(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@frozen
class _Nobody:
    """
    Stands for the names that are not in a file: each has a cost as if it were, and always the same one; as many have
    each cost as of the users do.

    @ivar hashes: one for each user, in the order of their costs.
    @ivar key: what decides which name has which, and stays as long as the file does, also after a restart.
    """

    hashes: Sequence[Hashed]
    key: bytes = field(repr=False)

    @classmethod
    def among(cls, users: dict[str, Hashed]) -> _Nobody:
        """
        Make it for the users of a file.
        """
        costs = sorted((hashed.ln, hashed.r, hashed.p) for hashed in users.values()) or [_COST]
        blanks = {
            cost: Hashed(*cost, secrets.token_bytes(16), secrets.token_bytes(32)) for cost in costs
        }
        secret = min((hashed.digest for hashed in users.values()), default=secrets.token_bytes(32))
        return cls([blanks[cost] for cost in costs], secret)

    def named(self, username: bytes) -> Hashed:
        """
        Give the hash for a name, which no password matches.
        """
        chosen = hashlib.blake2b(username, key=self.key, digest_size=8).digest()
        return self.hashes[int.from_bytes(chosen, "big") * len(self.hashes) >> 64]
