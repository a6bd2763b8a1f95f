"""What there is to show, read from files; a machine is asked only when there is a reason to."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from gitmachine.errors import CheckpointNotFound, VaultError
from gitmachine.events import Event
from gitmachine.git.chain import HistoryEntry
from gitmachine.live_output import Followed
from gitmachine.overview import Seen, Sessions, signature, store_of
from gitmachine.past import RecordedTrees, recorded_chain
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.types import MachineState

_ASK_AGAIN_S = 5.0
"""A machine that ended by itself changes no file, so it is asked this often in any case."""
_EVENTS = 200
_ENTRIES = 200


@dataclass(frozen=True, slots=True)
class _Known:
    files: tuple[object, ...]
    asked: float
    seen: Seen

    @property
    def good_for_s(self) -> float:
        return math.inf if self.seen.state == MachineState.STOPPED else _ASK_AGAIN_S


class Looker:
    """All sessions, those that have ended last."""

    def __init__(self) -> None:
        self._sessions = Sessions()
        self._known: dict[str, _Known] = {}

    async def look(self) -> list[Seen]:
        """As they are now. The live ones come first, each kind with the newest first."""
        found = await asyncio.to_thread(_records)
        seen = await asyncio.gather(*(self._see(record, files) for record, files in found))
        self._known = {one.record.id: self._known[one.record.id] for one in seen}
        return sorted(seen, key=lambda one: (one.state == MachineState.STOPPED, -one.record.created_at.timestamp()))

    async def _see(self, record: SessionRecord, files: tuple[object, ...]) -> Seen:
        known, now = self._known.get(record.id), time.monotonic()
        if known is not None and known.files == files and now - known.asked < known.good_for_s:
            return known.seen
        seen = await self._sessions.see(record)
        # What began or ended while we looked may be seen or not: then what we saw is good for this once.
        same = await asyncio.to_thread(signature, store_of(record).directory) == files
        self._known[record.id] = _Known(files if same else (), now, seen)
        return seen


def _records() -> list[tuple[SessionRecord, tuple[object, ...]]]:
    return [(record, signature(store_of(record).directory)) for record in Registry().records()]


@dataclass(frozen=True, slots=True)
class Past:
    """What a session has done: its newest entries and events, oldest first."""

    entries: list[HistoryEntry]
    events: list[Event]
    problem: str = ""
    """Why the history could not be read."""


async def past_of(record: SessionRecord) -> Past:
    """Needs no machine."""
    events = await asyncio.to_thread(_newest_events, record)
    try:
        return Past(await (await recorded_chain(record)).entries(_ENTRIES), events)
    except VaultError as error:
        return Past([], events, str(error))


def _newest_events(record: SessionRecord) -> list[Event]:
    log = store_of(record).events
    return log.read(max(0, log.count() - _EVENTS))


async def output_of(record: SessionRecord, entry: HistoryEntry) -> tuple[str, str]:
    """stdout and stderr, as much as the history keeps."""
    return (await (await recorded_chain(record)).outputs([entry]))[0]


async def patch_of(record: SessionRecord, number: int | None) -> str:
    """What entry `number` changed, or with None all that the session has. Raises CheckpointNotFound, VaultError."""
    entries = await (await recorded_chain(record)).entries()
    trees = await RecordedTrees.of(record, entries)
    numbers = [entry.number for entry in entries]
    if not numbers:
        raise CheckpointNotFound(f"session {record.session!r} has no checkpoint yet")
    if number is None:
        began = max((entry.number for entry in entries if entry.kind == "fork"), default=numbers[0])
        return await trees.patch(began, numbers[-1])
    return "" if number == numbers[0] else await trees.patch(numbers[numbers.index(number) - 1], number)


class LiveOutputs:
    """What the running commands of one session write. Blocks for file operations."""

    def __init__(self, record: SessionRecord) -> None:
        self._store = store_of(record)
        self._followed: dict[str, Followed] = {}

    def news(self, call: str) -> Iterator[str]:
        """What a command has written since the last time, from its beginning."""
        if call not in self._followed:
            with suppress(FileNotFoundError):
                self._followed[call] = Followed(self._store.live_path(call))
        return self._followed[call].news() if call in self._followed else iter(())

    def close(self) -> None:
        for followed in self._followed.values():
            followed.close()
        self._followed.clear()
