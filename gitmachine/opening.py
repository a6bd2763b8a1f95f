"""How a session comes to be: a new one, one that goes on where it ended, one taken up on a live machine."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Awaitable, Callable

from gitmachine.config import SessionConfig
from gitmachine.errors import (
    BranchNotFound,
    ConfigurationError,
    GitError,
    MachineError,
    SessionNotFound,
    StateError,
)
from gitmachine.events import Event
from gitmachine.git.branch import Ownership, SessionBranch, both
from gitmachine.git.checkout import Checkout, Provision
from gitmachine.git.remote import redact
from gitmachine.git.vault import RemoteState, Vault
from gitmachine.machine import Machine
from gitmachine.observers import Observers
from gitmachine.session import Session
from gitmachine.sessions import Registry, SessionRecord, SessionStore
from gitmachine.types import MachineState

Deliver = Callable[[Event], Awaitable[None] | None]

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 8


async def open_new(machine: Machine, config: SessionConfig, deliver: Deliver) -> Session:
    """Machine up, repository in, branch checked out. When anything fails no machine is left running."""
    registry = Registry()
    store = await asyncio.to_thread(_store_for, registry, config)
    vault = await _vault_of(registry, config, store)
    async with store.lock.exclusive(config.lock_timeout):
        earlier = await _earlier(store)
        try:
            session = await _bring_up(machine, config, vault, store, deliver, earlier)
        except BaseException:
            await asyncio.shield(_take_down(machine, store, earlier))
            raise
    return session


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
    store = registry.store(known.id, _scrubber(config))
    vault = await _vault_of(registry, config, store)
    return _session(machine, config, vault, store, known, deliver)


async def reconnect(name: str, registry: Registry | None = None) -> tuple[Machine, SessionRecord]:
    """The live machine of a session that the registry knows by that name. Raises MachineNotFound when it is gone."""
    record = await asyncio.to_thread((registry or Registry()).find, name)
    if record.machine is None:
        raise SessionNotFound(f"session {record.session!r} is on no machine: start() it again")
    return await machine_of(record), record


async def machine_of(record: SessionRecord) -> Machine:
    """Connects to the machine that a record names."""
    module, _, name = record.provider.partition(":")
    provider = getattr(importlib.import_module(module), name)
    if not hasattr(provider, "connect"):
        raise MachineError(f"{name} has no connect(): its machines cannot be taken up by another program")
    machine: Machine = await provider.connect(record.machine)
    return machine


def _store_for(registry: Registry, config: SessionConfig) -> SessionStore:
    """The session's own directory if this host knows it, else a new one."""
    scrub = _scrubber(config)
    if config.named and config.remote is not None:
        for record in reversed(registry.records()):
            if record.session == config.session and record.repository == config.remote.url:
                return registry.store(record.id, scrub)
    return registry.create(config.session, scrub)


async def _vault_of(registry: Registry, config: SessionConfig, store: SessionStore) -> Vault:
    """The sessions of one remote share a vault; without a remote a session has its own."""
    return await Vault.open(registry.settings, config.remote, None if config.remote else store.id)


async def _earlier(store: SessionStore) -> SessionRecord | None:
    """The record of this session's last time, whose machine must have ended."""
    try:
        record = await asyncio.to_thread(store.load)
    except FileNotFoundError:
        return None
    if record.state in (MachineState.RUNNING, MachineState.PAUSED) and record.machine is not None:
        try:
            machine = await machine_of(record)
        except MachineError:
            return record
        state = machine.state
        await machine.aclose()
        if state in (MachineState.RUNNING, MachineState.PAUSED):
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
) -> Session:
    await machine.claim_spare(vault.path.name)
    # Neither needs the other, and both take their time.
    remote, _ = await both(_fetch(vault), machine.start())
    path = f"{await machine.home()}/repo"
    record = _record(machine, config, vault, store, path, earlier)
    session = _session(machine, config, vault, store, record, deliver)
    commit, base = await _where_to_begin(config, vault, session.branch, remote, earlier)
    objects = await machine.share_objects(vault.upstream_objects)
    goes_on = earlier is not None and commit == (await session.branch.refs()).get("tip")
    await session.branch.record_base(base, remote.heads.get(config.session), tip=commit)
    await _provision(session, remote, commit, objects)
    if goes_on:
        await session.branch.restore()
    session.record = record.model_copy(update={"base": base, "base_branch": config.base or remote.default_branch})
    await session.note(MachineState.RUNNING)
    await session.branch.capture()
    default = remote.heads.get(remote.default_branch or "")
    if objects is not None and default is not None:
        await session.branch.checkout.keep_spare(vault.path.name, default, objects)
    return session


async def _fetch(vault: Vault) -> RemoteState:
    return RemoteState({}, {}, None) if vault.remote is None else await vault.fetch()


