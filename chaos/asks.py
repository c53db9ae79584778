"""
What clients ask for: numbered requests, each of which says in its target how it wants to be answered.
"""

from __future__ import annotations

from itertools import count
from random import Random
from urllib.parse import parse_qsl, urlencode

from attrs import evolve, field, frozen

from chaos.pattern import ANSWER, UPLOAD, patternOf

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))

LONGEST = 2.0
"""Seconds that a body may take by itself, and that an origin may think."""

PROTOCOL = "chaos-echo"
"""What an upgraded connection is upgraded to: every byte comes back, and C{END} is answered by C{BYE} and the close."""

END, BYE = b"END.", b"BYE."


@frozen
class Ask:
    """
    A request.

    @ivar number: its number; there is no other of it.
    @ivar backend: what shall answer it.
    @ivar method: its method.
    @ivar minor: the minor version of HTTP.
    @ivar upload: how many bytes its body has; -1 for none.
    @ivar uploadChunked: whether that is sent in chunks.
    @ivar uploadSeconds: how long the client takes to send it.
    @ivar expects: whether the client waits for a 100 (Continue) first.
    @ivar form: how the answer ends: C{length}, C{chunked} (with a trailer), C{close}; C{early} is C{length}, before the
        request's body has come; C{echo} is an upgrade.
    @ivar size: how many bytes the body of the answer has, or the client sends over an upgraded connection.
    @ivar seconds: how long it takes.
    @ivar thinks: how long the origin waits before it answers.
    @ivar status: its status.
    @ivar hints: whether a 103 goes ahead of it.
    """

    number: int = field(repr=lambda number: f"{number:09d}")
    backend: str
    method: str = "GET"
    minor: int = 1
    upload: int = -1
    uploadChunked: bool = False
    uploadSeconds: float = 0.0
    expects: bool = False
    form: str = "length"
    size: int = 100
    seconds: float = 0.0
    thinks: float = 0.0
    status: int = 200
    hints: bool = False

    def mayBeginAgain(self) -> bool:
        """
        Say whether the origin may see it more than once: idempotent, and no body.
        """
        return self.method in IDEMPOTENT and self.upload <= 0 and self.form != "echo"

    def uploadBody(self) -> bytes:
        """
        The body of the request.
        """
        return patternOf(UPLOAD, self.number, max(0, self.upload))

    def answerBody(self) -> bytes:
        """
        The body of the answer.
        """
        return patternOf(ANSWER, self.number, self.size)

    def target(self) -> str:
        """
        The target, as the client sends it.
        """
        wishes = {
            "form": self.form,
            "size": self.size,
            "seconds": f"{self.seconds:.2f}",
            "thinks": f"{self.thinks:.2f}",
            "status": self.status,
            "hints": int(self.hints),
        }
        return f"/{self.backend}/{self.number:09d}?{urlencode(wishes)}"

    def head(self, *, closes: bool) -> bytes:
        """
        The head of the request.

        @param closes: whether the connection is to be closed after it.
        """
        lines = [
            f"{self.method} {self.target()} HTTP/1.{self.minor}",
            "Host: chaos.example",
            f"X-Inverting-Proxy-Backend: {self.backend}",
            f"X-Number: {self.number}",
        ]
        if self.form == "echo":
            lines += ["Connection: Upgrade", f"Upgrade: {PROTOCOL}"]
        elif closes and self.minor:
            lines.append("Connection: close")
        if self.uploadChunked:
            lines += ["Transfer-Encoding: chunked", "Trailer: X-Trail"]
        elif self.upload >= 0:
            lines.append(f"Content-Length: {self.upload}")
        if self.expects:
            lines.append("Expect: 100-continue")
        return "\r\n".join((*lines, "", "")).encode("ascii")


def wishesOf(target: str) -> tuple[str, Ask]:
    """
    Read a target as it comes to an origin.

    @return: the name of the agent that brought it, and what is asked, as far as the target says.
    @raise ValueError: if it is none.
    """
    path, _, query = target.partition("?")
    _, agent, backend, number = path.split("/")
    wishes = dict(parse_qsl(query, strict_parsing=True))
    return agent, Ask(
        int(number),
        backend,
        form=wishes["form"],
        size=int(wishes["size"]),
        seconds=float(wishes["seconds"]),
        thinks=float(wishes["thinks"]),
        status=int(wishes["status"]),
        hints=wishes["hints"] == "1",
    )


class Asker:
    """
    Makes up requests.
    """

    def __init__(self, random: Random) -> None:
        """
        @param random: what decides.
        """
        self._random = random
        self._numbers = count(1)

    def probe(self, backend: str) -> Ask:
        """
        Make up a plain small request.
        """
        return Ask(next(self._numbers), backend)

    def ask(self, backend: str) -> Ask:
        """
        Make up any request.
        """
        draw = self._random
        ask = Ask(
            next(self._numbers),
            backend,
            method=draw.choices(
                ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"), (50, 30, 9, 4, 4, 3)
            )[0],
            minor=int(draw.random() > 0.06),
            form=draw.choices(("length", "chunked", "close"), (4, 4, 2))[0],
            size=self._size(400_000),
            seconds=self._seconds(0.2),
            thinks=self._seconds(0.2),
            status=draw.choices((200, 404, 500, 204), (88, 4, 4, 4))[0],
            hints=draw.random() < 0.05,
        )
        if ask.method == "GET" and draw.random() < 0.12:
            seconds = draw.uniform(0.0, LONGEST)
            return evolve(
                ask,
                minor=1,
                form="echo",
                status=101,
                hints=False,
                seconds=seconds,
                size=self._size(60_000),
            )
        if ask.status == 204:
            ask = evolve(ask, size=0, form="length")
        if ask.method == "POST" or (ask.method == "PUT" and draw.random() < 0.7):
            ask = self._withUpload(ask)
        return ask

    def _withUpload(self, ask: Ask) -> Ask:
        draw = self._random
        modern = ask.minor == 1
        upload = self._size(250_000)
        kind = draw.random() if upload else 1.0
        return evolve(
            ask,
            upload=upload,
            uploadChunked=modern and draw.random() < 0.3,
            uploadSeconds=self._seconds(0.1),
            form="early" if kind < 0.1 else ask.form,
            expects=modern and 0.1 <= kind < 0.2,
        )

    def _size(self, most: int) -> int:
        kind = self._random.random()
        if kind < 0.1:
            return 0
        if kind < 0.65:
            return self._random.randint(1, 2_000)
        return self._random.randint(1, 60_000 if kind < 0.92 else most)

    def _seconds(self, share: float) -> float:
        return self._random.uniform(0.2, LONGEST) if self._random.random() < share else 0.0
