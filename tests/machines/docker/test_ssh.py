"""An engine behind ssh: a server on the loopback with throw-away keys, which starts what Docker's own client would."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from gitmachine import DockerMachine
from gitmachine.types import ExecuteOptions
from tests import leaks
from tests.support.docker_engine import IMAGE, DockerEngine


@pytest.fixture
def ssh_host(docker: DockerEngine, session_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the run's engine by ssh; only our key is let in, and only its server is known."""
    home = Path(tempfile.mkdtemp(prefix="ssh-", dir=session_dir))
    (home / ".ssh").mkdir(mode=0o700)
    ours, theirs = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    ours.write_private_key(str(home / ".ssh/id_ed25519"))
    ours.write_public_key(str(home / "allowed"))
    theirs.write_private_key(str(home / "host_key"))
    program = ["/usr/bin/docker", "--host", docker.host, "system", "dial-stdio"]
    argv = [sys.executable, "-m", "tests.support.ssh_server", str(home), *program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {theirs.export_public_key().decode()}")
            monkeypatch.setenv("HOME", str(home))
            yield f"ssh://somebody@127.0.0.1:{port}"
        finally:
            server.terminate()
    leaks.remove_tree(home)


async def test_an_engine_behind_ssh_works_as_one_here(ssh_host: str, state_dir: Path) -> None:
    machine = DockerMachine(IMAGE, host=ssh_host, pull="never", network=["pypi.org"])
    try:
        async with asyncio.timeout(60):
            await machine.start()
            assert (await machine.execute("cat", ExecuteOptions(stdin=b"x" * 300_000))).stdout == "x" * 300_000
            assert "evil.test:80 is refused" in (await machine.execute("curl -sS http://evil.test/")).stdout
    finally:
        await machine.stop()
