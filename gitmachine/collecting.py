"""What nobody holds any more: found first, and removed only when the work in it is safe.

`examine` gives a plan as data and changes nothing; `collect` carries a plan out, looking at each thing once more with
its lock held. A vault loses nothing but the leavings of processes that were killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from gitmachine.errors import GitMachineError, MachineNotFound, SessionBusy
from gitmachine.leases import LEASE, last_held
from gitmachine.records import CorruptRecord, NewerRecord
from gitmachine.rescuing import UNCLAIMED, keep_unclaimed, keep_work
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.settings import Settings
from gitmachine.types import MachineState

SPARES_KEPT = timedelta(days=7)
OUTPUT_KEPT = timedelta(days=30)
"""For how long an ended session keeps the whole output of its commands; its history keeps what results held."""
LEAVINGS_KEPT_S = 3600.0
"""Longer than any git process of ours may take: what has not changed for so long belongs to one that was killed."""
_LOCK_WAIT_S = 0.2


class Act(StrEnum):
    """What is to be done about a finding."""

    REMOVE = "remove"
    RESCUE = "keep its work in the vault, then remove"
    STOP = "keep its work in the vault, then stop"
    SET_ASIDE = "set aside"
    NOTE = "note that it has ended"
    KEEP = "keep"
    """Nothing is done; a person should look at it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that nobody holds."""

    kind: str
    """machine, session, record, output, spare, leavings."""
    path: Path
    why: str
    act: Act
    frees_bytes: int = 0
    """What its removal gives back to the file system; files that something else shares do not count."""

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a finding."""

    finding: Finding
    done: bool
    said: str = ""
    """Where its work or itself is now; or why nothing was done."""


async def examine(settings: Settings, older_than: timedelta | None = None) -> tuple[Finding, ...]:
    """What there is to collect, and why. `older_than` is in place of each kind's own time. Changes nothing."""
    return await asyncio.to_thread(lambda: tuple(_examine(settings, older_than)))


async def collect(settings: Settings, plan: Iterable[Finding]) -> AsyncIterator[Done]:
    """Carries a plan out, one finding after another. What is in use by now, or cannot be made safe, is kept."""
    for finding in plan:
        try:
            yield Done(finding, finding.act is not Act.KEEP, await _carry_out(settings, finding))
        except MachineNotFound:
            yield Done(finding, True, "somebody else has removed it")
        except SessionBusy:
            yield Done(finding, False, "it is in use")
        except (GitMachineError, OSError) as error:
            yield Done(finding, False, str(error))


async def collect_obvious(settings: Settings, budget_s: float = 0.005) -> int:
    """Removes what can hold no work, as long as `budget_s` lasts; for the start of each session. How many it were."""
    return await asyncio.to_thread(_collect_obvious, settings, time.monotonic() + budget_s)


# --- finding ----------------------------------------------------------------------------------------------------


def _examine(settings: Settings, older_than: timedelta | None) -> Iterator[Finding]:
    registry = Registry(settings)
    records = registry.records()
    yield from _machines(settings, records, older_than)
    yield from _sessions(settings, records, older_than or OUTPUT_KEPT)
    yield from _unreadable(settings)
    yield from _spares(settings, older_than or SPARES_KEPT)
    yield from _leavings(settings)


