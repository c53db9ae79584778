"""
The endpoints of hosts.
"""

from typing import Any

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from invproxy.agent.hostname import endpointOf
from invproxy.testing import MemoryNetwork


class EndpointTests(SynchronousTestCase):
    """
    L{endpointOf}.
    """

    def test_kinds(self) -> None:
        """
        Addresses need no look-up, names do.
        """
        network = MemoryNetwork()
        for host, kind in (
            ("127.0.0.1", TCP4ClientEndpoint),
            ("::1", TCP6ClientEndpoint),
            ("localhost", HostnameEndpoint),
            ("1.2.3", HostnameEndpoint),
        ):
            self.assertIsInstance(endpointOf(network, host, 80, 10), kind, host)

    def test_refusedAtOnce(self) -> None:
        """
        A refusal by an address is told without any time passing.
        """
        network = MemoryNetwork()
        connecting = endpointOf(network, "127.0.0.1", 80, 10).connect(Factory.forProtocol(Protocol))
        network.pump()
        self.failureResultOf(connecting, ConnectionRefusedError)

    def test_noAnswer(self) -> None:
        """
        A name that nobody tells counts as not reached, after the same time as a host that does not answer.
        """
        asked: list[str] = []

        class Silent:
            def resolveHostName(self, receiver: Any, hostName: str, **others: object) -> Any:
                asked.append(hostName)
                receiver.resolutionBegan(self)
                return self

            def cancel(self) -> None:
                asked.append("cancelled")

        network = MemoryNetwork()
        network.nameResolver = Silent()  # type: ignore[assignment]
        endpoint = endpointOf(network, "origin.example", 80, 10)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        network.advance(9.9)
        self.assertNoResult(connecting)
        network.advance(0.2)
        failure = self.failureResultOf(connecting, TimeoutError)
        self.assertIn("not looked up and connected within 10 s", str(failure.value))
        self.assertEqual(asked[0], "origin.example")
        self.assertEqual(network.getDelayedCalls(), [])
