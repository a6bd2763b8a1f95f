"""Background commands of a session: what is known of them until they have ended and stand in the history."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from gitmachine.process import OUTPUT_CHUNK_BYTES, OutputChunk, Process
from gitmachine.records import Record
from gitmachine.types import ExecutionResult

_ID = re.compile(r"[0-9A-Za-z_.-]{1,100}")


class BackgroundCommand(Record):
    """One that was started and is not in the history yet."""

    id: str
    command: str
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    door: str = "python"
    call: str | None = None


class BackgroundCommands:
    """Those of one session, on disk: another program may see the end of what this one started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "background"

    async def add(self, command: BackgroundCommand) -> None:
        if _ID.fullmatch(command.id):
            await asyncio.to_thread(self._add, command)

    async def pending(self) -> list[BackgroundCommand]:
        """Oldest first."""
        return await asyncio.to_thread(self._pending)

    async def forget(self, command_id: str) -> None:
        await asyncio.to_thread(self._path(command_id).unlink, missing_ok=True)

    def _path(self, command_id: str) -> Path:
        return self._directory / f"{command_id}.json"

    def _add(self, command: BackgroundCommand) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        command.save(self._path(command.id))

    def _pending(self) -> list[BackgroundCommand]:
        found = [BackgroundCommand.load(path) for path in self._directory.glob("[!.]*.json")]
        return sorted(found, key=lambda command: command.started)


class SessionProcess(Process):
    """A background command whose end is written into the session's history when `wait` sees it."""

    def __init__(self, inner: Process, ended: Callable[[str, ExecutionResult], Awaitable[None]]) -> None:
        self._inner = inner
        self._ended = ended

    @property
    def id(self) -> str:
        return self._inner.id

    async def output(
        self,
        after: int = 0,
        channel: Literal["stdout", "stderr"] = "stdout",
        max_bytes: int = OUTPUT_CHUNK_BYTES,
    ) -> OutputChunk:
        return await self._inner.output(after, channel, max_bytes)

    async def write_stdin(self, data: str | bytes) -> None:
        await self._inner.write_stdin(data)

    async def close_stdin(self) -> None:
        await self._inner.close_stdin()

    async def interrupt(self) -> None:
        await self._inner.interrupt()

    async def kill(self) -> None:
        await self._inner.kill()

    async def running(self) -> bool:
        return await self._inner.running()

    async def wait(self, timeout: float | None = None) -> ExecutionResult:
        """As `Process.wait`; when it returns, the working tree is in the vault."""
        result = await self._inner.wait(timeout)
        await self._ended(self.id, result)
        return result
