"""From a session's start to its first command, against writing the working tree and an empty sandbox.

Nothing is deleted: ext4 looks at each inode that was deleted lately before it hands out a new one, so writing files
after deleting as many is several times slower, for the floor most of all. The sessions' machines run on, each with
nothing to do, until whoever takes the figure ends them and removes what they have. And nothing waits to be written to
the disk when a turn begins: who makes a file durable in a journal would wait for all that the turn before has written.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from bench import floors
from bench.measure import FLOOR, Contender, Effort, Plan, Row, Taken, compare, rounds
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine
from gitmachine.settings import load

LONG_HISTORY = 2_000
AIM_WARM, AIM_COLD, AIM_FIRST, AIM_ORIGINAL = 0.2, 1.2, 1.2, 10.0


@dataclass(slots=True)
class Starting:
    """Sessions that are started and used for one command."""

    place: Place
    started: list[GitMachine] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    held: list[BinaryIO] = field(default_factory=list)

    async def __aenter__(self) -> Starting:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for gm in self.started:
            await gm.detach()
        await self.with_spare()

    async def ready(self, repository: str) -> None:
        """A new session up to the end of its first command."""
        number = next(self.numbers)
        gm = GitMachine(LocalMachine(), repository, session=f"s-{number}", checkpoint="lifecycle")
        self.started.append(gm)
        await gm.start()
        await gm.run("true")

    def directory(self) -> Path:
        """A new one."""
        return self.place.below(f"tree-{next(self.numbers)}")

    async def without_spare(self) -> None:
        """The spares that there are look as if they were in the making: none is taken, and no other begun."""
        await self.with_spare()
        for lock in load().spares.glob("*/*/lock"):
            self.held.append(lock.open("rb"))
            fcntl.flock(self.held[-1], fcntl.LOCK_EX)

    async def with_spare(self) -> None:
        while self.held:
            self.held.pop().close()
        await spare_is_there()
        await asyncio.to_thread(os.sync)


async def spare_is_there() -> None:
    """Waits for the one that is in the making."""
    for lock in load().spares.glob("*/*/lock"):
        with lock.open() as file:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_SH)


async def start(place: Place) -> list[Row]:
    """Seen before: with the warm spare and without, by number of files and length of history."""
    rows = []
    async with Starting(place) as sessions:
        for files, commits, seconds, fewest in (
            (1_000, 1, 15.0, 20),
            (20_000, 1, 50.0, 20),
            (20_000, LONG_HISTORY, 40.0, 10),
            (100_000, 1, 30.0, 3),
        ):
            rows += await _seen(sessions, files, commits, place.effort(seconds, fewest, warm_up=1))
        if place.long:
            rows += await _seen(sessions, 100_000, LONG_HISTORY, place.effort(600.0, warm_up=1))
    return rows


async def _seen(sessions: Starting, files: int, commits: int, effort: Effort) -> list[Row]:
    repository = sessions.place.repositories.of(files, commits)
    await sessions.ready(str(repository))
    plain = sessions.directory()
    await floors.shell(f"git clone -q --bare --shared {repository} .; git --git-dir . read-tree HEAD", plain)

    async def ours() -> None:
        await sessions.ready(str(repository))

    async def floor() -> None:
        tree = sessions.directory()
        await floors.shell(f"git --git-dir {plain} --work-tree . checkout-index -a", tree)
        await floors.bare_bwrap()

    contenders = {
        "cold": Contender(ours, sessions.without_spare),
        "warm": Contender(ours, sessions.with_spare),
        FLOOR: Contender(floor, sessions.with_spare),
    }
    if commits > 1:
        address = f"file://{repository}"
        contenders["original"] = Contender(lambda: original(address, sessions.directory()), sessions.with_spare)
    taken = await rounds(contenders, effort)
    return _rows(taken, files, commits)


def _rows(taken: Taken, files: int, commits: int) -> list[Row]:
    what = f"{files:,} files, {'long' if commits > 1 else 'short'} history"
    against = "git checkout-index + empty bwrap"
    warm = Plan(f"start, seen, {what}, warm spare", against, AIM_WARM, series="start, warm spare, files", size=files)
    cold = Plan(f"start, seen, {what}, no spare", against, AIM_COLD, series="start, no spare, files", size=files)
    if commits == 1:
        return [taken.ratio(warm, "warm"), taken.ratio(cold, "cold")]
    peer = Plan(
        f"the original's start, {what}", "ours, warm spare", AIM_ORIGINAL, at_least=True, kind="peer", inverse=True
    )
    return [
        taken.ratio(replace(warm, series=""), "warm"),
        taken.ratio(replace(cold, series=""), "cold"),
        taken.ratio(peer, "warm", "original"),
    ]


async def original(url: str, directory: Path) -> None:
    """What the TypeScript library does: a full clone into the sandbox, the branch, its two settings, the command.

    Cheaper than it is there: the sandbox is an empty bwrap, started once, and no command pays for a round trip.
    """
    await floors.bare_bwrap()
    await floors.shell(f"git clone -q {url} repo", directory)
    for command in (
        "git checkout -q fix 2>/dev/null || git checkout -q -b fix",
        'git config user.email "gitagent@machine"',
        'git config user.name "GitMachine"',
        "true",
    ):
        await floors.shell(command, directory / "repo")


async def first_start(place: Place) -> list[Row]:
    """Not seen before, over HTTP, against `git clone` of the same URL."""
    rows = []
    root = place.below("served")
    async with Starting(place) as sessions:
        with floors.served(root) as base:
            for files, seconds, fewest in ((1_000, 15.0, 20), (20_000, 60.0, 10)):
                effort = place.effort(seconds, fewest, warm_up=1)
                rows.append(await _first(sessions, base, root, files, effort))
    return rows


async def _first(sessions: Starting, base: str, root: Path, files: int, effort: Effort) -> Row:
    repository = sessions.place.repositories.of(files)
    names: list[str] = []

    async def another_address() -> None:
        await sessions.with_spare()
        names.append(f"{files}-{len(names)}.git")
        (root / names[-1]).symlink_to(repository)

    async def ours() -> None:
        await sessions.ready(f"{base}/{names[-1]}")

    async def floor() -> None:
        await floors.shell(f"git clone -q {base}/{names[0]} clone", sessions.directory())

    name, series = f"start, first time, {files:,} files", "start, first time, files"
    plan = Plan(name, "git clone of the same URL", AIM_FIRST, series=series, size=files)
    return await compare(plan, Contender(ours, another_address), Contender(floor, sessions.with_spare), effort)
