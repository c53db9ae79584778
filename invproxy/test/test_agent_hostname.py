"""
The endpoints of hosts.
"""

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError
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
