"""Tells a session's events to whoever wants to know, and lets nobody's failure harm the session."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gitmachine.errors import CallbackError
from gitmachine.event_log import EventLog
from gitmachine.events import CallbackFailed, Event, Stopped

log = logging.getLogger(__name__)

CALLBACK_LIMIT_S = 10.0
"""How long an `on_event` coroutine may take before the session goes on without it."""

_LOOK_AGAIN_S = 0.2
"""Events of other programs are seen by looking at the log this often."""


class Observers:
    """Writes each event to the log, then hands it to the callback and wakes those who watch."""

    def __init__(self, events: EventLog, on_event: Callable[[Event], Awaitable[None] | None] | None) -> None:
        self._events = events
        self._on_event = on_event
        self._news = asyncio.Event()

    async def tell(self, event: Event) -> Event:
        """Numbers, keeps and delivers an event that has happened."""
        numbered = await self._append(event)
        self._news.set()
        self._news = asyncio.Event()
        if self._on_event is not None:
            error = await _bounded(self._on_event, numbered)
            if error is not None:
                await self._append(CallbackFailed(callback="on_event", error=error))
        return numbered

    async def _append(self, event: Event) -> Event:
        try:
            return self._events.append(event, wait=False)  # in less time than it takes to ask a thread for it
        except BlockingIOError:
            return await asyncio.to_thread(self._events.append, event)

    async def watch(self, after: int) -> AsyncIterator[Event]:
        """The events after number `after`, those to come included; ends behind `stopped`."""
        while True:
            news = self._news
            for event in await asyncio.to_thread(self._events.read, after):
                after = event.seq
                yield event
                if isinstance(event, Stopped):
                    return
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await news.wait()
            except TimeoutError:
                continue


async def _bounded(callback: Callable[[Event], Awaitable[None] | None], event: Event) -> str | None:
    """Calls back; what went wrong, or None."""
    try:
        async with asyncio.timeout(CALLBACK_LIMIT_S):
            answer = callback(event)
            if inspect.isawaitable(answer):
                await answer
    except TimeoutError:
        log.warning("on_event did not come back from %r within %g s", event.name, CALLBACK_LIMIT_S)
        return f"it did not come back from {event.name!r} within {CALLBACK_LIMIT_S:g} s"
    except Exception as error:  # the caller's code: its failure must not be the session's
        log.exception("on_event raised at %r", event.name)
        return f"it raised {type(error).__name__} at {event.name!r}"
    return None


async def call(name: str, callback: Callable[..., Any] | None, *arguments: Any) -> None:
    """Calls one of the lifecycle callbacks, plain or coroutine. Raises CallbackError from what it raised."""
    if callback is None:
        return
    try:
        answer = callback(*arguments)
        if inspect.isawaitable(answer):
            await answer
    except Exception as error:  # the caller's code may raise anything: it is named and passed on
        raise CallbackError(f"{name} raised {type(error).__name__}: {error}") from error
