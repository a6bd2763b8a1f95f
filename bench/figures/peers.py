"""The same job by other people's packages: same repository, same commands, same machine, each in its own environment.

What each of them does not do is in NOTES.md. They are installed from PyPI for the run, by uv, and are in no lock.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import floors
from bench.measure import OURS, Contender, Effort, Plan, Row, Work, rounds
from bench.peers.driver import EDIT
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine

FILES = 1_000
PEERS = {
    "mini_swe_agent": ("mini-swe-agent 2.4.6, bubblewrap", "mini-swe-agent==2.4.6"),
    "openai_agents": ("openai-agents 0.24.0, unix local", "openai-agents==0.24.0"),
    "swe_rex": ("swe-rex 1.4.0, local", "swe-rex==1.4.0"),
}
OPERATIONS = {
    "start": "clone, branch, first command",
    "true": "true",
    "work": "edit, diff, commit",
}
_DRIVERS = Path(__file__).parents[1] / "peers"


@dataclass(slots=True)
class _Driver:
    """A peer in a process of its own, which times itself."""

    process: asyncio.subprocess.Process

    async def do(self, operation: str) -> float:
        """Milliseconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(operation.encode() + b"\n")
        while line := await self.process.stdout.readline():
            if line.startswith(b"ms "):
                return float(line.split()[1])
        raise RuntimeError(f"the peer ended at {operation!r}; what it said is above")


class _Ours:
    """The same operations by us; each is outside of the machine when it returns, which no peer's is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._turns = itertools.count()

    async def start(self) -> None:
        self._gm = GitMachine(LocalMachine(), self._url, session=f"s-{next(self._turns)}")
        await self._gm.start()
        await self._gm.run("true")

    async def true(self) -> None:
        await self._gm.run("true")

    async def work(self) -> None:
        await self._gm.run(EDIT.format(turn=next(self._turns)))
        await self._gm.diff()
        await self._gm.commit("x")

    async def stop(self) -> None:
        await self._gm.stop(push=False)


async def peers(place: Place) -> list[Row]:
    """How many times as long as ours each of them takes."""
    root = place.below("served")
    (root / "project.git").symlink_to(place.repositories.of(FILES))
    with floors.served(root) as base:
        url = f"{base}/project.git"
        async with AsyncExitStack() as stack:
            drivers = {name: await stack.enter_async_context(_driver(place, name, url)) for name in PEERS}
            return await _side_by_side(_Ours(url), drivers, place.effort(30.0))


async def _side_by_side(ours: _Ours, drivers: dict[str, _Driver], effort: Effort) -> list[Row]:
    def everybody(operation: str) -> dict[str, Work]:
        works: dict[str, Work] = {name: lambda one=one: one.do(operation) for name, one in drivers.items()}  # type: ignore[misc]  # bound per turn
        return {OURS: getattr(ours, operation), **works}

    async def begin() -> None:
        for work in everybody("start").values():
            await work()

    async def end() -> None:
        for work in everybody("stop").values():
            await work()

    await begin()
    works = everybody("start")
    started = await rounds({name: Contender(work, everybody("stop")[name]) for name, work in works.items()}, effort)
    called = await rounds(everybody("true"), effort)
    worked = await rounds(everybody("work"), effort)
    await end()
    rows = []
    for name, (title, _) in PEERS.items():
        for taken, operation in ((started, "start"), (called, "true"), (worked, "work")):
            plan = Plan(f"{title}: {OPERATIONS[operation]}", "ours", kind="peer", inverse=True)
            rows.append(taken.ratio(plan, OURS, name))
    return rows


@asynccontextmanager
async def _driver(place: Place, name: str, url: str) -> AsyncIterator[_Driver]:
    environment = place.work / f"environment-{name}"
    _, requirement = PEERS[name]
    python = environment / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", str(environment)], check=True)
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", str(python), requirement], check=True)
    process = await asyncio.create_subprocess_exec(
        str(python), str(_DRIVERS / f"{name}.py"), url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"MSWEA_SILENT_STARTUP": "1"},
    )  # fmt: skip
    try:
        yield _Driver(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
