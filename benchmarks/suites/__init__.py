"""
The suites, each a module with a function C{run}.
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Plan:
    """
    How to run a suite.

    @ivar quick: whether a rough figure soon is better than a good one later.
    @ivar carriers: which carriers to compare.
    @ivar rounds: how often each run is made, in turn with those that it is compared with.
    @ivar seconds: how long each takes.
    """

    quick: bool
    carriers: tuple[str, ...]
    rounds: int
    seconds: float