def _machines(settings: Settings, records: list[SessionRecord], older_than: timedelta | None) -> Iterator[Finding]:
    from gitmachine.machines.local import leavings

    owners = {record.machine: record for record in records}
    for left in leavings.machines(settings):
        owner = owners.get(left.id)
        size = _size(left.path)
        match left.state:
            case "half-made":
                yield Finding("machine", left.path, "its start was killed", Act.REMOVE, size)
            case "unreadable":
                yield Finding("machine", left.path, "its record cannot be read", Act.KEEP, size)
            case "dead" if owner is not None or left.has_checkout:
                yield Finding("machine", left.path, f"it has ended without stop(){_of(owner)}", Act.RESCUE, size)
            case "dead":
                yield Finding("machine", left.path, "it has ended and there is no checkout in it", Act.REMOVE, size)
            case "alive" if owner is not None:
                since = last_held(settings.sessions / owner.id)
                if datetime.now(UTC) - since > (LEASE if older_than is None else older_than):
                    why = f"nobody has used session {owner.session!r} since {since:%Y-%m-%d %H:%M} UTC"
                    yield Finding("machine", left.path, why, Act.STOP, size)
            case "alive":
                age = timedelta(seconds=time.time() - left.since)
                if age > (LEASE if older_than is None else older_than):
                    # Whoever made it without a session may hold it without a sign. Only on demand.
                    act = Act.KEEP if older_than is None else Act.STOP
                    yield Finding("machine", left.path, f"no session knows it, {age.days} days old", act, size)


def _of(owner: SessionRecord | None) -> str:
    return f"; session {owner.session!r}" if owner else "; no session knows it"


def _sessions(settings: Settings, records: list[SessionRecord], output_kept: timedelta) -> Iterator[Finding]:
    for record in records:
        directory = settings.sessions / record.id
        if record.state is not MachineState.STOPPED:
            if _is_local(record) and not (settings.machines / str(record.machine)).exists():
                yield Finding("session", directory, f"machine {record.machine} of {record.session!r} is gone", Act.NOTE)
        elif (directory / "output").is_dir() and datetime.now(UTC) - record.updated_at > output_kept:
            output = directory / "output"
            why = f"{record.session!r} has ended on {record.updated_at:%Y-%m-%d}"
            yield Finding("output", output, why, Act.REMOVE, _size(output))


def _unreadable(settings: Settings) -> Iterator[Finding]:
    for directory in _directories(settings.sessions):
        record = directory / "record.json"
        try:
            SessionRecord.load(record)
        except FileNotFoundError:
            if _untouched(directory):
                yield Finding("session", directory, "its start was killed", Act.REMOVE, _size(directory))
        except NewerRecord as error:
            yield Finding("record", directory, str(error), Act.KEEP)
        except CorruptRecord as error:
            yield Finding("record", directory, str(error).splitlines()[0], Act.SET_ASIDE)


def _spares(settings: Settings, kept: timedelta) -> Iterator[Finding]:
    from gitmachine.machines.local import leavings

    for path, why in leavings.spare_homes(settings, kept.total_seconds()):
        yield Finding("spare", path, why, Act.REMOVE, _size(path))


def _leavings(settings: Settings) -> Iterator[Finding]:
    for store in settings.vaults.glob("*/*.git"):
        for pattern in (
            "objects/tmp_objdir-*", "objects/tmp_obj*", "objects/??/tmp_obj_*", "objects/pack/tmp_*",
            "objects/pack/.tmp-*", "gm-index-*", "*.lock", "refs/**/*.lock",
        ):  # fmt: skip
            for path in store.glob(pattern):
                if _untouched(path):
                    yield Finding("leavings", path, "the process that made it was killed", Act.REMOVE, _size(path))


def _is_local(record: SessionRecord) -> bool:
    return record.machine is not None and record.machine.startswith("local-")


def _untouched(path: Path) -> bool:
    """Neither it nor what is directly in it has changed for long."""
    try:
        times: list[float] = [entry.stat().st_mtime for entry in (path, *(path.iterdir() if path.is_dir() else ()))]
    except FileNotFoundError:
        return False
    return time.time() - max(times) > LEAVINGS_KEPT_S


