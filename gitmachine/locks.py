"""A lock that tasks, threads and processes share, by name of a file: many readers or one writer.

flock(2) belongs to the open file description, so each holder opens the file for itself and the same lock
serves two tasks of one program and two programs alike; a holder that dies lets go. Waiting is polling,
because flock cannot be awaited, and first come is first served within a factor of the polling interval: who
waits for the lock alone first takes the gate, at which newcomers queue. The tasks of one loop do not poll for
one another: they queue for what one alone can hold, and only the first in the queue looks at the file.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from gitmachine.errors import SessionBusy
from gitmachine.queues import queue_of

_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.03


class FileLock:
    """Shared or exclusive, with a bound on the wait."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._gate = path.with_name(path.name + ".gate")
        self._what = what

    @asynccontextmanager
    async def shared(self, timeout: float) -> AsyncIterator[None]:
        """Held together with other sharers. Raises SessionBusy after `timeout` seconds."""
        async with self._held(exclusive=False, timeout=timeout):
            yield

    @asynccontextmanager
    async def exclusive(self, timeout: float) -> AsyncIterator[None]:
        """Held by nobody else. Raises SessionBusy after `timeout` seconds."""
        async with self._held(exclusive=True, timeout=timeout):
            yield

    @asynccontextmanager
    async def _held(self, *, exclusive: bool, timeout: float) -> AsyncIterator[None]:
        deadline = time.monotonic() + timeout
        async with AsyncExitStack() as holding:
            async with self._queued(self._gate, deadline, timeout):
                gate = await self._acquire(self._gate, exclusive=True, deadline=deadline, timeout=timeout)
                try:
                    if exclusive:
                        await holding.enter_async_context(self._queued(self._path, deadline, timeout))
                    lock = await self._acquire(self._path, exclusive=exclusive, deadline=deadline, timeout=timeout)
                    holding.callback(lock.close)
                finally:
                    gate.close()
            lock.mark()
            yield

    @asynccontextmanager
    async def _queued(self, path: Path | str, deadline: float, timeout: float) -> AsyncIterator[None]:
        """Held by one task of this loop, first come, first served."""
        turn = queue_of(path)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await turn.acquire()
        except TimeoutError:
            raise self._busy(timeout) from None
        try:
            yield
        finally:
            turn.release()

    async def _acquire(self, path: Path, *, exclusive: bool, deadline: float, timeout: float) -> _Held:
        pause = _FIRST_PAUSE_S
        while (held := _Held.attempt(path, exclusive=exclusive)) is None:
            if time.monotonic() >= deadline:
                raise self._busy(timeout)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return held

    def _busy(self, timeout: float) -> SessionBusy:
        return SessionBusy(
            f"{self._what} is in use by another call or program and was not free within {timeout:g} s; "
            "let that end, or try again"
        )


class _Held:
    """One open file with a lock on it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    @classmethod
    def attempt(cls, path: Path, *, exclusive: bool) -> _Held | None:
        import portalocker

        flags = portalocker.LockFlags.NON_BLOCKING | (
            portalocker.LockFlags.EXCLUSIVE if exclusive else portalocker.LockFlags.SHARED
        )
        file = path.open("ab")
        try:
            portalocker.lock(file, flags)
        except portalocker.exceptions.LockException:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        return cls(file)

    def mark(self) -> None:
        """Leaves on the file when it was last held: from that `gitmachine.leases` tells for how long nobody did."""
        os.utime(self._file.fileno())

    def close(self) -> None:
        self._file.close()  # which lets go of the lock
