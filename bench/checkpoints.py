"""What it costs that a command's work is in the vault when it returns, and that a session can be forked."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from pathlib import Path

from bench import floors
from bench.measure import Figure, Plan, compare
from gitmachine import GitMachine, LocalMachine
from gitmachine.settings import load


async def checkpoints(repository: Path, work: Path, files: int) -> list[Figure]:
    """A command with its checkpoint against the same command without one and a `git status` of the same tree."""
    plain = work / "plain"
    await floors.shell(f"git clone -q {repository} plain", work)
    texts = itertools.count()
    with_each = GitMachine(LocalMachine(), str(repository), session="checkpoints")
    without = GitMachine(LocalMachine(), str(repository), session="lifecycle", checkpoint="lifecycle")
    async with with_each, without:

        async def floor() -> None:
            await without.run("true")
            await floors.shell("git status --porcelain -uall", plain)

        async def edit() -> None:
            (plain / "d0" / "f0.txt").write_text(f"edit {next(texts)}\n")

        against = "the command alone + git status"
        changed = await compare(
            Plan(f"checkpoint, 1 changed file in {files:,}", against, 1.5),
            lambda: with_each.run(f"echo edit {next(texts)} > d0/f0.txt"),
            floor,
            edit,
        )
        unchanged = await compare(
            Plan(f"checkpoint, nothing changed in {files:,}", against, 1.1), lambda: with_each.run("true"), floor
        )
    return [changed, unchanged]


async def forks(repository: Path, work: Path, files: int) -> list[Figure]:
    """A fork, its working tree written and ready for commands, against writing the working tree alone."""
    plain = work / "plain"
    await floors.shell(f"git clone -q {repository} plain", work)
    numbers = itertools.count()
    forked: list[GitMachine] = []
    async with GitMachine(LocalMachine(), str(repository), session="parent") as parent:

        async def ours() -> None:
            forked.append(await parent.fork(f"fork-{next(numbers)}"))

        async def prepare() -> None:
            while forked:
                await forked.pop().stop(push=False)
            for tree in work.glob("tree-*"):
                shutil.rmtree(tree)

        figure = await compare(
            Plan(f"fork, {files:,} files", "git checkout-index into an empty directory", 1.5, samples=4, warm_up=1),
            ours,
            lambda: floors.shell(f"git checkout-index -a --prefix={work}/tree-{next(numbers)}/", plain),
            prepare,
        )
        await prepare()
    return [figure]


async def disk_of_forks(repository: Path, count: int = 50) -> str:
    """What the objects of so many forks take on disk, each file counted once however many links it has."""
    async with GitMachine(LocalMachine(), str(repository), session="many") as parent:
        before = await asyncio.to_thread(_object_bytes)
        children = await parent.forks("many-fork", count)
        after = await asyncio.to_thread(_object_bytes)
        for child in children:
            await child.stop(push=False)
    return f"{count} forks add {(after - before) / 1024:,.0f} KiB of objects to {before / 1024:,.0f} KiB"


def _object_bytes() -> int:
    seen: dict[int, int] = {}
    for directory, _, names in os.walk(load().machines):
        if "/objects" not in directory:
            continue
        for name in names:
            status = os.lstat(os.path.join(directory, name))
            seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
