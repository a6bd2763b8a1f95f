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
from contextlib import asynccontextmanager
from pathlib import Path

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
        turn = queue_of(self._path) if exclusive else None
        lock = await self._through_gate(turn, deadline, timeout)
        try:
            os.utime(lock)  # leaves on the file when it was last held: `gitmachine.leases` tells from it
            yield
        finally:
            os.close(lock)  # which lets go of it
            if turn is not None:
                turn.release()

    async def _through_gate(self, turn: asyncio.Lock | None, deadline: float, timeout: float) -> int:
        """The lock's file, open and locked; alone, with `turn` acquired, or with the others."""
        at_gate = queue_of(self._gate)
        await self._acquire(at_gate, deadline, timeout)
        try:
            gate = await self._locked(self._gate, exclusive=True, deadline=deadline, timeout=timeout)
            try:
                if turn is None:
                    return await self._locked(self._path, exclusive=False, deadline=deadline, timeout=timeout)
                return await self._alone(turn, deadline, timeout)
            finally:
                os.close(gate)
        finally:
            at_gate.release()

    async def _alone(self, turn: asyncio.Lock, deadline: float, timeout: float) -> int:
        await self._acquire(turn, deadline, timeout)
        try:
            return await self._locked(self._path, exclusive=True, deadline=deadline, timeout=timeout)
        except BaseException:  # a cancellation, too, must leave the turn to the next
            turn.release()
            raise

    async def _acquire(self, turn: asyncio.Lock, deadline: float, timeout: float) -> None:
        """Stands in a queue of this loop's tasks until it is our turn."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await turn.acquire()
        except TimeoutError:
            raise self._busy(timeout) from None

    async def _locked(self, path: Path, *, exclusive: bool, deadline: float, timeout: float) -> int:
        pause = _FIRST_PAUSE_S
        while (held := _attempt(path, exclusive=exclusive)) is None:
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


def _attempt(path: Path, *, exclusive: bool) -> int | None:
    """A descriptor of the file with a lock on it, or None while somebody else's lock is in the way."""
    import portalocker

    kind = portalocker.LockFlags.EXCLUSIVE if exclusive else portalocker.LockFlags.SHARED
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        portalocker.lock(file, portalocker.LockFlags.NON_BLOCKING | kind)
    except portalocker.exceptions.LockException:
        os.close(file)
        return None
    except BaseException:  # anything else, a Ctrl-C included, must not leave the file open
        os.close(file)
        raise
    return file
