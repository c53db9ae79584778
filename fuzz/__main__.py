"""
C{python -m fuzz}.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from fuzz.seeds import keep, kept, seedsOf
from invproxy.test.hostile.fuzzing import TARGETS

_WORDS = (
    b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b": ", b"Host: a", b"Content-Length: ",
    b"Transfer-Encoding: ", b"chunked", b"identity", b"gzip", b"Connection: ", b"close", b"keep-alive", b"Upgrade: ",
    b"websocket", b"h2c", b"HTTP2-Settings: ", b"TE: trailers", b"Expect: 100-continue", b"Forwarded: for=",
    b"Via: 1.1 us", b"X-Forwarded-For: ", b"X-Inverting-Proxy-User-ID: ", b"X_User: ", b"Max-Forwards: ", b"Trailer: ",
    b"Set-Cookie: ", b"0\r\n\r\n", b"5\r\nabcde\r\n", b';a="b"', b"GET ", b"HEAD ", b"POST ", b"OPTIONS ", b"CONNECT ", b"http://b/",
    b"*", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.1 204 N\r\n",
    b'"version":"1.0"', b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Protocol: invproxy.v1",
)  # fmt: skip
"""What is put in now and then."""

_MOST_KEPT = 200
"""Inputs that are kept of each target for later runs."""


@frozen
class Outcome:
    """
    What came of fuzzing one target.

    @ivar runs: how many inputs were tried.
    @ivar covered: how many edges of the code that reads were reached.
    @ivar corpus: how many inputs were kept, each for something that it alone reaches.
    @ivar finding: the input that broke it, and what was said then.
    """

    target: str
    runs: int
    covered: int
    corpus: int
    finding: tuple[bytes, str] | None


def _fill(folder: Path, found: Iterable[bytes]) -> Path:
    folder.mkdir()
    for data in found:
        (folder / hashlib.sha256(data).hexdigest()[:24]).write_bytes(data)
    return folder


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def fuzz(target: str, seconds: int, *, keeps: bool) -> Outcome:
    """
    Fuzz one target.

    @param seconds: for how long.
    @param keeps: whether to keep what was found on the way for later runs.
    """
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        words = folder / "words"
        words.write_text(
            "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in _WORDS)
        )
        seeds = _fill(folder / "seeds", [*seedsOf(target), *kept(target)])
        corpus = _fill(folder / "corpus", [])
        child = [sys.executable, "-m", "fuzz.child", target]
        arguments = [
            f"-max_total_time={seconds}",
            "-max_len=2048",
            "-timeout=10",
            "-rss_limit_mb=1500",
            "-print_final_stats=1",
            f"-dict={words}",
            f"-artifact_prefix={folder}/finding-",
        ]
        # It ends by itself, but for what hangs where libFuzzer cannot see it.
        done = subprocess.run(
            [*child, *arguments, str(corpus), str(seeds)],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds + 120,
            check=False,
        )
        said = done.stdout + done.stderr
        finding = None
        found = [file for file in folder.glob("finding-*") if "slow-unit" not in file.name]
        if found:
            finding = (found[0].read_bytes(), said[said.find("===") :][:4000])
        elif done.returncode:
            raise RuntimeError(said[-4000:])
        elif keeps:
            # libFuzzer writes there only what reached something new.
            fresh = sorted((file.read_bytes() for file in corpus.iterdir()), key=len)
            keep(target, [*kept(target), *fresh][:_MOST_KEPT])
        return Outcome(
            target,
            _last(r"stat::number_of_executed_units: (\d+)", said),
            _last(r" cov: (\d+)", said),
            _last(r" corp: (\d+)", said),
            finding,
        )


def main(arguments: list[str]) -> int:
    parser = ArgumentParser(
        prog="python -m fuzz",
        description="Feed what reads the bytes of strangers with whatever reaches more of its code.",
        epilog="Exit status: 0 if all held, 1 if something was found, 2 if there was no run.",
    )
    parser.add_argument("target", nargs="*", help=f"one of {', '.join(TARGETS)} (all)")
    parser.add_argument("--seconds", type=int, default=60, help="for how long in all (60)")
    parser.add_argument(
        "--keep", action="store_true", help="keep in fuzz/corpus what reached something new"
    )
    options = parser.parse_args(arguments)
    targets = options.target or list(TARGETS)
    unknown = set(targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(TARGETS)}")
    if options.seconds < len(targets):
        parser.error(f"--seconds must be at least {len(targets)}, one for each target")
    if find_spec("atheris") is None:
        parser.error("atheris is not installed; pip install 'invproxy[fuzz]' installs it")
    print("target         runs  covered  corpus  finding")
    found = False
    for target in targets:
        outcome = fuzz(target, options.seconds // len(targets), keeps=options.keep)
        finding = "-" if outcome.finding is None else repr(outcome.finding[0])
        print(
            f"{target:10} {outcome.runs:8} {outcome.covered:8} {outcome.corpus:7}  {finding}",
            flush=True,
        )
        if outcome.finding is not None:
            found = True
            print(outcome.finding[1])
    return int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
