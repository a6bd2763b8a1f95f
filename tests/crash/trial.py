"""One crash: drive, strike, recover, compare."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from gitmachine.git import loose_refs
from gitmachine.git.turns import turn
from gitmachine.sessions import Registry
from gitmachine.settings import Settings
from tests.crash.faults import Fault, Place, kill_tree
from tests.crash.script import COMMANDS, differences
from tests.support.git_server import git

ROOT = Path(__file__).parents[2]
LIMIT_S = 90.0
_OBJECT_NAME = 38
_LONGEST_DELAY_S = 0.12
"""Longer than most commands take: then the strike comes at a later one, or between two."""


Moment = Literal["between", "running", "moving"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)


@dataclass(frozen=True, slots=True)
class Instant:
    """When the fault strikes: some seconds after command `number` has begun; 0 is the session's start."""

    number: int
    delay_s: float
    commands: int = COMMANDS
    """How many the session runs if nothing keeps it from that."""
    moment: Moment | None = None
    """In place of the delay: before the command, while it runs, or while its refs are about to be moved."""

    @classmethod
    def any(cls, chance: random.Random, commands: int = COMMANDS) -> Instant:
        number = chance.randrange(commands + 1)
        # A start takes longer than a command.
        return cls(number, chance.uniform(0, _LONGEST_DELAY_S * (5 if number == 0 else 1)), commands)


@dataclass(slots=True)
class Trial:
    """What happened, and what was wrong with it."""

    fault: str
    instant: Instant
    begun: int = 0
    finished: int = 0
    stopped: bool = False
    ending: str = ""
    recovery_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return 1 if self.problems else 0


async def crash(place: Place, fault: Fault, session: str, instant: Instant, limit_s: float = LIMIT_S) -> Trial:
    """Runs the scripted session, strikes, recovers; `problems` says what was not as it should be."""
    trial = Trial(fault.name, instant)
    try:
        async with asyncio.timeout(limit_s):
            await _drive(place, fault, session, trial)
            _check(place, session, trial, "the vault after the crash")
            await _recover(place, session, trial)
    except TimeoutError:
        trial.problems.append(f"not over after {limit_s:g} s")
    return trial


async def _drive(place: Place, fault: Fault, session: str, trial: Trial) -> None:
    instant = trial.instant
    words = (str(instant.commands), instant.moment or "", str(instant.number))
    async with program(place, "drive", session, *words) as driving:
        reading = asyncio.ensure_future(_follow(driving, trial))
        try:
            async with _at(place, driving, reading, trial):
                fault.strike(place, driving.pid)
            try:
                await reading
                await driving.wait()
            finally:
                fault.mend(place)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    said = (await driving.stderr.read()).decode() if driving.stderr else ""
    if "Traceback" in said:
        trial.problems.append(f"the driving program fell over: {said[-3000:]}")


@asynccontextmanager
async def _at(
    place: Place, driving: asyncio.subprocess.Process, reading: asyncio.Future[None], trial: Trial
) -> AsyncIterator[None]:
    """Entered at the instant, or earlier when the program has ended. Held until left, where there is a moment."""
    if trial.instant.moment is None:
        await _until(reading, lambda: trial.begun >= trial.instant.number and bool(trial.ending))
        await asyncio.wait([reading], timeout=trial.instant.delay_s)
        yield
        return
    await _until(reading, lambda: trial.ending == "held 0")
    if trial.instant.moment == "moving":
        async with _moving(place, driving, reading):
            yield
    else:
        yield
        _go_on(driving)


@asynccontextmanager
async def _moving(
    place: Place, driving: asyncio.subprocess.Process, reading: asyncio.Future[None]
) -> AsyncIterator[None]:
    """The command has been run and captured, and the turn to move its refs does not come."""
    (store,) = place.state.glob("vaults/*/sessions.git")
    before = _objects(store)
    async with turn(store / loose_refs.TURN):
        _go_on(driving)
        await _until(reading, lambda: _objects(store) != before)
        yield


