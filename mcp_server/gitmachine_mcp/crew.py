"""The server's own tasks: each has an owner, ends with it, and is cancelled once and not over and over.

A handler runs in a cancel scope of anyio, which repeats a cancellation until the handler has ended. What works on a
machine needs its time to kill, thaw and put away, so it runs in a task of the crew and is waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

log = logging.getLogger(__name__)
T = TypeVar("T")

CLEANUP_LIMIT_S = 30.0
"""How long a cancelled call may take to leave things in order."""


class Crew:
    """Tasks that `close` ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def start(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Begins `work`. Its error is logged unless somebody awaits it. Raises RuntimeError after `close`."""
        if self._closed:
            work.close()
            raise RuntimeError(f"the server is ending: {name} is not begun")
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def carry(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Its result. When the caller is cancelled, `work` is cancelled once and waited for."""
        task = self.start(work, name)
        await settled(task)
        return task.result()

    async def close(self, limit_s: float) -> None:
        """Cancels what still runs and waits for it, at most `limit_s` seconds."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("%s ended with %s", task.get_name(), type(error).__name__)


async def settled(task: asyncio.Task[Any]) -> None:
    """Waits for a task, whatever comes of it. A cancellation of the caller cancels the task, and waits for it, too."""
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=CLEANUP_LIMIT_S)
        raise
