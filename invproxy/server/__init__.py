"""
The streaming HTTP server.

A request is handed to an L{IOrigin<invproxy.interfaces.IOrigin>} as soon as its head is whole, and its answer is
written as it comes.

 - L{invproxy.server.site}: what all connections share; the factory.
 - L{invproxy.server.channel}: a connection, and its requests one after the other.
 - L{invproxy.server.stream}: one request, and its answer.
"""

from invproxy.server.site import StreamingSite

__all__ = ["StreamingSite"]
