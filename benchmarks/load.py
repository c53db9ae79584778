"""
Load: many short requests by wrk, and long bodies by clients of our own.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence

from attrs import define, frozen

from benchmarks.procfs import cpuSeconds
from benchmarks.programs import BenchmarkError, Program, Stage
from benchmarks.ways import Way

BROWSER_FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Referer: http://localhost/lab/tree/notes/analysis.ipynb",
    "Cookie: session=4f1c2d9ab37e6c5d; _xsrf=2|83a1f0c2|5d1b2c7e0a9f4d3b8c6e1f2a7b9c0d4e|1732291200; theme=dark",
    "Cache-Control: max-age=0",
    "Upgrade-Insecure-Requests: 1",
    'Sec-Ch-Ua: "Chromium";v="131", "Not_A Brand";v="24"',
    "Sec-Ch-Ua-Mobile: ?0",
    'Sec-Ch-Ua-Platform: "Linux"',
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
)
"""What a browser sends; with Host, fifteen fields."""

_TOLERATED = 1000
"""One in so many may fail without making a run worthless."""

_DONE = """
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\\nRESULT {"requests": %d, "seconds": %.6f, "errors": %d, "p50": %.6f, "p99": %.6f, "bytes": %d}\\n',
        summary.requests, summary.duration / 1e6,
        e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, summary.bytes))
end
"""


@frozen
class Run:
    """
    What came out of one run of wrk.

    @ivar rate: requests a second.
    @ivar median: milliseconds that half of the requests took at most.
    @ivar tail: milliseconds that 99 of 100 took at most.
    @ivar cpu: milliseconds of processor time for 1,000 requests, by program.
    @ivar errors: requests that failed.
    @ivar volume: megabytes a second that came.
    """

    rate: float
    median: float
    tail: float
    cpu: dict[str, float]
    errors: int
    volume: float


def wrk(
    stage: Stage,
    way: Way,
    path: str,
    *,
    connections: int,
    seconds: float,
    fields: Sequence[str] = (),
    programs: Sequence[Program] = (),
) -> Run:
    """
    Ask for the same thing as often as can be.

    @param stage: where to keep the script.
    @param way: whom to ask.
    @param path: for what.
    @param connections: how many requests at once.
    @param seconds: for how long.
    @param fields: header fields to send.
    @param programs: whose processor time to measure.
    @raise BenchmarkError: if so many failed that the figures mean nothing.
    """
    script = stage.directory / "done.lua"
    if not script.exists():  # another run may be reading it
        script.write_text(_DONE)
    headers = [argument for each in (*way.fields, *fields) for argument in ("-H", each)]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout=10s"]
    before = [cpuSeconds(program.pid) for program in programs]
    done = subprocess.run(
        [*command, "-s", str(script), *headers, way.url(path)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    used = [cpuSeconds(program.pid) - was for program, was in zip(programs, before, strict=True)]
    found = re.search(r"^RESULT (.*)$", done.stdout, re.M)
    if found is None:
        raise BenchmarkError(f"wrk said: {(done.stderr or done.stdout).strip()}")
    result = json.loads(found[1])
    requests, errors = result["requests"], result["errors"]
    if not requests and not errors:
        raise BenchmarkError(f"wrk: no request to {way.name} was answered within {seconds:g} s")
    if errors * _TOLERATED >= requests:
        why = _errorsIn(done.stdout)
        raise BenchmarkError(f"wrk: of {requests} requests to {way.name}, {errors} failed: {why}")
    return Run(
        requests / result["seconds"],
        result["p50"],
        result["p99"],
        {program.name: each * 1e6 / requests for program, each in zip(programs, used, strict=True)},
        errors,
        result["bytes"] / result["seconds"] / 1e6,
    )


def _errorsIn(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return "; ".join(line for line in lines if line.startswith(("Socket errors", "Non-2xx")))


@define
class _Transfer:
    """
    One connection of L{transfer}.
    """

    socket: socket.socket
    left: memoryview
    head: bytearray
    expected: int = -1


def transfer(
    port: int, request: bytes, body: bytes, *, connections: int, seconds: float
) -> tuple[int, float]:
    """
    Send the same request again and again over kept connections, and read the answers.

    @param port: whom to ask.
    @param request: the head.
    @param body: the body.
    @param connections: how many requests at once.
    @param seconds: for how long new ones begin.
    @return: how many went through, and in how many seconds.
    @raise BenchmarkError: if an answer is not 200 with a Content-Length.
    """
    message = memoryview(request + body)
    buffer = memoryview(bytearray(1 << 18))
    selector = selectors.DefaultSelector()
    count = 0
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    began = time.perf_counter()
    try:
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setblocking(False)
            selector.register(connection, both, _Transfer(connection, message, bytearray()))
        while selector.get_map():
            ready = selector.select(30)
            if not ready:
                raise BenchmarkError("a transfer stalled for 30 s")
            for key, events in ready:
                each: _Transfer = key.data
                if events & selectors.EVENT_WRITE:
                    each.left = each.left[each.socket.send(each.left[: 1 << 20]) :]
                    if not each.left:
                        selector.modify(each.socket, selectors.EVENT_READ, each)
                if events & selectors.EVENT_READ and _read(each, buffer):
                    count += 1
                    each.expected = -1
                    if time.perf_counter() - began < seconds:
                        each.left = message
                        selector.modify(each.socket, both, each)
                    else:
                        selector.unregister(each.socket)
                        each.socket.close()
    finally:
        for key in list(selector.get_map().values()):
            key.data.socket.close()
        selector.close()
    return count, time.perf_counter() - began


def _read(each: _Transfer, buffer: memoryview) -> bool:
    """
    Read what is there.

    @return: whether the answer is complete.
    """
    size = each.socket.recv_into(buffer)
    if not size:
        raise BenchmarkError("the connection was closed in the middle of a transfer")
    if each.expected < 0:
        each.head += buffer[:size]
        head, separator, rest = each.head.partition(b"\r\n\r\n")
        if not separator:
            return False
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise BenchmarkError(f"not 200 with a Content-Length: {bytes(head[:80])!r}")
        each.head = bytearray()
        each.expected = int(length[1])
        size = len(rest)
    each.expected -= size
    return each.expected == 0
