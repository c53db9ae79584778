"""
What an answer is worth: the right one, a clear error, visibly cut, or wrong.
"""

from __future__ import annotations

from stage.asks import BYE, END, UPGRADES, Ask
from stage.messages import Answer, valueOf
from stage.pattern import checksumOf, difference
from stage.results import CLOSED, CUT, ERROR, RIGHT, SHORT, WRONG, Result

_STATUSES = {
    "no-backend": 404,
    "head-timeout": 408,
    "too-many-pending": 429,
    "agent-lost": 502,
    "origin-bad-response": 502,
    "origin-refused": 502,
    "agent-offline": 503,
    "draining": 503,
    "origin-timeout": 504,
    "queue-timeout": 504,
}
"""The errors that faults may lead to, and their statuses."""

_CODE = "x-inverting-proxy-error"


def _wrong(detail: str) -> Result:
    return Result(WRONG, detail=detail)


def _errorOf(answer: Answer) -> Result | None:
    """
    @return: the result, if the answer is the proxy's own.
    """
    code = answer.field(_CODE)
    if not code:
        return None
    if _STATUSES.get(code) != answer.status:
        return _wrong(f"{answer.status} {code}: {bytes(answer.body)!r}")
    if "x-number" in answer.fields:
        return _wrong(f"{answer.status} {code} with an origin's fields: {answer.fields}")
    return Result(ERROR, code)


def faultOfHead(ask: Ask, answer: Answer) -> str:
    """
    Say what is wrong with the head of an origin's answer, if anything.
    """
    found = (answer.status, answer.field("x-number"), answer.field("x-method"))
    expected = (ask.status, str(ask.number), ask.method)
    if found != expected:
        return f"the head of another answer: {found} instead of {expected}; {answer.fields}"
    upload = "early" if ask.form == "early" else checksumOf(ask.uploadBody())
    if ask.form not in UPGRADES and answer.field("x-upload") != upload:
        return f"the origin got the body {answer.field('x-upload')}, sent was {upload}"
    return ""


def judge(ask: Ask, answer: Answer) -> Result:
    """
    Judge an answer that came to its end.
    """
    error = _errorOf(answer)
    if error is not None:
        return error
    fault = faultOfHead(ask, answer)
    if fault:
        return _wrong(fault)
    agent = answer.field("x-agent")
    expected = ask.answerBody() if ask.method != "HEAD" else b""
    body = bytes(answer.body)
    if body != expected:
        if expected.startswith(body) and (ask.form == "close" or answer.endsByClose):
            return Result(SHORT, SHORT, agent, difference(body, expected))
        return _wrong(difference(body, expected))
    if ask.form == "chunked" and ask.minor and ask.method != "HEAD":
        if valueOf(answer.trailers, "x-trail") != str(ask.number):
            return _wrong(f"the trailers are {answer.trailers}")
    return Result(RIGHT, agent=agent)


def judgeBroken(ask: Ask, answer: Answer, rest: bytes, detail: str) -> Result:
    """
    Judge an answer that broke off.

    @param answer: what had come of it.
    @param rest: what had come behind that, as of a head.
    @param detail: how it broke off.
    """
    if not answer.status:
        return Result(CUT, CUT, detail=detail) if rest else Result(CLOSED, CLOSED, detail=detail)
    if answer.field(_CODE):
        return Result(CUT, CUT, detail=f"an error, {detail}")
    fault = faultOfHead(ask, answer)
    if fault:
        return _wrong(fault)
    body, expected = bytes(answer.body), ask.answerBody()
    if not expected.startswith(body):
        return _wrong(difference(body, expected))
    return Result(CUT, CUT, answer.field("x-agent"), f"{len(body)} of {len(expected)}, {detail}")


def judgeEcho(ask: Ask, answer: Answer, echo: bytes, *, isOver: bool) -> Result:
    """
    Judge what came over an upgraded connection.

    @param echo: all of that.
    @param isOver: whether the other end closed it in good order.
    """
    fault = faultOfHead(ask, answer)
    if fault:
        return _wrong(fault)
    agent = answer.field("x-agent")
    expected = ask.answerBody() + END + BYE
    if not expected.startswith(echo):
        return _wrong(difference(echo, expected))
    if echo == expected and isOver:
        return Result(RIGHT, agent=agent)
    return Result(CUT, CUT, agent, f"{len(echo)} of {len(expected)}")
