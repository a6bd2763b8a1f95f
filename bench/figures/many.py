"""Many sessions on one machine: how fast they start, and what each takes while it runs and while it is paused."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from pathlib import Path

from bench.measure import Row
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine
from gitmachine.settings import load

AIM_PAUSED_MB, AIM_LINEAR = 5.0, 1.1
COUNT, LONG_COUNT = 200, 1_000
_AT_ONCE = 4
_SHARE = 10


async def many(place: Place) -> list[Row]:
    """Starts them, four at a time, and keeps them all; one tenth after the other is timed."""
    count = LONG_COUNT if place.long else COUNT
    repository = str(place.repositories.of(50))
    await _warm_up(repository)
    base = await _footprint()
    sessions: list[GitMachine] = []
    rates = []
    for _ in range(_SHARE):
        began = time.perf_counter()
        sessions += await _started(repository, len(sessions), count // _SHARE)
        rates.append(count / _SHARE / (time.perf_counter() - began))
    running = await _footprint()
    await _all(sessions, "pause")
    paused = await _footprint()
    await _all(sessions, "resume")
    began = time.perf_counter()
    await _all(sessions, "stop")
    stopping = count / (time.perf_counter() - began)
    return _rows(count, rates, stopping, (base, running, paused))


async def _warm_up(repository: str) -> None:
    gm = GitMachine(LocalMachine(), repository, session="warm-up")
    async with gm:
        await gm.run("true")


async def _started(repository: str, first: int, count: int) -> list[GitMachine]:
    sessions = [
        GitMachine(LocalMachine(), repository, session=f"s-{first + number}", lock_timeout=600)
        for number in range(count)
    ]
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ready(gm: GitMachine) -> None:
        async with turns:
            await gm.start()
            await gm.run("echo one >one.txt")

    await asyncio.gather(*(ready(gm) for gm in sessions))
    return sessions


async def _all(sessions: list[GitMachine], call: str) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(gm: GitMachine) -> None:
        async with turns:
            await (gm.stop(push=False) if call == "stop" else getattr(gm, call)())

    await asyncio.gather(*(one(gm) for gm in sessions))


class _Seen:
    """MB in use at a moment."""

    def __init__(self, program: float, machines: float, disk: float) -> None:
        self.program = program
        self.machines = machines
        self.disk = disk


async def _footprint() -> _Seen:
    gc.collect()
    return await asyncio.to_thread(
        lambda: _Seen(_proportional([os.getpid()]), _proportional(_descendants()), _disk(load().state_dir))
    )


def _descendants() -> list[int]:
    """The processes of all machines: those that know the state directory by their mounts."""
    mark = str(load().state_dir).encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                if mark in Path(f"/proc/{name}/mountinfo").read_bytes():
                    found.append(int(name))
            except OSError:
                continue
    return found


def _proportional(pids: list[int]) -> float:
    """Shared pages divided among those who share them (Pss in proc(5))."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total * 1024 / 1e6


def _disk(path: Path) -> float:
    """Each file counted once, however many links it has."""
    seen: dict[tuple[int, int], int] = {}
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            try:
                status = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:
                continue
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values()) / 1e6


def _rows(count: int, rates: list[float], stopping: float, seen: tuple[_Seen, _Seen, _Seen]) -> list[Row]:
    base, running, paused = seen

    def fact(name: str, value: float, unit: str, aim: float | None = None, against: str = "") -> Row:
        return Row(f"{count:,} sessions: {name}", against, "value", value, aim=aim, unit=unit, kind="fact")

    half = len(rates) // 2
    slowdown = statistics.median(rates[:half]) / statistics.median(rates[half:])
    return [
        fact("starts with a first command", statistics.median(rates), "/s"),
        fact("the first half's rate over the second's", slowdown, "", AIM_LINEAR, "one session's cost: linear"),
        fact("stops", stopping, "/s"),
        fact("memory of this program, each, running", (running.program - base.program) / count, "MB"),
        fact("memory of a machine's own processes, running", (running.machines - base.machines) / count, "MB"),
        fact("memory besides its processes, paused", (paused.program - base.program) / count, "MB", AIM_PAUSED_MB),
        fact("memory of a machine's own processes, paused", (paused.machines - base.machines) / count, "MB"),
        fact("disk, each, of a checkout of 50 files", (paused.disk - base.disk) / count, "MB"),
    ]
