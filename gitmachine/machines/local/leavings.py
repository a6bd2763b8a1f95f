"""What local machines and their spare homes have left on the disk, alive or dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gitmachine.locks import FileLock
from gitmachine.machines.local import proc, spares
from gitmachine.machines.local.layout import RECORD, remove_tree
from gitmachine.machines.local.record import MachineRecord
from gitmachine.machines.local.sandbox import HOME
from gitmachine.records import CorruptRecord
from gitmachine.settings import Settings

MAKING_S = 3600.0
"""A machine that has no record by then was never started: its maker died."""
CHECKOUT = f"{HOME}/repo"
"""Where a session's repository is in a local machine."""

_LOCK_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Left:
    """A machine's directory."""

    id: str
    path: Path
    state: Literal["alive", "dead", "half-made", "unreadable"]
    since: float
    """When it was made, in seconds since the epoch."""
    has_checkout: bool
    """There is something where sessions have their repository."""


def machines(settings: Settings) -> Iterator[Left]:
    """Every machine's directory. Blocks for file operations."""
    for path in sorted(settings.machines.glob("local-*")):
        try:
            since = path.stat().st_mtime
            has_checkout = (path / "home" / "repo").is_dir()
            record = MachineRecord.load(path / RECORD)
        except CorruptRecord:
            yield Left(path.name, path, "unreadable", since, has_checkout)
        except FileNotFoundError:
            if path.exists() and time.time() - since > MAKING_S:
                yield Left(path.name, path, "half-made", since, has_checkout)
        else:
            state: Literal["alive", "dead"] = "dead" if record.init.live() is None else "alive"
            yield Left(path.name, path, state, record.created, has_checkout)


def spare_homes(settings: Settings, older_than_s: float) -> Iterator[tuple[Path, str]]:
    """Spare homes to be removed, and why: what dead builders left, and those that nobody has claimed for long."""
    for path in sorted(settings.spares.glob("*/*/")):
        state = spares.state_of(path)
        if state == spares.DEAD:
            yield path, "its builder died"
        elif state == spares.READY and time.time() - path.stat().st_mtime > older_than_s:
            yield path, "nobody has claimed it"


async def remove_spare(path: Path) -> bool:
    """Removes a spare home, unless it has been claimed or its builder is at work. Raises MachineError, SessionBusy."""
    async with FileLock(path.parent / "lock", "the store of spare homes").exclusive(_LOCK_LIMIT_S):
        if not await asyncio.to_thread(path.is_dir) or spares.state_of(path) == spares.BUILDING:
            return False
        await remove_tree(path)
        return True


async def remove_half_made(left: Left) -> None:
    """Removes what a start that was killed left, a sandbox that had no record yet included. Raises MachineError."""
    for pid, start_time in await asyncio.to_thread(_inhabitants, left.id):
        await proc.kill(pid, start_time)
    await remove_tree(left.path)


def _inhabitants(machine_id: str) -> list[tuple[int, int]]:
    """Processes that have a machine's directory mounted, with their start times. Machines' ids are random."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := proc.stat_of(int(entry.name))) is not None:
            with suppress(OSError):
                if f"/{machine_id}/" in (entry / "mountinfo").read_text():
                    found.append((int(entry.name), stat[1]))
    return found
