"""What a page that is open hears: that something has changed, and what running commands write."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from gitmachine.live_output import Followed, running
from gitmachine.overview import signature
from gitmachine.sessions import SessionStore
from gitmachine.settings import load
from gitmachine.visible import pieces

_LOOK_S = 0.2
_ANYWAY_S = 15.0
"""A machine that ended by itself, or an age that is shown, changes no file."""


class Pulse:
    """One open page. Made of looks at files: whoever drives a session knows nothing of it."""

    def __init__(self, closing: asyncio.Event, store: SessionStore | None) -> None:
        """Of one session, with its commands' output, or of all."""
        self._closing = closing
        self._store = store
        self._followed: dict[str, Followed] = {}
        self._begun: set[str] = set()

    async def events(self) -> AsyncIterator[bytes]:
        """Server-sent events until the page or the server closes."""
        known = await asyncio.to_thread(self._signature)
        told = time.monotonic()
        yield _event("ready", None)
        try:
            while not self._closing.is_set():
                found = await asyncio.to_thread(self._signature)
                if found != known or time.monotonic() - told > _ANYWAY_S:
                    known, told = found, time.monotonic()
                    yield _event("change", None)
                if self._store is not None:
                    for message in await asyncio.to_thread(self._output):
                        yield message
                await _pause(self._closing)
        finally:
            for followed in self._followed.values():
                followed.close()

    def _signature(self) -> list[tuple[object, ...]]:
        root = load().sessions
        directories = sorted(root.iterdir()) if self._store is None and root.is_dir() else []
        return [signature(directory) for directory in directories or ([self._store.directory] if self._store else [])]

    def _output(self) -> list[bytes]:
        assert self._store is not None
        for call in running(self._store.live_path("").parent):
            if call not in self._followed:
                with suppress(FileNotFoundError):
                    self._followed[call] = Followed(self._store.live_path(call))
        messages = []
        for call, followed in list(self._followed.items()):
            ended = followed.ended()
            for text in followed.news():
                messages.append(_output_event(call, text, first=call not in self._begun))
                self._begun.add(call)
            if ended:
                followed.close()
                del self._followed[call]
        return messages


def _output_event(call: str, text: str, *, first: bool) -> bytes:
    parts = [(piece, int(spelt)) for piece, spelt in pieces(text)]
    return _event("output", {"call": call, "first": first, "pieces": parts})


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def _pause(closing: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_LOOK_S):
            await closing.wait()
    except TimeoutError:
        return
