"""
What clients of a chaos run ask for.
"""

from __future__ import annotations

from itertools import count
from random import Random

from attrs import evolve

from stage.asks import LONGEST, Ask


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
