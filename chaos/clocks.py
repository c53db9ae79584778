"""
The clocks of the programs of a run, short ones, so that they run out within it.
"""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Clocks:
    """
    The clocks of a proxy and its agents, in seconds; what they are is in the options C{--NAME-timeout}.

    @ivar drain: of the proxy.
    @ivar agentDrain: of the agents.
    """

    queue: float
    claim: float
    response: float
    idle: float
    head: float
    poll: float
    connect: float
    link: float
    drain: float
    agentDrain: float

    def ofProxy(self) -> list[str]:
        """
        The options of the proxy.
        """
        return [
            *_option("queue", self.queue),
            *_option("claim", self.claim),
            *_option("response", self.response),
            *_option("idle", self.idle),
            *_option("head", self.head),
            *_option("poll", self.poll),
            *_option("link", self.link),
            *_option("drain", self.drain),
        ]

    def ofAgent(self) -> list[str]:
        """
        The options of each agent.
        """
        return [
            *_option("connect", self.connect),
            *_option("link", self.link),
            *_option("drain", self.agentDrain),
        ]


def _option(name: str, seconds: float) -> tuple[str, str]:
    return f"--{name}-timeout", f"{seconds:g}"
