"""A sandbox lives only as long as somebody asks for more time: its lease, extended while a machine is held."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable
from typing import Protocol

from gitmachine.errors import MachineError, MachineUnreachable

log = logging.getLogger(__name__)

_RETRY_AFTER_S = 5.0


class Held(Protocol):
    """What holds a sandbox."""

    def extend(self) -> Awaitable[float | None]:
        """Asks for another lease; seconds until it should be asked for again, None when never."""


class Lease:
    """Extends the lease of whatever holds a sandbox, from half of it gone on, until `end()`.

    It does not keep the holder alive: for a machine that the program has dropped, nothing is extended.
    """

    def __init__(self, holder: Held, first_s: float) -> None:
        self._task = asyncio.create_task(_keep(weakref.ref(holder), first_s))

    async def end(self) -> None:
        """No more extensions; none is under way when this returns."""
        self._task.cancel()
        if self._task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._task])


async def _keep(holder: weakref.ref[Held], seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        held = holder()
        if held is None:
            return
        try:
            again = await held.extend()
        except MachineUnreachable:
            again = min(seconds, _RETRY_AFTER_S)
        except MachineError as error:
            log.warning("the lease of a sandbox is extended no more: %s", error)
            return
        del held
        if again is None:
            return
        seconds = again
