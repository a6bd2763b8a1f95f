"""What a session looks like right now."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from gitmachine.git.capturing import Captured
from gitmachine.session import Session
from gitmachine.types import MachineState


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs from the commit that is checked out."""

    path: str
    status: str
    """A added, D deleted, M modified, T type changed."""


@dataclass(frozen=True, slots=True)
class Status:
    """A session at one moment."""

    session: str
    machine: str | None
    state: MachineState
    head: str | None
    """The commit that is checked out."""
    branch: str | None
    """The branch that is checked out; None when HEAD is detached. The agent may have left the session's."""
    tip: str | None
    """The session branch."""
    remote: str | None
    """The session branch as the remote was last seen to have it."""
    unpushed: bool
    """The session branch has commits that the remote lacks."""
    changes: tuple[ChangedFile, ...]
    """What commit() would take, before the guard."""
    events: int
    """The number of the last event."""


async def status_of(session: Session, captured: Captured, state: MachineState) -> Status:
    """Compares what was just captured with what is checked out."""
    vault, history = session.branch.vault, captured.history
    head = history.head or captured.tip
    before = None if head is None else await vault.tree_of(head)
    changes = () if before == captured.tree else await vault.changes(before, captured.tree)
    refs = await session.branch.refs()
    ref = history.head_ref
    return Status(
        session=session.record.session,
        machine=session.machine.id,
        state=state,
        head=head,
        branch=ref.removeprefix("refs/heads/") if ref else None,
        tip=captured.tip,
        remote=refs.get("remote"),
        unpushed=captured.tip is not None and captured.tip != (refs.get("remote") or refs.get("base")),
        changes=tuple(ChangedFile(os.fsdecode(change.path), change.status) for change in changes),
        events=await asyncio.to_thread(session.store.events.count),
    )
