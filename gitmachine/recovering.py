"""A session whose machine is gone goes on in a new one, from the last checkpoint, and says what it has not."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    "tags, reflogs, hooks and configuration that were made in the machine's repository, and a merge in progress",
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


def stashes_of(refs: Mapping[str, str]) -> list[str]:
    """The stashes among a session's refs, the oldest first."""
    numbers = sorted((int(name.removeprefix("stash/")) for name in refs if name.startswith("stash/")), reverse=True)
    return [refs[f"stash/{number}"] for number in numbers]


async def tell_recovery(session: Session, found: Salvage, captured: Captured, before: Mapping[str, str]) -> None:
    """Says what the new machine has not, and removes what was left of the old one if all of it is safe.

    `before` are the session's refs as the old machine left them.
    """
    assert captured.entry is not None
    lost = [*_ALWAYS_LOST, *await _not_as_it_was(session, captured), *await _other_commits(session, before)]
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


async def _other_commits(session: Session, before: Mapping[str, str]) -> list[str]:
    """What was checked out, if not the session branch, and stashes that git did not take back: these stay pinned."""
    lost = []
    head, tip = before.get("head"), before.get("tip")
    if head is not None and head != tip:
        lost.append(f"the checkout of {head[:12]}: the session branch is checked out")
    there = set((await session.branch.refs()).values())
    for sha in stashes_of(before):
        if sha not in there:
            ref = session.branch.ref(f"lost/{sha}")
            await session.branch.vault.update_refs({ref: sha})
            lost.append(f"the stash {sha[:12]}; the vault has it as {ref}")
    return lost


async def _not_as_it_was(session: Session, captured: Captured) -> list[str]:
    """The files that the recovered working tree does not have as the last checkpoint had them."""
    entry = captured.entry
    if entry is None or entry.tree_before is None or entry.tree_before == captured.tree:
        return []
    changes = await session.branch.vault.changes(entry.tree_before, captured.tree)
    return [os.fsencode(change.path).decode("utf-8", "backslashreplace") for change in changes[:_NAMED]]


def recovery_draft(found: Salvage) -> Draft:
    return Draft("recover", f"recover from {found.record.machine or 'a lost machine'}")
