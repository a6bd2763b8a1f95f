"""What a page that is open hears: that something has changed, and what running commands write."""

from __future__ import annotations

import asyncio
import codecs
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from gitmachine.live_output import running
from gitmachine.sessions import SessionStore
from gitmachine.settings import load
from gitmachine.ui.visible import pieces

_LOOK_S = 0.2
_ANYWAY_S = 15.0
"""A machine that ended by itself, or an age that is shown, changes no file."""
_CHUNK = 64 * 1024


class Pulse:
    """One open page. Made of looks at files: whoever drives a session knows nothing of it."""

    def __init__(self, closing: asyncio.Event, store: SessionStore | None) -> None:
        """Of one session, with its commands' output, or of all."""
        self._closing = closing
        self._store = store
        self._followed: dict[str, _Followed] = {}

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
        return [_state_of(directory) for directory in directories or ([self._store.directory] if self._store else [])]

    def _output(self) -> list[bytes]:
        assert self._store is not None
        for call in running(self._store.live_path("").parent):
            if call not in self._followed and (file := _opened(self._store.live_path(call))):
                self._followed[call] = _Followed(call, file)
        messages = []
        for call, followed in list(self._followed.items()):
            ended = not self._store.live_path(call).exists()
            messages += followed.news()
            if ended:
                followed.close()
                del self._followed[call]
        return messages


class _Followed:
    """The output of one command, as far as it has been sent."""

    def __init__(self, call: str, file: BinaryIO) -> None:
        self._call = call
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False

    def news(self) -> list[bytes]:
        messages = []
        while data := self._file.read(_CHUNK):
            text = self._decoder.decode(data)
            parts = [(piece, int(spelt)) for piece, spelt in pieces(text)]
            messages.append(_event("output", {"call": self._call, "first": not self._begun, "pieces": parts}))
            self._begun = True
        return messages

    def close(self) -> None:
        self._file.close()


def _state_of(directory: Path) -> tuple[object, ...]:
    sizes = [_stat(directory / name) for name in ("events.idx", "record.json")]
    return (directory.name, *sizes, *running(directory / "live"))


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def _pause(closing: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_LOOK_S):
            await closing.wait()
    except TimeoutError:
        return
