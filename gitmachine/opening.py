"""How a session comes to be: a new one, one that goes on where it ended, a fork, one taken up on a live machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from gitmachine.assembling import Deliver, provider_of, provision, record_of, scrubber, session_of, vault_of
from gitmachine.beginning import base_commit, refuse_clash, where_to_begin
from gitmachine.config import SessionConfig
from gitmachine.errors import (
    ConfigurationError,
    GitError,
    MachineError,
    MachineNotFound,
    RemoteUnreachable,
    SessionNotFound,
    StateError,
)
from gitmachine.git.chain import Draft, HistoryEntry
from gitmachine.git.vault import RemoteState, Vault
from gitmachine.machine import Machine
from gitmachine.machines.command import to_its_end
from gitmachine.project.applying import adapt, grant_for
from gitmachine.project.consent import Grant
from gitmachine.recovering import Salvage, recovery_draft, salvage, stashes_of, tell_recovery, was_lost
from gitmachine.session import Session
from gitmachine.sessions import Registry, SessionRecord, SessionStore
from gitmachine.together import both
from gitmachine.types import MachineState

_LIVE = (MachineState.RUNNING, MachineState.PAUSED)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a fork begins."""

    entry: HistoryEntry
    """Of the parent's history; the fork's history goes on from it."""
    parent: SessionRecord
    base: str | None
    shared: Path | None = None
    """An object directory that has, beside the remote's objects, all that the entry needs."""


async def open_new(
    machine: Machine, config: SessionConfig, deliver: Deliver, known: SessionRecord | None = None
) -> Session:
    """Machine up, repository in, branch checked out. When anything fails no machine is left running.

    A session that this host knows, by its name or as `known`, goes on from its last checkpoint.
    """
    registry = Registry()
    store = await asyncio.to_thread(_store_for, registry, config, known)
    async with store.lock.exclusive(config.lock_timeout):
        earlier = await _earlier(store)
        vault = await vault_of(registry, config, store, earlier.vault if earlier else None)
        found = None
        if earlier is not None and was_lost(earlier):
            found = await salvage(earlier, config, vault, store, deliver)
        try:
            session = await _bring_up(machine, config, vault, store, deliver, earlier, found)
        except BaseException:  # a cancellation, too, must leave no machine running
            await asyncio.shield(_take_down(machine, store, earlier))
            raise
    await _tidy(registry)
    return session


async def open_fork(machine: Machine, config: SessionConfig, deliver: Deliver, vault: Vault, origin: Origin) -> Session:
    """A new session with the working tree of a checkpoint of another one. Raises as `open_new`. Asks no remote."""
    registry = Registry()
    remote = await vault.last_known(origin.parent.base_branch)
    if config.session in remote.heads:
        raise ConfigurationError(f"the remote has a branch {config.session!r} already: choose another name")
    refuse_clash(config.session, remote)
    store = registry.named(config.session, scrubber(config))
    try:
        await to_its_end(asyncio.to_thread(store.make))
        async with store.lock.exclusive(config.lock_timeout):
            return await _bring_up_fork(machine, config, vault, store, deliver, origin, remote)
    except BaseException:  # a cancellation, too, must leave no machine running
        await asyncio.shield(_take_down(machine, store, None))
        await asyncio.shield(_forget(vault, store))
        raise


async def open_connected(
    machine: Machine, config: SessionConfig, known: SessionRecord | None, deliver: Deliver
) -> Session:
    """The session that is on a live machine. Raises SessionNotFound, ConfigurationError, GitError."""
    registry = Registry()
    if known is None:
        return await _adopt(machine, config, registry, deliver)
    if config.session != known.session:
        raise ConfigurationError(f"machine {machine.id} has session {known.session!r}, not {config.session!r}")
    if known.repository != (config.remote.url if config.remote else None):
        raise ConfigurationError(f"machine {machine.id} has the repository {known.repository}")
    store = registry.store(known.id, scrubber(config))
    vault = await vault_of(registry, config, store, known.vault)
    return session_of(machine, config, vault, store, known, deliver)


async def reconnect(name: str, registry: Registry | None = None) -> tuple[Machine, SessionRecord]:
    """The live machine of a session that the registry knows by that name. Raises MachineNotFound when it is gone."""
    record = await asyncio.to_thread((registry or Registry()).find, name)
    if record.machine is None:
        raise SessionNotFound(f"session {record.session!r} is on no machine: start() it again")
    try:
        return await machine_of(record), record
    except MachineNotFound as error:
        raise MachineNotFound(
            f"session {record.session!r} is on no machine any more, its work is in the vault: go on in a new one with "
            f"`gitmachine resume {record.session}`, in a program with GitMachine.reopen(name, machine=…)"
        ) from error


