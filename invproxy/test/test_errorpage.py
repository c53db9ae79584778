"""
Error answers: the form that is chosen, what each form says, and the fields.
"""

import json
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from invproxy.errorpage import HTML, JSON, TEXT, chooseMediaType, renderFault
from invproxy.errors import (
    AGENT_OFFLINE,
    BAD_REQUEST,
    BODY_TOO_LARGE,
    CODES,
    INTERNAL,
    METHOD_NOT_ALLOWED,
    Fault,
)
from invproxy.http1.fields import value
from invproxy.http1.limits import DEFAULT_LIMITS
from invproxy.http1.parsing import parseResponse
from invproxy.page import page
from invproxy.test.messages import examples

FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROME = (
    b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    b"*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


class ChooseMediaTypeTests(SynchronousTestCase):
    """
    L{chooseMediaType}.
    """

    def test_table(self) -> None:
        """
        What clients send, and what they get.
        """
        for accept, expected in (
            (None, TEXT),
            (b"", TEXT),
            (b"*/*", TEXT),
            (b" */* ", TEXT),
            (FIREFOX, HTML),
            (CHROME, HTML),
            (b"image/avif,image/webp,*/*;q=0.5", TEXT),
            (b"image/png", TEXT),
            (b"text/html", HTML),
            (b"TEXT/HTML", HTML),
            (b"text/*", TEXT),
            (b"application/json", JSON),
            (b"application/json, text/plain, */*", JSON),
            (b"text/plain, application/json", TEXT),
            (b"application/*", JSON),
            (b"application/problem+json", JSON),
            (b"application/vnd.api+json; ext=bulk", JSON),
            (b"image/svg+json", TEXT),
            (b"text/html;q=0.4, application/json;q=0.9", JSON),
            (b"text/html; q=0.4 , application/json ; Q=0.399", HTML),
            (b"text/plain;q=0, */*", HTML),
            (b"text/*;q=0, */*", JSON),
            (b"*/*;q=0", TEXT),
            (b"text/html;q=0, text/*", TEXT),
            (b"text/html;q=2, application/json;q=0.1", JSON),
            (b"text/html;q=nan, application/json;q=0.1", JSON),
            (b"text/html;q=, application/json;q=0.1", JSON),
            (b"*/json, text/html", HTML),
            (b", ,text/html", HTML),
            (b"text/html;level=1;q=0.2, text/plain;q=0.3", TEXT),
            (b'text/plain;x="a,text/html;q=1,";q=0.1, application/json;q=0.2', JSON),
            (b'application/json;x="\\",text/html', JSON),
        ):
            self.assertEqual(chooseMediaType(accept), expected, accept)

    def test_hugeFieldTakesNoTime(self) -> None:
        """
        A value made to make a pattern backtrack is read in one pass.
        """
        for accept in (b'"\\' * 30000, b"a/" * 30000, b"text/html;" * 6000, b" \t" * 30000):
            chooseMediaType(accept)

    def test_onlyTheBeginning(self) -> None:
        """
        Of a value with ranges by the thousand only the first KiB is looked at.
        """
        self.assertEqual(chooseMediaType(b"a/b," * 253 + b"text/html"), HTML)
        self.assertEqual(chooseMediaType(b"a/b," * 256 + b"text/html"), TEXT)

    @examples(100)
    @given(st.binary() | st.text(alphabet='a/*;q=01.,+ "\\json').map(str.encode))
    def test_neverRaises(self, accept: bytes) -> None:
        """
        Whatever is sent as Accept, some form is chosen.
        """
        self.assertIn(chooseMediaType(accept), (TEXT, HTML, JSON))


class RenderFaultTests(SynchronousTestCase):
    """
    L{renderFault}.
    """

    def test_json(self) -> None:
        """
        JSON has the status, the code, the sentence, the detail and the request ID.
        """
        fault = Fault(BAD_REQUEST, 'Host "é"')
        head, body = renderFault(fault, b"application/json", "abc", method=b"GET")
        self.assertEqual(
            json.loads(body),
            {
                "status": 400,
                "code": "bad-request",
                "message": BAD_REQUEST.sentence,
                "detail": 'Host "é"',
                "requestID": "abc",
            },
        )
        self.assertEqual(value(head.fields, b"Content-Type"), b"application/json; charset=utf-8")

    def test_text(self) -> None:
        """
        Plain text has the same, in lines.
        """
        head, body = renderFault(Fault(BODY_TOO_LARGE, "more"), None, "abc", method=b"PUT")
        self.assertEqual(
            body.decode(),
            "413 Content Too Large\n\nThe request body is larger than allowed here.\nmore\n\n"
            "Code: body-too-large\nRequest ID: abc\n",
        )
        self.assertEqual(value(head.fields, b"Content-Type"), b"text/plain; charset=utf-8")
        self.assertEqual((head.status, head.reason), (413, b" Content Too Large"))

    def test_html(self) -> None:
        """
        HTML is escaped, names its language, and loads nothing.
        """
        fault = Fault(BAD_REQUEST, "<script>alert('1')</script>")
        _, body = renderFault(fault, FIREFOX, "a<b", method=b"GET")
        self.assertNotIn(b"<script", body)
        self.assertIn(b"&lt;script&gt;", body)
        self.assertIn(b"<code>a&lt;b</code>", body)
        self.assertIn(b'<html lang="en">', body)
        self.assertIn(b"<h1>400 Bad Request</h1>", body)
        self.assertEqual(re.findall(rb"(?:src|href|url)\s*[=(]", body), [])
        strict = re.sub(rb"<meta [^>]*>|<!DOCTYPE html>", b"", body)
        page = ElementTree.fromstring(strict)  # noqa: S314  (of our own making)
        self.assertEqual(page.tag, "html")

    def test_samePage(self) -> None:
        """
        Whatever the proxy shows to people stands on one page, in light and dark, with a title that is text.
        """
        _, body = renderFault(Fault(BAD_REQUEST), b"text/html", "", method=b"GET")
        begin, _, rest = page("400 Bad Request", "HERE").partition("HERE")
        self.assertTrue(body.decode().startswith(begin))
        self.assertTrue(body.decode().endswith(rest))
        self.assertIn("color-scheme: light dark", begin)
        self.assertIn("prefers-color-scheme: dark", begin)
        self.assertEqual(page("a<b", "").count("a&lt;b"), 2)

    def test_noDetailOfServerErrors(self) -> None:
        """
        The detail of a 5xx stays out of each form.
        """
        for accept in (b"text/plain", b"text/html", b"application/json"):
            _, body = renderFault(Fault(INTERNAL, "10.0.0.7"), accept, "abc", method=b"GET")
            self.assertNotIn(b"10.0.0.7", body)
            self.assertIn(INTERNAL.sentence.encode(), body)
            self.assertIn(b"abc", body)

    def test_noRequestID(self) -> None:
        """
        Where there is no request ID yet, people are not shown an empty one.
        """
        for accept in (b"text/plain", b"text/html"):
            _, body = renderFault(Fault(INTERNAL), accept, "", method=b"GET")
            self.assertNotIn(b"Request ID", body)

    def test_fields(self) -> None:
        """
        The code, no caching, no sniffing, when to try again, and the caller's own fields.
        """
        head, body = renderFault(Fault(AGENT_OFFLINE), None, "abc", method=b"GET")
        self.assertEqual(value(head.fields, b"X-Inverting-Proxy-Error"), b"agent-offline")
        self.assertEqual(value(head.fields, b"Cache-Control"), b"no-store")
        self.assertEqual(value(head.fields, b"X-Content-Type-Options"), b"nosniff")
        self.assertEqual(value(head.fields, b"Retry-After"), b"5")
        self.assertEqual(value(head.fields, b"Content-Length"), b"%d" % len(body))
        self.assertEqual(head.framing, len(body))
        self.assertIsNone(value(head.fields, b"Allow"))
        head, _ = renderFault(
            Fault(METHOD_NOT_ALLOWED), None, "", method=b"TRACE", extra=b"\r\nAllow: GET"
        )
        self.assertEqual(value(head.fields, b"Allow"), b"GET")
        self.assertIsNone(value(head.fields, b"Retry-After"))

    def test_head(self) -> None:
        """
        The answer to HEAD has the fields of the one to GET, and no body.
        """
        get, body = renderFault(Fault(BAD_REQUEST), FIREFOX, "abc", method=b"GET")
        head, nothing = renderFault(Fault(BAD_REQUEST), FIREFOX, "abc", method=b"HEAD")
        self.assertEqual(head.fields, get.fields)
        self.assertEqual((get.framing, head.framing), (len(body), 0))
        self.assertEqual(nothing, b"")

    def test_everyCode(self) -> None:
        """
        Each code makes an answer that our own parser accepts.
        """
        for code in CODES.values():
            for accept in (b"text/plain", b"text/html", b"application/json"):
                head, body = renderFault(Fault(code, "d\udc80"), accept, "abc", method=b"GET")
                parsed = parseResponse(head.encode(), DEFAULT_LIMITS, b"GET")
                self.assertEqual((parsed.status, parsed.framing), (code.status, len(body)))
                self.assertTrue(parsed.reason.strip(), code)
