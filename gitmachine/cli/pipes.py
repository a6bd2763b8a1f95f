"""A command's output on its way to our own standard output and error, as it comes."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Pipe:
    """Writes to a file descriptor from a thread of its own, so that a slow reader holds up neither loop nor exit.

    The thread is a daemon: when the reader has stopped reading and the user gives up, nobody waits for it.
    """

    def __init__(self, descriptor: int, on_closed: Callable[[], None]) -> None:
        """`on_closed` is called on the loop, once, when there is no reader any more."""
        self._descriptor = descriptor
        self._on_closed = on_closed
        from asyncio import get_running_loop  # here, since `--help` does without it

        self._loop = get_running_loop()
        self._queue: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"write to {descriptor}")
        self._thread.start()
        self.closed = False

    async def write(self, text: str) -> None:
        """Returns when the reader's side has taken all of it."""
        if self.closed:
            return
        done = self._loop.create_future()
        self._queue.put((text.encode("utf-8", "replace"), done))
        await done

    def end(self) -> None:
        """No more will come."""
        self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            data, done = item
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError:
                silence(self._descriptor)
                self._tell(self._lost)
            self._tell(lambda done=done: done.done() or done.set_result(None))  # type: ignore[misc]  # bound per turn

    def _lost(self) -> None:
        if not self.closed:
            self.closed = True
            self._on_closed()

    def _tell(self, callback: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)


def silence(descriptor: int) -> None:
    """After the reader has gone: what is still written goes nowhere, instead of raising at the interpreter's exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