def _directories(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _size(path: Path) -> int:
    """Bytes on disk of what nothing else links to. What may not be read does not count."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                found = os.lstat(os.path.join(directory, name))
                total += found.st_blocks * 512 if found.st_nlink == 1 else 0
    with suppress(OSError):
        found = path.lstat()
        total += found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0
    return total


# --- collecting -------------------------------------------------------------------------------------------------


async def _carry_out(settings: Settings, finding: Finding) -> str:
    match finding.act:
        case Act.KEEP:
            return "a person should look at it"
        case Act.SET_ASIDE:
            return f"now in {await asyncio.to_thread(_set_aside, settings, finding.path)}"
        case Act.NOTE:
            return await _note_ended(settings, finding.name)
        case Act.RESCUE | Act.STOP:
            return await _end_machine(settings, finding)
    if finding.kind == "spare":
        from gitmachine.machines.local import leavings

        return "" if await leavings.remove_spare(finding.path) else "it is in use again"
    if finding.kind == "machine":
        return await _remove_machine(settings, finding)
    if finding.kind == "session":
        async with Registry(settings).store(finding.name).lock.exclusive(_LOCK_WAIT_S):
            await asyncio.to_thread(_remove_unless_started, finding.path)
        return ""
    await asyncio.to_thread(_remove, finding.path)
    return ""


async def _end_machine(settings: Settings, finding: Finding) -> str:
    """Work into the vault, then the machine away, with the session's lock held."""
    from gitmachine.machines.local import LocalMachine, leavings

    registry = Registry(settings)
    machine = await LocalMachine.remains(finding.name, state_dir=settings.state_dir)
    known = registry.on_machine(finding.name)
    if known is None:
        kept = ""
        if await asyncio.to_thread((finding.path / "home" / "repo").is_dir):
            kept = await keep_unclaimed(settings, machine, leavings.CHECKOUT)
        await machine.stop()
        return f"its files are in the vault {UNCLAIMED!r}: {kept}" if kept else "it had no checkout"
    store = registry.store(known.id)
    async with store.lock.exclusive(_LOCK_WAIT_S), store.capture_lock.exclusive(_LOCK_WAIT_S):
        record = await asyncio.to_thread(store.load)
        if record.machine != finding.name:
            return "its session has gone on elsewhere; the next gc finds it alone"
        kept = await keep_work(settings, record, machine)
        await machine.stop()
        await asyncio.to_thread(store.save, record.model_copy(update={"state": MachineState.STOPPED}))
    return f"its files are in the vault {record.vault!r}: {kept}"


async def _remove_machine(settings: Settings, finding: Finding) -> str:
    """One without a checkout: half-made, or never a session's."""
    from gitmachine.machines.local import LocalMachine, leavings

    try:
        machine = await LocalMachine.remains(finding.name, state_dir=settings.state_dir)
    except MachineNotFound:
        for left in await asyncio.to_thread(lambda: list(leavings.machines(settings))):
            if left.id == finding.name and left.state == "half-made":
                await leavings.remove_half_made(left)
        return ""
    if machine.state is not MachineState.STOPPED:
        return "it is alive after all, and stays"
    await machine.stop()
    return ""


async def _note_ended(settings: Settings, session_id: str) -> str:
    store = Registry(settings).store(session_id)
    async with store.lock.exclusive(_LOCK_WAIT_S):
        record = await asyncio.to_thread(store.load)
        if record.state is MachineState.STOPPED or (settings.machines / str(record.machine)).exists():
            return "it goes on after all"
        await asyncio.to_thread(store.save, record.model_copy(update={"state": MachineState.STOPPED}))
    return f"`gitmachine resume {record.session}` goes on from its last checkpoint"


def _set_aside(settings: Settings, directory: Path) -> Path:
    target = settings.state_dir / "set-aside" / f"{directory.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    target.parent.mkdir(mode=0o700, exist_ok=True)
    directory.rename(target)
    return target


def _remove_unless_started(directory: Path) -> None:
    if not (directory / "record.json").exists():
        shutil.rmtree(directory)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _collect_obvious(settings: Settings, deadline: float) -> int:
    count = 0
    for store in settings.vaults.glob("*/*.git"):
        for pattern in ("objects/tmp_objdir-*", "gm-index-*"):
            for path in store.glob(pattern):
                if time.monotonic() > deadline:
                    return count
                if _untouched(path):
                    with suppress(OSError):
                        _remove(path)
                        count += 1
        if time.monotonic() > deadline:
            break
    return count
