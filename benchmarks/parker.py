"""
Many idle agents in one process: C{python -m benchmarks.parker PORT --agents N --polls M} keeps M polls parked for each
of N backends, prints C{parked} once all of them are, and polls again whenever one is answered.
"""

from __future__ import annotations

import selectors
import socket
from argparse import ArgumentParser

from benchmarks.programs import raiseFileLimit


def main() -> None:
    """
    Park until the end.
    """
    parser = ArgumentParser(prog="python -m benchmarks.parker")
    parser.add_argument("port", type=int)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--polls", type=int, default=2)
    options = parser.parse_args()
    raiseFileLimit()
    selector = selectors.DefaultSelector()
    for number in range(options.agents):
        poll = (
            b"GET /agent/pending HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Inverting-Proxy-Backend-ID: idle-%d\r\n"
            b"X-Inverting-Proxy-Features: interim, upgrade\r\nAuthorization: Bearer unused\r\n\r\n"
        ) % (options.port, number)
        for _ in range(options.polls):
            connection = socket.create_connection(("127.0.0.1", options.port), timeout=10)
            connection.sendall(poll)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ, poll)
    print("parked", flush=True)
    while selector.get_map():
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            answer = connection.recv(1 << 16)
            if answer:
                # Such a small answer comes in one piece.
                connection.sendall(key.data)
            else:
                selector.unregister(connection)
                connection.close()


if __name__ == "__main__":
    main()
