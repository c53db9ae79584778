"""
How a request ended.
"""

from __future__ import annotations

from attrs import frozen

RIGHT = "right"
"""The answer that was asked for, whole."""

ERROR = "error"
"""A clear error: a status of 4xx or 5xx, with its code."""

CUT = "cut"
"""A right answer up to where it visibly broke off."""

SHORT = "short"
"""A right answer up to where it broke off, in a form that cannot show that: to HTTP/1.0, or by an origin."""

CLOSED = "closed"
"""Nothing, and the connection closed."""

REFUSED = "refused"
"""No connection."""

LEFT = "left"
"""The client went away."""

BEHIND = "behind"
"""Sent behind another request on a connection that ended with that."""

WRONG = "wrong"
"""Anything that must not happen."""

ENDLESS = "endless"
"""No end in time."""


@frozen
class Result:
    """
    How a request ended.

    @ivar outcome: one of the above.
    @ivar symptom: what has to be explained by a fault: the code of an error, or the outcome; empty for nothing.
    @ivar agent: the agent that brought the answer, if it says so.
    @ivar detail: for people.
    """

    outcome: str
    symptom: str = ""
    agent: str = ""
    detail: str = ""
