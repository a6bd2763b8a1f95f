"""From a session's start to its first command, against writing the working tree and an empty sandbox."""

from __future__ import annotations

import fcntl
import itertools
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import floors
from bench.measure import FLOOR, Contender, Effort, Plan, Row, Taken, compare, rounds
from bench.registry import Place
from gitmachine import GitMachine, LocalMachine
from gitmachine.settings import load

LONG_HISTORY = 2_000
AIM_WARM, AIM_COLD, AIM_FIRST, AIM_ORIGINAL = 0.2, 1.2, 1.2, 10.0


@dataclass(slots=True)
class Starting:
    """Sessions of one repository, each started, used for one command and then ended before the next."""

    repository: str
    started: list[GitMachine] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def ready(self) -> None:
        """A new session up to the end of its first command."""
        gm = GitMachine(LocalMachine(), self.repository, session=f"s-{next(self.numbers)}", checkpoint="lifecycle")
        self.started.append(gm)
        await gm.start()
        await gm.run("true")

    async def clear(self) -> None:
        """Ends what was started, and waits for the spare that is in the making."""
        while self.started:
            await self.started.pop().stop(push=False)
        for lock in load().spares.glob("*/*/lock"):
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH)

    async def without_spare(self) -> None:
        await self.clear()
        shutil.rmtree(load().spares, ignore_errors=True)

    async def without_anything(self) -> None:
        """As on a host that never saw the repository."""
        await self.without_spare()
        shutil.rmtree(load().vaults, ignore_errors=True)


async def start(place: Place) -> list[Row]:
    """Seen before: with the warm spare and without, by number of files and length of history."""
    rows = []
    for files, commits, seconds, fewest in (
        (1_000, 1, 15.0, 20),
        (20_000, 1, 50.0, 10),
        (20_000, LONG_HISTORY, 50.0, 10),
        (100_000, 1, 40.0, 3),
    ):
        rows += await _seen(place, files, commits, place.effort(seconds, fewest, warm_up=1))
    if place.long:
        rows += await _seen(place, 100_000, LONG_HISTORY, place.effort(600.0, warm_up=1))
    return rows


async def _seen(place: Place, files: int, commits: int, effort: Effort) -> list[Row]:
    repository = place.repositories.of(files, commits)
    work = place.below(f"start-{files}-{commits}")
    shutil.rmtree(load().spares, ignore_errors=True)
    sessions = Starting(str(repository))
    await sessions.ready()
    await sessions.clear()
    plain = work / "plain.git"
    await floors.shell(f"git clone -q --bare --shared {repository} {plain}; git --git-dir {plain} read-tree HEAD", work)

    async def floor() -> None:
        command = f"git --git-dir {plain} --work-tree {work}/tree checkout-index -a --prefix={work}/tree/"
        await floors.shell(command, work)
        await floors.bare_bwrap()

    async def emptied() -> None:
        await sessions.clear()
        shutil.rmtree(work / "tree", ignore_errors=True)
        (work / "tree").mkdir()

    contenders = {
        "warm": Contender(sessions.ready, sessions.clear),
        "cold": Contender(sessions.ready, sessions.without_spare),
        FLOOR: Contender(floor, emptied),
    }
    if commits > 1:
        contenders["original"] = Contender(lambda: original(f"file://{repository}", work / "tree"), emptied)
    taken = await rounds(contenders, effort)
    await sessions.without_spare()
    shutil.rmtree(work)
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


async def original(url: str, tree: Path) -> None:
    """What the TypeScript library does: a full clone into the sandbox, the branch, its two settings, the command.

    Cheaper than it is there: the sandbox is an empty bwrap, started once, and no command pays for a round trip.
    """
    await floors.bare_bwrap()
    await floors.shell(f"git clone -q {url} {tree}/repo", tree)
    for command in (
        "git checkout -q fix 2>/dev/null || git checkout -q -b fix",
        'git config user.email "gitagent@machine"',
        'git config user.name "GitMachine"',
        "true",
    ):
        await floors.shell(command, tree / "repo")


async def first_start(place: Place) -> list[Row]:
    """Not seen before, over HTTP, against `git clone` of the same URL."""
    rows = []
    root = place.below("served")
    for files, seconds, fewest in ((1_000, 15.0, 20), (20_000, 50.0, 8)):
        (root / f"{files}.git").symlink_to(place.repositories.of(files))
        with floors.served(root) as base:
            rows.append(await _first(place, f"{base}/{files}.git", files, place.effort(seconds, fewest, warm_up=1)))
    return rows


async def _first(place: Place, url: str, files: int, effort: Effort) -> Row:
    sessions = Starting(url)
    clone = place.work / f"clone-{files}"

    async def emptied() -> None:
        await sessions.clear()
        shutil.rmtree(clone, ignore_errors=True)

    name, series = f"start, first time, {files:,} files", "start, first time, files"
    plan = Plan(name, "git clone of the same URL", AIM_FIRST, series=series, size=files)
    floor = Contender(lambda: floors.shell(f"git clone -q {url} {clone}", place.work), emptied)
    row = await compare(plan, Contender(sessions.ready, sessions.without_anything), floor, effort)
    await sessions.without_anything()
    return row
