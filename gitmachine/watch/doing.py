"""What the keys do to a session: take it up, do one thing, let it go again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gitmachine.actor import acting
from gitmachine.assembling import provider_of
from gitmachine.git_machine import GitMachine
from gitmachine.overview import Seen
from gitmachine.types import MachineState, PushOutcome

_TURN_S = 10.0
"""How long a key waits for a session that somebody else has taken for himself, or whose command runs."""


async def pause(seen: Seen) -> str:
    async with _taken_up(seen) as gm:
        await gm.pause()
    return "committed and paused"


async def resume(seen: Seen) -> str:
    """A paused one goes on as it is, one that has ended on a new machine of the same kind."""
    if seen.live:
        async with _taken_up(seen) as gm:
            await gm.resume()
        return "goes on"
    with acting("watch"):
        gm = await GitMachine.reopen(seen.record.id, machine=provider_of(seen.record)())
        await gm.detach()
    return "goes on in a new machine"


async def stop(seen: Seen) -> str:
    async with _taken_up(seen) as gm:
        return _where(await gm.stop())


def _where(outcome: PushOutcome) -> str:
    return {"nothing": "ended; nothing was changed", "vault": "ended; the work is in the vault"}.get(
        outcome.where, "ended; pushed"
    )


@asynccontextmanager
async def _taken_up(seen: Seen) -> AsyncIterator[GitMachine]:
    with acting("watch"):
        gm = await GitMachine.reopen(seen.record.id, lock_timeout=_TURN_S)
        try:
            yield gm
        finally:
            if gm.state is not MachineState.STOPPED:
                await gm.detach()
