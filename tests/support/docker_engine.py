"""A real engine for the tests, started by hand: Debian's docker.io without bridge and without iptables.

One for all workers of a run: whoever comes first starts it, whoever goes last ends it, and nothing of it is left. The
containers in it have no network but loopback.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import leaks
from tests.support import docker_images
from tests.support.tls import Certificates, free_port, make_certificates

IMAGE = "gitmachine-test:base"
WITHOUT_PYTHON = "gitmachine-test:shell"
EMPTY = "gitmachine-test:empty"
_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 60.0
_COMMAND_LIMIT_S = 110


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """A running engine."""

    directory: Path
    tcp_port: int

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def certificates(self) -> Certificates:
        return Certificates(self.directory / "tls")

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        """What Docker's own command line prints; it must succeed."""
        argv = ["/usr/bin/docker", "--host", self.host, *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=_COMMAND_LIMIT_S)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def containers(self, label: str = "") -> list[str]:
        """The names of all that are there, ended ones and other workers' included, unless a label is named."""
        only = ("--filter", f"label={label}") if label else ()
        return self.docker("ps", "--all", "--format", "{{.Names}}", *only).split()


@contextmanager
def docker_engine(directory: Path) -> Iterator[DockerEngine]:
    """The engine of this run, in a directory that its workers share. At the end no container may be left."""
    directory.mkdir(parents=True, exist_ok=True)
    _register(directory, os.getpid())
    try:
        yield DockerEngine(directory, int((directory / "port").read_text()))
    finally:
        _sign_off(directory, os.getpid())


@contextmanager
def _alone(directory: Path) -> Iterator[Path]:
    with (directory / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield directory / "users.json"


def _users(path: Path) -> list[int]:
    known = json.loads(path.read_text()) if path.exists() else []
    return [pid for pid in known if Path(f"/proc/{pid}").exists()]


def _register(directory: Path, pid: int) -> None:
    with _alone(directory) as path:
        users = _users(path)
        if not users:
            _start(directory)
        path.write_text(json.dumps([*users, pid]))


def _sign_off(directory: Path, pid: int) -> None:
    with _alone(directory) as path:
        users = [one for one in _users(path) if one != pid]
        path.write_text(json.dumps(users))
        if users:
            return
        engine = DockerEngine(directory, 0)
        left = engine.containers()
        for name in left:
            engine.docker("rm", "--force", "--volumes", name)
        volumes = engine.docker("volume", "ls", "--quiet").split()
        _stop(directory)
        assert not left, f"containers left behind: {left}"
        assert not volumes, f"volumes left behind: {volumes}"


def _start(directory: Path) -> None:
    assert shutil.which("dockerd"), "no engine is installed: run `.ci/setup tests` as root"
    base = docker_images.base_tarball()
    port = free_port()
    (directory / "port").write_text(str(port))
    certificates = make_certificates(directory / "tls")
    log = (directory / "dockerd.log").open("ab")
    # An environment of its own: it belongs to no worker, whose leavings are told by TMPDIR.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
    with log:
        subprocess.run(  # it outlives the worker that starts it, so it is nobody's child
            ["setsid", "--fork", "dockerd",
             "--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false",
             "--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"),
             "--pidfile", str(directory / "pid"), "--cgroup-parent", _cgroup(directory),
             "--host", f"unix://{directory / 'docker.sock'}",
             "--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", str(certificates.ca),
             "--tlscert", str(certificates.server_cert), "--tlskey", str(certificates.server_key)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", check=True,
        )  # fmt: skip
    engine = DockerEngine(directory, port)
    ready = leaks.until(lambda: _answers(engine), _START_LIMIT_S)
    assert ready, (directory / "dockerd.log").read_text()[-4000:]
    engine.docker("import", str(base), IMAGE)
    for name, content in ((WITHOUT_PYTHON, docker_images.without_python(base)), (EMPTY, docker_images.empty())):
        engine.docker("import", "-", name, stdin=content)


def _answers(engine: DockerEngine) -> bool:
    return (
        engine.socket.exists()
        and not subprocess.run(
            ["/usr/bin/docker", "--host", engine.host, "version"], capture_output=True, timeout=_COMMAND_LIMIT_S
        ).returncode
    )


def _stop(directory: Path) -> None:
    pid = int((directory / "pid").read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, 15)
    assert leaks.until(lambda: not leaks.processes(str(directory)), _STOP_LIMIT_S), leaks.processes(str(directory))
    for line in reversed(leaks.mounts(str(directory))):
        subprocess.run(["umount", line.split()[4]], check=True)
    for group in Path("/sys/fs/cgroup").glob(f"*{_cgroup(directory)}"):
        remove_group(group)
    shutil.rmtree(directory)


def remove_group(group: Path) -> None:
    """Removes a control group that no process is in any more, and those below it."""
    for child in group.iterdir():
        if child.is_dir():
            remove_group(child)
    deadline = time.monotonic() + _STOP_LIMIT_S
    while True:
        try:
            group.rmdir()
        except OSError:  # its last process is still on its way out
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _cgroup(directory: Path) -> str:
    return f"/gitmachine-tests-{directory.stat().st_ino}"
