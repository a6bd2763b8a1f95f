"""Reach: one session, of either kind, that any thread and any loop can use."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from gitmachine import GitMachine, StateError, sync
from gitmachine.sync.owner import Job, OwnerLoop, shared
from langchain_gitmachine.streams import EventCursor

T = TypeVar("T")

DOOR = "langchain"
"""What the session's history calls a command that came from here."""


class Reach:
    """Carries calls to the loop on which a session lives.

    A session of `gitmachine.sync` lives on its owner loop. One of `gitmachine` lives on the loop that was running
    when this was made, or that used it first; when that loop has ended (a second `asyncio.run`), and for calls
    without a loop, it lives on the shared owner loop from then on.
    """

    def __init__(self, machine: GitMachine | sync.GitMachine) -> None:
        self._owner: OwnerLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if isinstance(machine, sync.GitMachine):
            self.gm, self._owner = machine.asynchronous, machine.owner
        else:
            self.gm = machine
            self._loop = _current()
        self.events = EventCursor()

    async def acall(self, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        """For a caller on any loop, which goes on meanwhile. Cancelling it cancels the work and waits for its end."""
        current = asyncio.get_running_loop()
        if self._owner is None:
            self._loop = self._loop or current
            if self._loop is current:
                return await work(self)
            if self._loop.is_running():
                return await Job(work(self)).awaited(partial(Job.begin, loop=self._loop))
        return await self._moved().arun(work(self))

    def call(self, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        """Blocks. Raises StateError on the session's own loop, where it would wait for ever."""
        if self._owner is None and self._loop is not None:
            if self._loop is _current():
                raise StateError(
                    "a tool was called without await on the loop that its session lives on, and would wait for ever: "
                    "use ainvoke() or astream(), or a session of gitmachine.sync"
                )
            if self._loop.is_running():
                return Job(work(self)).result(partial(Job.begin, loop=self._loop))
        return self._moved().run(work(self))

    def _moved(self) -> OwnerLoop:
        if self._owner is None:
            self._owner = shared()
        return self._owner


class Sessions(ABC):
    """Where a tool call finds its session. `runtime` is LangGraph's, or None outside a graph.

    What is done with the session is a coroutine function, called on the loop where the session lives.
    """

    @abstractmethod
    def call(self, runtime: Any, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T: ...

    @abstractmethod
    async def acall(self, runtime: Any, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T: ...


class OneSession(Sessions):
    """For tools that all serve the same session."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def call(self, runtime: Any, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        return self._reach.call(work)

    async def acall(self, runtime: Any, work: Callable[[Reach], Coroutine[Any, Any, T]]) -> T:
        return await self._reach.acall(work)


def _current() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
