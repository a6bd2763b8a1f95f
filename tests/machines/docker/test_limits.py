"""What keeps a container within its bounds, what is said of them, and what passing one looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gitmachine import DockerMachine, Limits, MachineState
from gitmachine.errors import MachineUnavailable
from gitmachine.types import ExecuteOptions
from tests.support.docker_engine import IMAGE, WITHOUT_PYTHON, DockerEngine

_MIB = 1024**2
_BOUND = ExecuteOptions(timeout=60)
_MARK = {"test": "agent"}


@pytest.fixture
async def small(docker: DockerEngine) -> AsyncIterator[DockerMachine]:
    limits = Limits(tmp_bytes=4 * _MIB, open_files=64, file_bytes=8 * _MIB)
    machine = DockerMachine(IMAGE, pull="never", memory="96m", cpus=1, pids=48, limits=limits)
    await machine.start()
    try:
        yield machine
    finally:
        await machine.stop()


async def test_the_limits_in_force_are_told_with_what_keeps_them(small: DockerMachine) -> None:
    assert small.capabilities.limits == {
        "memory": "96 MiB (cgroup)",
        "processes": "48 (cgroup)",
        "cpus": "1 (cgroup)",
        "disk": "32 GiB (agent, looks four times a second)",
        "file": "8 MiB (resource limit)",
        "open_files": "64 (resource limit, each process)",
        "tmp": "4 MiB (tmpfs)",
    }
    found = await DockerMachine.connect(str(small.id))
    assert found.capabilities == small.capabilities
    await found.aclose()


async def test_what_goes_beyond_a_limit_ends_as_a_result_that_says_so(small: DockerMachine) -> None:
    eaten = await small.execute('python3 -c "x = bytearray(400_000_000)"; echo $?')
    assert (eaten.stdout, eaten.exceeded) == ("137\n", ("memory",))
    forked = await small.execute("for i in $(seq 100); do sleep 5 & done; wait", ExecuteOptions(timeout=20))
    assert "processes" in forked.exceeded
    assert "Resource temporarily unavailable" in forked.stderr
    opened = await small.execute("python3 -c \"f = [open('/dev/null') for _ in range(100)]\"")
    assert "Too many open files" in opened.stderr
    filled = await small.execute("head -c 20000000 /dev/zero >/tmp/full; head -c 20000000 /dev/zero >~/large")
    assert "No space left on device" in filled.stderr
    assert "ile too large" in filled.stderr or filled.exit_code == 153
    # The machine goes on, and what did nothing wrong is told nothing.
    well = await small.execute("echo well")
    assert (well.stdout, well.exceeded) == ("well\n", ())


FILLERS = [
    "cat /dev/zero > big",
    "cat /dev/zero > /var/tmp/big",  # in the container's own layer
    "exec 3>/var/tmp/nameless; rm /var/tmp/nameless; cat /dev/zero >&3",
    "for n in 1 2 3 4 5 6 7 8 9; do head -c 9000000 /dev/zero > part$n; cp part$n /var/tmp; done; sleep 50",
]


async def test_a_full_disk_ends_what_writes_and_the_files_stay(docker: DockerEngine) -> None:
    machine = DockerMachine(IMAGE, pull="never", limits=Limits(disk_bytes=48 * _MIB))
    await machine.start()
    try:
        assert (await machine.execute("head -c 40000000 /dev/zero > kept; sleep 1", _BOUND)).exceeded == ()
        await machine.execute("rm kept")
        for filler in FILLERS:
            full = await machine.execute(filler, _BOUND)
            assert (full.exit_code, full.exceeded) == (137, ("disk",)), filler
            left = await machine.execute("rm -f big part* /var/tmp/*; echo freed", _BOUND)
            assert (left.stdout, left.exceeded) == ("freed\n", ())
    finally:
        await machine.stop()


async def test_what_only_an_agent_keeps_is_refused_for_an_image_without_one(docker: DockerEngine) -> None:
    for machine, named in (
        (DockerMachine(WITHOUT_PYTHON, pull="never", limits=Limits(disk_bytes=48 * _MIB), labels=_MARK), "disk_bytes"),
        (DockerMachine(WITHOUT_PYTHON, pull="never", network=["pypi.org"], labels=_MARK), "allowed hosts"),
    ):
        with pytest.raises(MachineUnavailable, match=f"no python3.*{named}"):
            await machine.start()
    assert docker.containers("test=agent") == []


async def test_a_fork_bomb_is_over_at_its_deadline(small: DockerMachine) -> None:
    bomb = await small.execute("f() { f | f & }; f; sleep 1000", ExecuteOptions(timeout=2))
    assert bomb.timed_out
    count = await small.execute("ls -d /proc/[0-9]* | wc -l")
    assert int(count.stdout) < 10


async def test_a_lifetime_ends_the_machine_and_keeps_its_files(docker: DockerEngine) -> None:
    machine = DockerMachine(IMAGE, pull="never", limits=Limits(lifetime_s=3))
    await machine.start()
    try:
        await machine.write_file("kept", "x")
        async with asyncio.timeout(30):
            while machine.state is not MachineState.STOPPED:
                await asyncio.sleep(0.05)
        assert machine.id in docker.containers()
    finally:
        await machine.stop()
    assert machine.id not in docker.containers()
