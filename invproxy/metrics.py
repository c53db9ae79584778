"""
What a proxy has done since it began, in numbers: added up on the way, and made into what Prometheus reads when that
asks.

Nothing here takes a lock or makes an object for each request: all of it is in the thread of the reactor. What reports
to it knows it by its class, and not by the interface, so that compiled calls are plain ones of C.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from zope.interface import implementer

from invproxy.errors import CODES
from invproxy.interfaces import IMetrics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Up to how many seconds each bucket of a histogram goes."""

STATUSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx")
"""Classes of statuses."""


class Histogram:
    """
    Times, counted by how long they are.

    @ivar counts: how many there are in each bucket of L{BOUNDS}, and behind the last.
    @ivar total: all of them together, in seconds.
    """

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """
        Count one.
        """
        self.counts[_bucketOf(seconds)] += 1
        if seconds > 0.0:  # the clock may have been set back
            self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """
        Give the counts as Prometheus wants them: each with those below it.
        """
        found = []
        total = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


def _bucketOf(seconds: float) -> int:
    """
    Find the place of a time among L{BOUNDS}. Compiled, this is a handful of instructions, where C{bisect} has 800.
    """
    if seconds <= 0.001:
        return 0
    if seconds <= 0.0025:
        return 1
    if seconds <= 0.005:
        return 2
    if seconds <= 0.01:
        return 3
    if seconds <= 0.025:
        return 4
    if seconds <= 0.05:
        return 5
    if seconds <= 0.1:
        return 6
    if seconds <= 0.25:
        return 7
    if seconds <= 0.5:
        return 8
    if seconds <= 1.0:
        return 9
    if seconds <= 2.5:
        return 10
    if seconds <= 5.0:
        return 11
    if seconds <= 10.0:
        return 12
    if seconds <= 30.0:
        return 13
    if seconds <= 60.0:
        return 14
    if seconds <= 300.0:
        return 15
    return 16


@implementer(IMetrics)
class Tally:
    """
    Adds everything up, and passes it on.

    @ivar durations: of requests.
    @ivar firstBytes: until the first byte of the answer.
    @ivar waits: for an agent.
    """

    def __init__(self, also: IMetrics | None = None) -> None:
        """
        @param also: what else is to be told, such as an application's own.
        """
        self._also = also
        self.durations = Histogram()
        self.firstBytes = Histogram()
        self.waits = Histogram()
        self._statuses: list[int] = [0] * len(STATUSES)
        # All that can be are here from the beginning: nobody can make a new one.
        self._errors: dict[str, int] = dict.fromkeys(CODES, 0)
        self._agentsErrors: dict[str, int] = dict.fromkeys(CODES, 0)
        self._received = 0
        self._sent = 0
        self._tunnels = 0
        self._refused: dict[str, int] = dict.fromkeys(CODES, 0)

    def requestEnded(self, status: int, error: str, sent: int, duration: float) -> None:
        self._statuses[status // 100] += 1
        self._sent += sent
        self.durations.add(duration)
        if error:
            self._errors[error] += 1
        if self._also is not None:
            self._also.requestEnded(status, error, sent, duration)

    def exchangeEnded(self, waited: float, firstByte: float, received: int) -> None:
        self._received += received
        if waited >= 0.0:
            self.waits.add(waited)
        if firstByte >= 0.0:
            self.firstBytes.add(firstByte)
        if self._also is not None:
            self._also.exchangeEnded(waited, firstByte, received)

    def callFailed(self, error: str) -> None:
        self._agentsErrors[error] += 1
        if self._also is not None:
            self._also.callFailed(error)

    def connectionRefused(self, error: str) -> None:
        self._refused[error] += 1
        if self._also is not None:
            self._also.connectionRefused(error)

    def tunnelBegan(self, backend: str) -> None:
        self._tunnels += 1
        if self._also is not None:
            self._also.tunnelBegan(backend)

    def collect(self) -> Iterator[Metric]:
        """
        Make of it what a registry of prometheus_client asks its collectors for.
        """
        # Costly to import, and only for those who ask.
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        for name, text, label, counts in (
            (
                "invproxy_requests",
                "Requests of clients that have ended, by the class of their status; none: without an answer.",
                "status",
                dict(zip(STATUSES, self._statuses, strict=True)),
            ),
            (
                "invproxy_errors",
                "Requests of clients that were refused or have failed, by the code of the error.",
                "code",
                self._errors,
            ),
            (
                "invproxy_agent_errors",
                "Calls of agents that were refused or have failed, by the code of the error.",
                "code",
                self._agentsErrors,
            ),
            (
                "invproxy_connections_refused",
                "Connections that were closed without an answer, by the code of the reason.",
                "code",
                self._refused,
            ),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for value, count in counts.items():
                if label != "status" or count or value[0] in "n12345":
                    family.add_metric([value], count)
            yield family
        for name, text, count in (
            (
                "invproxy_received_bytes",
                "Bytes of the bodies of requests, counted when these end.",
                self._received,
            ),
            (
                "invproxy_sent_bytes",
                "Bytes of the bodies of answers, counted when these end.",
                self._sent,
            ),
            ("invproxy_tunnels_opened", "Tunnels that agents have opened.", self._tunnels),
        ):
            yield CounterMetricFamily(name, text, value=count)
        for name, text, histogram in (
            (
                "invproxy_request_duration_seconds",
                "From the head of a request to the end of its answer.",
                self.durations,
            ),
            (
                "invproxy_first_byte_seconds",
                "From the head of a request to the head of its answer, for those that got to an agent.",
                self.firstBytes,
            ),
            (
                "invproxy_queue_seconds",
                "From the head of a request until an agent took it.",
                self.waits,
            ),
        ):
            yield HistogramMetricFamily(
                name, text, buckets=histogram.buckets(), sum_value=histogram.total
            )
