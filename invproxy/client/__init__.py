"""
The streaming HTTP client.

A request's body is written as it comes and its answer passed on as it comes, both with back-pressure; nothing is
followed, decoded or rewritten. One request is on a connection at a time.

 - L{invproxy.client.pool}: the server behind one endpoint, with its kept connections.
 - L{invproxy.client.connection}: a connection, and its requests one after the other.
 - L{invproxy.client.stream}: one request, and its answer.
"""

from invproxy.client.pool import StreamingClient

__all__ = ["StreamingClient"]
