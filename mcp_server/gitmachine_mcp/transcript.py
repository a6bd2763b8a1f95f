"""What a command has written so far, in memory first and in a file once it is more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

KEPT_BYTES = 64 * 1024 * 1024
"""Of one command. What comes after that is not kept, and the transcript says so."""
MEMORY_BYTES = 256 * 1024


class Transcript:
    """Standard output and standard error in the order in which they came, as UTF-8, by byte offset."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._written = 0
        self._writing = asyncio.Lock()
        self._threshold = MEMORY_BYTES
        self.size = 0
        self.last_line = ""

    @classmethod
    def kept(cls, path: Path) -> Transcript:
        """That of a command which another server has waited for."""
        transcript = cls(path)
        with suppress(FileNotFoundError):
            transcript.size = transcript._written = path.stat().st_size
        return transcript

    @property
    def spilled(self) -> bool:
        """It was too much for memory."""
        return self._written > 0

    async def add(self, text: str) -> None:
        """Takes the next piece."""
        self.last_line = next((line for line in reversed(text.splitlines()) if line.strip()), self.last_line)[-200:]
        if self.size >= KEPT_BYTES:
            return
        data = text.encode("utf-8", "replace")
        if self.size + len(data) > KEPT_BYTES:
            data = data[: KEPT_BYTES - self.size] + b"\n[... what came after this was not kept ...]\n"
        self._pending.append(data)
        self._pending_bytes += len(data)
        self.size += len(data)
        if self._pending_bytes > self._threshold:
            await self.flush()

    async def persist(self) -> None:
        """From now on what is there can be read by the next server, too."""
        self._threshold = 4096
        await self.flush()

    async def flush(self) -> None:
        async with self._writing:
            data, self._pending, self._pending_bytes = b"".join(self._pending), [], 0
            if data:
                await asyncio.to_thread(self._append, data)

    async def read(self, after: int, max_bytes: int) -> bytes:
        """What stands from the offset `after` on, at most `max_bytes`, never half a character."""
        async with self._writing:
            kept, waiting = self._written, b"".join(self._pending)
            found = await asyncio.to_thread(self._slice, after, max_bytes) if after < kept else b""
        if len(found) < max_bytes and after + len(found) >= kept:
            start = max(0, after - kept)
            found += waiting[start : start + max_bytes - len(found)]
        return whole_characters(found)

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(data)
        self._written += len(data)

    def _slice(self, after: int, max_bytes: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(after)
            return file.read(max_bytes)


def whole_characters(data: bytes) -> bytes:
    """Without the beginning of a character at the end whose rest is missing (RFC 3629)."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
        return data[:-back] if length > back else data
    return data
