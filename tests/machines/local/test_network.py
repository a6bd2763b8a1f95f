"""A machine with a list of allowed hosts: what gets out, what does not, and who keeps watch."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import signal
import socket
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pip
import pytest

from gitmachine.machines.local import LocalMachine, gateway
from gitmachine.types import ExecuteOptions, MachineState
from tests import leaks

HOST = "127.0.0.2"
"""Of the host's loopback like all of 127.0.0.0/8; in machines 127.0.0.1 is their own, and reached past the proxy."""
LIMIT_S = 100.0
WHEEL = "greeting-1.0-py3-none-any.whl"


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
        self._answer(wheel() if self.path.endswith(".whl") else page)

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


@pytest.fixture
async def machine(state_dir: Path, index: int) -> AsyncIterator[LocalMachine]:
    del state_dir
    started = LocalMachine(network=["allowed.test", f"{HOST}:{index}"])
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


async def said(machine: LocalMachine, command: str) -> str:
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


async def pip_install(machine: LocalMachine, url: str) -> str:
    """Installs the package from the index at `url` by the pip in ~/p, and runs it."""
    options = f"--disable-pip-version-check --retries 1 --target t --index-url {url}/simple/"
    install = f"PYTHONPATH=p python3 -m pip install {options} greeting"
    return await said(machine, f"{install} && PYTHONPATH=t python3 -c 'import greeting'")


@pytest.mark.timeout(240)
async def test_pip_installs_from_the_one_index_that_is_allowed_and_says_why_not_from_others(
    machine: LocalMachine, pip_archive: bytes, index: int
) -> None:
    await machine.write_bytes("pip.zip", pip_archive)
    await machine.execute("python3 -m zipfile -e pip.zip p", ExecuteOptions(timeout=LIMIT_S))
    assert "hello from a package" in await pip_install(machine, f"http://{HOST}:{index}")
    assert await machine.network_refusals() == ([], 0)
    output = await pip_install(machine, "https://index.test")
    assert "index.test:443 is refused: it is not among the allowed hosts" in output
    output = await pip_install(machine, f"https://127.0.0.3:{index}")
    assert f"127.0.0.3:{index} is refused" in output
    told, _ = await machine.network_refusals()
    assert {refusal.host for refusal in told} == {"index.test", "127.0.0.3"}


async def test_programs_find_the_proxy_by_the_environment(machine: LocalMachine, index: int) -> None:
    url = f"http://{HOST}:{index}/"
    assert "bytes for" in await said(machine, f"head -c 300000 /dev/zero | curl -sS --data-binary @- {url}")
    assert "greeting" in await said(machine, f"curl -sS --proxytunnel {url}")
    assert "greeting" in await said(
        machine, f"python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}\").read())'"
    )


async def test_a_refusal_reaches_the_program_and_the_journal(machine: LocalMachine) -> None:
    assert "evil.test:80 is refused: it is not among the allowed hosts" in await said(
        machine, "curl -sS http://evil.test/"
    )
    assert "CONNECT tunnel failed, response 403" in await said(machine, "git ls-remote https://evil.test/x")
    posted = "head -c 3000000 /dev/zero | curl -sS -H 'Expect:' --data-binary @- http://other.test/"
    assert "other.test:80 is refused" in await said(machine, posted)
    told, cursor = await machine.network_refusals()
    assert [(refusal.host, refusal.port) for refusal in told] == [
        ("evil.test", 80),
        ("evil.test", 443),
        ("other.test", 80),
    ]
    assert await machine.network_refusals(cursor) == ([], cursor)


async def test_an_allowed_name_that_does_not_resolve_is_no_refusal(machine: LocalMachine) -> None:
    assert "allowed.test:80 is allowed, but its name cannot be resolved" in await said(
        machine, "curl -sS http://allowed.test/"
    )
    assert await machine.network_refusals() == ([], 0)


