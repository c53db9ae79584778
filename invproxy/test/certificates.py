"""
Certificates for this machine, in files.
"""

from __future__ import annotations

import atexit
import os
import shutil
import ssl
import tempfile
from functools import cache
from pathlib import Path

import trustme
from attrs import frozen

AGENTS, CLIENTS = "127.0.0.1", "127.0.0.2"
"""Where agents and clients connect from: two addresses, so that each can be told from the other."""

ELSEWHERE = "0.0.0.0"
"""An address that leads to this machine, and that agents do not know as one which is never behind a forward proxy."""


def directory() -> Path:
    """
    Make a directory that everybody can read, and that is gone when the tests have ended.
    """
    place = tempfile.mkdtemp(prefix="invproxy-")
    os.chmod(place, 0o755)  # noqa: S103  (nginx's workers are nobody)
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return Path(place)


@frozen
class Certificates:
    """
    Files in PEM.

    @ivar authority: the certificate of the authority.
    @ivar certificate: the certificate of all servers.
    @ivar key: its key.
    @ivar both: the two of them.
    @ivar context: for clients.
    """

    authority: Path
    certificate: Path
    key: Path
    both: Path
    context: ssl.SSLContext


@cache
def certificates() -> Certificates:
    """
    Make certificates for this machine.
    """
    place = directory()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", AGENTS, ELSEWHERE)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    made = Certificates(
        place / "authority.pem", place / "chain.pem", place / "key.pem", place / "both.pem", context
    )
    authority.cert_pem.write_to_path(str(made.authority))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(made.certificate), append=True)
    issued.private_key_pem.write_to_path(str(made.key))
    issued.private_key_and_cert_chain_pem.write_to_path(str(made.both))
    return made
