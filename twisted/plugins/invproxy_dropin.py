"""
What invproxy adds to C{twist}. Nothing here computes, and the names below stay as they are: an
installed C{dropin.cache} refers to them.
"""

from invproxy.auth.plugins import ScryptFileFactory
from invproxy.maker import CommandMaker

invproxyServer = CommandMaker(
    "invproxy-server",
    "invproxy.server_tap",
    "An inverting proxy: serves clients from backends that call it.",
    "invproxy-server",
)

invproxyAgent = CommandMaker(
    "invproxy-agent",
    "invproxy.agent_tap",
    "An inverting proxy's agent: serves a backend without opening a port.",
    "invproxy-agent",
)

invproxyPasswords = ScryptFileFactory()
