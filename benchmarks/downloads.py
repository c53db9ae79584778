"""
Large downloads until the end: C{python -m benchmarks.downloads PORT --connections N} asks for C{/bytes} of
L{benchmarks.origin} over and over.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from benchmarks.load import transfer
from benchmarks.programs import BenchmarkError

NAME = "beside"
"""Under which the origin counts what it has sent."""

_SIZE = 64 << 20


def main() -> None:
    """
    Fetch.
    """
    parser = ArgumentParser(prog="python -m benchmarks.downloads")
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, required=True)
    options = parser.parse_args()
    request = f"GET /bytes?size={_SIZE}&name={NAME} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        transfer(
            options.port,
            request.encode("ascii"),
            b"",
            connections=options.connections,
            seconds=float("inf"),
        )
    except (BenchmarkError, OSError) as error:
        sys.exit(f"downloads: {error}")


if __name__ == "__main__":
    main()
