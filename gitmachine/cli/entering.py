"""Into a session and out of it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gitmachine.cli.entry import Entry
from gitmachine.cli.finding import wanted
from gitmachine.errors import ConfigurationError
from gitmachine.git_machine import GitMachine
from gitmachine.types import MachineState
from gitmachine.whereabouts import Found

OnEvent = Callable[[str, dict[str, Any], GitMachine], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Entered:
    """A session that can be worked in."""

    gm: GitMachine
    before: MachineState | None
    """How the session was found: running or paused; None when it was started for this."""


async def enter(entry: Entry, on_event: OnEvent, *, keep_env: bool = False) -> Entered:
    """Takes up the live session of that name, or starts one. A paused one is resumed.

    With `keep_env` the environment belongs to the machine, and so to the programs that come later, too.
    """
    where = await wanted(entry.repo, entry.session)
    if where.earlier is not None and where.earlier.live:
        return await _take_up(where.earlier, entry, on_event)
    gm = GitMachine(
        _machine(entry, entry.env if keep_env else {}),
        where.repository,
        session=where.earlier.record.session if where.earlier else entry.session,
        base=entry.base,
        env=entry.env,
        on_event=on_event,
        consent=entry.consent,
    )
    await gm.start()
    return Entered(gm, None)


async def _take_up(found: Found, entry: Entry, on_event: OnEvent) -> Entered:
    if entry.base is not None:
        raise ConfigurationError(
            f"session {found.record.session!r} has begun already, --base is for new ones; leave it out"
        )
    gm = await GitMachine.reopen(found.record.id, env=entry.env, on_event=on_event)
    abilities = gm.machine.capabilities
    named = {"unrestricted": "bridge"}.get(abilities.network, abilities.network)
    policy = ", ".join(abilities.allowed_hosts) or named
    if entry.network is not None and entry.network not in (policy, abilities.allowed_hosts):
        await gm.detach()
        raise ConfigurationError(
            f"session {gm.session!r} is live with network {policy!r}, which cannot be changed: leave --network out, "
            f"or `gitmachine stop {gm.session}` first"
        )
    before = gm.state
    if before is MachineState.PAUSED:
        await gm.resume()
    return Entered(gm, before)


def _machine(entry: Entry, env: dict[str, str]) -> Any:
    network = None if entry.network in (None, "none") else entry.network
    if entry.machine == "docker":
        from gitmachine.machines.docker import DEFAULT_IMAGE, DockerMachine

        return DockerMachine(entry.image or DEFAULT_IMAGE, network=network, envs=env)
    if entry.image is not None:
        raise ConfigurationError(f"a machine of kind {entry.machine!r} has no image: leave --image out")
    if entry.machine == "local":
        from gitmachine.machines.local import LocalMachine

        return LocalMachine(network=network, env=env)
    if entry.machine == "e2b":
        from gitmachine.machines.e2b import E2BMachine

        if network is not None:
            raise ConfigurationError(
                "--network on e2b is none or left out; a program can give E2B's own rules: E2BMachine(network=…)"
            )
        return E2BMachine(envs=env, allow_internet_access=False if entry.network == "none" else None)
    raise ConfigurationError(f"machine {entry.machine!r} is not known: use local, docker or e2b")


async def leave_as_found(entered: Entered) -> None:
    """Lets go of a session that was live before, in the state that it had."""
    if entered.before is MachineState.PAUSED and entered.gm.state is MachineState.RUNNING:
        await entered.gm.pause()
    await entered.gm.detach()
