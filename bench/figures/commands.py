"""Commands on LocalMachine: one, a hundred at once, and one that says very much."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from bench import floors
from bench.measure import Plan, Row, compare, quartiles, rounds
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine
from gitmachine.types import RunOptions

AIM_RUN, AIM_STREAM, AIM_MEMORY_MB, AIM_CONCURRENT = 0.3, 1.5, 100.0, 1.3
GIB = 1024**3
AT_ONCE = 100
_SAY_GIB = "head -c 1073741824 /dev/zero"
_BUSY = "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done"
"""Some ten milliseconds of a core."""


async def run(place: Place) -> list[Row]:
    """`true`, against one bwrap process, which is what a sandbox a command costs without anything else."""
    repository = str(place.repositories.of(50))
    each = GitMachine(LocalMachine(), repository, session="each")
    lifecycle = GitMachine(LocalMachine(), repository, session="lifecycle", checkpoint="lifecycle")
    async with each, lifecycle:
        taken = await rounds(
            {
                "machine": lambda: lifecycle.machine.execute("true"),
                "lifecycle": lambda: lifecycle.run("true"),
                "each": lambda: each.run("true"),
                "shell": floors.bare_shell,
                "floor": floors.bare_bwrap,
            },
            place.effort(20.0, fewest=20),
        )
    names = {
        "machine": "machine.execute('true')",
        "lifecycle": "run('true'), checkpoint='lifecycle'",
        "each": "run('true'), a checkpoint after each command",
    }
    alone = "bash -c true by asyncio, no machine"
    return [
        *(taken.ratio(Plan(name, "one bwrap process", AIM_RUN), key) for key, name in names.items()),
        taken.ratio(Plan(alone, "one bwrap process", kind="fact"), "shell"),
        taken.ratio(Plan("machine.execute('true')", alone, kind="fact"), "machine", "shell"),
    ]


async def concurrent(place: Place) -> list[Row]:
    """So many at once, against the same one after another, divided by the cores."""
    cores = os.cpu_count() or 1
    repository = str(place.repositories.of(50))
    rows = []
    async with GitMachine(LocalMachine(), repository, session="at-once", checkpoint="lifecycle") as gm:
        for command, name in ((_BUSY, "10 ms of a core each"), ("true", "true")):

            async def at_once(command: str = command) -> None:
                await asyncio.gather(*(gm.run(command) for _ in range(AT_ONCE)))

            async def in_turn(command: str = command) -> float:
                began = time.perf_counter()
                for _ in range(AT_ONCE):
                    await gm.run(command)
                return (time.perf_counter() - began) * 1000 / cores

            plan = Plan(f"{AT_ONCE} commands at once, {name}", "one after another / cores", AIM_CONCURRENT)
            rows.append(await compare(plan, at_once, in_turn, place.effort(25.0, fewest=10, warm_up=1)))
    return rows


async def stream(place: Place) -> list[Row]:
    """1 GiB through `run` with a callback, against a pipe of the same that asyncio reads."""
    repository = str(place.repositories.of(50))
    seen = 0
    peaks: list[float] = []

    def count(text: str) -> None:
        nonlocal seen
        seen += len(text)

    async with GitMachine(LocalMachine(), repository, session="stream", checkpoint="lifecycle") as gm:

        async def ours() -> None:
            nonlocal seen
            seen = 0
            before = _memory("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak starts again from here
            result = await gm.run(_SAY_GIB, RunOptions(on_stdout=count))
            peaks.append(_memory("VmHWM") - before)
            assert result.ok
            assert seen == GIB

        plan = Plan("1 GiB through run(), to a callback", "a pipe read by asyncio", AIM_STREAM)
        row = await compare(plan, ours, _plain_pipe, place.effort(45.0, fewest=10, warm_up=1))
    memory = Row(
        "host memory while 1 GiB goes through", "", "value", max(peaks), quartiles(peaks), AIM_MEMORY_MB, unit="MB",
        samples=len(peaks), kind="fact",
    )  # fmt: skip
    return [row, memory]


async def _plain_pipe() -> None:
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", _SAY_GIB, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    seen = 0
    while chunk := await process.stdout.read(1024 * 1024):
        seen += len(chunk)
    assert await process.wait() == 0
    assert seen == GIB


def _memory(name: str) -> float:
    """MB, by proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(name)
