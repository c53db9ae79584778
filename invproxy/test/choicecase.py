"""
What tests of agents that may have tunnels have in common.
"""

from __future__ import annotations

from typing import Any

from invproxy.agent.service import AgentService
from invproxy.test.played import PlayedTunnel
from invproxy.test.scripted import AgentTestCase

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

URL = "http://proxy.test:8080"
LOST = f"tunnel to {URL} lost: "
AGAIN = f"tunnel to {URL} stands again"
POLLING = f"no tunnel to {URL}, polling: "
SLOW = f"no tunnel to {URL} yet, polling"
STANDS = f"tunnel to {URL} stands, polling no more"


class ChoiceTestCase(AgentTestCase):
    """
    An agent that may use either.
    """

    transport = "auto"

    def setUp(self) -> None:
        super().setUp()
        self.proxy.patience = 30.0

    def accept(self, agent: AgentService | None = None, **said: Any) -> PlayedTunnel:
        """
        Agree to the tunnel that is asked for.
        """
        [call] = self.proxy.handshakes
        tunnel = call.accept(**said)
        if agent is not None:
            self.assertEqual(self.successResultOf(agent.whenReady()), "tunnel")
        return tunnel

    def refuse(self, status: int = 404, fields: bytes = b"", body: bytes = b"") -> None:
        """
        Refuse the tunnel that is asked for.
        """
        [call] = self.proxy.handshakes
        call.answer(status, body, fields)

    def assertPolls(self, agent: AgentService) -> None:
        """
        The agent polls.
        """
        self.network.pump()
        self.assertEqual(len(self.proxy.polls), 2)
        self.assertEqual(self.successResultOf(agent.whenReady()), "poll")

    def waitForHandshake(self, seconds: float) -> None:
        """
        The next handshake comes after so many seconds, and not before.
        """
        self.network.advance(seconds - 0.01)
        self.assertEqual(self.proxy.handshakes, [])
        self.network.advance(0.02)
        self.assertEqual(len(self.proxy.handshakes), 1)

    def nextHandshake(self, seconds: int) -> None:
        """
        Wait for a handshake, but no longer than so many seconds.
        """
        for _ in range(seconds):
            if self.proxy.handshakes:
                return
            self.network.advance(1)
        self.assertEqual(len(self.proxy.handshakes), 1)

    def serve(self, tunnel: PlayedTunnel, stream: int = 1) -> None:
        """
        Have an exchange go through a tunnel.
        """
        count = len(self.origin.uploads)
        tunnel.request(stream, GET)
        self.origin.uploads[count].reply(b"hello")
        self.network.pump()
        self.assertEqual(tunnel.body(stream), b"hello")
        self.assertTrue(tunnel.ended(stream))
