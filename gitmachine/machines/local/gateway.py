"""A machine's way to its allowed hosts: the proxy beside it on the host, found, started once, and ended.

The process ends with the machine; one that died is started again at the next command, and until then nothing gets out.
How connections of the machine come to it is each provider's own: here the agent listens in the machine's network
namespace and hands that socket out, and the process accepts from it, so that the machine has no other way out, and
nothing of the host has a name in it.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

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

RECORD = "proxy.json"
_LOCK_LIMIT_S = 60.0


class Gateway(ABC):
    """The proxy of one machine, whose record and journal are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._proxy: Init | None = None

    @abstractmethod
    async def _plan(self) -> launching.Plan:
        """The proxy that is to be; its descriptors are closed when it has started, or has not."""

    async def ensure(self) -> None:
        """Starts the proxy unless it is there. Raises MachineError."""
        if self._proxy is not None and self._proxy.is_alive():
            return
        async with FileLock(self._directory / "proxy.lock", "the machine's network").exclusive(_LOCK_LIMIT_S):
            self._proxy = live(self._directory)
            if self._proxy is None:
                # A start in a thread cannot be cancelled: it goes on to where the proxy is on record.
                starting = asyncio.ensure_future(asyncio.to_thread(self._launch, await self._plan()))
                self._proxy = await asyncio.shield(starting)

    def _launch(self, plan: launching.Plan) -> Init:
        try:
            proxy = Init(*launching.launch(plan))
        finally:
            for fd in plan.descriptors:
                os.close(fd)
        InitRecord.of(proxy).save(self._directory / RECORD)
        return proxy


class LocalGateway(Gateway):
    """The proxy of one local machine."""

    def __init__(self, layout: Layout, address: Address, user: User, init: Init, allowed: tuple[str, ...]) -> None:
        super().__init__(layout.directory)
        self._address = address
        self._user = user
        self._init = init
        self._allowed = allowed
        self.environment = proxy_environment(allowed, launching.PORT)

    async def _plan(self) -> launching.Plan:
        """Raises MachineError; ConnectionError, FileNotFoundError when there is no agent."""
        connection = await connect(self._address)
        try:
            listener = await ask_for_descriptor(connection, [b"listen", str(launching.PORT).encode()], b"L")
        finally:
            connection.close()
        return launching.Plan(
            directory=self._directory,
            main="gitmachine.network.serving",
            settings={"listener": listener, "machine": (self._init.pid, self._init.start_time)},
            descriptors=(listener,),
            allowed=self._allowed,
            user=(self._user.uid, self._user.gid) if self._user.switch else None,
        )


def live(directory: Path) -> Init | None:
    """The proxy's process, when there is one."""
    path = directory / RECORD
    text = proc.read_small(str(path))
    if text is None:
        return None
    with suppress(ValueError):
        return InitRecord.model_validate_json(text).live()
    raise CorruptRecord(f"the record {path} cannot be read; remove it")


async def end(directory: Path) -> None:
    """Ends the proxy, if there is one. Raises MachineError."""
    proxy = live(directory)
    if proxy is not None and not await proc.kill(proxy.pid, proxy.start_time):
        raise MachineError(f"the proxy of machine {directory.name} (process {proxy.pid}) could not be ended")


async def refusals(directory: Path, after: int) -> tuple[list[Refusal], int]:
    """The connections that were refused after `after`, and what to ask for next."""
    return await asyncio.to_thread(journal.read, directory / launching.JOURNAL, after)
