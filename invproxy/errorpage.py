"""
What a person or a program sees when an exchange fails: the contract's "Errors that end clients see".

One fault, three forms (JSON, HTML, plain text), chosen by the C{Accept} field of the request (RFC 9110, section
12.5.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from http import HTTPStatus

from invproxy.errors import Fault
from invproxy.http1.fields import join
from invproxy.http1.heads import ResponseHead, responseHead
from invproxy.page import page

TEXT = "text/plain"
HTML = "text/html"
JSON = "application/json"

_MOST_READ = 1024
"""Bytes of a value of C{Accept} that are looked at: browsers send some 130, and each range takes its time."""

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_RANGE = re.compile(
    rb"(\*|[!#$%&'*+\-.^_`|~0-9A-Za-z]+)/([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:;(.*))?", re.DOTALL
).fullmatch
_WEIGHT = re.compile(rb"(?:^|;)[ \t]*q=([^; \t]*)", re.IGNORECASE).search
_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?").fullmatch

_REASONS = {413: "Content Too Large", 414: "URI Too Long", 499: "Client Closed Request"}
"""Where the standard library has none, or an older name in some version of Python."""


def _ranges(accept: bytes) -> Iterator[tuple[str, str, float]]:
    """
    Walk over the media ranges: type, subtype and weight, in lower case; what breaks the grammar is passed over.
    """
    for element in _QUOTED.sub(b"", accept).split(b","):
        matched = _RANGE(element.strip(b" \t"))
        if matched is None:
            continue
        weight = _WEIGHT(matched[3] or b"")
        if weight is None:
            q = 1.0
        elif _QVALUE(weight[1]):
            q = float(weight[1])
        else:
            continue
        yield matched[1].decode("ascii").lower(), matched[2].decode("ascii").lower(), q


def _specificity(mediaType: str, kind: str, subtype: str) -> int:
    """
    Say how closely a range names a media type: 0 for not at all, 3 for by its name. Other types of JSON
    (C{application/problem+json}) name JSON as well, but not as closely as its own name.
    """
    if (kind, subtype) == ("*", "*"):
        return 1
    if subtype == "*":
        return 2 if mediaType.startswith(kind + "/") else 0
    if mediaType == f"{kind}/{subtype}":
        return 4
    return 3 if mediaType == JSON and kind == "application" and subtype.endswith("+json") else 0


def chooseMediaType(accept: bytes | None) -> str:
    """
    Choose the form of an error by what the client accepts (RFC 9110, section 12.5.1).

    @param accept: the value of C{Accept}, several fields joined by commas; L{None} if there is none. What stands
        beyond the first KiB of it counts for nothing.
    @return: L{TEXT}, L{HTML} or L{JSON}. Among those of equal weight the one that is named more closely wins, then
        the one named first. Text when nothing decides, and when nothing that we have is acceptable: an error is
        better seen in the wrong form than not at all.
    """
    ranges = list(_ranges((accept or b"")[:_MOST_READ]))
    chosen, best = TEXT, (0.0, 0, 0)
    for mediaType in (TEXT, HTML, JSON):
        named, q, place = 0, 0.0, 0
        for position, (kind, subtype, weight) in enumerate(ranges):
            closeness = _specificity(mediaType, kind, subtype)
            if closeness > named:
                named, q, place = closeness, weight, -position
        if q and (q, named, place) > best:
            chosen, best = mediaType, (q, named, place)
    return chosen


def _reason(status: int) -> str:
    known = _REASONS.get(status)
    if known is not None:
        return known
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _asJSON(fault: Fault, title: str, detail: str, requestID: str) -> str:
    document: dict[str, object] = {
        "status": fault.code.status,
        "code": fault.code.name,
        "message": fault.code.sentence,
    }
    if detail:
        document["detail"] = detail
    document["requestID"] = requestID
    return json.dumps(document) + "\n"


def _asHTML(fault: Fault, title: str, detail: str, requestID: str) -> str:
    lines = [f"<p>{escape(fault.code.sentence)}</p>"]
    if detail:
        lines.append(f"<p>{escape(detail)}</p>")
    lines.append(f'<p class="faint">Code: <code>{escape(fault.code.name)}</code></p>')
    if requestID:
        lines.append(f'<p class="faint">Request ID: <code>{escape(requestID)}</code></p>')
    return page(title, "\n".join(lines))


def _asText(fault: Fault, title: str, detail: str, requestID: str) -> str:
    lines = [title, "", fault.code.sentence]
    if detail:
        lines.append(detail)
    lines += ["", f"Code: {fault.code.name}"]
    if requestID:
        lines.append(f"Request ID: {requestID}")
    return "\n".join(lines) + "\n"


_WRITERS = {JSON: _asJSON, HTML: _asHTML, TEXT: _asText}


def renderFault(
    fault: Fault, accept: bytes | None, requestID: str, *, method: bytes, extra: bytes = b""
) -> tuple[ResponseHead, bytes]:
    """
    Make the answer to a request that failed.

    The fault's detail is shown for a 4xx, which is about the request of the one who sees it; for a 5xx it may tell of
    what is behind the proxy, and goes to the log alone.

    @param fault: what went wrong.
    @param accept: the value of C{Accept}, several fields joined by commas; L{None} if there is none.
    @param requestID: what names the exchange in the log; may be empty.
    @param method: the method of the request: the answer to HEAD has no body, but the Content-Length that GET would get.
    @param extra: a block of further fields, such as C{Allow} or C{WWW-Authenticate}.
    @return: the head and the body.
    """
    code = fault.code
    mediaType = chooseMediaType(accept)
    reason = _reason(code.status)
    detail = fault.detail if code.status < 500 else ""
    title = f"{code.status} {reason}".rstrip()
    text = _WRITERS[mediaType](fault, title, detail, requestID)
    body = text.encode("utf-8", "replace")
    fields = [
        (b"Content-Type", b"%b; charset=utf-8" % mediaType.encode("ascii")),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-Inverting-Proxy-Error", code.name.encode("ascii")),
    ]
    if code.retryAfter:
        fields.append((b"Retry-After", b"%d" % code.retryAfter))
    block = join(fields) + extra
    head = responseHead(code.status, reason.encode("ascii"), block, length=len(body))
    if method == b"HEAD":
        head.framing = 0
        return head, b""
    return head, body
