"""
HTTP/1.1 messages as bytes: heads, fields, body framing and limits, with no transport and no Twisted.

This is the security boundary: a message is accepted only if the whole of it follows the grammar of RFC 9112,
and what is sent on is made from what was understood.

 - L{invproxy.http1.heads}: request and response heads, parsed and written.
 - L{invproxy.http1.fields}: header sections as blocks of bytes: look up, drop, join.
 - L{invproxy.http1.framing}: where a body ends: length, chunked, until close.
 - L{invproxy.http1.readers}: whole messages out of a stream of bytes.
 - L{invproxy.http1.forwarding}: Forwarded, X-Forwarded-*, Via and Max-Forwards.
 - L{invproxy.http1.limits}: how large each part may be.
"""
