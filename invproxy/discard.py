"""
The upload that nobody wants.
"""

from __future__ import annotations

from zope.interface import implementer

from invproxy.errors import Fault
from invproxy.interfaces import IUpload


@implementer(IUpload)
class Discard:
    """
    Takes no notice of anything.
    """

    def write(self, data: bytes) -> None:
        pass

    def finish(self, trailers: bytes = b"") -> None:
        pass

    def abort(self, fault: Fault) -> None:
        pass

    def pauseAnswer(self) -> None:
        pass

    def resumeAnswer(self) -> None:
        pass


DISCARD: IUpload = Discard()
"""The one that all may use."""
