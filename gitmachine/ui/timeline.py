"""A session as what was done in it, one thing after the other, from its history and its event log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitmachine.errors import CheckpointNotFound, VaultError
from gitmachine.events import Event, Unknown
from gitmachine.git.chain import HistoryEntry
from gitmachine.overview import store_of
from gitmachine.past import RecordedTrees, recorded_chain
from gitmachine.sessions import SessionRecord
from gitmachine.wording import describe

_TOLD_BY_ENTRIES = frozenset(
    {"checkpointed", "command_started", "command_finished", "reconnected", "started", "stopping", "rewound"}
)
_GOOD = frozenset({"committed", "pushed"})
_BAD = frozenset(
    {"push_rejected", "push_held", "capture_incomplete", "machine_lost", "callback_failed", "setup_failed"}
)


@dataclass(frozen=True, slots=True)
class Happening:
    """An event that is no entry of the history, such as a commit or a pause."""

    name: str
    text: str
    seq: int

    @property
    def tone(self) -> str:
        return "good" if self.name in _GOOD else "bad" if self.name in _BAD else ""


@dataclass(frozen=True, slots=True)
class Item:
    """One place in the timeline: an entry or a happening."""

    at: datetime
    entry: HistoryEntry | None = None
    happening: Happening | None = None
    inherited: bool = False
    """It was done in the session that this one was forked from."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All of it, the newest first."""

    items: list[Item]
    entries: list[HistoryEntry]
    """Oldest first, where the session began included."""
    trees: RecordedTrees

    @property
    def newest(self) -> int:
        return self.entries[-1].number if self.entries else 0

    @property
    def began(self) -> int:
        """The entry that the session began with: its fork, or the first."""
        first = self.entries[0].number if self.entries else 0
        return max((entry.number for entry in self.entries if entry.kind == "fork"), default=first)

    def entry(self, number: int) -> HistoryEntry:
        """Raises CheckpointNotFound."""
        found = next((entry for entry in self.entries if entry.number == number), None)
        if found is None:
            raise CheckpointNotFound(f"there is no entry {number} in this session's history")
        return found


async def timeline_of(record: SessionRecord) -> Timeline:
    """Needs no machine. Raises VaultError when the history cannot be read."""
    entries = await (await recorded_chain(record)).entries()
    events = await asyncio.to_thread(store_of(record).events.read)
    trees = await RecordedTrees.of(record, entries)
    began = max((entry.number for entry in entries if entry.kind == "fork"), default=0)
    items = [
        Item(entry.started + timedelta(seconds=entry.duration), entry=entry, inherited=entry.number < began)
        for entry in entries
    ]
    items += [Item(event.at, happening=_happening(event)) for event in events if event.name not in _TOLD_BY_ENTRIES]
    return Timeline(sorted(items, key=lambda item: item.at, reverse=True), entries, trees)


def _happening(event: Event) -> Happening:
    name = event.event if isinstance(event, Unknown) else event.name
    return Happening(name, describe(name, event.data()), event.seq)


async def output_of(record: SessionRecord, entry: HistoryEntry) -> tuple[str, str]:
    """stdout and stderr, as much as the history keeps."""
    try:
        return (await (await recorded_chain(record)).outputs([entry]))[0]
    except VaultError:
        return "", ""
