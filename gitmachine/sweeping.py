"""What nobody holds any more at a provider elsewhere: the sandboxes that this host has made at E2B.

Like `collecting`, which sees to this host: a plan first, as data, then its execution, one finding after another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gitmachine.collecting import Act, Done, Finding
from gitmachine.errors import GitMachineError, MachineNotFound, SessionBusy
from gitmachine.leases import LEASE, last_held
from gitmachine.records import CorruptRecord
from gitmachine.rescuing import keep_work
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.settings import Settings
from gitmachine.types import MachineState

if TYPE_CHECKING:
    from gitmachine.machines.e2b.leavings import Left

START_LIMIT = timedelta(hours=1)
"""A start that takes longer was killed."""
_LOCK_WAIT_S = 0.2


async def examine(settings: Settings, older_than: timedelta | None = None) -> tuple[Finding, ...]:
    """The sandboxes of this host at E2B that nobody holds. Changes nothing; no lease is extended.

    `older_than` is in place of each kind's own time. Raises ConfigurationError, MachineUnavailable,
    MachineUnreachable.
    """
    from gitmachine.machines.e2b import E2BMachine

    found = [_finding(settings, left, older_than) for left in await E2BMachine.list()]
    return tuple(finding for finding in found if finding is not None)


async def collect(settings: Settings, plan: Iterable[Finding]) -> AsyncIterator[Done]:
    """Carries a plan out. What is in use by now, or cannot be made safe, is kept."""
    for finding in plan:
        try:
            yield Done(finding, finding.act is not Act.KEEP, await _carry_out(settings, finding))
        except MachineNotFound:
            yield Done(finding, True, "it has ended by itself")
        except SessionBusy:
            yield Done(finding, False, "it is in use")
        except (GitMachineError, OSError) as error:
            yield Done(finding, False, str(error))


def _finding(settings: Settings, left: Left, older_than: timedelta | None) -> Finding | None:
    path, age = Path("e2b") / left.id, datetime.now(UTC) - left.since
    if left.session_id is None:
        if age < (LEASE if older_than is None else older_than):
            return None
        # Whoever made it without a session may hold it without a sign. Only on demand.
        act = Act.KEEP if older_than is None else Act.REMOVE
        return Finding("sandbox", path, f"no session knows it, {age.days} days old", act)
    longest = START_LIMIT if older_than is None else older_than
    record = _record(settings, left.session_id)
    if record is None:
        started = f"the start of session {left.session_id} was killed"
        return Finding("sandbox", path, started, Act.REMOVE) if age > longest else None
    if record.machine != left.id:
        # Before the record there is a start, and a session that goes on has one each time.
        gone_on = f"session {record.session!r} has gone on elsewhere"
        return Finding("sandbox", path, gone_on, Act.REMOVE) if age > longest else None
    if record.state is MachineState.STOPPED:
        return Finding("sandbox", path, f"session {record.session!r} has ended without it", Act.REMOVE)
    since = last_held(settings.sessions / record.id)
    if datetime.now(UTC) - since < (LEASE if older_than is None else older_than):
        return None
    why = f"nobody has used session {record.session!r} since {since:%Y-%m-%d %H:%M} UTC"
    return Finding("sandbox", path, why, Act.STOP)


def _record(settings: Settings, session_id: str) -> SessionRecord | None:
    try:
        return Registry(settings).store(Path(session_id).name).load()
    except (FileNotFoundError, CorruptRecord):
        return None


async def _carry_out(settings: Settings, finding: Finding) -> str:
    from gitmachine.machines.e2b import E2BMachine

    if finding.act is Act.KEEP:
        return "a person should look at it"
    machine = await E2BMachine.seen(finding.name)
    registry = Registry(settings)
    known = registry.on_machine(finding.name)
    if known is None:
        await machine.stop()
        return ""
    store = registry.store(known.id)
    async with store.lock.exclusive(_LOCK_WAIT_S), store.capture_lock.exclusive(_LOCK_WAIT_S):
        kept = ""
        if finding.act is Act.STOP:
            if machine.state is MachineState.PAUSED:
                await machine.resume()
            kept = f"its files are in the vault {known.vault!r}: {await keep_work(settings, known, machine)}"
        await machine.stop()
        store.save(known.model_copy(update={"state": MachineState.STOPPED}))
    return kept
