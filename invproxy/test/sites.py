"""
Small web sites in this process, as origins and as pages in browsers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from attrs import frozen

from invproxy.test.programs import DEADLINE, IntegrationTestCase


@frozen
class Document:
    """
    What a site answers.

    @ivar body: the body.
    @ivar type: its media type.
    @ivar status: the status.
    @ivar cookies: the cookies that it sets.
    """

    body: bytes
    type: str = "text/html"
    status: int = 200
    cookies: tuple[str, ...] = ()


Answer = Callable[[str, Message], Document]
"""Says what is at a path, for who asks with these header fields."""


class _Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer

    def handle_error(self, *arguments: object) -> None:
        pass  # whoever has left is none


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Site

    def do_GET(self) -> None:
        document = self.server.answer(self.path, self.headers)
        self.send_response(document.status)
        self.send_header("Content-Type", document.type)
        self.send_header("Content-Length", str(len(document.body)))
        for cookie in document.cookies:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(document.body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def serve(case: IntegrationTestCase, answer: Answer) -> str:
    """
    Serve a site until the test ends.

    @return: its URL.
    """
    site = _Site(answer)
    thread = threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    case.addCleanup(thread.join, DEADLINE)
    case.addCleanup(site.server_close)
    case.addCleanup(site.shutdown)
    return f"http://127.0.0.1:{site.server_port}"
