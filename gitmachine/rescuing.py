"""The work of a machine that nobody drives any more, brought into the vault before the machine goes."""

from __future__ import annotations

from datetime import UTC, datetime

from gitmachine.assembling import session_of
from gitmachine.config import SessionConfig
from gitmachine.events import Event
from gitmachine.git.chain import Draft
from gitmachine.git.checkout import Checkout
from gitmachine.git.guard import Guard
from gitmachine.git.names import session_ref
from gitmachine.git.text import EMPTY_TREE
from gitmachine.git.vault import Vault
from gitmachine.machine import Machine
from gitmachine.sessions import Registry, SessionRecord
from gitmachine.settings import Settings
from gitmachine.types import GitIdentity, MachineState

UNCLAIMED = "unclaimed"
"""The vault for the files of machines that no session knows."""

_LOCK_WAIT_S = 1.0


async def keep_work(settings: Settings, record: SessionRecord, machine: Machine) -> str:
    """Makes what the machine has in its checkout the session's checkpoint, whose ref is the answer.

    Of a running machine with its history; of a paused or dead one the files, since its history was brought out by the
    pause or the last command. The caller holds the session's locks. Raises: CaptureFailed, VaultError, MachineError.
    """
    vault = await Vault.open(settings, None, record.vault)
    store = Registry(settings).store(record.id)
    session = session_of(machine, _config(record), vault, store, record, _nobody)
    running = machine.state is MachineState.RUNNING
    await session.branch.capture(Draft("outside", "gitmachine gc"), files_only=not running)
    return session.branch.ref("files")


async def keep_unclaimed(settings: Settings, machine: Machine, path: str) -> str:
    """Keeps the files at `path` of a machine that no session knows, in a vault for such. Gives the ref."""
    vault = await Vault.open(settings, None, UNCLAIMED)
    ref = session_ref(machine.id or "unknown", "files")
    snapshot = await Checkout(machine, path).snapshot(EMPTY_TREE)
    if snapshot.pack is not None:
        await vault.receive(snapshot.pack, {}, tips=[snapshot.tree])
    made = await vault.write_commit(snapshot.tree, [], GitIdentity(), f"Files of {machine.id}", datetime.now(UTC))
    await vault.update_refs({ref: made.sha})
    return ref


def _config(record: SessionRecord) -> SessionConfig:
    return SessionConfig.checked(
        repository=None,
        token=None,
        session=record.session,
        checkpoint="command",
        base=None,
        env={},
        timeout=None,
        auto_commit=record.auto_commit,
        identity=record.identity,
        guard=Guard(),
        lock_timeout=_LOCK_WAIT_S,
    )


def _nobody(event: Event) -> None:
    """There is no program to tell; the session's log has it."""
    del event
