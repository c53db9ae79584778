"""
A few rows of the fault matrix; C{make faults} has all of them.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from twisted.internet import tcp
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import invproxy
from invproxy.test.programs import Program
from invproxy.transport import watchPeer

ROOT = Path(invproxy.__file__).resolve().parent.parent


class MatrixTests(SynchronousTestCase):
    """
    C{python -m chaos.matrix}.
    """

    if not (ROOT / "chaos" / "matrix.py").exists():
        skip = "the fault matrix is in a checkout alone"

    def run_(self, carrier: str, *faults: str) -> None:
        """
        Run some faults.
        """
        wanted = [text for fault in faults for text in ("--fault", fault)]
        arguments = [sys.executable, "-m", "chaos.matrix", "--carrier", carrier, *wanted]
        matrix = Program("faults", arguments, cwd=str(ROOT))
        self.addCleanup(matrix.kill)
        status = matrix.waitEnd()
        shown = "\n".join(matrix.output())
        self.assertEqual(status, 0, shown)
        rows = 6 * len(faults)
        self.assertIn(f"{rows} rows, {rows} as they have to be", shown)

    def test_tunnel(self) -> None:
        """
        A tunnel that is cut, and a proxy whose time of day jumps ahead.
        """
        self.run_("tunnel", "link cut", "proxy's clock an hour ahead")

    def test_poll(self) -> None:
        """
        An agent that polls, and loses its calls.
        """
        self.run_("poll", "link cut")


class WatchTests(SynchronousTestCase):
    """
    L{watchPeer}.
    """

    def test_probes(self) -> None:
        """
        The kernel asks every few seconds whether the other end of a link is there, also below TLS.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
        self.addCleanup(ours.close)
        connection = tcp.Connection(ours, Protocol(), Clock())  # type: ignore[arg-type]

        class Above:
            transport = connection

        self.assertFalse(ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        watchPeer(Above())
        self.assertTrue(ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        found = [
            ours.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ]
        self.assertEqual(found, [15, 5, 3])

    def test_others(self) -> None:
        """
        What is no connection over TCP is left alone.
        """
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        connection = tcp.Connection(ours, Protocol(), Clock())  # type: ignore[arg-type]
        watchPeer(connection)
        watchPeer(object())
