"""New sessions from a checkpoint of another one, and the comparison of what became of them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gitmachine import events as ev
from gitmachine.errors import ConfigurationError
from gitmachine.git.chain import HistoryEntry
from gitmachine.git.names import check_session_name
from gitmachine.machine import Machine
from gitmachine.opening import Origin
from gitmachine.rewinding import standing
from gitmachine.session import Session
from gitmachine.sessions import Registry
from gitmachine.types import RunOptions

if TYPE_CHECKING:
    from gitmachine.git_machine import GitMachine

_AT_ONCE = 4
_T = TypeVar("_T")

MachineSource = Machine | Callable[[], Machine] | None
"""A machine for one fork, a function that makes one for each, or None: like the parent's."""


def fork_names(session: Session, name: str, count: int) -> list[str]:
    """The sessions to make: `name`, or of several `name-1` and so on. Raises ConfigurationError."""
    if count < 1:
        raise ConfigurationError(f"count={count}: a fork is at least one session")
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    registry = Registry()
    for one in names:
        check_session_name(one)
        if any(r.session == one and r.repository == session.record.repository for r in registry.called(one)):
            raise ConfigurationError(f"there is a session {one!r} of this repository already: choose another name")
    return names


def fork_machines(session: Session, source: MachineSource, count: int) -> list[Machine]:
    """A new machine for each fork. Raises ConfigurationError."""
    if isinstance(source, Machine):
        if count > 1:
            raise ConfigurationError(f"one machine cannot hold {count} forks: give a function that makes machines")
        return [source]
    make = source or session.machine.another
    return [make() for _ in range(count)]


async def fork_point(session: Session, at: int | None) -> HistoryEntry:
    """The entry to begin at; by default one that has the working tree of this moment. Expects the capture lock."""
    if at is not None:
        return await session.branch.entry_with_tree(at)
    await session.settle()
    return await standing(session, await session.capture())


@asynccontextmanager
async def origin_of(session: Session, entry: HistoryEntry) -> AsyncIterator[Origin]:
    """What forks begin from; while it is held they can share the objects on this host's disk."""
    refs, vault = await session.branch.refs(), session.branch.vault
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="fork-", dir=vault.path))
    try:
        begun = refs.get("base")  # a commit that was fetched: its objects are among the remote's
        await vault.share([sha for sha in (entry.tip, entry.tree) if sha], directory, base=begun)
        yield Origin(entry, session.record, begun, directory)
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True))


async def at_once(works: Sequence[Callable[[], Awaitable[_T]]], undo: Callable[[_T], Awaitable[None]]) -> list[_T]:
    """All results, a few works at a time; after a failure what was made is undone and the first error raised."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def take(work: Callable[[], Awaitable[_T]]) -> _T:
        async with turns:
            return await work()

    tasks = [asyncio.ensure_future(take(work)) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in filter(asyncio.Future.done, tasks):
            task.result()
        return [task.result() for task in tasks]
    except BaseException:  # a cancellation, too: the forks that were made belong to nobody
        for task in tasks:
            task.cancel()
        made = [r for r in await asyncio.gather(*tasks, return_exceptions=True) if not isinstance(r, BaseException)]
        for result in made:
            await asyncio.shield(undo(result))
        raise


async def tell_forks(session: Session, entry: HistoryEntry, names: Sequence[str]) -> None:
    """The event in the parent."""
    await session.tell(ev.Forked(number=entry.number, sessions=list(names), checkpoint=entry.checkpoint or ""))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of one session since it began."""

    session: str
    exit_code: int | None
    """Of the check; None when there was none."""
    duration: float
    output: str
    """The check's, stderr behind stdout."""
    files: int
    """Files that differ from where it was forked, or from where it began."""
    insertions: int
    deletions: int
    summary: str
    """The same by file, as `git diff --stat`."""


async def compare(
    sessions: Sequence[GitMachine], check: str | None = None, *, timeout: float | None = None
) -> list[Comparison]:
    """Sets sessions side by side: what changed in each, and how a check command ends in it.

    The check runs in all at once, a few at a time, after the changes were counted. `timeout` in seconds.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(gm: GitMachine) -> Comparison:
        async with turns:
            return await _compared(gm, check, RunOptions(timeout=timeout))

    return await asyncio.gather(*(one(gm) for gm in sessions))


async def _compared(gm: GitMachine, check: str | None, options: RunOptions) -> Comparison:
    began = max((e.number for e in await gm.history() if e.kind == "fork"), default=0)
    files, insertions, deletions = await gm.changed_since(began)
    found = Comparison(gm.session, None, 0.0, "", files, insertions, deletions, await gm.diff(began, stat=True))
    if check is None:
        return found
    result = await gm.run(check, options)
    output = result.stdout + result.stderr
    return replace(found, exit_code=result.exit_code, duration=result.duration, output=output)
