"""A machine's way to its allowed hosts: the proxy beside it, found, started and ended.

The agent listens in the machine's network namespace and hands that socket out, and a process on the host accepts
from it: the machine has no other way out, and nothing of the host has a name in it. The process ends with the
machine; one that died is started again at the next command, and until then nothing gets out.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

from gitmachine.errors import MachineError
from gitmachine.locks import FileLock
from gitmachine.machines.local import proc
from gitmachine.machines.local.client import Address, ask_for_descriptor, connect
from gitmachine.machines.local.layout import Layout
from gitmachine.machines.local.record import InitRecord
from gitmachine.machines.local.sandbox import Init
from gitmachine.machines.local.user import User
from gitmachine.network import journal, launching
from gitmachine.network.environment import proxy_environment
from gitmachine.records import CorruptRecord
from gitmachine.types import Refusal

_LOCK_LIMIT_S = 30.0


class Gateway:
    """The proxy of one machine."""

    def __init__(self, layout: Layout, user: User, init: Init, allowed: tuple[str, ...]) -> None:
        self._layout = layout
        self._user = user
        self._init = init
        self._allowed = allowed
        self._proxy: Init | None = None
        self.environment = proxy_environment(allowed, launching.PORT)

    async def ensure(self, address: Address) -> None:
        """Starts the proxy unless it is there. Raises MachineError, MachineLost; ConnectionError, FileNotFoundError."""
        if self._proxy is not None and self._proxy.is_alive():
            return
        async with FileLock(self._layout.directory / "proxy.lock", "the machine's network").exclusive(_LOCK_LIMIT_S):
            self._proxy = live(self._layout)
            if self._proxy is None:
                self._proxy = await self._start(address)

    async def _start(self, address: Address) -> Init:
        connection = await connect(address)
        try:
            listener = await ask_for_descriptor(connection, [b"listen", str(launching.PORT).encode()], b"L")
        finally:
            connection.close()
        plan = launching.Plan(
            directory=self._layout.directory,
            listener=listener,
            machine=(self._init.pid, self._init.start_time),
            allowed=self._allowed,
            user=(self._user.uid, self._user.gid) if self._user.switch else None,
        )
        launch = asyncio.ensure_future(asyncio.to_thread(self._launch, plan))
        return await asyncio.shield(launch)

    def _launch(self, plan: launching.Plan) -> Init:
        try:
            proxy = Init(*launching.launch(plan))
        finally:
            os.close(plan.listener)
        InitRecord.of(proxy).save(self._layout.proxy_record)
        return proxy


def live(layout: Layout) -> Init | None:
    """The proxy's process, when there is one."""
    text = proc.read_small(str(layout.proxy_record))
    if text is None:
        return None
    with suppress(ValueError):
        return InitRecord.model_validate_json(text).live()
    raise CorruptRecord(f"the record {layout.proxy_record} cannot be read; remove it")


async def end(layout: Layout) -> None:
    """Ends the proxy, if there is one. Raises MachineError."""
    proxy = live(layout)
    if proxy is not None and not await proc.kill(proxy.pid, proxy.start_time):
        raise MachineError(f"the proxy of machine {layout.directory.name} (process {proxy.pid}) could not be ended")


async def refusals(layout: Layout, after: int) -> tuple[list[Refusal], int]:
    """The connections that were refused after `after`, and what to ask for next."""
    return await asyncio.to_thread(journal.read, layout.directory / launching.JOURNAL, after)
