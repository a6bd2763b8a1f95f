"""A machine with a list of allowed hosts: what gets out, what does not, and who keeps watch."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import os
import signal
import socket
import subprocess
import threading
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pip
import pytest
import pytest_asyncio

from gitmachine import DockerMachine, LocalMachine, Machine
from gitmachine.machines.docker.gateway import directory_of
from gitmachine.machines.local import gateway
from gitmachine.machines.local.sandbox import Init
from gitmachine.types import ExecuteOptions
from tests import leaks
from tests.machines.shared import engine_for, own_state
from tests.support.docker_engine import IMAGE

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = "127.0.0.2"
"""Of the host's loopback like all of 127.0.0.0/8; in machines 127.0.0.1 is their own, and reached past the proxy."""
LIMIT_S = 100.0
Told = Callable[[], Awaitable[list[tuple[str, int]]]]
WHEEL = "greeting-1.0-py3-none-any.whl"


@functools.cache  # an archive notes when it was made, and the page gives the sum of what is served after it
def wheel() -> bytes:
    """A small package, as an index serves it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        info = "greeting-1.0.dist-info"
        archive.writestr("greeting.py", "print('hello from a package')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"greeting.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return content.getvalue()


class Index(BaseHTTPRequestHandler):
    """A package index (PEP 503), and a server that says what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        page = f'<a href="/{WHEEL}#sha256={hashlib.sha256(wheel()).hexdigest()}">{WHEEL}</a>'.encode()
        self._answer(wheel() if self.path.endswith(".whl") else bytes(5_000_000) if self.path == "/large" else page)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(f"{len(body)} bytes for {self.headers['Host']}".encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def index() -> Iterator[int]:
    """The port of an index on the host's loopback."""
    with ThreadingHTTPServer((HOST, 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def local(allowed: list[str]) -> Machine:
    return LocalMachine(network=allowed)


def container(allowed: list[str]) -> Machine:
    return DockerMachine(IMAGE, pull="never", network=allowed)


MACHINES: dict[str, Callable[[list[str]], Machine]] = {"local": local}
if os.geteuid() == 0:  # the tests' engine is root's
    MACHINES["docker"] = container


@pytest.fixture(scope="module")
def shared_state(session_dir: Path) -> Iterator[Path]:
    """One state directory for the whole file: a machine for each test would only cost time."""
    with own_state(session_dir) as path:
        yield path


@pytest.fixture(scope="module", params=list(MACHINES))
def make(request: pytest.FixtureRequest, shared_state: Path) -> Iterator[Callable[[list[str]], Machine]]:
    """Makes a machine with a list of allowed hosts."""
    with engine_for(request, request.param):
        yield MACHINES[request.param]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(make: Callable[[list[str]], Machine], index: int) -> AsyncIterator[Machine]:
    started = make(["allowed.test", f"{HOST}:{index}"])
    await started.start()
    yield started
    await started.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def told(machine: Machine) -> Told:
    """The refusals since the test began."""
    _, before = await machine.network_refusals()

    async def since() -> list[tuple[str, int]]:
        found, _ = await machine.network_refusals(before)
        return [(refusal.host, refusal.port) for refusal in found]

    return since


def proxy_of(machine: Machine) -> Init:
    if isinstance(machine, LocalMachine):
        assert machine._layout is not None
        found = gateway.live(machine._layout.directory)
    else:
        found = gateway.live(directory_of(str(machine.id)))
    assert found is not None
    return found


def kill(machine: Machine) -> None:
    """Ends a machine from outside, as a crash would."""
    if isinstance(machine, LocalMachine):
        assert machine._record is not None
        os.kill(machine._record.init.pid, signal.SIGKILL)
    else:
        subprocess.run(["docker", "kill", str(machine.id)], check=True, capture_output=True, timeout=30)


async def said(machine: Machine, command: str) -> str:
    result = await machine.execute(command, ExecuteOptions(timeout=LIMIT_S))
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def pip_archive() -> bytes:
    """The package pip, which runs from an archive."""
    root = Path(pip.__file__).parent
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in root.rglob("*"):
            if path.suffix != ".pyc" and path.is_file():
                archive.write(path, path.relative_to(root.parent))
    return content.getvalue()


async def pip_install(machine: Machine, url: str) -> str:
    """Installs the package from the index at `url` by the pip in ~/p, and runs it."""
    options = f"--disable-pip-version-check --retries 1 --target t --index-url {url}/simple/"
    install = f"PYTHONPATH=p python3 -m pip install {options} greeting"
    return await said(machine, f"{install} && PYTHONPATH=t python3 -c 'import greeting'")


@pytest.mark.timeout(240)
async def test_pip_installs_from_the_one_index_that_is_allowed_and_says_why_not_from_others(
    machine: Machine, told: Told, pip_archive: bytes, index: int
) -> None:
    await machine.write_bytes("pip.zip", pip_archive)
    await machine.execute("python3 -m zipfile -e pip.zip p", ExecuteOptions(timeout=LIMIT_S))
    assert "hello from a package" in await pip_install(machine, f"http://{HOST}:{index}")
    assert await told() == []
    output = await pip_install(machine, "https://index.test")
    assert "index.test:443 is refused: it is not among the allowed hosts" in output
    output = await pip_install(machine, f"https://127.0.0.3:{index}")
    assert f"127.0.0.3:{index} is refused" in output
    assert {host for host, _ in await told()} == {"index.test", "127.0.0.3"}


async def test_programs_find_the_proxy_by_the_environment(machine: Machine, index: int) -> None:
    url = f"http://{HOST}:{index}/"
    much = f"head -c 3000000 /dev/zero | curl -sS --data-binary @- {url}"
    assert "3000000 bytes for" in await said(machine, much)
    assert "greeting" in await said(machine, f"curl -sS --proxytunnel {url}")
    assert "greeting" in await said(
        machine, f"python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}\").read())'"
    )
    large = f"curl -sS {url}large | cksum"
    assert (await said(machine, large)).split() == (await said(machine, "head -c 5000000 /dev/zero | cksum")).split()


async def test_many_connections_at_once_do_not_hinder_each_other(machine: Machine, index: int) -> None:
    url = f"http://{HOST}:{index}"
    slow = f"curl -sS --limit-rate 1 {url}/large >/dev/null 2>&1 & slow=$!"
    many = f"(for n in $(seq 40); do curl -sS {url}/ & done; wait)"
    output = await said(machine, f"{slow}; {many}; kill $slow")
    assert output.count("greeting") == 2 * 40


async def test_a_refusal_reaches_the_program_and_the_journal(machine: Machine, told: Told) -> None:
    assert "evil.test:80 is refused: it is not among the allowed hosts" in await said(
        machine, "curl -sS http://evil.test/"
    )
    assert "CONNECT tunnel failed, response 403" in await said(machine, "git ls-remote https://evil.test/x")
    posted = "head -c 3000000 /dev/zero | curl -sS -H 'Expect:' --data-binary @- http://other.test/"
    assert "other.test:80 is refused" in await said(machine, posted)
    assert await told() == [("evil.test", 80), ("evil.test", 443), ("other.test", 80)]
    _, cursor = await machine.network_refusals()
    assert await machine.network_refusals(cursor) == ([], cursor)


async def test_an_allowed_name_that_does_not_resolve_is_no_refusal(machine: Machine, told: Told) -> None:
    assert "allowed.test:80 is allowed, but its name cannot be resolved" in await said(
        machine, "curl -sS http://allowed.test/"
    )
    assert await told() == []


async def test_what_does_not_use_the_proxy_gets_nowhere(machine: Machine, index: int) -> None:
    assert "Failed to connect" in await said(machine, f"curl -sS --noproxy '*' http://{HOST}:{index}/")
    assert "resolve" in await said(machine, "curl -sS --noproxy '*' http://allowed.test/")
    assert "unreachable" in await said(machine, "exec 3<>/dev/tcp/93.184.216.34/80")
    assert (await machine.execute("tail -n +3 /proc/net/dev | cut -d: -f1")).stdout.split() == ["lo"]


async def test_another_servers_name_in_the_tls_connection_is_refused(machine: Machine, told: Told, index: int) -> None:
    connect = f"curl -sS --max-time 5 -k --connect-to ::{HOST}:{index} https://"
    fronted = await said(machine, f"{connect}fronted.test:{index}/ --proxytunnel")
    named = await said(machine, f"{connect}{HOST}:{index}/ --proxytunnel")
    assert await told() == [("fronted.test", index)]
    assert "curl: (35)" in fronted
    assert "curl: (35)" in named  # it reached the index, which speaks no TLS


async def test_another_program_uses_the_same_proxy(machine: Machine, index: int) -> None:
    other = await type(machine).connect(str(machine.id))  # type: ignore[attr-defined]
    assert other.capabilities.network == "allow-list"
    assert other.capabilities.allowed_hosts == machine.capabilities.allowed_hosts
    before = proxy_of(machine)
    assert "greeting" in await said(other, f"curl -sS http://{HOST}:{index}/")
    assert proxy_of(machine) == before
    await other.aclose()


async def test_a_proxy_that_died_is_started_again_and_nothing_gets_out_meanwhile(machine: Machine, index: int) -> None:
    proxy = proxy_of(machine)
    loop = f"while [ ! -e enough ]; do curl -sS --max-time 1 http://{HOST}:{index}/ >> got 2>&1; done &"
    await machine.execute(loop)
    os.kill(proxy.pid, signal.SIGKILL)
    assert await asyncio.to_thread(leaks.until, lambda: not proxy.is_alive(), 10)
    assert "greeting" in await said(machine, f"curl -sS http://{HOST}:{index}/")
    assert proxy_of(machine) != proxy
    await machine.execute("touch enough")


async def test_a_pause_holds_what_is_under_way(machine: Machine, index: int) -> None:
    await machine.pause()
    await machine.resume()
    assert "greeting" in await said(machine, f"curl -sS http://{HOST}:{index}/")


async def test_another_machine_of_the_same_kind_has_the_same_list_and_a_proxy_of_its_own(
    machine: Machine, told: Told
) -> None:
    other = machine.another()
    await other.start()
    try:
        assert other.capabilities.allowed_hosts == machine.capabilities.allowed_hosts
        with socket.socket() as probe:  # the host itself has nothing on that port because of a machine
            assert probe.connect_ex(("127.0.0.1", 3128)) != 0
        assert "refused" in await said(other, "curl -sS http://mine.test/")
        assert await told() == []
        proxy = proxy_of(other)
        uids = Path(f"/proc/{proxy.pid}/status").read_text().partition("Uid:")[2].split()[:4]
        assert "0" not in uids
        kill(other)
        assert await asyncio.to_thread(leaks.until, lambda: not proxy.is_alive(), 10), "it outlives its machine"
    finally:
        await other.stop()
