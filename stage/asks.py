"""
What clients ask for: numbered requests, each of which says in its target how it wants to be answered.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from attrs import field, frozen

from stage.pattern import ANSWER, UPLOAD, patternOf

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))

LONGEST = 2.0
"""Seconds that a body may take by itself, and that an origin may think."""

PROTOCOL = "stage-echo"
"""What an upgraded connection is upgraded to: every byte comes back, and C{END} is answered by C{BYE} and the close."""

END, BYE = b"END.", b"BYE."

UPGRADES = {"echo": PROTOCOL, "websocket": "websocket"}
"""What a request of such a form asks to upgrade to."""


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
        request's body has come; C{echo} is an upgrade. Origins may know more.
    @ivar size: how many bytes the body of the answer has, or the client sends over an upgraded connection.
    @ivar seconds: how long it takes.
    @ivar thinks: how long the origin waits before it answers.
    @ivar status: its status.
    @ivar hints: whether a 103 goes ahead of it.
    @ivar about: the number of another request that it is about, or 0.
    @ivar breaksAfter: how many bytes of the answer's body come before its origin breaks the connection; -1 breaks it
        before the head. For the form C{broken}.
    @ivar fields: more lines of its header section.
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
    about: int = 0
    breaksAfter: int = -1
    fields: tuple[str, ...] = field(default=(), repr=False)

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
            "about": self.about,
            "breaks": self.breaksAfter,
        }
        return f"/{self.backend}/{self.number:09d}?{urlencode(wishes)}"

    def head(self, *, closes: bool) -> bytes:
        """
        The head of the request.

        @param closes: whether the connection is to be closed after it.
        """
        lines = [
            f"{self.method} {self.target()} HTTP/1.{self.minor}",
            "Host: stage.example",
            f"X-Inverting-Proxy-Backend: {self.backend}",
            f"X-Number: {self.number}",
            *self.fields,
        ]
        if self.form in UPGRADES:
            lines += ["Connection: Upgrade", f"Upgrade: {UPGRADES[self.form]}"]
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
        about=int(wishes["about"]),
        breaksAfter=int(wishes["breaks"]),
    )
