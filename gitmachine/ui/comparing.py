"""Sessions side by side: what each changed since it began, from the vault, whether or not its machine lives."""

from __future__ import annotations

from dataclasses import dataclass

from gitmachine.git.chain import HistoryEntry
from gitmachine.git.vault import Change
from gitmachine.overview import Seen
from gitmachine.ui.timeline import timeline_of

_LISTED = 60


@dataclass(frozen=True, slots=True)
class Column:
    """One of the sessions."""

    seen: Seen
    began: int
    newest: int
    files: int
    insertions: int
    deletions: int
    changes: list[Change]
    """The first of them."""
    own: list[HistoryEntry]
    """The commands that ran in it since it began, oldest first."""

    @property
    def size(self) -> int:
        return self.insertions + self.deletions

    @property
    def last_exit(self) -> int | None:
        return next((entry.exit_code for entry in reversed(self.own) if entry.exit_code is not None), None)


async def column_of(seen: Seen) -> Column:
    """Counts from where the session was forked, or from where it began. Raises VaultError, CheckpointNotFound."""
    timeline = await timeline_of(seen.record)
    began, newest = timeline.began, timeline.newest
    files, insertions, deletions = await timeline.trees.counted(began, newest)
    changes = (await timeline.trees.changes(began, newest))[:_LISTED]
    own = [entry for entry in timeline.entries if entry.number > began and entry.kind in ("command", "background")]
    return Column(seen, began, newest, files, insertions, deletions, changes, own)
