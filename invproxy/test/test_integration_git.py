"""
git over smart HTTP through a real proxy and a real agent: clone, fetch and push, with bodies of each framing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from typing import cast
from urllib.parse import urlsplit

from attrs import frozen

from invproxy.test.programs import (
    CARRIERS,
    DEADLINE,
    IntegrationTestCase,
    environment,
    sharedAgent,
    sharedProxy,
    variants,
)


@frozen
class Seen:
    """
    A request that the backend has served.
    """

    path: str
    framing: str
    coding: str
    protocol: str
    size: int


class GitServer(ThreadingHTTPServer):
    """
    C{git http-backend} as a CGI program (RFC 3875), fed as the request comes and read as the response comes.

    @ivar root: where the repositories are.
    @ivar seen: the requests so far.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GitHandler)
        self.root = ""
        self.seen: list[Seen] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class GitHandler(BaseHTTPRequestHandler):
    """
    One connection to it.
    """

    protocol_version = "HTTP/1.1"
    server: GitServer

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.run()

    def do_POST(self) -> None:
        self.run()

    def body(self) -> Iterator[bytes]:
        """
        Read the body of the request, piece by piece.
        """
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size + 2)[:-2]
            while self.rfile.readline() != b"\r\n":
                pass
        else:
            left = int(self.headers["Content-Length"] or 0)
            while left:
                data = self.rfile.read(min(left, 65536))
                if not data:
                    raise EOFError("the request broke")
                left -= len(data)
                yield data

    def run(self) -> None:
        """
        Serve a request.
        """
        url = urlsplit(self.path)
        fields = {
            "CONTENT_TYPE": self.headers["Content-Type"],
            "CONTENT_LENGTH": self.headers["Content-Length"],
            "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"],
            "HTTP_GIT_PROTOCOL": self.headers["Git-Protocol"],
        }
        process = subprocess.Popen(
            ["git", "http-backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(
                {
                    "GIT_PROJECT_ROOT": self.server.root,
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GATEWAY_INTERFACE": "CGI/1.1",
                    "PATH_INFO": url.path,
                    "QUERY_STRING": url.query,
                    "REMOTE_ADDR": "127.0.0.1",
                    "REMOTE_USER": "tester",
                    "REQUEST_METHOD": self.command,
                    "SERVER_PROTOCOL": self.request_version,
                    **{name: value for name, value in fields.items() if value},
                }
            ),
        )
        assert process.stdin is not None and process.stdout is not None
        answering = threading.Thread(
            target=self.answer, args=(cast(BufferedReader, process.stdout),)
        )
        answering.start()
        size = 0
        for piece in self.body():
            size += len(piece)
            process.stdin.write(piece)
        process.stdin.close()
        answering.join()
        process.wait()
        framing = self.headers["Transfer-Encoding"] or ("length" if size else "none")
        self.server.seen.append(
            Seen(
                url.path,
                framing,
                self.headers["Content-Encoding"] or "",
                self.headers["Git-Protocol"] or "",
                size,
            )
        )
        # The end comes last, so that whoever has seen it finds the record.
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, output: BufferedReader) -> None:
        """
        Pass on what the program answers.
        """
        status, fields = 200, []
        while line := output.readline().strip():
            name, _, value = line.decode("latin-1").partition(": ")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                fields.append((name, value))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while data := output.read1(65536):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@cache
def gitServer() -> GitServer:
    """
    The backend of all tests here.
    """
    return GitServer()


