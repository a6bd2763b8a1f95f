"""What a machine may use, what happens to a command that wants more, and that the machine goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gitmachine.errors import MachineLost
from gitmachine.machines.local import Limits, LocalMachine, agent
from gitmachine.types import ExecuteOptions

MIB = 1024**2
BOUND = ExecuteOptions(timeout=60)


@pytest.fixture
async def bounded(state_dir: Path) -> AsyncIterator[LocalMachine]:
    del state_dir
    machine = LocalMachine(limits=Limits(memory_bytes=128 * MIB, processes=64, disk_bytes=48 * MIB))
    await machine.start()
    try:
        yield machine
    finally:
        await machine.stop()


FULL = (
    "import os\n"
    "for _ in range(200):\n"
    "    try: pid = os.fork()\n"
    "    except BlockingIOError: break\n"
    "    if not pid:\n"
    "        os.setsid()\n"
    "        while True: __import__('time').sleep(100)\n"
)


def kept_by_group(machine: LocalMachine, name: str) -> bool:
    return "cgroup" in machine.capabilities.limits[name]


async def goes_on(machine: LocalMachine) -> None:
    after = await machine.execute("echo on", BOUND)
    assert (after.stdout, after.exceeded) == ("on\n", ())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a control group for memory everywhere")
async def test_out_of_memory_is_said_because_the_kernel_counted_it(bounded: LocalMachine) -> None:
    assert kept_by_group(bounded, "memory")
    greedy = await bounded.execute("python3 -c 'x = bytearray(400 << 20)'", BOUND)
    assert (greedy.exit_code, greedy.exceeded) == (137, ("memory",))
    assert greedy.notices == ["a limit of the machine was reached: out of memory, the kernel killed a process of it"]
    killed = await bounded.execute("kill -9 $$", BOUND)
    assert (killed.exit_code, killed.exceeded) == (137, ())
    await goes_on(bounded)


async def test_too_many_processes_end_and_the_machine_goes_on(bounded: LocalMachine) -> None:
    await bounded.write_file("full.py", FULL)
    many = await bounded.execute("python3 full.py; kill -9 -1", BOUND)
    if kept_by_group(bounded, "processes"):
        assert many.exceeded == ("processes",)
    bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; while :; do :; done"
    assert (await bounded.execute(bomb, ExecuteOptions(timeout=1))).timed_out
    await goes_on(bounded)


async def test_what_earlier_commands_left_makes_room_for_the_next(bounded: LocalMachine) -> None:
    await bounded.write_file("full.py", FULL)
    await bounded.execute("python3 full.py", BOUND)
    crowded = await bounded.execute("ls / | cat", BOUND)
    assert "processes" in crowded.exceeded
    await goes_on(bounded)
    assert int((await bounded.execute("ps -e --no-headers | wc -l", BOUND)).stdout) < 10


WRITERS = [
    "cat /dev/zero > big",
    "exec 3>nameless; rm nameless; cat /dev/zero >&3",
    "i=0; while :; do i=$((i+1)); head -c 2000000 /dev/zero > part$i; done",
    "setsid sh -c 'cat /dev/zero > background' & sleep 50",
    'python3 -c \'import ctypes\nf = open("x", "wb"); import os; os.remove("x"); ctypes.CDLL(None).prctl(4, 0)\n'
    "while True: f.write(bytes(1 << 20)); f.flush()'",
]


async def test_a_full_disk_ends_what_writes_and_the_files_stay(bounded: LocalMachine) -> None:
    for writer in WRITERS:
        full = await bounded.execute(writer, BOUND)
        assert (full.exit_code, full.exceeded) == (137, ("disk",)), writer
        await goes_on(bounded)
        left = await bounded.execute("ls; rm -f big part* background; echo freed", BOUND)
        assert left.stdout.endswith("freed\n")
    assert "48 MiB" in bounded.capabilities.limits["disk"]


async def test_one_that_is_over_its_disk_may_tidy_up_but_not_write_on(bounded: LocalMachine) -> None:
    await bounded.execute("cat /dev/zero > big", BOUND)
    again = await bounded.execute("cat /dev/zero > more", BOUND)
    assert again.exceeded == ("disk",)
    await goes_on(bounded)


async def test_what_one_command_frees_the_next_may_not_fill_again(bounded: LocalMachine) -> None:
    for _ in range(3):
        assert (await bounded.execute("cat /dev/zero > big", BOUND)).exceeded == ("disk",)
        await bounded.execute("rm big", BOUND)
        again = await bounded.execute("head -c 60000000 /dev/zero > again; sleep 50", BOUND)
        assert (again.exit_code, again.exceeded) == (137, ("disk",))
        await bounded.execute("rm again", BOUND)
    await goes_on(bounded)


def test_what_others_free_meanwhile_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = agent.Disk(str(tmp_path), 48 * MIB, system=False)
    counts: list[int] = []
    monkeypatch.setattr(disk, "count", counts.append)
    monkeypatch.setattr(disk, "filled", lambda: disk.mark)
    monkeypatch.setattr(agent, "jobs", {1: None})
    disk.cost = 0.5
    disk.look(disk.looked_at + 40)
    assert counts == []
    # 300 MiB are gone and 160 have come since: the file system only ever shows less.
    less = disk.mark - 140 * MIB
    monkeypatch.setattr(disk, "filled", lambda: less)
    disk.look(disk.looked_at + 1)
    assert counts == []
    disk.look(disk.looked_at + 16)
    assert counts == [less]


def test_nobody_looks_at_the_disk_while_nobody_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = agent.Disk(str(tmp_path), 48 * MIB, system=False)
    others = [(os.getpid(), b"S")]
    monkeypatch.setattr(agent, "other_processes", lambda: iter(others))
    monkeypatch.setattr(disk, "filled", lambda: disk.mark)
    disk.look(now := disk.looked_at + 1)
    assert disk.due == now + 0.25  # something is left in the background
    others.clear()
    disk.look(now)
    assert disk.due == agent.NEVER
    disk.wake()
    assert disk.due < agent.NEVER


async def test_a_command_that_is_given_up_while_the_disk_is_counted_leaves_nothing(bounded: LocalMachine) -> None:
    await bounded.execute("cat /dev/zero > big", BOUND)
    given_up = await bounded.execute("sleep 4321", ExecuteOptions(timeout=0.001))
    assert given_up.timed_out
    assert (await bounded.execute("pgrep -f 'sleep 432[1]'", BOUND)).stdout == ""
    await goes_on(bounded)


async def test_a_lifetime_that_is_over_is_named(state_dir: Path) -> None:
    del state_dir
    machine = LocalMachine(limits=Limits(lifetime_s=0.5))
    await machine.start()
    try:
        with pytest.raises(MachineLost, match=r"lifetime of 0\.5 s is over"):
            await machine.execute("sleep 30", BOUND)
        with pytest.raises(MachineLost, match=r"lifetime of 0\.5 s is over"):
            await asyncio.wait_for(machine.execute("true"), 10)
    finally:
        await machine.stop()
