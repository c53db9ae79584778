"""
The proxy's side of the poll protocol: the three calls of an agent; docs/protocol.md describes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, cast

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from invproxy.auth.agents import OpenAgents, unauthenticated
from invproxy.credential import Credential
from invproxy.deadlines import Deadlines
from invproxy.discard import Discard
from invproxy.errors import BAD_REQUEST, DRAINING, FORBIDDEN, METHOD_NOT_ALLOWED, Fault
from invproxy.exchange import Exchange
from invproxy.http1.fields import value
from invproxy.http1.heads import RequestHead
from invproxy.interfaces import IAgentAuthenticator, IAnswer, IExchange, IUpload
from invproxy.mailbox import Mailbox, Mailboxes
from invproxy.proxy.carriage import PollCarriage
from invproxy.proxy.links import Links
from invproxy.proxy.settings import ProxySettings
from invproxy.proxy.streams import StreamResource, answerAtOnce
from invproxy.proxy.waiting import waitFor
from invproxy.steady import wallOf
from invproxy.wire.poll import (
    BACKEND_ID,
    MAX_IDS,
    OUR_FEATURES,
    REQUEST_ID,
    formatIDs,
    isBackendID,
)

_isBrowsers: Final = re.compile(rb"\r\n(?:origin|sec-fetch-site):", re.IGNORECASE).search
"""Fields that browsers send and agents do not: a page that has its own name lead here must not become an agent."""


@frozen
class Guard:
    """
    What lets agents in, and cuts their links when it would not let them in any more.

    @ivar agents: decides which agents may serve which backends.
    @ivar links: what is under way in their names, unless nothing ever ends that.
    """

    agents: IAgentAuthenticator = field(factory=OpenAgents)
    links: Links | None = None


class AgentResource(StreamResource):
    """
    What the calls have in common: which backend the agent serves, and whether it may.
    """

    method = b"GET"

    def __init__(
        self,
        mailboxes: Mailboxes,
        settings: ProxySettings,
        clock: IReactorTime,
        deadlines: Deadlines,
        guard: Guard,
    ) -> None:
        """
        @param mailboxes: where exchanges wait.
        @param settings: times and bounds.
        @param clock: what tells the time.
        @param deadlines: what watches polls.
        @param guard: what lets agents in.
        """
        super().__init__()
        self._mailboxes = mailboxes
        self._settings = settings
        self._clock = clock
        self._wall = wallOf(clock)
        self._deadlines = deadlines
        self._agents = guard.agents
        self._links = guard.links

    def serve(self, head: RequestHead, answer: IAnswer) -> IUpload:
        backend = value(head.fields, BACKEND_ID)
        if backend is None or not isBackendID(backend):
            raise Fault(
                BAD_REQUEST, "an agent's call without a proper X-Inverting-Proxy-Backend-ID"
            )
        if _isBrowsers(head.fields):
            raise Fault(FORBIDDEN, "an agent's call from a web page")
        if head.method != self.method:
            allow = b"\r\nAllow: " + self.method
            raise Fault(METHOD_NOT_ALLOWED, f"only {self.method.decode()} is", allow)
        named = backend.decode("ascii")
        credential = self._agents.authenticate(head, answer.peer, named)
        if isinstance(credential, Deferred):
            return waitFor(
                credential, lambda credential: self._admit(credential, named, head, answer), answer
            )
        return self._admit(credential, named, head, answer)

    def _admit(
        self, credential: Credential, backend: str, head: RequestHead, answer: IAnswer
    ) -> IUpload:
        mailbox = self._mailboxes.visit(backend)
        mailbox.link(answer.peer)
        answer.peer.countAsAgent()
        return self.call(mailbox, head, answer, credential)

    def call(
        self, mailbox: Mailbox, head: RequestHead, answer: IAnswer, credential: Credential
    ) -> IUpload:
        """
        Answer a call of an agent of this mailbox's backend.

        @param credential: in whose name.
        """
        raise NotImplementedError

    def checkUse(self, mailbox: Mailbox) -> None:
        """
        Have an agent that offers to wait for exchanges go elsewhere, if there will be none here.

        @raise Fault: (draining) if the proxy is stopping, and none waits.
        """
        if self._mailboxes.draining and not mailbox.counts()[0]:
            raise Fault(DRAINING)

    def _find(self, mailbox: Mailbox, head: RequestHead) -> Exchange | None:
        identifier = value(head.fields, REQUEST_ID)
        if identifier is None:
            raise Fault(BAD_REQUEST, "an agent's call without X-Inverting-Proxy-Request-ID")
        exchange = self._mailboxes.exchanges.get(identifier.decode("latin-1"))
        return exchange if exchange is not None and exchange.mailbox is mailbox else None


class PendingResource(AgentResource):
    """
    C{GET agent/pending}: wait for exchanges and name their IDs.
    """

    def call(
        self, mailbox: Mailbox, head: RequestHead, answer: IAnswer, credential: Credential
    ) -> IUpload:
        self.checkUse(mailbox)
        poll = Poll(mailbox, head, answer, self._deadlines)
        if self._links is not None:
            poll.unlink = self._links.add(credential, poll.cut)
        poll.wait(self._clock.seconds() + self._settings.pollTimeout)
        return poll


class RequestResource(AgentResource):
    """
    C{GET agent/request}: fetch the request of an exchange.
    """

    def call(
        self, mailbox: Mailbox, head: RequestHead, answer: IAnswer, credential: Credential
    ) -> IUpload:
        exchange = self._find(mailbox, head)
        if exchange is None or not exchange.isFetchable():
            return answerAtOnce(head, answer, 404, b"Not Found", block=OUR_FEATURES)
        carriage = PollCarriage(exchange, self._wall() - self._clock.seconds())
        if self._links is not None:
            carriage.link(self._links, credential)
        return carriage.fetch(answer, head, streams=answer.peer.streams)


class ResponseResource(AgentResource):
    """
    C{POST agent/response}: bring the response of an exchange.
    """

    method = b"POST"

    def call(
        self, mailbox: Mailbox, head: RequestHead, answer: IAnswer, credential: Credential
    ) -> IUpload:
        exchange = self._find(mailbox, head)
        if exchange is None or exchange.isAnswered():
            return answerAtOnce(head, answer, 404, b"Not Found")
        carriage = cast(object, exchange.carrier)
        if not isinstance(carriage, PollCarriage):  # another carrier has it, or none yet
            return answerAtOnce(head, answer, 404, b"Not Found")
        if self._links is not None:
            carriage.link(self._links, credential)
        return carriage.respond(answer, head, self._settings.limits)


@implementer(IUpload)
class Poll(Discard):
    """
    One C{agent/pending} call: it waits at the mailbox, and then answers for the IDs that it named.

    @ivar unlink: takes note that it is over, if anybody wants to know; till then it may be cut.
    """

    askedAt = 0.0
    unlink: Callable[[], None] | None = None

    def __init__(
        self, mailbox: Mailbox, head: RequestHead, answer: IAnswer, deadlines: Deadlines
    ) -> None:
        """
        @param mailbox: where it waits.
        @param head: the head of the call.
        @param answer: the answer to it.
        @param deadlines: what ends the wait.
        """
        self._mailbox = mailbox
        self._head = head
        self._answer = answer
        self._deadlines = deadlines
        self._claim: Deferred[list[IExchange]] | None = None
        self._deadline = 0.0
        self._leased: dict[Exchange, None] = {}
        self._forget: Callable[[], None] | None = None

    def wait(self, deadline: float) -> None:
        """
        Wait for exchanges.

        @param deadline: until when, in seconds on the clock.
        """
        self._deadline = deadline
        self._claim = claim = self._mailbox.claim(MAX_IDS)
        claim.addCallbacks(self._claimed, self._dismissed)
        if self._claim is not None:
            self._deadlines.watch(self, deadline)

    def _claimed(self, exchanges: list[IExchange]) -> None:
        self._claim = None
        self._deadlines.forget(self)
        self._leased = dict.fromkeys(cast(list[Exchange], exchanges))
        for exchange in self._leased:
            exchange.claim(self, self._unclaimed)
        if exchanges and self._head.keepAlive:
            # Else the connection ends with this answer, which says nothing about the agent.
            self._forget = self._answer.peer.whenLost(self._lost)
        if not exchanges:
            self._unlink()
        self._say([exchange.id for exchange in exchanges])

    def _say(self, ids: list[str]) -> None:
        block = b"\r\nContent-Type: application/json" + OUR_FEATURES
        answerAtOnce(self._head, self._answer, 200, b"OK", formatIDs(ids), block)

    def _dismissed(self, failure: Failure) -> None:
        if failure.check(Fault):
            self._claim = None
            self._deadlines.forget(self)
            self._unlink()
            self._answer.fail(cast(Fault, failure.value))
        else:
            failure.trap(CancelledError)

    def checkDeadline(self, now: float) -> float:
        if now < self._deadline:
            return self._deadline
        if self._stopWaiting():
            self._unlink()
            self._say([])
        return 0.0

    def abort(self, fault: Fault) -> None:
        self._deadlines.forget(self)
        if self._stopWaiting():
            self._unlink()

    def cut(self, why: str) -> None:
        """
        Send the agent away: its credential is not good any more. What it was told of and has not fetched yet waits
        again.

        @param why: what it is told.
        """
        self.unlink = None
        self._deadlines.forget(self)
        if self._stopWaiting():
            self._answer.fail(unauthenticated(why))
        for exchange in list(self._leased):
            exchange.release(self)

    def _unlink(self) -> None:
        unlink, self.unlink = self.unlink, None
        if unlink is not None:
            unlink()

    def _stopWaiting(self) -> bool:
        claim, self._claim = self._claim, None
        if claim is None:
            return False
        claim.cancel()
        return True

    def _unclaimed(self, exchange: Exchange) -> None:
        # It does not depend on this poll's connection any more.
        self._leased.pop(exchange, None)
        if self._leased:
            return
        self._unlink()
        if self._forget is not None:
            forget, self._forget = self._forget, None
            forget()

    def _lost(self) -> None:
        """
        The connection broke, and with it, most likely, the agent: what it has not fetched yet waits again.
        """
        self._forget = None
        for exchange in list(self._leased):
            exchange.release(self)
