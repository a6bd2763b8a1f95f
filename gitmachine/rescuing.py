"""The files of a machine that nobody drives any more, brought into the vault before the machine goes."""

from __future__ import annotations

from datetime import UTC, datetime

from gitmachine.git.checkout import Checkout
from gitmachine.git.names import session_ref
from gitmachine.git.text import EMPTY_TREE
from gitmachine.git.vault import Vault
from gitmachine.machine import Machine
from gitmachine.sessions import SessionRecord
from gitmachine.settings import Settings
from gitmachine.types import GitIdentity

UNCLAIMED = "unclaimed"
"""The vault for the files of machines that no session knows."""


async def keep_files(settings: Settings, record: SessionRecord, machine: Machine) -> str:
    """Makes what the machine has in its checkout the session's checkpoint, whose ref is the answer.

    When the session has moved to another machine the files get a ref of their own, and its checkpoint stays.
    The machine may be dead if its files can still be observed. The caller holds the session's lock.
    Raises: CaptureFailed, VaultError, MachineError.
    """
    vault = await Vault.open(settings, None, record.vault)
    current = record.machine == machine.id
    ref = session_ref(record.id, "files" if current else f"left/{machine.id}")
    checkpoint = session_ref(record.id, "files")
    refs = await vault.refs(session_ref(record.id, "x").removesuffix("x"))
    return await _keep(vault, Checkout(machine, record.repo_path), ref, refs.get(checkpoint), record.identity)


async def keep_unclaimed(settings: Settings, machine: Machine, path: str) -> str:
    """Keeps the files at `path` of a machine that no session knows, in a vault for such. Gives the ref."""
    vault = await Vault.open(settings, None, UNCLAIMED)
    ref = session_ref(machine.id or "unknown", "files")
    return await _keep(vault, Checkout(machine, path), ref, None, GitIdentity())


async def _keep(vault: Vault, checkout: Checkout, ref: str, before: str | None, identity: GitIdentity) -> str:
    have = await vault.tree_of(before) if before else None
    snapshot = await checkout.snapshot(have or EMPTY_TREE)
    if snapshot.pack is not None:
        await vault.receive(snapshot.pack, {}, tips=[snapshot.tree])
    if snapshot.tree != have:
        parents = [before] if before else []
        made = await vault.write_commit(snapshot.tree, parents, identity, "gitmachine checkpoint", datetime.now(UTC))
        await vault.update_refs({ref: made.sha})
    return ref
