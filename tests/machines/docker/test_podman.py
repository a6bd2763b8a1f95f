"""Podman's service, by the API that it has in common with Docker."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitmachine import DockerMachine, MachineState
from gitmachine.types import ExecuteOptions
from tests import leaks
from tests.support import docker_images
from tests.support.docker_engine import remove_group

_IMAGE = "localhost/gitmachine-test:base"
_LIMIT_S = 60
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{0}/root"\nrunroot = "{0}/run"\n'
# Its own numbers of processes and files are above what root may set where he cannot raise a limit.
_CONTAINERS = (
    '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\ntmp_dir = "{0}/tmp"\n'
    "exit_command_delay = 0\n"
    '[containers]\ndefault_ulimits = ["nofile={1}:{1}", "nproc=4096:4096"]\n'
)


@pytest.fixture
def podman(session_dir: Path) -> Iterator[Path]:
    """The socket of a service that has the tests' image and leaves nothing behind."""
    if os.geteuid() != 0:
        pytest.skip("only as root: the tests' container engine is started by hand")
    directory = Path(tempfile.mkdtemp(prefix="podman-", dir=session_dir))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (directory / "storage.conf").write_text(_STORAGE.format(directory))
    (directory / "containers.conf").write_text(_CONTAINERS.format(directory, min(files, 20000)))
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory), "TMPDIR": str(directory),
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
        "CONTAINERS_CONF": str(directory / "containers.conf"),
    }  # fmt: skip

    def do(*arguments: str) -> None:
        done = subprocess.run(["podman", *arguments], env=environment, capture_output=True, text=True, timeout=_LIMIT_S)
        assert done.returncode == 0, done.stderr

    groups_before = _groups()
    do("import", str(docker_images.base_tarball()), _IMAGE)
    socket = directory / "podman.sock"
    argv = ["podman", "system", "service", "--time=0", f"unix://{socket}"]
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
        try:
            assert leaks.until(socket.exists, _LIMIT_S)
            yield socket
        finally:
            service.terminate()
            service.wait(_LIMIT_S)
            do("system", "prune", "--all", "--force", "--volumes")
            for line in reversed(leaks.mounts(str(directory))):
                subprocess.run(["umount", line.split()[4]], check=True)
            for group in _groups() - groups_before:
                remove_group(group)
            shutil.rmtree(directory)


def _groups() -> set[Path]:
    """Podman's own control groups, which it does not remove."""
    top = Path("/sys/fs/cgroup")
    return {*top.glob("libpod_parent"), *top.glob("*/libpod_parent")}


async def test_a_machine_on_podman_runs_pauses_and_keeps_its_list(podman: Path, state_dir: Path) -> None:
    machine = DockerMachine(_IMAGE, host=f"unix://{podman}", pull="never", network=["pypi.org"])
    try:
        await machine.start()
        assert (await machine.execute("id -u; cat; exit 126", ExecuteOptions(stdin="hi"))).stdout == "1000\nhi"
        assert (await machine.execute("sleep 1000", ExecuteOptions(timeout=1))).timed_out
        refused = await machine.execute("curl -sS http://evil.test/")
        assert "evil.test:80 is refused" in refused.stdout
        told, _ = await machine.network_refusals()
        assert [(one.host, one.port) for one in told] == [("evil.test", 80)]
        await machine.pause()
        other = await DockerMachine.connect(str(machine.id))
        assert other.state is MachineState.PAUSED
        await other.resume()
        assert (await other.execute("grep CapEff /proc/self/status")).stdout.split() == ["CapEff:", "0" * 16]
        await other.aclose()
    finally:
        await machine.stop()