async def test_what_does_not_use_the_proxy_gets_nowhere(machine: LocalMachine, index: int) -> None:
    assert "Failed to connect" in await said(machine, f"curl -sS --noproxy '*' http://{HOST}:{index}/")
    assert "resolve" in await said(machine, "curl -sS --noproxy '*' http://allowed.test/")
    assert "unreachable" in await said(machine, "exec 3<>/dev/tcp/93.184.216.34/80")
    assert (await machine.execute("tail -n +3 /proc/net/dev | cut -d: -f1")).stdout.split() == ["lo"]
    assert not await machine.exists("/etc/resolv.conf")


async def test_another_servers_name_in_the_tls_connection_is_refused(state_dir: Path, index: int) -> None:
    del state_dir
    machine = LocalMachine(network=[f"{HOST}:{index}", "allowed.test"])
    await machine.start()
    connect = f"curl -sS --max-time 5 -k --connect-to ::{HOST}:{index} https://"
    try:
        fronted = await said(machine, f"{connect}evil.test:{index}/ --proxytunnel")
        named = await said(machine, f"{connect}{HOST}:{index}/ --proxytunnel")
        told, _ = await machine.network_refusals()
    finally:
        await machine.stop()
    assert [(refusal.host, refusal.port) for refusal in told] == [("evil.test", index)]
    assert "curl: (35)" in fronted
    assert "curl: (35)" in named  # it reached the index, which speaks no TLS


async def test_another_program_uses_the_same_proxy(machine: LocalMachine, index: int) -> None:
    other = await LocalMachine.connect(str(machine.id))
    assert other.capabilities.network == "allow-list"
    assert other.capabilities.allowed_hosts == machine.capabilities.allowed_hosts
    before = gateway.live(machine._layout)  # type: ignore[arg-type]
    assert "greeting" in await said(other, f"curl -sS http://{HOST}:{index}/")
    assert gateway.live(machine._layout) == before  # type: ignore[arg-type]


async def test_a_proxy_that_died_is_started_again_and_nothing_gets_out_meanwhile(
    machine: LocalMachine, index: int
) -> None:
    assert machine._layout is not None
    proxy = gateway.live(machine._layout)
    assert proxy is not None
    loop = f"while :; do curl -sS --max-time 1 http://{HOST}:{index}/ >> got 2>&1; done &"
    await machine.execute(loop)
    os.kill(proxy.pid, signal.SIGKILL)
    assert await asyncio.to_thread(leaks.until, lambda: not proxy.is_alive(), 10)
    assert "greeting" in await said(machine, f"curl -sS http://{HOST}:{index}/")
    again = gateway.live(machine._layout)
    assert again is not None
    assert again != proxy


async def test_the_proxy_ends_with_its_machine(state_dir: Path) -> None:
    machine = LocalMachine(network=[])
    await machine.start()
    assert machine._layout is not None
    assert machine._record is not None
    proxy = gateway.live(machine._layout)
    assert proxy is not None
    uids = Path(f"/proc/{proxy.pid}/status").read_text().partition("Uid:")[2].split()[:4]
    assert "0" not in uids
    os.kill(machine._record.init.pid, signal.SIGKILL)
    assert await asyncio.to_thread(leaks.until, lambda: not proxy.is_alive(), 10)
    assert machine.state is MachineState.STOPPED
    await machine.stop()
    assert list((state_dir / "machines").iterdir()) == []


async def test_a_pause_holds_what_is_under_way(machine: LocalMachine, index: int) -> None:
    await machine.pause()
    await machine.resume()
    assert "greeting" in await said(machine, f"curl -sS http://{HOST}:{index}/")


async def test_another_machine_of_the_same_kind_has_the_same_list(machine: LocalMachine) -> None:
    other = machine.another()
    await other.start()
    try:
        assert other.capabilities.allowed_hosts == machine.capabilities.allowed_hosts
        with socket.socket() as probe:  # the host itself has nothing on that port because of a machine
            assert probe.connect_ex(("127.0.0.1", 3128)) != 0
        assert "refused" in await said(other, "curl -sS http://evil.test/")
        assert await machine.network_refusals() == ([], 0)
    finally:
        await other.stop()
