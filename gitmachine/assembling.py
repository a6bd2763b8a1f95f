"""A session's parts put together: its record, its vault, its branch, its checkout in a machine."""

from __future__ import annotations

import importlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from gitmachine.config import SessionConfig
from gitmachine.events import Event
from gitmachine.git.branch import SessionBranch
from gitmachine.git.capturing import Ownership
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


async def vault_of(registry: Registry, config: SessionConfig, store: SessionStore, name: str | None) -> Vault:
    """The sessions of one remote share a vault; without a remote a session has its own, and its forks use that."""
    return await Vault.open(registry.settings, config.remote, name or (None if config.remote else store.id))


def provider_of(record: SessionRecord) -> type[Machine]:
    """The class of the machine that a record names."""
    module, _, name = record.provider.partition(":")
    provider: type[Machine] = getattr(importlib.import_module(module), name)
    return provider


def record_of(
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


def session_of(
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
    return Session(machine, config, store, record, branch, Observers(store.events, deliver), owner.secrets)


def scrubber(config: SessionConfig) -> Callable[[str], str]:
    """Takes the token out of texts."""
    secrets = config.secrets
    return lambda text: redact(text, secrets)


async def provision(
    session: Session,
    remote: RemoteState,
    commit: str | None,
    objects: str | None,
    *,
    branches: Mapping[str, str] | None = None,
    also: Sequence[str] = (),
    complete: bool = False,
) -> None:
    """Makes the checkout. `branches` are the session's own beside its session branch, by full name; `also` are commits
    that are to be there without a name.

    `objects` is where the machine reads the remote's objects, if it can; with `complete` it finds all others there.
    """
    vault, config = session.branch.vault, session.config
    own = dict(branches or {})
    upstream = {f"refs/remotes/origin/{name}": sha for name, sha in remote.heads.items()}
    bundle = None
    if objects is None:
        # Only what is sent along can be named.
        default = remote.heads.get(remote.default_branch or "")
        tips = (commit, default, remote.heads.get(config.session), *own.values(), *also)
        wanted = [sha for sha in dict.fromkeys(tips) if sha]
        upstream = {name: sha for name, sha in upstream.items() if sha in wanted}
        bundle = vault.pack(wanted) if wanted else None
    else:
        upstream |= {f"refs/tags/{name}": sha for name, sha in remote.tags.items()}
        known = set(remote.heads.values())
        lacking = [sha for sha in dict.fromkeys((commit, *own.values(), *also)) if sha and sha not in known]
        if lacking and not complete:
            bundle = vault.pack(lacking, without=sorted(known))
    if commit is not None:
        own[f"refs/heads/{config.session}"] = commit
    await session.branch.checkout.provision(
        Provision(
            branch=config.session,
            commit=commit,
            refs=upstream | own,
            url=config.remote.url if config.remote else None,
            identity=config.identity,
            objects=objects,
            bundle=bundle,
        )
    )
