"""What it costs to see, to keep and to commit what a command changed, and to fork from it."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import Awaitable
from pathlib import Path

from bench import floors
from bench.figures.start import spare_is_there
from bench.measure import FLOOR, OURS, Contender, Effort, Plan, Row, compare, rounds
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine
from gitmachine.settings import load

AIM = 1.2
AIM_FORK = 1.5
AIM_CHECKPOINT, AIM_NOTHING = 1.5, 1.1
_IDENTITY = "-c user.name=b -c user.email=b@example.com"
_FORKS = 50


async def changes(place: Place) -> list[Row]:
    """diff, commit and checkpoint with 1 and 1,000 changed files, in 20,000 and 100,000, against git's own commands."""
    rows = []
    for files, changed, seconds, fewest in (
        (20_000, 1, 20.0, 20),
        (20_000, 1_000, 30.0, 10),
        (100_000, 1, 35.0, 8),
        (100_000, 1_000, 35.0, 5),
    ):
        rows += await _changes(place, files, changed, place.effort(seconds, fewest, warm_up=1))
    return rows


async def _changes(place: Place, files: int, changed: int, effort: Effort) -> list[Row]:
    repository = place.repositories.of(files)
    work = place.below(f"changes-{files}-{changed}")
    await floors.shell(f"git clone -q {repository} plain", work)
    turns = itertools.count()
    each = Effort(effort.samples, effort.warm_up, effort.seconds / 3, effort.fewest)
    lifecycle = GitMachine(LocalMachine(), str(repository), session="lifecycle", checkpoint="lifecycle")
    async with lifecycle as gm:
        edit = _Edit(gm, work / "plain", changed, turns)
        diff = await rounds(
            {
                OURS: Contender(gm.diff, edit.ours),
                FLOOR: Contender(edit.git("git add -A -N . && git diff HEAD"), edit.floor),
            },
            each,
        )
        commit = await rounds(
            {
                OURS: Contender(gm.commit, edit.ours),
                FLOOR: Contender(edit.git(f"git add -A && git {_IDENTITY} commit -qm x"), edit.floor),
            },
            each,
        )
    async with GitMachine(LocalMachine(), str(repository), session="each") as gm:
        checkpoint = await rounds(
            {
                OURS: Contender(lambda: gm.run(edit.script(next(turns)))),
                FLOOR: Contender(lambda: edit.floor_and_keep()),
            },
            each,
        )
    shutil.rmtree(work)
    what = f"{changed:,} changed in {files:,}"

    def plan(name: str, against: str) -> Plan:
        return Plan(f"{name}, {what}", against, AIM, series=f"{name}, {changed:,} changed, files", size=files)

    return [
        diff.ratio(plan("diff", "git add -N; git diff HEAD")),
        commit.ratio(plan("commit", "git add -A; git commit")),
        checkpoint.ratio(plan("command + checkpoint", "the command + git add -A; git write-tree")),
    ]


class _Edit:
    """The same change, in a session's machine and in a plain clone."""

    def __init__(self, gm: GitMachine, plain: Path, changed: int, turns: itertools.count[int]) -> None:
        self._gm = gm
        self._plain = plain
        self._changed = changed
        self._turns = turns

    def script(self, turn: int) -> str:
        last = self._changed - 1
        return f"for i in $(seq 0 {last}); do echo edit {turn} >d$((i / 100))/f$i.txt; done"

    async def ours(self) -> None:
        await self._gm.run(self.script(next(self._turns)))

    async def floor(self) -> None:
        await floors.shell(self.script(next(self._turns)), self._plain)

    def git(self, command: str):  # type: ignore[no-untyped-def]
        return lambda: floors.shell(command, self._plain)

    async def floor_and_keep(self) -> None:
        await self.floor()
        await floors.shell("git add -A && git write-tree", self._plain)


async def checkpoint(place: Place, files: int = 20_000) -> list[Row]:
    """What a command's checkpoint adds to it, against a look at the same tree by `git status`."""
    repository = place.repositories.of(files)
    work = place.below("checkpoint")
    await floors.shell(f"git clone -q {repository} plain", work)
    plain, texts = work / "plain", itertools.count()
    with_each = GitMachine(LocalMachine(), str(repository), session="checkpoints")
    without = GitMachine(LocalMachine(), str(repository), session="no-checkpoints", checkpoint="lifecycle")
    async with with_each, without:

        async def floor() -> None:
            await without.run("true")
            await floors.shell("git status --porcelain -uall", plain)

        async def edit() -> None:
            (plain / "d0" / "f0.txt").write_text(f"edit {next(texts)}\n")

        def change() -> Awaitable[object]:
            return with_each.run(f"echo edit {next(texts)} >d0/f0.txt")

        effort = place.effort(20.0, fewest=20)
        changed = await rounds({OURS: Contender(change), FLOOR: Contender(floor, edit)}, effort)
        unchanged = await rounds({OURS: Contender(lambda: with_each.run("true")), FLOOR: Contender(floor)}, effort)
    shutil.rmtree(work)
    against = "the command alone + git status"
    return [
        changed.ratio(Plan(f"checkpoint, 1 changed in {files:,}", against, AIM_CHECKPOINT)),
        unchanged.ratio(Plan(f"checkpoint, nothing changed in {files:,}", against, AIM_NOTHING)),
    ]


async def fork(place: Place, files: int = 20_000) -> list[Row]:
    """A fork, its working tree written and ready for commands, against writing the working tree alone."""
    repository = place.repositories.of(files)
    work = place.below("fork")
    await floors.shell(f"git clone -q {repository} plain", work)
    numbers = itertools.count()
    forked: list[GitMachine] = []
    async with GitMachine(LocalMachine(), str(repository), session="parent") as parent:
        await spare_is_there()  # neither is timed beside its making; the round that warms up takes it

        async def ours() -> None:
            forked.append(await parent.fork(f"fork-{next(numbers)}"))

        def floor():  # type: ignore[no-untyped-def]
            return floors.shell(f"git checkout-index -a --prefix={work}/tree-{next(numbers)}/", work / "plain")

        row = await compare(
            Plan(f"fork, {files:,} files", "git checkout-index into an empty directory", AIM_FORK),
            ours,
            floor,
            place.effort(25.0, fewest=8, warm_up=1),
        )
        for gm in forked:  # not between the rounds: see bench.figures.start
            await gm.stop(push=False)
    return [row, await _disk_of_forks(place)]


async def _disk_of_forks(place: Place) -> Row:
    """What the objects of so many forks take on disk, each file counted once however many links it has."""
    async with GitMachine(LocalMachine(), str(place.repositories.of(50)), session="many") as parent:
        before = await asyncio.to_thread(_object_bytes)
        children = await parent.forks("many-fork", _FORKS)
        after = await asyncio.to_thread(_object_bytes)
        for child in children:
            await child.stop(push=False)
    added = (after - before) / 1024 / _FORKS
    return Row("objects on disk that a fork adds", f"{_FORKS} forks", "value", added, unit="KiB", kind="fact")


def _object_bytes() -> int:
    seen: dict[int, int] = {}
    for directory, _, names in os.walk(load().machines):
        if "/objects" not in directory:
            continue
        for name in names:
            status = os.lstat(os.path.join(directory, name))
            seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
