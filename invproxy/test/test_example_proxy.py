"""
The example of a proxy in an application, as docs/embedding.md shows it.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.static import Data

import invproxy
from invproxy.agent.service import AgentService
from invproxy.agent.settings import AgentSettings
from invproxy.registry.memory import MemoryStore
from invproxy.registry.records import ALL_USERS, Backend
from invproxy.registry.registry import Registry
from invproxy.resources import ResourceOrigin
from invproxy.server import StreamingSite
from invproxy.testing import MemoryNetwork
from invproxy.testing.fetch import Response, fetch

_ROOT = Path(invproxy.__file__).parent.parent
EXAMPLE = _ROOT / "examples" / "embedded_proxy.py"
PAGE = _ROOT / "docs" / "embedding.md"


def load() -> ModuleType:
    """
    Import the example.
    """
    if not EXAMPLE.exists():
        raise SkipTest("the examples are not installed")
    spec = importlib.util.spec_from_file_location("embedded_proxy", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class EmbeddedProxyTests(SynchronousTestCase):
    """
    What it promises.
    """

    def setUp(self) -> None:
        self.example = load()
        self.network = MemoryNetwork()
        records = [Backend(name, ALL_USERS, "", (f"/{name}",)) for name in ("ann", "bob")]
        self.registry = Registry(MemoryStore(records), self.network)
        self.successResultOf(self.registry.start())
        self.keys = self.example.DerivedKeys(self.registry, b"a secret")
        self.proxy = self.example.makeProxy(self.network, self.registry, self.keys)
        self.network.listenTCP(9860, StreamingSite(self.proxy, self.network))

    def startAgent(self, backend: str, key: str, transport: str) -> AgentService:
        """
        Start an agent, and have it try.
        """
        page = Data(b"Here.\n", "text/plain")
        page.isLeaf = True
        origin = ResourceOrigin(page, clock=self.network)
        settings = AgentSettings(token=key, transport=transport)
        agent = AgentService(self.network, "http://proxy:9860", backend, origin, settings)
        agent.whenReady().addErrback(lambda _: None)
        agent.startService()
        self.addCleanup(lambda: self.network.resultOf(agent.stopService()))
        self.network.advance(1)
        return agent

    def get(self, path: bytes) -> Response:
        """
        Ask as a visitor.
        """
        return self.network.resultOf(fetch(self.network, ("proxy", 9860), b"GET", path))

    def test_keys(self) -> None:
        """
        The key of a backend lets its agents in, over each carrier, and nobody else's.
        """
        self.startAgent("bob", self.keys.keyOf("ann"), "poll")
        self.assertEqual(self.get(b"/bob").status, 503)
        for transport, backend in (("tunnel", "ann"), ("poll", "bob")):
            self.startAgent(backend, self.keys.keyOf(backend), transport)
            response = self.get(f"/{backend}".encode())
            self.assertEqual((response.status, response.body), (200, b"Here.\n"))

    def test_deleted(self) -> None:
        """
        A backend that is deleted is gone at once, and its agents do not come back.
        """
        self.startAgent("ann", self.keys.keyOf("ann"), "tunnel")
        self.assertEqual(self.get(b"/ann").status, 200)
        self.assertEqual(len(self.proxy.tunnels), 1)
        self.successResultOf(Deferred.fromCoroutine(self.registry.delete("ann")))
        self.network.advance(1)
        self.assertEqual(len(self.proxy.tunnels), 0)
        response = self.get(b"/ann")
        self.assertEqual(response.status, 404)
        self.assertIn(b"no-backend", response.body)

    def test_unavailable(self) -> None:
        """
        While the registry cannot tell nobody is let in.
        """
        self.successResultOf(self.registry.stop())
        self.startAgent("ann", self.keys.keyOf("ann"), "poll")
        self.assertEqual(self.get(b"/ann").status, 503)
        self.assertEqual(self.proxy.mailboxes.get("ann"), None)

    def test_page(self) -> None:
        """
        What the documentation shows of it is in it.
        """
        page = PAGE.read_text(encoding="utf-8")
        section = page.partition("\n## Backends and agents of your own\n")[2].partition("\n## ")[0]
        [shown] = re.findall(r"```python\n(.+?)```", section, re.DOTALL)
        self.assertIn(shown, EXAMPLE.read_text(encoding="utf-8"))
        self.assertIn(self.example.DerivedKeys(self.registry, b"s3cret").keyOf("ann"), section)