async def machine_of(record: SessionRecord, *, only_look: bool = False) -> Machine:
    """Connects to the machine that a record names; to `only_look`, without any effect on how long it lives."""
    provider = provider_of(record)
    if only_look and hasattr(provider, "seen"):
        seen: Machine = await provider.seen(record.machine)
        return seen
    if not hasattr(provider, "connect"):
        raise MachineError(f"{provider.__name__} has no connect(): its machines cannot be taken up by another program")
    machine: Machine = await provider.connect(record.machine)
    return machine


async def _tidy(registry: Registry) -> None:
    """What killed programs have left and holds no work: every start removes a few milliseconds' worth of it."""
    from gitmachine.collecting import collect_obvious  # it can open sessions itself, to save their work

    await collect_obvious(registry.settings)


def _store_for(registry: Registry, config: SessionConfig, known: SessionRecord | None) -> SessionStore:
    """The session's own directory if this host knows it, else a new one."""
    scrub = scrubber(config)
    if known is not None:
        return registry.store(known.id, scrub)
    if config.named and config.remote is not None:
        for record in reversed(registry.called(config.session)):
            if record.session == config.session and record.repository == config.remote.url:
                return registry.store(record.id, scrub)
    return registry.create(config.session, scrub)


async def _earlier(store: SessionStore) -> SessionRecord | None:
    """The record of this session's last time, whose machine must have ended."""
    try:
        record = await asyncio.to_thread(store.load)
    except FileNotFoundError:
        return None
    if record.state in _LIVE and record.machine is not None:
        try:
            machine = await machine_of(record, only_look=True)
        except MachineError as error:
            if error.retryable:  # it may well be there
                raise
            return record
        state = machine.state
        await machine.aclose()
        if state in _LIVE:
            raise StateError(
                f"session {record.session!r} is {state} on machine {record.machine}: take it up with "
                f"GitMachine.connect(), or `gitmachine resume {record.session}`"
            )
    return record


async def _bring_up(
    machine: Machine,
    config: SessionConfig,
    vault: Vault,
    store: SessionStore,
    deliver: Deliver,
    earlier: SessionRecord | None,
    found: Salvage | None,
) -> Session:
    machine.label(session=config.session, id=store.id)
    await machine.claim_spare(vault.path.name)
    await machine.observer(".")  # which comes up with the machine when it is asked for before
    remote, offline, grant = await _start(machine, config, vault, earlier)
    if grant is not None:
        config = config.with_env(grant.wishes.env)  # so that they count among the session's secrets
    path = f"{await machine.home()}/repo"
    record = record_of(machine, config, vault, store, path, earlier)
    session = session_of(machine, config, vault, store, record, deliver)
    session.offline, session.goes_on = offline, earlier is not None
    session.grant = grant
    commit, base = await where_to_begin(config, vault, session.branch, remote, earlier)
    objects = await machine.share_objects(vault.upstream_objects)
    before = await session.branch.refs() if earlier else {}
    goes_on = earlier is not None and commit == before.get("tip")
    await _check_out(session, remote, base, commit, objects, before)
    if goes_on:
        await session.branch.restore_files()
    session.record = record.model_copy(update={"base": base, "base_branch": config.base or remote.default_branch})
    await session.note(MachineState.RUNNING)
    beginning = _first_entry(session, commit, goes_on, found, before)
    default = remote.heads.get(remote.default_branch or "")
    if objects is not None and default is not None:
        await both(beginning, session.branch.checkout.keep_spare(vault.path.name, default, objects))
    else:
        await beginning
    return session


async def _check_out(
    session: Session,
    remote: RemoteState,
    base: str | None,
    commit: str | None,
    objects: str | None,
    before: dict[str, str],
) -> None:
    """The repository in the machine, and in the vault what the session's changes count from. `before`: refs it had."""
    branches = {f"refs/{name}": sha for name, sha in before.items() if name.startswith("heads/")}
    stashes = stashes_of(before)
    recording = session.branch.record_base(base, remote.heads.get(session.config.session), tip=commit)
    if session.machine.capabilities.compound:  # what the vault has is part of what it is asked then
        await recording
        await provision(session, remote, commit, objects, branches=branches, also=stashes)
    else:
        await both(recording, provision(session, remote, commit, objects, branches=branches, also=stashes))
    await session.branch.checkout.store_stashes(stashes)


async def _first_entry(
    session: Session, commit: str | None, goes_on: bool, found: Salvage | None, before: dict[str, str]
) -> None:
    if found is not None:
        await tell_recovery(session, found, await session.branch.capture(recovery_draft(found)), before)
    elif goes_on or not session.branch.checkout.is_prepared:
        await session.branch.capture(Draft("start", "start"))
    else:
        await session.branch.begin(commit, Draft("start", "start"))