class Git(IntegrationTestCase):
    """
    A repository that is served through the proxy.
    """

    transport: str

    if shutil.which("git") is None:
        skip = "git is not installed"

    def setUp(self) -> None:
        self.now = 1_700_000_000
        self.server = gitServer()
        self.backend = f"git-{self.transport}"
        sharedAgent(self.backend, f"http://127.0.0.1:{self.server.server_port}", self.transport)
        self.place = os.path.abspath(self.mktemp())
        os.makedirs(self.place)
        self.server.root = self.place
        self.server.seen.clear()
        self.bare = os.path.join(self.place, "repository.git")
        self.git("init", "--quiet", "--bare", "--initial-branch=main", self.bare)
        self.git("config", "http.receivepack", "true", at=self.bare)
        self.work = os.path.join(self.place, "work")
        self.git("init", "--quiet", "--initial-branch=main", self.work)
        self.url = f"http://127.0.0.1:{sharedProxy().port}/repository.git"
        self.git("remote", "add", "origin", self.url, at=self.work)

    def git(self, *arguments: str, at: str | None = None) -> str:
        """
        Run git.

        @param arguments: what it is to do.
        @param at: in which directory.
        @return: what it has printed.
        """
        header = f"http.extraHeader=X-Inverting-Proxy-Backend: {self.backend}"
        # What git negotiates goes by dates: each commit has its own.
        self.now += 1
        date = f"{self.now} +0000"
        done = subprocess.run(
            ["git", "-c", header, *arguments],
            cwd=at or self.place,
            env=environment(
                {
                    "HOME": self.place,
                    "GIT_CONFIG_NOSYSTEM": "1",
                    "GIT_TERMINAL_PROMPT": "0",
                    "GIT_AUTHOR_NAME": "T",
                    "GIT_AUTHOR_EMAIL": "t@example",
                    "GIT_AUTHOR_DATE": date,
                    "GIT_COMMITTER_DATE": date,
                    "GIT_COMMITTER_NAME": "T",
                    "GIT_COMMITTER_EMAIL": "t@example",
                }
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=2 * DEADLINE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"git {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def commit(self, at: str, name: str, content: bytes) -> str:
        """
        Commit a file.

        @return: the commit's ID.
        """
        with open(os.path.join(at, name), "wb") as file:
            file.write(content)
        self.git("add", name, at=at)
        self.git("commit", "--quiet", "-m", name, at=at)
        return self.head(at)

    def head(self, at: str) -> str:
        """
        The commit at the end of the main branch.
        """
        return self.git("rev-parse", "main", at=at).strip()

    def packs(self, service: str) -> list[Seen]:
        """
        The requests to a service that had a body.
        """
        return [seen for seen in self.server.seen if seen.path.endswith(service) and seen.size]

    def test_round(self) -> None:
        """
        Push, clone, push on, and fetch: each has what the other had.
        """
        self.commit(self.work, "small", b"content\n")
        first = self.commit(self.work, "large", os.urandom(3 << 20))
        self.git("push", "--quiet", "origin", "main", at=self.work)
        self.assertEqual(self.head(self.bare), first)
        clone = os.path.join(self.place, "clone")
        self.git("clone", "--quiet", self.url, clone)
        self.assertEqual(self.head(clone), first)
        self.git("fsck", "--full", at=clone)
        second = self.commit(self.work, "more", b"more\n")
        self.git("push", "--quiet", "origin", "main", at=self.work)
        self.git("pull", "--quiet", "--ff-only", at=clone)
        self.assertEqual(self.head(clone), second)
        self.assertIn("version=2", {seen.protocol for seen in self.server.seen})

    def test_chunked(self) -> None:
        """
        A push that is larger than git's buffer is sent in chunks, and arrives whole.
        """
        pushed = self.commit(self.work, "large", os.urandom(6 << 20))
        self.git("-c", "http.postBuffer=65536", "push", "--quiet", "origin", "main", at=self.work)
        self.assertEqual(self.head(self.bare), pushed)
        self.git("fsck", "--full", at=self.bare)
        large = [seen for seen in self.packs("git-receive-pack") if seen.size > 6 << 20]
        self.assertEqual([seen.framing for seen in large], ["chunked"])

    def test_gzipped(self) -> None:
        """
        A long negotiation is sent compressed, and read.
        """
        base = self.commit(self.work, "base", b"base")
        self.git("push", "--quiet", "origin", "main", at=self.work)
        clone = os.path.join(self.place, "clone")
        self.git("clone", "--quiet", self.url, clone)
        for number in range(40):
            self.git("commit", "--quiet", "--allow-empty", "-m", f"own {number}", at=clone)
        theirs = self.commit(self.work, "theirs", b"theirs")
        self.git("push", "--quiet", "origin", "main", at=self.work)
        self.git("fetch", "--quiet", "origin", at=clone)
        self.assertEqual(self.git("rev-parse", "origin/main", at=clone).strip(), theirs)
        self.assertEqual(self.git("merge-base", "main", "origin/main", at=clone).strip(), base)
        self.assertIn("gzip", {seen.coding for seen in self.packs("git-upload-pack")})

    def test_shallow(self) -> None:
        """
        A shallow clone that is deepened.
        """
        for number in range(5):
            self.commit(self.work, "file", b"%d" % number)
        self.git("push", "--quiet", "origin", "main", at=self.work)
        clone = os.path.join(self.place, "clone")
        self.git("clone", "--quiet", "--depth=1", self.url, clone)
        self.assertEqual(self.git("rev-list", "--count", "main", at=clone).strip(), "1")
        self.git("fetch", "--quiet", "--unshallow", at=clone)
        self.assertEqual(self.git("rev-list", "--count", "main", at=clone).strip(), "5")


globals().update(variants(Git, CARRIERS))
del Git
