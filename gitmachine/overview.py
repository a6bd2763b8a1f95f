"""The sessions of this host as they are at this moment, for the doors that show them to people."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gitmachine.event_log import EventLog
from gitmachine.events import Checkpointed, CommandFinished, CommandStarted, Event, Forked
from gitmachine.live_output import running
from gitmachine.sessions import Registry, SessionRecord, SessionStore
from gitmachine.types import MachineState
from gitmachine.whereabouts import LIVE, Found, look

_AT_ONCE = 8
_REMEMBERED = 1000
QUIET = frozenset({"checkpointed", "reconnected", "stopping"})
"""Events that say nothing to a person that the ones beside them do not."""


@dataclass(slots=True)
class Tally:
    """What a session's events come to. Reads only what is new."""

    seen: int = 0
    commands: int = 0
    failed: int = 0
    checkpoints: int = 0
    last: datetime | None = None
    last_event: Event | None = None
    """The newest that is worth a line of its own."""
    last_command: str = ""
    last_exit: int | None = None
    started: dict[str, CommandStarted] = field(default_factory=dict)
    """Commands that were begun and have not ended, by their id."""
    forks: list[str] = field(default_factory=list)

    def bring_up_to_date(self, log: EventLog) -> None:
        for event in log.read(self.seen):
            self.seen, self.last = event.seq, event.at
            if event.name not in QUIET:
                self.last_event = event
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Checkpointed):
            self.checkpoints += 1
        elif isinstance(event, CommandStarted):
            self.started[event.id] = event
            self.last_command, self.last_exit = event.command, None
        elif isinstance(event, CommandFinished):
            self.started.pop(event.id, None)
            self.commands += 1
            self.failed += event.exit_code != 0
            self.last_exit = event.exit_code
        elif isinstance(event, Forked):
            self.forks += event.sessions


@dataclass(frozen=True, slots=True)
class Running:
    """A command that runs at this moment."""

    call: str
    command: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A session at one moment."""

    record: SessionRecord
    state: str
    tally: Tally
    running: tuple[Running, ...]

    @property
    def live(self) -> bool:
        return self.state in LIVE

    @property
    def provider(self) -> str:
        return self.record.provider.rpartition(":")[2].removesuffix("Machine") or self.record.provider

    @property
    def repository(self) -> str:
        """Its last part; the whole stands beside it."""
        return (self.record.repository or "no repository").rstrip("/").rpartition("/")[2].removesuffix(".git")


class Sessions:
    """Reads the registry, the logs and the machines; remembers what it has counted."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[str, Tally] = OrderedDict()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def all(self) -> list[Seen]:
        """The newest first."""
        records = await asyncio.to_thread(Registry().records)
        return list(await asyncio.gather(*(self.see(record) for record in reversed(records))))

    async def see(self, record: SessionRecord) -> Seen:
        async with self._turns:
            found = await look(record)
            return await asyncio.to_thread(self._see, found)

    def _see(self, found: Found) -> Seen:
        record, store = found.record, Registry().store(found.record.id)
        tally = self._tallies.setdefault(record.id, Tally())
        tally.bring_up_to_date(store.events)
        self._tallies.move_to_end(record.id)
        while len(self._tallies) > _REMEMBERED:
            self._tallies.popitem(last=False)
        calls = running(store.live_path("").parent) if found.state == MachineState.RUNNING else []
        return Seen(record, found.state, tally, tuple(_running(tally, call) for call in calls))


def _running(tally: Tally, call: str) -> Running:
    begun = tally.started.get(call)
    return Running(call, begun.command if begun else "", begun.at if begun else None)


def family(one: Seen, everyone: list[Seen]) -> list[Seen]:
    """The sessions of the same repository that have a fork in common with `one`, itself included, oldest first."""
    peers = [seen for seen in everyone if seen.record.repository == one.record.repository]
    names, size = {one.record.session}, 0
    while len(names) > size:
        size = len(names)
        for seen in peers:
            if seen.record.session in names or names.intersection(seen.tally.forks):
                names |= {seen.record.session, *seen.tally.forks}
    newest = {seen.record.session: seen for seen in sorted(peers, key=lambda s: s.record.created_at)}
    return [seen for name, seen in newest.items() if name in names]


def signature(directory: Path) -> tuple[object, ...]:
    """Differs when a session's directory has something new. Blocks; a machine that ended by itself changes nothing."""
    sizes = [_size_and_time(directory / name) for name in ("events.jsonl", "record.json")]
    return (directory.name, *sizes, *running(directory / "live"))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def store_of(record: SessionRecord) -> SessionStore:
    return Registry().store(record.id)
