"""
What invproxy adds to C{twist}. Nothing here computes, and the names below stay as they are: an
installed C{dropin.cache} refers to them.
"""

from twisted.application.service import ServiceMaker

from invproxy.auth.plugins import ScryptFileFactory

invproxyServer = ServiceMaker(
    "invproxy-server",
    "invproxy.server_tap",
    "An inverting proxy: serves clients from backends that call it.",
    "invproxy-server",
)

invproxyAgent = ServiceMaker(
    "invproxy-agent",
    "invproxy.agent_tap",
    "An inverting proxy's agent: serves a backend without opening a port.",
    "invproxy-agent",
)

invproxyPasswords = ScryptFileFactory()