async def _until(reading: asyncio.Future[None], reached: Callable[[], bool]) -> None:
    while not reached() and not reading.done():
        await asyncio.wait([reading], timeout=0.001)


def _go_on(driving: asyncio.subprocess.Process) -> None:
    assert driving.stdin is not None
    driving.stdin.write(b"\n")


def _objects(store: Path) -> set[str]:
    return {path.name for path in store.glob("objects/??/*") if len(path.name) == _OBJECT_NAME}


async def _follow(driving: asyncio.subprocess.Process, trial: Trial) -> None:
    assert driving.stdout is not None
    async for line in driving.stdout:
        word, _, rest = line.decode().strip().partition(" ")
        trial.ending = f"{word} {rest}"
        match word:
            case "begun":
                trial.begun = int(rest)
            case "finished":
                trial.finished = int(rest)
            case "stopped":
                trial.stopped = True


async def _recover(place: Place, session: str, trial: Trial) -> None:
    async with program(place, "recover", session) as recovering:
        assert recovering.stdout is not None
        assert recovering.stdin is not None
        assert recovering.stderr is not None
        line = await recovering.stdout.readline()
        if line.startswith(b"{"):
            trial.recovery_s = json.loads(line)["seconds"]
            _check(place, session, trial, "the recovered session")
            with suppress(ConnectionError):
                recovering.stdin.write(b"\n")
                await recovering.stdin.drain()
            line = await recovering.stdout.readline()
        said = (await recovering.stderr.read()).decode()
        if await recovering.wait() != 0:
            trial.problems.append(f"recovery failed: {line.decode().strip()} {said[-3000:]}")
            return
    heads = place.repository.heads()
    if session not in heads:
        trial.problems.append("the recovered session was not pushed")
    elif place.repository.git("show", f"{session}:alive.txt") != "alive":
        trial.problems.append("what the recovered session did is not on the remote")


def _check(place: Place, session: str, trial: Trial, where: str) -> None:
    tree = checkpointed(place, session)
    if tree is None:
        if trial.finished:
            trial.problems.append(f"{where}: no checkpoint, though command {trial.finished} had ended")
        return
    if wrong := differences(tree, trial.finished, trial.begun):
        trial.problems.append(f"{where}, after command {trial.finished}: wrong at {', '.join(wrong[:5])}")


def checkpointed(place: Place, session: str) -> dict[str, str] | None:
    """Blob by path of the session's last checkpoint, read from the vault by git itself."""
    records = [record for record in Registry(Settings(place.state)).records() if record.session == session]
    if not records:
        return None
    store = place.state / "vaults" / records[-1].vault / "sessions.git"
    ref = f"refs/gitmachine/sessions/{records[-1].id}/files"
    if not git("--git-dir", str(store), "for-each-ref", ref, cwd=store):
        return None
    listed = git("--git-dir", str(store), "ls-tree", "-r", "-z", ref, cwd=store).split("\0")
    return {path: head.split(" ")[2] for head, _, path in (line.partition("\t") for line in listed if line)}


def fsck(place: Place) -> list[str]:
    """What git finds wrong with the vaults; what nothing points at is none of it."""
    found = []
    for store in place.state.glob("vaults/*/*.git"):
        done = subprocess.run(
            ["git", "--git-dir", str(store), "fsck", "--full", "--no-dangling", "--no-progress"],
            capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )  # fmt: skip
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("notice: ")]
        if done.returncode or said:
            found.append(f"{store.name}: {' '.join(said)[-1000:]}")
    return found


@asynccontextmanager
async def program(place: Place, verb: str, session: str, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tests.crash.driver` as a process of its own, which does not outlive the context."""
    names = ("PATH", "TMPDIR", "LANG", "HOME")
    env = {name: os.environ[name] for name in names if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crash.driver", verb, place.repository.url, session, *more,
        cwd=ROOT, env={**env, "GITMACHINE_HOME": str(place.state)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            kill_tree(process.pid)
            await process.wait()
