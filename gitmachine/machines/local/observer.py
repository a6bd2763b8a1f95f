"""A second sandbox beside a machine, which sees its files read-only and which nothing in it can touch.

It is made of the same launch line and the same agent, has no network, and reads every file of the machine's
user whatever its mode. It ends by itself when it is not used, and is started again when it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from gitmachine.errors import MachineError, MachineLost
from gitmachine.locks import FileLock
from gitmachine.machines.local import proc, sandbox
from gitmachine.machines.local.client import Address
from gitmachine.machines.local.layout import Layout
from gitmachine.machines.local.place import SandboxPlace
from gitmachine.machines.local.record import InitRecord
from gitmachine.machines.local.sandbox import Bind, Init, Plan
from gitmachine.machines.local.user import User
from gitmachine.records import CorruptRecord
from gitmachine.types import ExecuteOptions, ExecutionResult

WORK_TREE = "/w"
GIT_DIR = "/g"
IDLE_S = 30
_HOME = "/tmp"  # noqa: S108 - private to the sandbox
_LOCK_LIMIT_S = 30.0
_PROCESSES = 4096
_T = TypeVar("_T")


class LocalObserver:
    """See `gitmachine.machine.Observer`."""

    def __init__(self, layout: Layout, user: User, below_home: str) -> None:
        self.work_tree = f"{WORK_TREE}/{below_home}".rstrip("/")
        self.git_dir = GIT_DIR
        self.objects: str | None = sandbox.OBJECTS
        self.git_objects_in_machine: str | None = sandbox.SHADOW
        self._layout = layout
        self._user = user
        address = Address(layout.directory, "observer.sock", user.uid if user.switch else None)
        self._place = SandboxPlace(address, sandbox.base_environment(_HOME), _HOME)

    async def execute(self, command: str, options: ExecuteOptions | None = None) -> ExecutionResult:
        """Runs a command beside the machine. Raises MachineLost when the machine's directory is gone."""
        return await self._retried(lambda: self._place.execute(command, options or ExecuteOptions()))

    async def read_bytes(self, path: str) -> bytes:
        return await self._retried(lambda: self._place.read_bytes(path))

    async def read_chunks(self, path: str) -> AsyncIterator[bytes]:
        yield await self.read_bytes(path)

    async def marks(self, directory: str, names: Sequence[str]) -> bytes:
        return await self._retried(lambda: self._place.marks(directory, names))

    async def tree_marks(self, directory: str) -> bytes:
        return await self._retried(lambda: self._place.tree_marks(directory))

    async def _retried(self, operation: Callable[[], Awaitable[_T]]) -> _T:
        """It may end of idleness between our look and our call: then nothing had begun, and we try once more."""
        await self.come_up()
        try:
            return await operation()
        except MachineLost:
            await self.come_up()
            return await operation()

    async def come_up(self) -> None:
        """Starts it, unless it lives. Raises MachineLost, MachineUnavailable, MachineError."""
        if self._live() is not None:
            return
        if not await asyncio.to_thread(self._layout.directory.is_dir):
            raise MachineLost(f"machine {self._layout.directory.name} is gone, and its observer with it")
        lock = FileLock(self._layout.directory / "observer.lock", "the observer")
        async with lock.exclusive(_LOCK_LIMIT_S):
            if self._live() is None:
                init = await asyncio.to_thread(sandbox.launch, self._plan())
                await asyncio.to_thread(InitRecord.of(init).save, self._layout.observer_record)

    def _live(self) -> Init | None:
        return live(self._layout)

    def _plan(self) -> Plan:
        return Plan(
            name="observer",
            directory=self._layout.directory,
            compiled=self._layout.compiled,
            user=self._user,
            home=_HOME,
            binds=(
                Bind(self._layout.home, WORK_TREE),
                Bind(self._layout.shadow, GIT_DIR, writable=True),
                Bind(self._layout.objects, sandbox.OBJECTS),
            ),
            # What runs here is ours, and starts twice as fast in a plain shell.
            agent_arguments=("shell=/bin/sh", f"idle_s={IDLE_S}", f"processes={_PROCESSES}", "core_bytes=0"),
            reads_all=True,
        )


def live(layout: Layout) -> Init | None:
    """The observer's first process, when there is one."""
    text = proc.read_small(str(layout.observer_record))
    if text is None:
        return None
    with suppress(ValueError):
        return InitRecord.model_validate_json(text).live()
    raise CorruptRecord(f"the record {layout.observer_record} cannot be read; remove it")


async def end(layout: Layout) -> None:
    """Ends the observer, if there is one. Raises MachineError."""
    init = live(layout)
    if init is not None and not await proc.kill(init.pid, init.start_time):
        raise MachineError(f"the observer of machine {layout.directory.name} (process {init.pid}) could not be ended")
