"""A session whose machine is gone goes on in a new one, from the last checkpoint, and says what it has not."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gitmachine import events as ev
from gitmachine.assembling import Deliver, provider_of, session_of
from gitmachine.config import SessionConfig
from gitmachine.errors import GitError, MachineError
from gitmachine.git.capturing import Captured
from gitmachine.git.chain import Draft
from gitmachine.git.vault import Vault
from gitmachine.machine import Machine
from gitmachine.rewinding import standing
from gitmachine.session import Session
from gitmachine.sessions import SessionRecord, SessionStore
from gitmachine.types import MachineState

_ALWAYS_LOST = (
    "processes that ran in the machine",
    "files outside the checkout",
    "ignored files in the checkout",
    "what was staged: the index is that of the session branch",
)
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was found of a machine that is gone."""

    record: SessionRecord
    remains: Machine | None = None
    captured: bool = False
    """All its files are in the vault."""
    trouble: str = ""


def was_lost(record: SessionRecord | None) -> bool:
    """The session did not end by `stop()`. Its machine must be known to be gone."""
    return record is not None and record.state in (MachineState.RUNNING, MachineState.PAUSED)


async def salvage(
    record: SessionRecord, config: SessionConfig, vault: Vault, store: SessionStore, deliver: Deliver
) -> Salvage:
    """Brings what a dead machine left on this host into the vault, so that not even the last command is lost."""
    find = getattr(provider_of(record), "remains", None)
    if find is None or record.machine is None:
        return Salvage(record)
    try:
        remains: Machine = await find(record.machine)
    except MachineError:
        return Salvage(record)
    session = session_of(remains, config, vault, store, record, deliver)
    try:
        if "base" not in await session.branch.refs() and record.base is not None:
            return Salvage(record, remains, False, "the vault does not know this session")
        captured = await session.branch.capture(files_only=True)
        await standing(session, captured)
    except (GitError, MachineError, OSError) as error:
        return Salvage(record, remains, False, str(error))
    return Salvage(record, remains, True)


async def tell_recovery(session: Session, found: Salvage, captured: Captured) -> None:
    """Says what the new machine has not, and removes what was left of the old one if all of it is safe."""
    refs = await session.branch.refs()
    assert captured.entry is not None
    lost = [*_ALWAYS_LOST, *await _not_as_it_was(session, captured)]
    if stashes := [name for name in refs if name.startswith("stash/")]:
        lost.append(f"{len(stashes)} stashes; the vault has them as {session.branch.ref('stash/…')}")
    if not found.captured:
        reason = f" ({found.trouble.splitlines()[0]})" if found.trouble else ""
        lost.append(f"what was written after checkpoint {captured.entry.number - 1}{reason}")
    elif found.remains is not None:
        try:
            await found.remains.stop()
        except MachineError as error:
            lost.append(f"nothing of the old machine, but its files could not be removed: {error}")
    await session.tell(
        ev.Recovered(
            checkpoint=captured.checkpoint,
            number=captured.entry.number,
            not_restored=lost,
            machine=found.record.machine,
            captured=found.captured,
        )
    )
    async with session.capturing():
        await session.settle()


async def _not_as_it_was(session: Session, captured: Captured) -> list[str]:
    """The files that the recovered working tree does not have as the last checkpoint had them."""
    entry = captured.entry
    if entry is None or entry.tree_before is None or entry.tree_before == captured.tree:
        return []
    changes = await session.branch.vault.changes(entry.tree_before, captured.tree)
    return [os.fsencode(change.path).decode("utf-8", "backslashreplace") for change in changes[:_NAMED]]


def recovery_draft(found: Salvage) -> Draft:
    return Draft("recover", f"recover from {found.record.machine or 'a lost machine'}")
