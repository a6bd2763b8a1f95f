"""OwnerLoop: one event loop in one thread of its own, on which a program without `await` drives its sessions.

The loop outlives every call, so what a provider binds to its loop (connections, locks) stays good from the first
call to the last, whatever loops and threads the callers live in. Where nothing else is known, `shared()` is used.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from gitmachine.errors import StateError

T = TypeVar("T")

CANCEL_LIMIT_S = 15.0
"""How long a cancelled call may take to clean up before its caller goes on without it."""
_CLOSE_LIMIT_S = 5.0


class OwnerLoop:
    """A loop that runs in a daemon thread from its first use until `close()` or the end of the program.

    A call takes its caller's context variables along. A caller that is cancelled, or interrupted by Ctrl-C, cancels
    what it called and waits for its cleanup, at most CANCEL_LIMIT_S seconds.
    """

    def __init__(self, name: str = "gitmachine") -> None:
        self._name = name
        self._pid = os.getpid()
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` on the loop and waits for it, blocking this thread.

        Raises StateError, instead of waiting for ever, when called on the loop's own thread.
        """
        if self.owns_this_thread():
            work.close()
            raise StateError(
                "a call without await was made on the very loop that would have to carry it out, and would wait for "
                "ever: in a coroutine use `await` and the session of `gitmachine.GitMachine`"
            )
        return Job(work).result(self._begin)

    async def arun(self, work: Coroutine[Any, Any, T]) -> T:
        """The same for a caller on any loop, which goes on meanwhile."""
        if self.owns_this_thread():
            return await work
        return await Job(work).awaited(self._begin)

    def owns_this_thread(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return self._thread is threading.current_thread() and self._pid == os.getpid()

    def close(self) -> None:
        """Cancels what still runs, ends the thread and refuses further calls. Closing twice does nothing."""
        with self._starting:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSE_LIMIT_S)

    def _begin(self, job: Job[Any]) -> None:
        with self._starting:  # so that no close() comes between the loop's choice and the work's beginning
            job.begin(self._running_loop())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            # Its thread stayed in the parent, and its selector is the parent's too: not to be touched here.
            raise StateError(
                f"this session belongs to process {self._pid}, from which this one was forked: make a new one here, "
                "or take it up with GitMachine.connect()"
            )
        if self._closed:
            raise StateError("the loop of this session is closed: no further calls can be made")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
            # Daemon threads are cut off where they stand; this way coroutines get to clean up.
            atexit.register(self.close)
        return self._loop


class Job(Generic[T]):
    """One coroutine on the loop of another thread. `done` is settled when it has really ended, cleanup included."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self.done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.done.set_running_or_notify_cancel()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has `loop` run the work, with the caller's context variables. Raises RuntimeError when it is closed."""
        self._loop = loop
        loop.call_soon_threadsafe(self._begin, context=contextvars.copy_context())

    def result(self, begin: Callable[[Job[T]], None]) -> T:
        """Begins it by `begin` and blocks until it is done.

        When that is interrupted, at whatever point, so is the work, and its cleanup is waited for.
        """
        try:
            begin(self)
            return self.done.result()
        except BaseException:
            if self._loop is None or self._loop.is_closed():
                self._work.close()  # it was never begun
            elif not self.done.done():
                self.cancel()
                concurrent.futures.wait([self.done], CANCEL_LIMIT_S)
            raise

    async def awaited(self, begin: Callable[[Job[T]], None]) -> T:
        """The same on the caller's own loop. When the caller is cancelled, so is the work."""
        try:
            begin(self)
        except BaseException:
            self._work.close()
            raise
        waiter = asyncio.wrap_future(self.done)
        try:
            return await asyncio.shield(waiter)
        except asyncio.CancelledError:
            if not self.done.done():
                self.cancel()
                await asyncio.wait([waiter], timeout=CANCEL_LIMIT_S)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # seen: the cancellation is what the caller hears of
            raise

    def cancel(self) -> None:
        """Asks the work to end; `done` tells when it has."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._work)
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # interrupted just before the loop was asked to begin it
            self._work.close()
            self.done.set_exception(concurrent.futures.CancelledError())

    def _settle(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.done.set_exception(concurrent.futures.CancelledError())
        elif (error := task.exception()) is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(task.result())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CLOSE_LIMIT_S / 2))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


_shared: dict[int, OwnerLoop] = {}
_making = threading.Lock()


def shared() -> OwnerLoop:
    """The owner loop of this process; a forked child gets its own."""
    with _making:
        pid = os.getpid()
        if pid not in _shared:
            _shared[pid] = OwnerLoop()
        return _shared[pid]


def _after_fork() -> None:
    global _making
    _making = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork)