async def _start(
    machine: Machine, config: SessionConfig, vault: Vault, earlier: SessionRecord | None
) -> tuple[RemoteState, bool, Grant | None]:
    """The repository fetched, the machine up, and in it what the repository's own file was granted."""
    if machine.adapts_before_start:
        remote, offline = await _fetch(vault, earlier)
        grant = await adapt(machine, await grant_for(config, vault, remote))
        await machine.start()
        return remote, offline, grant

    async def known() -> tuple[RemoteState, bool, Grant | None]:
        remote, offline = await _fetch(vault, earlier)
        return remote, offline, await grant_for(config, vault, remote)

    # Neither needs the other, and both take their time.
    (remote, offline, grant), _ = await both(known(), machine.start())
    return remote, offline, await adapt(machine, grant)


async def _bring_up_fork(
    machine: Machine,
    config: SessionConfig,
    vault: Vault,
    store: SessionStore,
    deliver: Deliver,
    origin: Origin,
    remote: RemoteState,
) -> Session:
    entry = origin.entry
    machine.label(session=config.session, id=store.id)
    await machine.claim_spare(vault.path.name)
    await machine.observer(".")  # which comes up with the machine when it is asked for before
    shared = await machine.share_objects(origin.shared) if origin.shared else None
    await machine.start()
    objects = await machine.share_objects(vault.upstream_objects)
    record = record_of(machine, config, vault, store, f"{await machine.home()}/repo", None)
    session = session_of(machine, config, vault, store, record, deliver)
    refs = {"base": origin.base, "tip": entry.tip, "files": entry.checkpoint, "history": entry.sha}
    refs |= {"head": entry.tip, f"heads/{config.session}": entry.tip}
    await vault.update_refs({session.branch.ref(name): sha for name, sha in refs.items() if sha})
    complete = shared is not None and objects is not None
    await provision(session, remote, entry.tip, objects, complete=complete)
    await session.branch.restore_files(objects=objects if complete else None)
    session.record = record.model_copy(update={"base": origin.base, "base_branch": origin.parent.base_branch})
    await session.note(MachineState.RUNNING)
    told = f"fork of {origin.parent.session} at {entry.number}"
    draft = Draft("fork", told, target=entry.number)
    if entry.tip and session.branch.checkout.is_prepared and entry.tree == await vault.tree_of(entry.tip):
        await session.branch.begin(entry.tip, draft)  # what git has just checked out is all there is
        return session
    captured = await session.branch.capture(draft)
    if captured.tree != entry.tree:
        changes = await vault.changes(entry.tree, captured.tree)
        raise GitError(f"{told}: {len(changes)} files are not as checkpoint {entry.number} has them")
    return session


async def _fetch(vault: Vault, earlier: SessionRecord | None) -> tuple[RemoteState, bool]:
    """What the remote has, and whether that is only what it had when it was last reached."""
    if vault.remote is None:
        return RemoteState({}, {}, None), False
    try:
        return await vault.fetch(), False
    except RemoteUnreachable:
        if earlier is None:
            raise
        return await vault.last_known(earlier.base_branch), True


async def _take_down(machine: Machine, store: SessionStore, earlier: SessionRecord | None) -> None:
    await machine.stop()
    if earlier is None:
        # Nothing has happened in a session that did not start: it leaves no trace.
        await asyncio.to_thread(store.discard)


async def abandon(session: Session) -> None:
    """Ends a session as if it had never been: nothing of it is kept."""
    await _take_down(session.machine, session.store, None)
    await _forget(session.branch.vault, session.store)


async def _forget(vault: Vault, store: SessionStore) -> None:
    refs = await vault.refs(f"refs/gitmachine/sessions/{store.id}/")
    await vault.update_refs(dict.fromkeys(refs))


async def _adopt(machine: Machine, config: SessionConfig, registry: Registry, deliver: Deliver) -> Session:
    """A machine that this host's registry does not know: the caller says what it is, its checkout must be there."""
    if not config.named:
        raise SessionNotFound(f"no session is known on machine {machine.id}: give session= and repository=")
    store = await asyncio.to_thread(registry.create, config.session, scrubber(config))
    vault = await vault_of(registry, config, store, None)
    record = record_of(machine, config, vault, store, f"{await machine.home()}/repo", None)
    session = session_of(machine, config, vault, store, record, deliver)
    remote, _ = await _fetch(vault, None)
    base = remote.heads.get(config.session) or base_commit(config, remote)
    await session.branch.record_base(base, remote.heads.get(config.session), tip=base)
    captured = await session.branch.capture(Draft("start", "start"))
    if captured.history.unreadable is not None:
        raise GitError(
            f"machine {machine.id} has no readable checkout at {record.repo_path}: {captured.history.unreadable}"
        )
    session.record = record.model_copy(update={"base": base})
    await session.note(machine.state)
    return session
