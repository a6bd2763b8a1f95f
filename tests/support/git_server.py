"""A real git server on the loopback: `git http-backend` behind http.server, with Basic authentication.

Usable anywhere: `from tests.support.git_server import GitServer` and `with GitServer(directory) as server`, or
the fixture `git_server`.
"""

from __future__ import annotations

import base64
import gzip
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

TOKEN = "gm+te/st:token==7f3a9c41d2"
"""Has characters that look different in a URL and in base64."""

_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.com",
    "GIT_COMMITTER_NAME": "Somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.com",
    "LC_ALL": "C",
}


def git(*args: str, cwd: Path, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
    """What git answers, run by the tests themselves; its last line end is dropped."""
    return git_bytes(*args, cwd=cwd, stdin=stdin, env=env).decode("utf-8", "surrogateescape").removesuffix("\n")


def git_bytes(*args: str, cwd: Path, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
    """What git answers, byte for byte."""
    done = subprocess.run(
        ["git", *args], cwd=cwd, input=stdin, env={**_ENV, **(env or {})}, capture_output=True, check=False
    )
    assert done.returncode == 0, f"git {args}: {done.stderr.decode()}"
    return done.stdout


@dataclass
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    status: int = 0


@dataclass
class Repository:
    """A bare repository of the server, and how tests look into it and change it."""

    path: Path
    url: str

    def git(self, *args: str, stdin: bytes | None = None) -> str:
        return git("--git-dir", str(self.path), *args, cwd=self.path, stdin=stdin)

    def heads(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ") for line in lines)

    def commit(self, branch: str, files: Mapping[str, str | bytes | None], message: str = "Somebody's work") -> str:
        """Commits the files (None removes) on a branch, which is made when it is not there. Gives the commit."""
        parent = self.heads().get(branch)
        with tempfile.TemporaryDirectory() as directory:
            env = {"GIT_DIR": str(self.path), "GIT_INDEX_FILE": f"{directory}/index"}
            if parent:
                git("read-tree", parent, cwd=self.path, env=env)
            for name, content in files.items():
                if content is None:
                    git("update-index", "--force-remove", "--", name, cwd=self.path, env=env)
                    continue
                raw = content.encode() if isinstance(content, str) else content
                blob = git("hash-object", "-w", "--stdin", cwd=self.path, env=env, stdin=raw)
                git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", cwd=self.path, env=env)
            tree = git("write-tree", cwd=self.path, env=env)
            parents = ["-p", parent] if parent else []
            sha = git("commit-tree", tree, *parents, "-m", message, cwd=self.path, env=env)
        self.git("update-ref", f"refs/heads/{branch}", sha)
        return sha

    def hook(self, name: str, script: str) -> None:
        """Installs a server-side hook, a shell script."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def reject_pushes(self, words: str = "GH006: Protected branch update failed") -> None:
        self.hook("pre-receive", f"echo '{words}' >&2\nexit 1")

    def accept_pushes(self) -> None:
        (self.path / "hooks" / "pre-receive").unlink(missing_ok=True)


class GitServer:
    """Serves the bare repositories in a directory. Any user name is let in with the right token."""

    def __init__(self, root: Path, token: str | None = TOKEN) -> None:
        self.root = root
        self.token = token
        self.requests: list[Request] = []
        self.break_after: list[str] = []
        """Services (`git-receive-pack`) whose next POST is carried out, and then the connection breaks."""
        self.port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._reserved: socket.socket | None = None

    def __enter__(self) -> GitServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        if self._reserved is not None:
            self._reserved.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Also after `stop`, on the same port."""
        if self._reserved is None:
            # Bound and never listening: connections are refused in an outage, and nobody else is given the port.
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind(("127.0.0.1", 0))
            self.port = self._reserved.getsockname()[1]
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """As in an outage: connections are refused."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)
        self._server = self._thread = None

    def empty(self, name: str = "project", default: str = "main") -> Repository:
        """A repository without commits, whose HEAD names a branch that is not there."""
        path = self.root / f"{name}.git"
        git("init", "--quiet", "--bare", "--template=", f"--initial-branch={default}", str(path), cwd=self.root)
        git("config", "http.receivepack", "true", cwd=path, env={"GIT_DIR": str(path)})
        return Repository(path, f"{self.base_url}/{name}.git")

    def repository(self, name: str = "project", default: str = "main") -> Repository:
        """A repository with one commit on its default branch."""
        made = self.empty(name, default)
        made.commit(default, {"README.md": "# Project\n", "src/app.py": "print('hello')\n"}, "First")
        return made

    def without_default(self, name: str = "project") -> Repository:
        """A repository with a branch `trunk`, while its HEAD names a branch that is not there."""
        made = self.repository(name, "trunk")
        made.git("symbolic-ref", "HEAD", "refs/heads/gone")
        return made


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_address = True
    owner: GitServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(30)

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        body = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._serve(body)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _serve(self, body: bytes) -> None:
        owner = self.server.owner
        log = Request(self.command, self.path, dict(self.headers))
        owner.requests.append(log)
        if not self._authorized(owner.token):
            log.status = 401
            return self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"who are you?\n")
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=self._cgi(owner, len(body)), capture_output=True, check=False
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [
            (name, value.strip()) for name, _, value in (line.partition(":") for line in head.decode().split("\r\n"))
        ]
        status = next((int(value.split()[0]) for name, value in headers if name == "Status"), 200)
        log.status = status
        service = self.path.partition("?")[0].rpartition("/")[2]
        if self.command == "POST" and service in owner.break_after:
            owner.break_after.remove(service)
            self.close_connection = True
            return None
        return self._answer(status, [pair for pair in headers if pair[0] and pair[0] != "Status"], content)

    def _authorized(self, token: str | None) -> bool:
        if token is None:
            return True
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return kind == "Basic" and base64.b64decode(value).decode().partition(":")[2] == token

    def _cgi(self, owner: GitServer, length: int) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        return {
            **_ENV,
            "GIT_PROJECT_ROOT": str(owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(length),
            "REMOTE_USER": "somebody",
            "REMOTE_ADDR": "127.0.0.1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def git_server() -> Iterator[GitServer]:
    """A running server without repositories; it and they are gone after the test."""
    root = Path(tempfile.mkdtemp(prefix="git-server-"))
    os.chmod(root, 0o755)
    try:
        with GitServer(root) as server:
            yield server
    finally:
        shutil.rmtree(root)
