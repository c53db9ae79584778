"""
What tests of an exchange on the agent's side have in common.
"""

from typing import Any

from invproxy.http1.heads import ResponseHead
from invproxy.test.scripted import AgentTestCase

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
CHUNKED_POST = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SWITCH = ResponseHead(101, b" Switching Protocols", upgrade=b"echo")


class ReplayTestCase(AgentTestCase):
    """
    An agent before an L{RecordingOrigin}.
    """

    settings: dict[str, Any] = {}

    def setUp(self):
        super().setUp()
        self.service: Any = self.agent(**self.settings)

    def upload(self) -> Any:
        """
        The only exchange of the origin.
        """
        [upload] = self.origin.uploads
        return upload

    def count(self) -> int:
        """
        How many exchanges the agent takes to be in flight.
        """
        count: int = self.service._run.carrier.countExchanges()
        return count

    def post(self):
        """
        The only call that brings a response.
        """
        [post] = self.proxy.posts()
        return post
