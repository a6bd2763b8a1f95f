"""What a machine keeps open for as long as it is in use: the relay's line, and the engine's word on its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Generic, Protocol, TypeVar

from gitmachine.errors import MachineError

_CLOSE_LIMIT_S = 10.0


class Runs(Protocol):
    """Something that is open for as long as `run` goes on."""

    async def run(self) -> None: ...

    async def ready(self) -> None: ...

    @property
    def ended(self) -> bool: ...


T = TypeVar("T", bound=Runs)


class Holding(Generic[T]):
    """Opens a thing when it is first asked for, in a task that ends with `close`, with the thing, or with the loop."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._opening = opening
        self._task: asyncio.Task[None] | None = None
        self._thing: asyncio.Future[T] | None = None
        self._turn = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self._task is not None and not self._task.done() and not self._task.get_loop().is_closed()

    async def get(self) -> T:
        """The thing, opened if need be. Raises what its opening raises."""
        if not self.is_open or self._has_ended:
            async with self._turn:
                if self._has_ended:
                    await self.close()
                if not self.is_open:
                    self._thing = asyncio.get_running_loop().create_future()
                    self._task = asyncio.create_task(self._hold(self._thing))
        assert self._thing is not None
        return await asyncio.shield(self._thing)

    @property
    def _has_ended(self) -> bool:
        thing = self._thing
        return (
            thing is not None and thing.done() and not (thing.cancelled() or thing.exception()) and thing.result().ended
        )

    async def close(self) -> None:
        """Returns when nothing is open any more."""
        task, self._task = self._task, None
        if task is None or task.get_loop().is_closed():
            return
        task.cancel()
        with suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), _CLOSE_LIMIT_S)

    async def _hold(self, opened: asyncio.Future[T]) -> None:
        try:
            async with self._opening() as thing:
                running = asyncio.ensure_future(thing.run())
                try:
                    await thing.ready()
                    opened.set_result(thing)
                    await running
                finally:
                    running.cancel()
                    with suppress(asyncio.CancelledError):
                        await running
        except BaseException as error:
            if opened.done():
                if isinstance(error, MachineError):
                    return  # whoever used the thing has seen its end
                raise
            if isinstance(error, asyncio.CancelledError):
                opened.cancel()
                raise
            opened.set_exception(error)
