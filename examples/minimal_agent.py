"""
The smallest agent: it answers every request that comes through the tunnel with the same few words.

It shows the protocol of docs/tunnel.md from the agent's side, and uses nothing of invproxy's; WebSocket is left to the
package C{websockets}. What a real one does beyond it stands in docs/tunnel.md::

    twist invproxy-server
    python examples/minimal_agent.py ws://127.0.0.1:8080 web
"""

import json
import secrets
import struct
import sys
from collections.abc import Iterator

from websockets.sync.client import connect
from websockets.typing import Subprotocol

HELLO, REQUEST, RESPONSE, DATA, END, RESET, CREDIT, GOAWAY = range(8)
LAST = 1

BODY = b"Hello from a tunnel.\n"  # shorter than any window: it needs no further credit
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY)
LEAVE = b"HTTP/1.1 100 Continue\r\n\r\n"


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">IIBB", len(payload), stream, kind, flags) + payload


def frames(message: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    at = 0
    while at < len(message):
        length, stream, kind, flags = struct.unpack_from(">IIBB", message, at)
        yield kind, stream, flags, message[at + 10 : at + 10 + length]
        at += 10 + length


def answer(stream: int, head: bytes) -> bytes:
    if head.startswith(b"HEAD "):
        return frame(RESPONSE, stream, HEAD, LAST)
    return frame(RESPONSE, stream, HEAD) + frame(DATA, stream, BODY, LAST)


def main(proxy: str, backend: str) -> None:
    hello = {"version": "1.0", "instance": secrets.token_hex(8)}
    requests: dict[int, bytes] = {}  # those that have not come to their end
    with connect(
        f"{proxy}/agent/tunnel",
        subprotocols=[Subprotocol("invproxy.v1")],
        additional_headers={"X-Inverting-Proxy-Backend-ID": backend},
        compression=None,
        max_size=None,
        ping_interval=5,
        ping_timeout=10,
    ) as tunnel:
        tunnel.send(frame(HELLO, 0, json.dumps(hello).encode()))
        for message in tunnel:
            assert isinstance(message, bytes)
            out = b""
            for kind, stream, flags, payload in frames(message):
                if kind == HELLO:
                    print("the tunnel stands:", payload.decode(), flush=True)
                elif kind == REQUEST:
                    head = requests[stream] = payload[2 + int.from_bytes(payload[:2], "big") :]
                    if b"\r\nexpect:" in head.lower():
                        out += frame(RESPONSE, stream, LEAVE)
                    if b"\r\nupgrade:" in head.lower():
                        flags |= LAST  # to be declined: nothing more comes until we answer
                elif kind == DATA and stream in requests:
                    out += frame(CREDIT, stream, struct.pack(">I", len(payload)))
                elif kind == RESET:
                    requests.pop(stream, None)
                if stream in requests and (flags & LAST or kind == END):
                    out += answer(stream, requests.pop(stream))
            if out:
                tunnel.send(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