async def _where_to_begin(
    config: SessionConfig,
    vault: Vault,
    branch: SessionBranch,
    remote: RemoteState,
    earlier: SessionRecord | None,
) -> tuple[str | None, str | None]:
    """The commit to check out, and the one that the session's changes are counted from. None in an empty repository."""
    base = _base_commit(config, remote)
    theirs = remote.heads.get(config.session)
    ours = (await branch.refs()).get("tip") if earlier else None
    if ours is not None:
        begun = (await branch.refs()).get("base")
        # What the vault has and the remote lacks is work that could not be pushed: it goes on from there.
        behind = theirs is not None and await vault.is_ancestor(ours, theirs)
        return (theirs if behind else ours), begun
    if theirs is not None:
        return theirs, theirs
    if base is None and config.base is not None:
        base = await vault.resolve(config.base)
        if base is None:
            known = ", ".join(sorted(remote.heads)) or "none"
            raise BranchNotFound(
                f"base {config.base!r} is no branch, tag or commit of {_address(vault)}; branches: {known}"
            )
    if base is None and remote.heads:
        known = ", ".join(sorted(remote.heads))
        raise BranchNotFound(f"{_address(vault)} names no default branch that exists; give base= one of: {known}")
    _refuse_clash(config.session, remote)
    return base, base


def _base_commit(config: SessionConfig, remote: RemoteState) -> str | None:
    if config.base is not None:
        return remote.heads.get(config.base) or remote.tags.get(config.base)
    return remote.heads.get(remote.default_branch or "")


def _refuse_clash(session: str, remote: RemoteState) -> None:
    """A branch `a` and a branch `a/b` cannot both exist (git-check-ref-format(1)); better said now than at the push."""
    for head in remote.heads:
        if session.startswith(f"{head}/") or head.startswith(f"{session}/"):
            raise ConfigurationError(
                f"session {session!r} cannot be pushed beside the remote's branch {head!r}: choose another name"
            )


async def _provision(session: Session, remote: RemoteState, commit: str | None, objects: str | None) -> None:
    branch, config = session.branch, session.config
    upstream = {f"refs/remotes/origin/{name}": sha for name, sha in remote.heads.items()}
    bundle = None
    if objects is None:
        # Only what is sent along can be named.
        default = remote.heads.get(remote.default_branch or "")
        wanted = [sha for sha in dict.fromkeys((commit, default, remote.heads.get(config.session))) if sha]
        upstream = {name: sha for name, sha in upstream.items() if sha in wanted}
        bundle = branch.vault.pack(wanted) if wanted else None
    else:
        upstream |= {f"refs/tags/{name}": sha for name, sha in remote.tags.items()}
        if commit is not None and commit not in remote.heads.values():
            bundle = branch.vault.pack([commit], without=list(remote.heads.values()))
    if commit is not None:
        upstream[f"refs/heads/{config.session}"] = commit
    await branch.checkout.provision(
        Provision(
            branch=config.session,
            commit=commit,
            refs=upstream,
            url=config.remote.url if config.remote else None,
            identity=config.identity,
            objects=objects,
            bundle=bundle,
        )
    )


async def _take_down(machine: Machine, store: SessionStore, earlier: SessionRecord | None) -> None:
    await machine.stop()
    if earlier is None:
        # Nothing has happened in a session that did not start: it leaves no trace.
        await asyncio.to_thread(store.discard)


async def _adopt(machine: Machine, config: SessionConfig, registry: Registry, deliver: Deliver) -> Session:
    """A machine that this host's registry does not know: the caller says what it is, its checkout must be there."""
    if not config.named:
        raise SessionNotFound(f"no session is known on machine {machine.id}: give session= and repository=")
    store = await asyncio.to_thread(registry.create, config.session, _scrubber(config))
    vault = await _vault_of(registry, config, store)
    record = _record(machine, config, vault, store, f"{await machine.home()}/repo", None)
    session = _session(machine, config, vault, store, record, deliver)
    remote = await _fetch(vault)
    base = remote.heads.get(config.session) or _base_commit(config, remote)
    await session.branch.record_base(base, remote.heads.get(config.session), tip=base)
    captured = await session.branch.capture()
    if captured.history.unreadable is not None:
        raise GitError(
            f"machine {machine.id} has no readable checkout at {record.repo_path}: {captured.history.unreadable}"
        )
    session.record = record.model_copy(update={"base": base})
    await session.note(machine.state)
    return session


def _record(
    machine: Machine,
    config: SessionConfig,
    vault: Vault,
    store: SessionStore,
    path: str,
    earlier: SessionRecord | None,
) -> SessionRecord:
    provider = type(machine)
    record = SessionRecord(
        id=store.id,
        session=config.session,
        repository=config.remote.url if config.remote else None,
        vault=vault.path.name,
        provider=f"{provider.__module__}:{provider.__qualname__}",
        machine=machine.id,
        state=MachineState.RUNNING,
        repo_path=path,
        auto_commit=config.auto_commit,
        checkpoint=config.checkpoint,
        identity_name=config.identity.name,
        identity_email=config.identity.email,
    )
    return record if earlier is None else record.model_copy(update={"created_at": earlier.created_at})


def _session(
    machine: Machine,
    config: SessionConfig,
    vault: Vault,
    store: SessionStore,
    record: SessionRecord,
    deliver: Deliver,
) -> Session:
    env_secrets = [v for n, v in config.env.items() if _SECRET_NAME.search(n) and len(v) >= _SHORTEST_SECRET]
    owner = Ownership(store.id, record.session, config.identity, config.guard, (*config.secrets, *env_secrets))
    branch = SessionBranch(vault, Checkout(machine, record.repo_path), owner)
    return Session(machine, config, store, record, branch, Observers(store.events, deliver))


def _scrubber(config: SessionConfig) -> Callable[[str], str]:
    secrets = config.secrets
    return lambda text: redact(text, secrets)


def _address(vault: Vault) -> str:
    return vault.remote.url if vault.remote else "the repository"
