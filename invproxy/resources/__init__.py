"""
The bridge between exchanges and twisted.web Resources, in both directions.

 - L{ResourceOrigin} answers exchanges by a tree of Resources, in process and without a socket. To a Resource it looks
   like a stock site: its request is a L{twisted.web.server.Request}. A Resource that itself provides L{IOrigin} gets
   the exchange as a stream instead.
 - L{renderStream} is the C{render} of a Resource that hands its requests to an L{IOrigin}, for trees that a stock
   L{twisted.web.server.Site} serves.

What twisted.web cannot do stays undone in both: trailers are not seen and not sent, upgrades are not offered, a
Resource is rendered only once the whole request body is here, and names of fields are written as C{Headers} writes
them, fields of one name together.
"""

from invproxy.resources.channel import IN_MEMORY
from invproxy.resources.origin import ResourceOrigin
from invproxy.resources.render import renderStream

__all__ = ["IN_MEMORY", "ResourceOrigin", "renderStream"]
