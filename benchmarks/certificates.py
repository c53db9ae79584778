"""
Certificates for one run, made by trustme.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from benchmarks.programs import BenchmarkError, Stage


@frozen
class Certificate:
    """
    What a server on loopback shows, and what its clients trust. All are files in PEM.

    @ivar chain: the certificate, and those that it depends on.
    @ivar key: its private key.
    @ivar authority: who has signed it.
    """

    chain: Path
    key: Path
    authority: Path


def makeCertificate(stage: Stage) -> Certificate:
    """
    Make one for C{localhost} and 127.0.0.1.

    @raise BenchmarkError: if trustme is not installed.
    """
    try:
        import trustme
    except ImportError:
        raise BenchmarkError("not installed: trustme; try: pip install trustme") from None
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate = Certificate(
        stage.path("chain.pem"), stage.path("key.pem"), stage.path("authority.pem")
    )
    for piece in issued.cert_chain_pems:
        piece.write_to_path(certificate.chain, append=True)
    issued.private_key_pem.write_to_path(certificate.key)
    authority.cert_pem.write_to_path(certificate.authority)
    return certificate
