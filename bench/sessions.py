"""What a session costs: a start on a repository seen before, a command, a diff and a commit."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import shutil
from pathlib import Path

from bench import floors
from bench.measure import Figure, Plan, Work, compare
from gitmachine import GitMachine, LocalMachine
from gitmachine.settings import load

_numbers = itertools.count()


def _new(repository: Path, **options: object) -> GitMachine:
    name = f"bench-{next(_numbers)}"
    return GitMachine(LocalMachine(), str(repository), session=name, **options)  # type: ignore[arg-type]


async def commands(repository: Path) -> list[Figure]:
    """`run("true")` against a sandbox a command, as others do it."""
    figures = []
    async with _new(repository, checkpoint="lifecycle") as gm:
        figures.append(
            await compare(
                Plan("machine.execute('true')", "one bare bwrap process", 0.3, samples=100),
                lambda: gm.machine.execute("true"),
                floors.bare_bwrap,
            )
        )
        figures.append(
            await compare(
                Plan("run('true'), checkpoint='lifecycle'", "one bare bwrap process", 0.3, samples=100),
                lambda: gm.run("true"),
                floors.bare_bwrap,
            )
        )
    return figures


async def starts(repository: Path, work: Path, files: int) -> list[Figure]:
    """Start to the first command, with the warm spare and without, against `git clone --shared` and an empty bwrap."""
    first = _new(repository)
    await first.start()
    await first.stop()
    upstream = next(load().vaults.iterdir()) / "upstream.git"
    clones = itertools.count()

    async def floor() -> None:
        await floors.shell(f"git clone -q --shared {upstream} clone-{next(clones)}", work)
        await floors.bare_bwrap()

    async def ours() -> None:
        gm = _new(repository, checkpoint="lifecycle")
        await gm.start()
        await gm.run("true")
        started.append(gm)

    started: list[GitMachine] = []

    def prepared(spare: bool) -> Work:
        async def prepare() -> None:
            while started:
                await started.pop().stop(push=False)
            for clone in work.glob("clone-*"):
                shutil.rmtree(clone)
            await asyncio.to_thread(_wait_for_spare)
            if not spare:
                shutil.rmtree(load().spares, ignore_errors=True)

        return prepare

    against = "git clone --shared + empty bwrap"
    warm = Plan(f"start, seen, {files:,} files, warm spare", against, 0.2, samples=5, warm_up=1)
    cold = Plan(f"start, seen, {files:,} files, no spare", against, 1.2, samples=5, warm_up=1)
    figures = [
        await compare(warm, ours, floor, prepared(True)),
        await compare(cold, ours, floor, prepared(False)),
    ]
    await prepared(True)()
    return figures


async def changes(repository: Path, work: Path, files: int) -> list[Figure]:
    """A diff and a commit of one changed file, against git's own commands in a plain clone."""
    plain = await _plain_clone(repository, work)
    texts = itertools.count()
    async with _new(repository, checkpoint="lifecycle") as gm:

        async def edit() -> None:
            text = f"edit {next(texts)}\n"
            await gm.write_file("d0/f0.txt", text)
            (plain / "d0" / "f0.txt").write_text(text)

        diff = await compare(
            Plan(f"diff, 1 changed file in {files:,}", "git status -uall; git diff HEAD", 1.2),
            gm.diff,
            lambda: floors.shell("git status --porcelain -uall; git diff HEAD", plain),
            edit,
        )
        commit = await compare(
            Plan(f"commit, 1 changed file in {files:,}", "git add -A; git commit", 1.2),
            gm.commit,
            lambda: floors.shell("git add -A && git -c user.name=b -c user.email=b@c commit -qm x", plain),
            edit,
        )
        return [diff, commit]


async def _plain_clone(repository: Path, work: Path) -> Path:
    plain = work / "plain"
    if not plain.exists():
        await floors.shell(f"git clone -q {repository} plain", work)
    return plain


def _wait_for_spare() -> None:
    """Returns when no builder of a spare is at work any more: it holds a lock while it is."""
    for lock in load().spares.glob("*/*/lock"):
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
