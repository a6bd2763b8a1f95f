"""Back to an earlier checkpoint, as a step of its own that can be undone like any other."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from gitmachine import events as ev
from gitmachine.actor import current as current_actor
from gitmachine.errors import GitError
from gitmachine.git.capturing import Captured
from gitmachine.git.chain import Draft, HistoryEntry
from gitmachine.git.parse import Change
from gitmachine.git.restoring import Restored
from gitmachine.git.text import GITLINK_MODE
from gitmachine.session import Session

_NAMED = 100


@dataclass(frozen=True, slots=True)
class Rewind:
    """What a rewind came to."""

    to: int
    entry: HistoryEntry
    """Its own entry in the history. `rewind(entry.number - 1)` undoes it."""
    left: tuple[str, ...] = ()
    """Files that were ignored, were left alone, and that nothing ignores any more."""
    aside: tuple[str, ...] = ()
    """Files that were ignored and stood in the way; they were moved below `aside_path` in the machine."""
    aside_path: str = ""


async def rewind(session: Session, number: int) -> Rewind:
    """Puts the working tree back to what entry `number` left. Expects to be alone, with the machine quiet.

    Raises CheckpointNotFound, CaptureFailed, and GitError when the files did not become what they were: what was
    there before is safe in the entry that the error names.
    """
    began, clock = datetime.now(UTC), time.monotonic()
    await session.settle()
    target = await session.branch.entry_with_tree(number)
    assert target.tree is not None
    before = await standing(session, await session.capture())
    assert before.tree is not None
    try:
        restored = await session.branch.restore(before.tree, target.tree)
    except GitError as error:
        error.add_note(f"rewind to {target.number}: all that was there before is in checkpoint {before.number}")
        raise
    draft = Draft(
        "rewind", f"rewind to {target.number}", began,
        duration=time.monotonic() - clock, actor=current_actor(), target=target.number,
    )  # fmt: skip
    captured = await session.capture(draft)
    assert captured.entry is not None
    left = await _checked(session, target, captured, before.number)
    done = Rewind(target.number, captured.entry, left, restored.aside, restored.aside_path)
    await session.tell(_event(done, restored))
    return done


async def standing(session: Session, captured: Captured) -> HistoryEntry:
    """The entry that has what was just captured; changes that came by no command get one of their own."""
    newest = await session.branch.chain.newest()
    if newest is not None and newest.tree == captured.tree:
        return newest
    return await session.branch.note_outside(newest.tree if newest else None, captured)


async def _checked(session: Session, target: HistoryEntry, captured: Captured, before: int) -> tuple[str, ...]:
    differences = await session.branch.vault.changes(target.tree, captured.tree)
    wrong = [change for change in differences if not _harmless(change)]
    if wrong:
        names = ", ".join(os.fsdecode(change.path) for change in wrong[:10])
        raise GitError(
            f"rewind to {target.number}: {len(wrong)} files are not as they were, such as {names}; "
            f"all that was there before is in checkpoint {before}"
        )
    return tuple(os.fsdecode(change.path) for change in differences if change.status == "A")


def _harmless(change: Change) -> bool:
    """A file that was ignored until now; or a submodule, of which only a checkout knows which commit it is at."""
    return change.status == "A" or GITLINK_MODE in (change.old_mode, change.new_mode)


def _event(done: Rewind, restored: Restored) -> ev.Rewound:
    return ev.Rewound(
        to=done.to,
        number=done.entry.number,
        checkpoint=done.entry.checkpoint or "",
        entry=done.entry.sha,
        left=[_shown(path) for path in done.left[:_NAMED]],
        aside=[_shown(path) for path in restored.aside[:_NAMED]],
        aside_path=restored.aside_path,
    )


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
