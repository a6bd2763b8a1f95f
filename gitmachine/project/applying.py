"""A repository's file put to work: told, granted, taken up by the machine, and its setup commands run."""

from __future__ import annotations

from dataclasses import replace

from gitmachine import events as ev
from gitmachine.actor import acting
from gitmachine.config import SessionConfig
from gitmachine.errors import ConfigurationError
from gitmachine.git.vault import RemoteState, Vault
from gitmachine.machine import Machine
from gitmachine.project.consent import Consent, Grant, decide
from gitmachine.project.reading import read
from gitmachine.session import Session
from gitmachine.types import RunOptions

SETUP_LIMIT_S = 1800.0
"""For one setup command, where the session has no limit of its own."""
_TOLD_CHARACTERS = 2000
_UNITS = {1024**3: "GiB", 1024**2: "MiB", 1024: "KiB", 1: "bytes"}


async def grant_for(config: SessionConfig, vault: Vault, remote: RemoteState) -> Grant | None:
    """What the repository's file gets, as it is where the work begins; None without one. Raises ConfigurationError."""
    consent = config.consent or Consent()
    if not consent.read:
        return None
    if config.base is None:
        commit = remote.heads.get(remote.default_branch or "")
    else:
        commit = remote.heads.get(config.base) or remote.tags.get(config.base) or await vault.resolve(config.base)
    try:
        found = None if commit is None else await read(vault, commit)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}; mend it, or leave it unread: `--allow ignore`, Consent(read=False)"
        ) from error
    return None if found is None else decide(*found, consent)


async def adapt(machine: Machine, grant: Grant | None) -> Grant | None:
    """Has the machine take up what was granted; what it cannot is among the refused afterwards."""
    if grant is None:
        return None
    wishes = grant.wishes
    asked = {name: _shown(name, value) for name, value in wishes.limits.items()}
    asked |= {"image": f"image {wishes.image}"} if wishes.image else {}
    asked |= {f"network {entry}": f"network {entry}" for entry in wishes.network}
    asked |= {f"env {name}": f"env {name}" for name in wishes.env}
    left = await machine.adapt(wishes) if asked else {}
    unmet = {what: reason for key, what in asked.items() if (reason := left.get(key) or left.get(key.split(" ")[0]))}
    granted = [what for what in dict.fromkeys((*grant.granted, *asked.values())) if what not in unmet]
    refused = [f"{what}: {reason}" for what, reason in unmet.items()]
    return replace(grant, granted=tuple(granted), refused=(*grant.refused, *refused))


def _shown(name: str, value: float) -> str:
    what = name.removesuffix("_bytes").removesuffix("_s").replace("_", " ")
    if not name.endswith("_bytes"):
        return f"limits, {what} {value:g}{' s' if name.endswith('_s') else ''}"
    unit = next(unit for unit in (1024**3, 1024**2, 1024, 1) if value >= unit)
    return f"limits, {what} {value / unit:g} {_UNITS[unit]}"


async def tell(session: Session, grant: Grant) -> None:
    """The event, unless nothing was asked for."""
    if grant.granted or grant.refused:
        granted, refused = list(grant.granted), list(grant.refused)
        await session.tell(ev.ProjectRead(file=grant.source, granted=granted, refused=refused))


async def set_up(session: Session, grant: Grant) -> None:
    """Runs the setup commands, in their order, up to the first that fails. They stand in the history."""
    config = session.config
    options = RunOptions(cwd=session.record.repo_path, env=config.env, timeout=config.timeout or SETUP_LIMIT_S)
    for number, command in enumerate(grant.setup):
        with acting("setup", grant.source):
            async with session.sharing("start()"):
                result = await session.execute(command, options)
        if result.exit_code != 0:
            output = (result.stdout + result.stderr)[-_TOLD_CHARACTERS:]
            skipped = len(grant.setup) - number - 1
            await session.tell(
                ev.SetupFailed(command=command, exit_code=result.exit_code, output=output, skipped=skipped)
            )
            return
