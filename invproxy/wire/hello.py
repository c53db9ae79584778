"""
The first frame of each side of a tunnel: who it is, and what it takes.
"""

from __future__ import annotations

import json
import re

from attrs import asdict, frozen

from invproxy.wire.frames import FrameError

VERSION = "1.0"
"""The version that we speak. Peers of the same major version understand each other."""

_isVersion = re.compile(r"([0-9]{1,4})\.[0-9]{1,4}").fullmatch
_isName = re.compile(r"[0-9A-Za-z._\-]{0,64}").fullmatch

_MOST = 0x7FFFFFFF
_MOST_BYTES = 4096


@frozen(kw_only=True)
class Hello:
    """
    What one side says of itself.

    @ivar version: the version of the protocol, C{"major.minor"}.
    @ivar node: names the process, for logs.
    @ivar instance: of an agent: names one run of it, so that a tunnel that replaces a lost one is known as such.
    @ivar slot: of an agent: which of its tunnels this is.
    @ivar window: bytes of a body that may be sent on each stream before there is more credit.
    @ivar streams: how many streams may be open at once.
    @ivar head: bytes that a frame other than DATA may have.
    """

    version: str = VERSION
    node: str = ""
    instance: str = ""
    slot: int = 0
    window: int = 65536
    streams: int = 1000
    head: int = 131072

    def encode(self) -> bytes:
        """
        Write the payload of a HELLO: a JSON object.
        """
        return json.dumps(asdict(self), separators=(",", ":")).encode("ascii")


_LEAST = {"slot": 0, "window": 1024, "streams": 1, "head": 1024}


def parseHello(payload: bytes) -> Hello:
    """
    Read the payload of a HELLO. What is not known is ignored, what is missing has its default.

    @raise FrameError: if it is none, or of another major version.
    """
    if len(payload) > _MOST_BYTES:
        raise FrameError(f"a HELLO of more than {_MOST_BYTES} bytes")
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        raise FrameError("a HELLO that is not JSON") from None
    if not isinstance(found, dict):
        raise FrameError("a HELLO that is not a JSON object")
    version = found.get("version")
    matched = _isVersion(version) if isinstance(version, str) else None
    if matched is None:
        raise FrameError("a HELLO without a version")
    if matched[1] != VERSION.partition(".")[0]:
        raise FrameError(f"version {version} of the tunnel, where {VERSION} is spoken here")
    given: dict[str, object] = {"version": version}
    for name in ("node", "instance"):
        text = found.get(name, "")
        if not isinstance(text, str) or not _isName(text):
            raise FrameError(f"a HELLO whose {name} is not up to 64 letters, digits or any of ._-")
        given[name] = text
    for name, least in _LEAST.items():
        if name in found:
            number = found[name]
            if type(number) is not int or not least <= number <= _MOST:
                raise FrameError(f"a HELLO whose {name} is not a number from {least} to {_MOST}")
            given[name] = number
    return Hello(**given)  # type: ignore[arg-type]
